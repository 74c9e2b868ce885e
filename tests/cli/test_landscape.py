import json
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from widemargin.landscape import basin_radii
from widemargin.zoo import Run, Study, Zoo, load_trained, train_zoo

Ran = tuple[int, str, str]
CommandLine = Callable[..., Ran]

STUDY = """\
name: rolls
base:
  data: {name: swiss-roll}
  network: {name: mlp, hidden: [8, 8], one_logit: true, initialization: glorot}
  training: {lr: 0.02, batch_size: null, num_steps: 150}
grid:
  training.poison.factor: [0, 0.5]
repeats: 2
"""
FACTORIES = """\
import torch
from torch import nn

def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 12), nn.ReLU(), nn.Linear(12, 4))

def scalar_weights():
    return nn.Sequential(nn.BatchNorm1d(3), nn.ZeroPad1d((0, 1)))
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A network on the swiss roll. Not to be changed."""
    base = {
        "data": {"name": "swiss-roll"},
        "network": {"name": "mlp", "hidden": [8, 8], "one_logit": True},
        "training": {"lr": 0.02, "num_steps": 300, "batch_size": None},
    }
    return train_zoo(Study(name="one", base=base), tmp_path_factory.mktemp("landscape"), jobs=1).runs()[0]


@pytest.fixture
def own(tmp_path: Path) -> Iterator[None]:
    """A network of the user's, trained weights and data, in the current folder."""
    (tmp_path / "own.py").write_text(FACTORIES)
    generator = torch.Generator().manual_seed(0)
    inputs, labels = torch.randn(40, 3, generator=generator), torch.arange(40) % 4
    np.savez(tmp_path / "train.npz", inputs=inputs.numpy(), labels=labels.numpy())
    np.savez(tmp_path / "other.npz", inputs=torch.randn(60, 3).numpy(), labels=(torch.arange(60) % 4).numpy())
    sys.modules.pop("own", None)
    yield
    sys.modules.pop("own", None)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_basin_says_what_the_python_function_says(widemargin: CommandLine, run: Run) -> None:
    before = contents(run.folder)
    code, out, _ = widemargin(
        "basin", run.folder, "--cutoff", 0.7, "--cutoff", 1.0, "--directions", 6, "--seed", 3, "--json"
    )
    assert code == 0
    expected = basin_radii(load_trained(run), cutoffs=(0.7, 1.0), num_directions=6, seed=3)
    answer = json.loads(out)
    assert [row["cutoff"] for row in answer["basins"]] == [0.7, 1.0]
    for row in answer["basins"]:
        assert row["mean_radius"] == expected.mean(row["cutoff"]).value
    assert answer["num_free"] == expected.num_free
    assert contents(run.folder) == before


@pytest.mark.parametrize("preconditioner", ["none", "diagonal", "low-rank", "full"])
def test_basin_prints_a_table(widemargin: CommandLine, run: Run, preconditioner: str) -> None:
    code, out, _ = widemargin(
        "basin", run.folder, "--cutoff", 0.7, "--directions", 5, "--preconditioner", preconditioner
    )
    assert code == 0
    assert re.search(r"training loss [\d.]+; 10 rays in \d+ dimensions", out)
    assert re.search(r"^ *0\.7 +[\d.]+ ± \S+ +[\d.]+ +\d+% +-?[\d.]+ +[\d.]+ / 5 *$", out, flags=re.MULTILINE)


def test_landscape_writes_figures_and_numbers(widemargin: CommandLine, run: Run) -> None:
    code, out, _ = widemargin("landscape", run.folder, "--out", "seen", "--points", 5, "--seed", 1)
    assert code == 0
    files = {path.name for path in Path("seen").iterdir()}
    assert files == {"surface.png", "walk.png", "rays.png", "regions.png", "landscape.json"}
    answer = json.loads(Path("seen/landscape.json").read_text())
    assert answer["loss"] == pytest.approx(run.result["train_loss"], rel=1e-4)
    assert answer["accuracy"] == pytest.approx(run.result["train_accuracy"])
    assert len(answer["surface"]["losses"]) == 5
    assert f"training loss {answer['loss']:.4g}" in out


def test_landscape_of_a_users_network_has_no_regions_where_inputs_are_no_points(
    widemargin: CommandLine, own: None
) -> None:
    code, out, _ = widemargin(
        "landscape",
        "own:net",
        "--data",
        "train.npz",
        "--out",
        "seen",
        "--points",
        4,
        "--normalization",
        "none",
        "--json",
    )
    assert code == 0
    assert json.loads(out)["files"] == ["surface.png", "walk.png", "rays.png"]


def test_poison_leads_to_worse_accuracy_elsewhere_and_leaves_the_run(widemargin: CommandLine, run: Run) -> None:
    before = contents(run.folder)
    code, out, _ = widemargin(
        "poison",
        run.folder,
        "--out",
        "bad/weights.safetensors",
        "--factor",
        1,
        "--steps",
        300,
        "--lr",
        0.02,
        "--json",
    )
    assert code == 0
    answer = json.loads(out)
    assert answer["before"]["test_accuracy"] == pytest.approx(run.result["test_accuracy"])
    assert answer["after"]["test_accuracy"] < answer["before"]["test_accuracy"] - 0.1
    expected = load_trained(run).network.state_dict()
    assert {name: v.shape for name, v in load_file("bad/weights.safetensors").items()} == {
        name: v.shape for name, v in expected.items()
    }
    assert contents(run.folder) == before


def test_poison_of_a_users_network_takes_named_examples(widemargin: CommandLine, own: None) -> None:
    words = ("poison", "own:net", "--data", "train.npz", "--out", "bad.safetensors", "--steps", 20)
    code, _, err = widemargin(*words)
    assert code == 1
    assert "name labeled examples with --poison-data" in err
    code, out, _ = widemargin(*words, "--poison-data", "other.npz", "--num-examples", 30)
    assert code == 0
    assert re.search(r"before: train accuracy [\d.]+\nafter: train accuracy [\d.]+\nParameters: bad.safetensors", out)
    code, out, _ = widemargin(
        "basin", "own:net", "--data", "train.npz", "--weights", "bad.safetensors", "--cutoff", 9
    )
    assert code == 0


ERRORS = {
    "above the cutoff": (("basin", "own:net", "--data", "train.npz", "--cutoff", 0.001), "must be below the cutoff"),
    "preconditioner": (
        ("basin", "own:net", "--data", "train.npz", "--preconditioner", "half"),
        "must be none, diagonal, low-rank or full, got 'half'",
    ),
    "normalization": (
        ("basin", "own:net", "--data", "train.npz", "--normalization", "filters"),
        "must be filter, layer or none, got 'filters'",
    ),
    "no data": (("landscape", "own:net", "--out", "x"), "the training data is needed: name it with --data"),
    "no kernels": (
        ("basin", "own:scalar_weights", "--data", "train.npz", "--cutoff", 9),
        'Use normalization="none"',
    ),
    "diverges": (
        ("poison", "own:net", "--data", "train.npz", "--poison-data", "other.npz", "--out", "b", "--lr", 1e30),
        "must stay finite, but diverged",
    ),
    "nothing left": (
        ("poison", "own:net", "--data", "digits", "--out", "b"),
        "name other labeled examples with --poison-data",
    ),
}


@pytest.mark.parametrize("name", ERRORS)
def test_says_what_is_wrong_in_a_sentence(
    widemargin: CommandLine, own: None, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jaxtyping.config.jaxtyping_disable", True)
    words, text = ERRORS[name]
    code, _, err = widemargin(*words)
    assert code == 1
    assert text in err
    assert err.count("error:") == 1
    assert not Path("b").exists()


def test_weights_of_another_network_are_refused(widemargin: CommandLine, own: None) -> None:
    save_file({"weight": torch.zeros(2)}, "w.safetensors")
    code, _, err = widemargin("basin", "own:net", "--data", "train.npz", "--weights", "w.safetensors")
    assert code == 1
    assert "must fit the network" in err


@pytest.mark.slow
def test_explain_trains_reports_and_goes_on(widemargin: CommandLine) -> None:
    Path("rolls.yaml").write_text(STUDY)
    words = ("explain", "--study", "rolls.yaml", "--out", "why", "--jobs", 1, "--directions", 3, "--starts", 0)
    code, out, _ = widemargin(*words, "--gif")
    assert code == 0
    assert {path.name for path in Path("why").iterdir()} >= {
        *("report.html", "explanation.json", "basins.csv", "good.gif", "bad.gif", "study.json"),
    }
    assert "rank correlation" in out
    assert len(Zoo(Path("why")).runs()) == 4
    trained = {path: path.stat().st_mtime_ns for path in Path("why/runs").glob("*/weights.safetensors")}
    code, out, _ = widemargin(*words, "--json")
    assert code == 0
    assert json.loads(out)["networks"] == 4
    assert trained == {path: path.stat().st_mtime_ns for path in Path("why/runs").glob("*/weights.safetensors")}


@pytest.mark.slow
def test_explain_finds_data_that_has_moved(widemargin: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WIDEMARGIN_CACHE", str(Path("cache").resolve()))
    generator = np.random.default_rng(0)
    points = generator.normal(size=(40, 2)).astype(np.float32)
    labels = (points.sum(axis=1) > 0).astype(np.int64)
    np.savez("set.npz", train_inputs=points, train_labels=labels, test_inputs=points, test_labels=labels)
    poison = "poison: {pool: fixed, num_examples: 10}"
    Path("own.yaml").write_text(
        STUDY.replace("swiss-roll", "my/set, num_train: 20").replace("num_steps: 150", f"num_steps: 150, {poison}")
    )
    words = ("explain", "--study", "own.yaml", "--out", "why", "--jobs", 1, "--directions", 2)
    assert widemargin(*words, "--starts", 0, "--data", "set.npz")[0] == 0
    Path("set.npz").rename("moved.npz")
    code, _, err = widemargin(*words, "--starts", 0)
    assert code == 1
    assert "set.npz must be a readable .npz" in err
    assert widemargin(*words, "--starts", 4, "--data", "moved.npz")[0] == 0


def test_explain_refuses_what_it_could_not_explain_before_it_trains(widemargin: CommandLine) -> None:
    Path("plain.yaml").write_text(STUDY.replace("[0, 0.5]", "[0]"))
    Path("rolls.yaml").write_text(STUDY)
    for words, text in (
        (("--study", "plain.yaml"), "must have poisoned networks to explain, and has none"),
        (("--study", "rolls.yaml", "--starts", 2), "--starts must be 0 or at least 4, got 2"),
    ):
        code, _, err = widemargin("explain", "--out", "why", *words)
        assert code == 1
        assert text in err
    assert not Path("why").exists()


def test_a_poisoned_run_can_be_measured_with_its_new_weights(widemargin: CommandLine, run: Run) -> None:
    assert widemargin("poison", run.folder, "--out", "bad.safetensors", "--steps", 20)[0] == 0
    code, out, _ = widemargin(
        "basin", run.folder, "--weights", "bad.safetensors", "--cutoff", 5, "--directions", 2, "--json"
    )
    assert code == 0
    assert json.loads(out)["loss"] != pytest.approx(run.result["train_loss"], rel=1e-6)
