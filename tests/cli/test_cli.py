import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from typer.testing import CliRunner

from widemargin import __version__, margin_distribution
from widemargin.cli import app
from widemargin.zoo import Run, Study, Zoo, load_trained, shipped_studies, train_zoo

STUDY = """\
name: tiny
description: A few small networks.
base:
  data: {name: digits, num_train: 60}
  network: {name: mlp, hidden: [12, 12, 12]}
  training: {num_steps: 60, batch_size: 20, lr: 0.005}
grid:
  network.dropout: [0.0, 0.2, 0.4]
repeats: 2
"""
FACTORIES = """\
import torch
from torch import nn

class Net(nn.Sequential):
    def __init__(self):
        torch.manual_seed(0)
        super().__init__(nn.Flatten(), nn.Linear(64, 20), nn.ReLU(), nn.Linear(20, 10))

def data():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(80, 64, generator=generator), torch.arange(80) % 10

def nonsense(): return 3
def fails(): raise RuntimeError("no luck")
def narrow(): return nn.Linear(3, 10)
def binary(): return nn.Linear(64, 1)
def once(): return iter([data()])
def empty(): return []
def needs(argument): return Net()
def nan():
    network = Net()
    nn.init.constant_(network[3].bias, float("nan"))
    return network
number = 3
"""


Ran = tuple[int, str, str]
CommandLine = Callable[..., Ran]


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Zoo:
    """Six networks and a diverged one. Not to be changed."""
    base = {
        "data": {"name": "digits", "num_train": 60},
        "network": {"name": "mlp", "hidden": [12, 12, 12]},
        "training": {"num_steps": 60, "batch_size": 20},
    }
    study = Study(name="tiny", base=base, grid={"training.optimizer": ["adamw", "sgd"], "training.lr": [0.01, 0.02]})
    folder = tmp_path_factory.mktemp("cli") / "zoo"
    train_zoo(study, folder, jobs=1)
    grid = study.grid | {"training.lr": [0.01, 0.02, 0.03, 1e6]}
    return train_zoo(study.model_copy(update={"grid": grid | {"network.hidden": [[12, 12, 12]]}}), folder, jobs=1)


@pytest.fixture
def factories(tmp_path: Path) -> Iterator[None]:
    """A module ``factories`` in the current folder."""
    (tmp_path / "factories.py").write_text(FACTORIES)
    (tmp_path / "broken.py").write_text("def f(:\n")
    sys.modules.pop("factories", None)
    yield
    sys.modules.pop("factories", None)


def finished(zoo: Zoo) -> Run:
    return next(run for run in zoo.runs() if run.result["status"] == "finished")


# the frame


def test_says_its_version() -> None:
    ran = CliRunner().invoke(app, ["--version"])
    assert (ran.exit_code, ran.output) == (0, f"{__version__}\n")


def test_help_names_every_command() -> None:
    ran = CliRunner().invoke(app, ["--help"])
    assert ran.exit_code == 0
    commands = "demo explain measure evaluate predictor rank report zoo poison landscape basin"
    for command in commands.split():
        assert re.search(rf"^\W*{command}\s", ran.output, re.MULTILINE)


@pytest.mark.parametrize(
    "command",
    [
        ["demo"],
        ["measure"],
        ["evaluate"],
        ["report"],
        *(["zoo", name] for name in ("train", "status", "verify", "studies")),
    ],
)
def test_every_command_explains_itself(command: list[str]) -> None:
    ran = CliRunner().invoke(app, [*command, "--help"])
    assert ran.exit_code == 0
    assert f"Usage: widemargin {' '.join(command)}" in ran.output


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["zoo"],
        ["nonsense"],
        ["zoo", "nonsense"],
        ["--nonsense"],
        ["measure"],
        ["evaluate"],
        ["report"],
        ["zoo", "train", "digits-demo"],
        ["zoo", "train", "digits-demo", "--out", "x", "--jobs", "many"],
        ["measure", "x", "--norm", "two"],
        ["demo", "--seed", "-1"],
        ["evaluate", "one", "two"],
    ],
)
def test_wrong_usage_is_exit_code_2(widemargin: CommandLine, words: list[str]) -> None:
    code, out, err = widemargin(*words)
    assert code == 2
    assert "Usage:" in out + err
    assert "Traceback" not in err


def test_module_and_script_are_the_same_command(tmp_path: Path) -> None:
    script = Path(sys.executable).with_name("widemargin")
    for command in ([sys.executable, "-m", "widemargin"], [str(script)]):
        ran = subprocess.run([*command, "--version"], cwd=tmp_path, capture_output=True, text=True, check=True)
        assert (ran.stdout, ran.stderr) == (f"{__version__}\n", "")


def test_the_version_comes_without_loading_torch(tmp_path: Path) -> None:
    code = "import sys; from widemargin.cli import app; app(['--version'], standalone_mode=False)"
    code += "; print('torch' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert ran.stdout == f"{__version__}\nFalse\n"


# measure

KEYS = {
    *("target", "num_examples", "num_misclassified", "train_accuracy", "train_loss", "norm", "layers", "skipped"),
    *("caveats", "total_variation", "signature"),
}


def test_measures_a_run(widemargin: CommandLine, zoo: Zoo) -> None:
    run = finished(zoo)
    code, out, err = widemargin("measure", run.folder, "--measures", "none", "--json")
    assert (code, err) == (0, "")
    answer = json.loads(out)
    assert answer.keys() == KEYS | {"test_accuracy", "gap"}
    assert answer["target"] == str(run.folder)
    assert answer["layers"] == ["input", "layers.0", "layers.1", "layers.2"]
    assert answer["train_accuracy"] == run.result["train_accuracy"]
    assert answer["gap"] == run.result["gap"]
    assert answer["signature"] == run.margins.signature()
    assert [*answer["total_variation"].values()] == run.margins.total_variation.tolist()


def test_prints_a_row_for_each_layer(widemargin: CommandLine, zoo: Zoo) -> None:
    code, out, _ = widemargin("measure", finished(zoo).folder)
    assert code == 0
    assert out.startswith("60 training examples, ")
    assert "generalization gap" in out
    assert all(layer in out for layer in ("input", "layers.0", "layers.1", "layers.2"))


def test_measures_chosen_layers_in_a_chosen_norm(widemargin: CommandLine, zoo: Zoo) -> None:
    run = finished(zoo)
    code, out, _ = widemargin(
        "measure", run.folder, "--layers", "input, head", "--norm", "inf", "--measures", "none", "--json"
    )
    assert code == 0
    answer = json.loads(out)
    expected = margin_distribution(load_trained(run), ["input", "head"], float("inf"))
    assert answer["norm"] == "inf"
    assert answer["layers"] == ["input", "head"]
    assert answer["signature"] == expected.signature()


@pytest.mark.usefixtures("factories")
def test_measures_a_network_of_a_factory(widemargin: CommandLine) -> None:
    code, out, _ = widemargin("measure", "factories:Net", "--data", "factories:data", "--measures", "none", "--json")
    assert code == 0
    answer = json.loads(out)
    assert answer.keys() == KEYS
    assert answer["num_examples"] == 80
    assert "factories" in sys.modules
    assert str(Path.cwd()) not in sys.path


@pytest.mark.usefixtures("factories")
def test_measures_a_network_of_a_factory_with_weights_on_a_named_data_set(
    widemargin: CommandLine, tmp_path: Path
) -> None:
    from widemargin.data import digits

    torch.manual_seed(1)
    network = torch.nn.Sequential(
        torch.nn.Flatten(), torch.nn.Linear(64, 20), torch.nn.ReLU(), torch.nn.Linear(20, 10)
    )
    save_file(network.state_dict(), tmp_path / "net.safetensors")
    code, out, _ = widemargin(
        "measure", "factories:Net", "--weights", "net.safetensors", "--data", "digits", "--measures", "none", "--json"
    )
    assert code == 0
    answer = json.loads(out)
    data = digits()
    with torch.no_grad():
        right = network(data.train_inputs).argmax(1) == data.train_labels
        right_test = network(data.test_inputs).argmax(1) == data.test_labels
    assert answer["train_accuracy"] == right.sum() / 1000
    assert answer["test_accuracy"] == right_test.sum() / 797


@pytest.mark.usefixtures("factories")
@pytest.mark.parametrize("labels", [np.int64, np.int32, np.uint8])
def test_measures_a_network_of_a_factory_on_arrays(
    widemargin: CommandLine, tmp_path: Path, labels: type[np.integer]
) -> None:
    code, expected, _ = widemargin(
        "measure", "factories:Net", "--data", "factories:data", "--measures", "none", "--json"
    )
    assert code == 0
    data = sys.modules["factories"].data()
    np.savez(tmp_path / "data.npz", inputs=data[0].numpy(), labels=data[1].numpy().astype(labels))
    code, out, _ = widemargin("measure", "factories:Net", "--data", "data.npz", "--measures", "none", "--json")
    assert code == 0
    assert json.loads(out) == json.loads(expected)


@pytest.mark.usefixtures("factories")
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere"], "'nowhere' must be a run's folder or module:factory, and is neither"),
        (["."], "config.json must be readable JSON of a finished run, but is not"),
        (["factories:Net"], "name it with --data"),
        (["nowhere:Net", "--data", "digits"], "'nowhere:Net' must name a function .* No module named 'nowhere'"),
        (["factories:none", "--data", "digits"], "has no attribute 'none'"),
        (["factories:number", "--data", "digits"], "'int' object is not callable"),
        (["factories:needs", "--data", "digits"], "missing 1 required positional argument"),
        (["factories:", "--data", "digits"], "'factories:' must name a function"),
        ([":Net", "--data", "digits"], "':Net' must name a function"),
        (["broken:f", "--data", "digits"], "SyntaxError"),
        (["factories:fails", "--data", "digits"], "RuntimeError: no luck"),
        (["factories:nonsense", "--data", "digits"], "must return a torch.nn.Module, got int"),
        (["factories:narrow", "--data", "factories:data"], "the network must take the data, but: RuntimeError"),
        (["factories:binary", "--data", "factories:data"], r"from 0 to below 2 \(the number of logits\)"),
        (["factories:nan", "--data", "factories:data"], "logits must be finite"),
        (
            ["factories:Net", "--data", "nowhere"],
            "--data must be one of digits, rings, swiss-roll, cifar10, cifar100, svhn, fashion-mnist, mnist, an .npz",
        ),
        (["factories:Net", "--data", "none.npz"], "--data none.npz must be an .npz with arrays .* No such file"),
        (["factories:Net", "--data", "factories:fails"], "RuntimeError: no luck"),
        (["factories:Net", "--data", "factories:nonsense"], "data must be a DataLoader, .* got int"),
        (["factories:Net", "--data", "factories:once"], "train_data must be iterable more than once"),
        (["factories:Net", "--data", "factories:empty"], "train_data must yield at least one example"),
        (
            ["factories:Net", "--data", "digits", "--weights", "none.safetensors"],
            "none.safetensors must fit",
        ),
        (["factories:Net", "--data", "digits", "--weights", "factories.py"], "factories.py must fit"),
        (["factories:Net", "--data", "factories:data", "--layers", "conv1"], "conv1"),
        (["factories:Net", "--data", "factories:data", "--layers", ""], "layers must name at least one layer"),
        (["factories:Net", "--data", "factories:data", "--norm", "0.5"], "norm must be the p ≥ 1"),
        (["factories:Net", "--data", "factories:data", "--norm", "nan"], "norm must be the p ≥ 1"),
    ],
)
@pytest.mark.parametrize("as_json", [[], ["--json"]])
def test_wrong_input_is_one_sentence_and_exit_code_1(
    widemargin: CommandLine, words: list[str], message: str, as_json: list[str]
) -> None:
    code, out, err = widemargin("measure", *words, *as_json)
    assert (code, out) == (1, "")
    assert err.startswith("error: ")
    assert re.search(message, err)
    assert "Traceback" not in err


@pytest.mark.usefixtures("factories")
@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"inputs": np.ones((4, 64), "float32")}, "labels is not a file in the archive"),
        ({"inputs": np.ones((4, 64), "float32"), "labels": np.arange(3)}, "must be equally many, got 4 inputs and 3"),
        ({"inputs": np.ones((4, 64), "float32"), "labels": np.arange(4.0)}, "one integer class index per example"),
        ({"inputs": np.ones((4, 64), "float32"), "labels": np.arange(4) + 7}, "a maximum of 10"),
        ({"inputs": np.ones((4, 64), "float32"), "labels": np.eye(4, 10)}, "one integer class index per example"),
        ({"inputs": np.ones((4, 64), "uint8"), "labels": np.arange(4)}, "the network must take the data, but"),
        ({"inputs": np.array(["a"] * 4), "labels": np.arange(4)}, "arrays inputs and labels, but: TypeError"),
        ({"inputs": np.array([None] * 4), "labels": np.arange(4)}, "arrays inputs and labels, but: ValueError"),
        ({"inputs": np.array(3.0), "labels": np.array(3)}, "the network must take the data, but"),
        ({"inputs": np.ones((0, 64), "float32"), "labels": np.arange(0)}, "at least one example, got none"),
        ({"inputs": np.full((4, 64), np.nan, "float32"), "labels": np.arange(4)}, "logits must be finite"),
    ],
)
def test_wrong_arrays_are_one_sentence_and_exit_code_1(
    widemargin: CommandLine, tmp_path: Path, arrays: dict[str, np.ndarray], message: str
) -> None:
    np.savez(tmp_path / "data.npz", **arrays)  # type: ignore[arg-type]  # numpy types keywords as its option
    code, out, err = widemargin("measure", "factories:Net", "--data", "data.npz")
    assert (code, out) == (1, "")
    assert err.startswith("error: ")
    assert re.search(message, err)


@pytest.mark.usefixtures("factories")
@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 garbage", b"\x93NUMPY\x01\x00", b"hello"])
def test_a_damaged_archive_is_one_sentence_and_exit_code_1(
    widemargin: CommandLine, tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "data.npz").write_bytes(content)
    code, out, err = widemargin("measure", "factories:Net", "--data", "data.npz")
    assert (code, out) == (1, "")
    assert err.startswith("error: --data data.npz must be an .npz with arrays inputs and labels, but: ")


def test_a_run_brings_its_own_weights_and_data(widemargin: CommandLine, zoo: Zoo) -> None:
    code, _, err = widemargin("measure", finished(zoo).folder, "--data", "digits")
    assert code == 1
    assert "leave out --data" in err


# evaluate and report


def test_scores_a_zoo(widemargin: CommandLine, zoo: Zoo) -> None:
    code, out, _ = widemargin("evaluate", zoo.folder, "--json")
    assert code == 0
    answer = json.loads(out)
    assert answer.keys() == {"networks", "left_out", "scores", "measures"}
    assert answer["networks"] == 8 - len(answer["left_out"])
    assert set(answer["left_out"].values()) >= {"its training diverged"}
    assert {"name", "subset", "adjusted_r2", "kfold_r2", "mse", "is_baseline"} <= answer["scores"][0].keys()


def test_prints_scores_and_what_was_left_out(widemargin: CommandLine, zoo: Zoo) -> None:
    code, out, _ = widemargin("evaluate", zoo.folder)
    assert code == 0
    assert "regression on" in out
    assert re.search(r"^left out: [0-9a-f]{16}: its training diverged$", out, re.MULTILINE)


def test_writes_the_report_where_it_is_wanted(widemargin: CommandLine, zoo: Zoo, tmp_path: Path) -> None:
    code, out, _ = widemargin("report", zoo.folder, "--out", tmp_path / "deep" / "page.html")
    assert code == 0
    assert out.strip() == str(tmp_path / "deep" / "page.html")
    assert (tmp_path / "deep" / "page.html").read_text().lower().startswith("<!doctype html>")


@pytest.mark.parametrize("command", [["evaluate"], ["report"], ["zoo", "status"], ["zoo", "verify"]])
def test_what_is_no_zoo_is_one_sentence(widemargin: CommandLine, command: list[str]) -> None:
    code, out, err = widemargin(*command, "nowhere")
    assert (code, out) == (1, "")
    assert err == (
        "error: nowhere must be a zoo's folder with runs in it, and is not. Train one with: widemargin zoo train "
        "STUDY --out nowhere\n"
    )


@pytest.mark.parametrize("command", ["evaluate", "report"])
def test_an_empty_zoo_is_one_sentence(widemargin: CommandLine, tmp_path: Path, command: str) -> None:
    (tmp_path / "runs").mkdir()
    code, out, err = widemargin(command, tmp_path)
    assert (code, out) == (1, "")
    assert err.startswith("error: ")
    assert "Traceback" not in err


@pytest.mark.parametrize("command", ["evaluate", "report"])
@pytest.mark.parametrize("grid", [{"training.lr": [1e6]}, {"training.lr": [0.01]}])
def test_a_zoo_of_one_network_is_no_traceback(
    widemargin: CommandLine, tmp_path: Path, zoo: Zoo, command: str, grid: dict[str, list[float]]
) -> None:
    assert zoo.study is not None
    optimizer = {"training.optimizer": ["sgd"]}
    train_zoo(zoo.study.model_copy(update={"grid": grid | optimizer}), tmp_path, jobs=1)
    code, _, err = widemargin(command, tmp_path)
    if command == "evaluate" and grid == {"training.lr": [0.01]}:
        assert code == 0
    else:
        assert code == 1
        assert err.startswith("error: ")


@pytest.mark.parametrize("command", [["evaluate"], ["report"], ["zoo", "status"]])
def test_a_damaged_run_is_one_sentence(widemargin: CommandLine, tmp_path: Path, command: list[str]) -> None:
    (tmp_path / "runs" / "abc").mkdir(parents=True)
    (tmp_path / "runs" / "abc" / "result.json").write_text("{")
    code, out, err = widemargin(*command, tmp_path)
    assert (code, out) == (1, "")
    assert err.startswith(f"error: {tmp_path}/runs/abc/")


def test_a_report_that_cannot_be_written_is_one_sentence(widemargin: CommandLine, zoo: Zoo, tmp_path: Path) -> None:
    code, _, err = widemargin("report", zoo.folder, "--out", tmp_path)
    assert code == 1
    assert re.search(r"error: \S+: Is a directory\.\n$", err)


# zoo


def test_lists_the_shipped_studies(widemargin: CommandLine) -> None:
    code, out, _ = widemargin("zoo", "studies", "--no-time")
    assert code == 0
    heads = [line for line in out.splitlines() if not line.startswith(" ")]
    assert [head.partition(":")[0] for head in heads] == [*shipped_studies()]
    assert "digits-demo: 192 networks, 4.5e+12 operations." in heads
    assert "\n    Network-in-Network on the 8x8 digits images that scikit-learn ships" in out


def test_tells_about_how_long_each_study_takes(widemargin: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("widemargin.zoo.estimated_seconds", lambda runs, num_workers, device: 7200.0 / num_workers)
    code, out, _ = widemargin("zoo", "studies", "--jobs", 2)
    assert code == 0
    assert "demogen-nin-cifar10: 216 networks, 3.1e+18 operations, about 60 minutes here." in out
    assert out.endswith("Times: 2 at once on cpu, from a few steps of each study's smallest network.\n")
    answer = json.loads(widemargin("zoo", "studies", "--jobs", 4, "--json")[1])
    assert answer["studies"][0]["estimated_seconds"] == 1800


def test_says_how_far_a_zoo_is(widemargin: CommandLine, zoo: Zoo) -> None:
    code, out, _ = widemargin("zoo", "status", zoo.folder, "--json")
    assert code == 0
    answer = json.loads(out)
    statuses = [run.result["status"] for run in zoo.runs()]
    assert answer == {
        "study": "tiny",
        "planned": 8,
        "finished": statuses.count("finished"),
        "diverged": statuses.count("diverged"),
        "failed": 0,
        "running": 0,
        "missing": 0,
        "num_workers": 0,
        "seconds_left": 0,
        "failures": {},
    }
    assert answer["diverged"] >= 1
    code, out, _ = widemargin("zoo", "status", zoo.folder)
    counts = f"{answer['finished']} finished, {answer['diverged']} diverged, 0 failed, 0 running, 0 missing"
    assert out == f"tiny: 8 networks, {counts}\n"


def test_says_what_is_missing(widemargin: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    nothing = "0 finished, 0 diverged, 0 failed, 0 running"
    assert widemargin("zoo", "status", tmp_path)[1] == f"{tmp_path}: 0 networks, {nothing}, 0 missing\n"
    (tmp_path / "study.yaml").write_text(STUDY)
    from widemargin.zoo import load_study

    Zoo(tmp_path).adopt(load_study(tmp_path / "study.yaml"))
    assert widemargin("zoo", "status", tmp_path)[1] == f"tiny: 6 networks, {nothing}, 6 missing\n"


def test_trains_a_zoo(widemargin: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text(STUDY)
    code, out, err = widemargin("zoo", "train", "study.yaml", "--out", "zoo", "--jobs", 1, "--json")
    assert code == 0
    answer = json.loads(out)
    assert [answer[name] for name in ("study", "planned", "finished", "diverged", "missing")] == ["tiny", 6, 6, 0, 0]
    assert "6/6 networks" in err


def test_a_file_where_the_zoo_shall_be_is_one_sentence(widemargin: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text(STUDY)
    (tmp_path / "file").write_text("")
    for out in ("file", "file/zoo"):
        code, _, err = widemargin("zoo", "train", "study.yaml", "--out", out, "--jobs", 1)
        assert code == 1
        assert "Not a directory." in err
        assert "Traceback" not in err


@pytest.mark.parametrize(
    ("study", "options", "message"),
    [
        ("none.yaml", [], r"none\.yaml must be a readable YAML file or the name of a shipped study"),
        ("broken.yaml", [], r"broken\.yaml, line 2: not valid YAML"),
        ("misspelt.yaml", [], r"misspelt\.yaml, line 8: unknown key 'gird'"),
        ("study.yaml", ["--jobs", "0"], r"--jobs must be a number of processes, or -1 for one per core, got 0\."),
        ("study.yaml", ["--jobs", "-2"], r"--jobs must be a number of processes, or -1 for one per core, got -2\."),
        ("study.yaml", ["--shard", "3/2"], r"--shard must be i/n with i from 1 to n, got '3/2'\."),
        ("study.yaml", ["--shard", "half"], r"--shard must be i/n with i from 1 to n, got 'half'\."),
        ("study.yaml", ["--backend", "dask"], r"--backend must be local or ray, got 'dask'\."),
        ("study.yaml", ["--address", "auto"], r"--address and --gpus-per-run are for --backend ray\."),
        ("study.yaml", ["--gpus-per-run", ".5"], r"--address and --gpus-per-run are for --backend ray\."),
    ],
)
def test_a_study_that_cannot_be_trained_is_one_sentence(
    widemargin: CommandLine, tmp_path: Path, study: str, options: list[str], message: str
) -> None:
    (tmp_path / "study.yaml").write_text(STUDY)
    (tmp_path / "broken.yaml").write_text("name: [\n")
    (tmp_path / "misspelt.yaml").write_text(STUDY.replace("grid:", "\ngird:"))
    code, out, err = widemargin("zoo", "train", study, "--out", "zoo", *options)
    assert (code, out) == (1, "")
    assert re.match(f"error: {message}", err)
    assert err.count("\n") == 1
    assert not (tmp_path / "zoo").exists()


def test_a_busy_zoo_and_a_foreign_zoo_are_one_sentence(widemargin: CommandLine, zoo: Zoo, tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text(STUDY)
    words = ("zoo", "train", "study.yaml", "--out", zoo.folder, "--jobs", 1)
    code, _, err = widemargin(*words)
    assert code == 1
    assert "holds 8 runs that are not in the study 'tiny'" in err
    with zoo.locked():
        code, _, err = widemargin(*words)
    assert code == 1
    assert "is being trained by another process" in err
    assert "Traceback" not in err


@pytest.mark.parametrize("to", ["group", pytest.param("main", marks=pytest.mark.slow)])
def test_ctrl_c_stops_training_without_noise_and_the_same_command_goes_on(tmp_path: Path, to: str) -> None:
    (tmp_path / "study.yaml").write_text(STUDY.replace("num_steps: 60", "num_steps: 400"))
    # Where tests run in the background, SIGINT is ignored, and children inherit that.
    heed = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    code = f"{heed}; from widemargin.cli import main; main()"
    command = [sys.executable, "-c", code, "zoo", "train", "study.yaml", "--out", "zoo", "--jobs", "2"]
    zoo = Zoo(tmp_path / "zoo")
    process = subprocess.Popen(
        command,
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + 60
        while not zoo.runs() and time.monotonic() < deadline and process.poll() is None:
            time.sleep(0.01)
        (os.killpg if to == "group" else os.kill)(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=30)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 130
    assert out == ""
    assert "stopped; the same command goes on where this one was" in err
    assert "Traceback" not in err
    assert "KeyboardInterrupt" not in err
    before = {run.folder: (run.folder / "result.json").stat().st_ino for run in zoo.runs()}
    assert 0 < len(before) < 6
    again = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert again.stdout == "tiny: 6 networks, 6 finished, 0 diverged, 0 failed, 0 running, 0 missing\n"
    assert before.items() <= {run.folder: (run.folder / "result.json").stat().st_ino for run in zoo.runs()}.items()
    assert len([*zoo.runs_folder.iterdir()]) == 6


def test_errors_of_a_real_process_are_one_line_on_standard_error(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "widemargin", "measure", "nowhere"]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stdout) == (1, "")
    assert re.fullmatch(r"error: 'nowhere' must be a run's folder or module:factory, .*\n", ran.stderr)
