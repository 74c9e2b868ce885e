"""Choosing among networks on the command line."""

import json
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from widemargin import rank
from widemargin.prediction import (
    load_predictor,
    measures_of,
    rank_margins,
    rank_measured,
    save_predictor,
    signature_predictor,
)
from widemargin.zoo import Run, Study, Zoo, measure_zoo, measured_values, train_zoo, zoo_table

CommandLine = Callable[..., tuple[int, str, str]]

FACTORIES = """\
import torch
from torch import nn

class Net(nn.Sequential):
    def __init__(self, width=20):
        super().__init__(nn.Flatten(), nn.Linear(64, width), nn.ReLU(), nn.Linear(width, 10))

def wide(): return Net(30)
def narrow(): return Net(8)

def data():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(200, 64, generator=generator), torch.arange(200) % 10

def too_many():
    return data()[0], torch.arange(200) % 11
"""

DATA = ("--data", "factories:data")
OF_NET = ("--network", "factories:Net", *DATA)


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Zoo:
    """Eight networks of four configurations, and two that diverged. Not to be changed."""
    base = {
        "data": {"name": "digits", "num_train": 60},
        "network": {"name": "mlp", "hidden": [12, 12, 12]},
        "training": {"num_steps": 40, "batch_size": 20, "optimizer": "sgd"},
    }
    study = Study(name="tiny", base=base, grid={"training.lr": [0.03, 0.05, 0.1, 0.2, 1e6]}, repeats=2)
    return train_zoo(study, tmp_path_factory.mktemp("ranking") / "zoo", jobs=1)


@pytest.fixture
def checkpoints(tmp_path: Path) -> Iterator[list[str]]:
    """A module ``factories`` and three checkpoints of its ``Net`` in the current folder; the last is dead."""
    (tmp_path / "factories.py").write_text(FACTORIES)
    sys.modules.pop("factories", None)
    names = ["first.safetensors", "second.safetensors", "dead.safetensors"]
    for seed, name in enumerate(names):
        network = torch.manual_seed(seed) and nn.Sequential(
            nn.Flatten(), nn.Linear(64, 20), nn.ReLU(), nn.Linear(20, 10)
        )
        state = {key: value.clone() for key, value in network.state_dict().items()}
        if name == "dead.safetensors":
            state["1.weight"].zero_()
        save_file(state, tmp_path / name)
    yield names
    sys.modules.pop("factories", None)


def runs(zoo: Zoo, status: str = "finished") -> list[Run]:
    return [run for run in zoo.runs() if run.result["status"] == status]


def folders(zoo: Zoo) -> list[Path]:
    return [Path(str(run.folder)) for run in zoo.runs()]


# a predictor's file


def test_writes_the_predictor_of_a_zoo(widemargin: CommandLine, zoo: Zoo) -> None:
    code, out, _ = widemargin("predictor", zoo.folder, "--out", "deep/predictor.json")
    expected = signature_predictor(zoo_table(zoo), "tiny")
    found = load_predictor("deep/predictor.json")
    assert code == 0
    np.testing.assert_array_equal(found.coef_, expected.coef_)
    assert found.origin_ == expected.origin_
    r2 = expected.origin_["grouped_kfold_r2"]
    assert out == f"deep/predictor.json: fitted on 8 networks of tiny; R² {r2:.3f} on configurations left out\n"


def test_says_to_machines_where_the_predictor_came_from(widemargin: CommandLine, zoo: Zoo) -> None:
    _, out, _ = widemargin("predictor", zoo.folder, "--out", "predictor.json", "--json")
    assert json.loads(out) == load_predictor("predictor.json").origin_


@pytest.fixture(scope="module")
def measured_zoo(zoo: Zoo, tmp_path_factory: pytest.TempPathFactory) -> Zoo:
    """A copy of the zoo, three measures taken."""
    folder = tmp_path_factory.mktemp("measured") / "zoo"
    shutil.copytree(zoo.folder, folder)
    measure_zoo(Zoo(folder), ["stable_rank", "training_loss", "training_accuracy"], jobs=1)
    return Zoo(folder)


def test_fits_on_measures_and_ranks_runs_by_those_that_their_zoo_keeps(
    widemargin: CommandLine, measured_zoo: Zoo, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, out, _ = widemargin("predictor", measured_zoo.folder, "--out", "predictor.json", "--measures", "cheap")
    assert code == 0
    assert out.startswith("predictor.json: fitted on 8 networks of tiny")
    predictor = load_predictor("predictor.json")
    assert set(measures_of(predictor) or ()) == {"stable_rank", "training_loss", "training_accuracy"}
    monkeypatch.setattr("widemargin.measures.measure_all", None)  # nothing is measured again
    code, out, _ = widemargin("rank", *folders(measured_zoo), "--predictor", "predictor.json", "--json")
    expected = rank_measured(
        {run.folder.name: measured_values(measured_zoo, run) for run in runs(measured_zoo)},
        predictor,
        left_out={run.folder.name: "its training diverged" for run in runs(measured_zoo, "diverged")},
    )
    assert code == 0
    assert json.loads(out) == json.loads(json.dumps(expected.as_dict()))


def test_a_run_whose_zoo_was_not_measured_is_measured_now(
    widemargin: CommandLine, zoo: Zoo, measured_zoo: Zoo
) -> None:
    widemargin("predictor", measured_zoo.folder, "--out", "predictor.json", "--measures", "stable_rank,training_loss")
    scores = []
    for each in (measured_zoo, zoo):
        _, out, _ = widemargin("rank", runs(each)[0].folder, "--predictor", "predictor.json", "--json")
        scores.append(json.loads(out)["networks"][0]["score"])
    assert scores[0] == pytest.approx(scores[1], rel=1e-6)


def test_checkpoints_are_ranked_by_measures_too(
    widemargin: CommandLine, measured_zoo: Zoo, checkpoints: list[str]
) -> None:
    widemargin("predictor", measured_zoo.folder, "--out", "predictor.json", "--measures", "cheap")
    code, out, _ = widemargin("rank", *checkpoints, *OF_NET, "--predictor", "predictor.json", "--json")
    assert code == 0
    found = json.loads(out)
    assert {network["name"] for network in found["networks"]} | set(found["left_out"]) == set(checkpoints)
    assert found["by"] == "predictor"


def test_a_zoo_that_was_not_measured_has_no_predictor_on_measures(widemargin: CommandLine, zoo: Zoo) -> None:
    code, _, err = widemargin("predictor", zoo.folder, "--out", "predictor.json", "--measures", "cheap")
    assert code == 1
    assert "networks that were measured, and those of tiny were not. First: widemargin zoo measure ZOO." in err
    assert not Path("predictor.json").exists()


def test_a_folder_without_runs_has_no_predictor(widemargin: CommandLine, tmp_path: Path) -> None:
    code, _, err = widemargin("predictor", tmp_path, "--out", "predictor.json")
    assert code == 1
    assert "must be a zoo's folder with runs in it" in err


# runs of a zoo


@pytest.mark.parametrize("with_predictor", [False, True])
def test_ranks_runs_by_the_margins_in_their_folders(widemargin: CommandLine, zoo: Zoo, with_predictor: bool) -> None:
    predictor, options = None, []
    if with_predictor:
        predictor = signature_predictor(zoo_table(zoo), "tiny")
        save_predictor(predictor, "predictor.json")
        options = ["--predictor", "predictor.json"]
    code, out, _ = widemargin("rank", *folders(zoo), *options, "--json")
    expected = rank_margins(
        {run.folder.name: run.margins for run in runs(zoo)},
        predictor=predictor,
        left_out={run.folder.name: "its training diverged" for run in runs(zoo, "diverged")},
    )
    assert code == 0
    assert json.loads(out) == json.loads(json.dumps(expected.as_dict()))


def test_runs_are_measured_anew_where_layers_are_named(widemargin: CommandLine, zoo: Zoo) -> None:
    run = runs(zoo)[0]
    _, of_folder, _ = widemargin("rank", run.folder, "--json")
    _, anew, _ = widemargin("rank", run.folder, "--layers", "input", "--json")
    scores = [json.loads(out)["networks"][0]["score"] for out in (of_folder, anew)]
    assert scores[0] == pytest.approx(scores[1], rel=1e-6)


def test_the_table_is_best_first_and_explains_its_columns(
    widemargin: CommandLine, zoo: Zoo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    predictor = signature_predictor(zoo_table(zoo), "tiny")
    save_predictor(predictor, "predictor.json")
    code, out, _ = widemargin("rank", *folders(zoo), "--predictor", "predictor.json")
    expected = rank_margins({run.folder.name: run.margins for run in runs(zoo)}, predictor=predictor)
    assert code == 0
    rows = re.findall(r"^ +(\d) +(\w{16})( \*)? +(0\.\d{3}) +\d\.\d{3}…\d\.\d{3} +\d\.\d{3}( +0\.\d\d)?", out, re.M)
    assert [row[1] for row in rows] == [network.name for network in expected.networks]
    assert [row[3] for row in rows] == [f"{network.score:.3f}" for network in expected.networks]
    assert [bool(row[2]) for row in rows] == [bool(network.warnings) for network in expected.networks]
    better_than_next = [row[4].strip() for row in rows]
    assert better_than_next == [f"{expected.probabilities[i, i + 1]:.2f}" for i in range(7)] + [""]
    for run in runs(zoo, "diverged"):
        assert f"not ranked: {run.folder.name}: its training diverged" in out
    assert "P: probability that the network is better than the next one" in " ".join(out.split())
    table = out[: out.index("not ranked")]
    assert max(map(len, table.splitlines())) <= 80
    assert f"note: {expected.caveats[0]}\n" in out


# somebody's own networks


def test_ranks_checkpoints_of_one_network(widemargin: CommandLine, checkpoints: list[str]) -> None:
    code, out, _ = widemargin(
        "rank", *checkpoints, "--network", "factories:Net", "--data", "factories:data", "--json"
    )
    assert code == 0
    from factories import Net, data  # type: ignore[import-not-found]
    from safetensors.torch import load_file

    networks = {}
    for name in checkpoints:
        networks[name] = Net()
        networks[name].load_state_dict(load_file(name))
    found, expected = json.loads(out), rank(networks, data()).as_dict()
    assert found == json.loads(json.dumps(expected))
    assert list(found["left_out"]) == ["dead.safetensors"]
    assert "is the same for every example" in found["left_out"]["dead.safetensors"]


def test_ranks_networks_of_different_architectures(widemargin: CommandLine, checkpoints: list[str]) -> None:
    code, out, _ = widemargin("rank", "factories:wide", "factories:narrow", *DATA)
    assert code == 0
    assert "by training accuracy and margins" in " ".join(out.split())
    assert "Without a predictor the order is a rough guess" in out


def test_a_checkpoint_that_is_named_twice_is_ranked_once(widemargin: CommandLine, checkpoints: list[str]) -> None:
    _, out, _ = widemargin("rank", "first.safetensors", "first.safetensors", *OF_NET, "--json")
    assert [network["name"] for network in json.loads(out)["networks"]] == ["first.safetensors"]


def test_checkpoints_of_the_same_name_keep_their_folders(widemargin: CommandLine, checkpoints: list[str]) -> None:
    Path("other").mkdir()
    Path("other/first.safetensors").write_bytes(Path("second.safetensors").read_bytes())
    _, out, _ = widemargin("rank", "first.safetensors", "other/first.safetensors", *OF_NET, "--json")
    names = {network["name"] for network in json.loads(out)["networks"]}
    assert names == {"first.safetensors", "other/first.safetensors"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere"], "'nowhere' must be a run's folder or module:factory, and is neither"),
        (
            ["first.safetensors"],
            "'first.safetensors' is a checkpoint: name its network with --network module",
        ),
        (["factories.py"], "'factories.py' is a checkpoint: name its network with --network module"),
        (
            ["factories.py", *OF_NET],
            "header too large. Write it with safetensors.torch.save_file(network.state_dict(), 'NAME.safetensors').",
        ),
        (["factories:Net"], "the training data is needed: name it with --data."),
        (["none.safetensors", *OF_NET], "none.safetensors must fit the network, but:"),
        (["first.safetensors", "--network", "factories:wide", *DATA], "first.safetensors must fit the network, but:"),
        (
            ["factories:Net", "--data", "factories:too_many"],
            "got 1 that cannot. labels must be integer class",
        ),
        (
            ["factories:Net", *DATA, "--predictor", "factories.py"],
            "factories.py must be a predictor's file, and is",
        ),
        (
            ["factories:Net", *DATA, "--predictor", "none"],
            "none must be a predictor's file, and there is no such",
        ),
    ],
)
def test_wrong_input_is_one_sentence(
    widemargin: CommandLine, checkpoints: list[str], words: list[str], message: str
) -> None:
    code, out, err = widemargin("rank", *words)
    assert (code, out) == (1, "")
    assert err.startswith("error: ")
    assert message in err
