import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from widemargin.measures import MEASURES
from widemargin.report import catalog_pages
from widemargin.zoo import Study, Zoo, measured_values, train_zoo

Ran = tuple[int, str, str]
CommandLine = Callable[..., Ran]


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Zoo:
    """Two small networks on the digits. Not to be changed."""
    base = {
        "data": {"name": "digits", "num_train": 100},
        "network": {"name": "mlp", "hidden": [12, 12, 12]},
        "training": {"num_steps": 200, "batch_size": 20},
    }
    study = Study(name="two", base=base, grid={"training.lr": [0.003, 0.005]})
    return train_zoo(study, tmp_path_factory.mktemp("measures"), jobs=1)


def test_lists_every_measure_by_family(widemargin: CommandLine) -> None:
    code, out, _ = widemargin("measures")
    assert code == 0
    assert all(name in out for name in MEASURES)
    assert f"{len(MEASURES)} measures. What one of them is: widemargin measures NAME" in out
    assert all(len(line) <= 80 for line in out.splitlines())


def test_explains_a_measure(widemargin: CommandLine) -> None:
    code, out, _ = widemargin("measures", "sam_sharpness")
    measure = MEASURES["sam_sharpness"]
    assert code == 0
    words = " ".join(out.split())
    assert all(
        text in words for text in (measure.idea, measure.misleads, measure.reference, "a sample of the training data")
    )


def test_tells_machines_everything(widemargin: CommandLine) -> None:
    told = json.loads(widemargin("measures", "--json")[1])
    assert [each["name"] for each in told] == [*MEASURES]
    assert told[0].keys() >= {"family", "sign", "unit", "formula", "idea", "misleads", "reference", "uses", "needs"}


def test_writes_the_pages(widemargin: CommandLine) -> None:
    assert widemargin("measures", "--pages", "measures")[0] == 0
    assert {file.name: file.read_text("utf-8") for file in Path("measures").iterdir()} == catalog_pages(
        MEASURES.values()
    )


def test_an_unknown_measure_is_one_sentence(widemargin: CommandLine) -> None:
    code, out, err = widemargin("measures", "stable_rnk")
    assert (code, out) == (1, "")
    assert err.startswith("error: 'stable_rnk' must be a measure of the catalogue. Like it: stable_rank")


@pytest.mark.slow
def test_measures_everything_of_a_run(widemargin: CommandLine, zoo: Zoo) -> None:
    run = zoo.runs()[0]
    code, out, _ = widemargin("measure", run.folder, "--budget", "none", "--json")
    assert code == 0
    told = {each["measure"]: each for each in json.loads(out)["measures"]}
    assert [*told] == [*MEASURES]
    assert told["mean_loss_while_training"]["status"] == "measured"
    assert told["training_loss"]["value"] == pytest.approx(run.result["train_loss"], rel=1e-5)


def test_prints_chosen_measures_and_why_others_do_not_apply(widemargin: CommandLine) -> None:
    network = "net = torch.nn.Linear(64, 10)\ntorch.nn.init.eye_(net.weight)\ntorch.nn.init.zeros_(net.bias)\n"
    Path("own_net.py").write_text(f"import torch\n{network}def made():\n    return net\n")
    drawn = "x = torch.randn(30, 64, generator=torch.Generator().manual_seed(0))\n"
    Path("own_data.py").write_text(f"import torch\n{drawn}def train():\n    return x, x[:, :10].argmax(1)\n")
    names = "stable_rank,steps_to_loss,filter_normalized_top_hessian_eigenvalue,gradient_variance"
    code, out, _ = widemargin("measure", "own_net:made", "--data", "own_data:train", "--measures", names)
    assert code == 0
    assert re.search(r"^ *stable_rank \[dimensions\] +[0-9.]+ ", out, re.MULTILINE)
    assert re.search(r"^ *filter_normalized_top_hessian_eigenvalue +[0-9.]+ ", out, re.MULTILINE)
    assert max(map(len, out[out.index("Measures") : out.index("for what")].splitlines())) <= 80
    assert "not applicable: steps_to_loss: the history of the training is needed, and is not known." in out
    assert "for what measures share" in out


def test_units_stand_beside_or_below_the_name(widemargin: CommandLine, zoo: Zoo) -> None:
    run = str(zoo.runs()[0].folder)
    out = widemargin("measure", run, "--measures", "training_loss,gradient_variance")[1]
    assert re.search(r"^ training_loss \[nats\] +\S+ +− *$", out, re.MULTILINE)
    assert "\n   [squared loss / squared unit of a parameter]" in out


def test_writes_a_page_too(widemargin: CommandLine, zoo: Zoo, tmp_path: Path) -> None:
    page = tmp_path / "pages" / "net.html"
    code, out, _ = widemargin("measure", zoo.runs()[0].folder, "--measures", "training_loss", "--report", page)
    assert code == 0
    assert out.endswith(f"Report: {page}\n")
    assert 'id="measure-training_loss"' in page.read_text("utf-8")


DEAD = """
import torch

def untrained():
    return torch.nn.Linear(4, 3)

def constant():
    network = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ReLU(), torch.nn.Linear(3, 3))
    for parameter in network.parameters():
        torch.nn.init.zeros_(parameter)
    return network
"""


@pytest.mark.parametrize(
    ("factory", "reason"),
    [
        ("untrained", "quartiles of margins at input need at least 4 correctly classified examples"),
        ("constant", "is the same for every example"),
    ],
)
def test_a_network_that_has_no_signature_is_measured_all_the_same(
    widemargin: CommandLine, factory: str, reason: str
) -> None:
    Path("own_dead.py").write_text(DEAD)
    np.savez("three.npz", inputs=np.eye(3, 4, dtype=np.float32), labels=np.arange(3))
    words = ("measure", f"own_dead:{factory}", "--data", "three.npz", "--measures", "parameter_norm")
    code, out, _ = widemargin(*words)
    assert code == 0
    assert reason in " ".join(out.split())
    told = json.loads(widemargin(*words, "--json")[1])
    assert told["signature"] == {}
    assert told["measures"][0]["status"] == "measured"


@pytest.mark.parametrize("budget", ["soon", "-1s", "0", "nan", "s"])
def test_a_budget_is_a_time(widemargin: CommandLine, budget: str) -> None:
    code, _, err = widemargin("measure", "own:net", "--budget", budget)
    assert (code, err) == (1, f"error: --budget must be a time such as 60s, 5m or 1h, or none, got {budget!r}.\n")


def test_measures_a_whole_zoo(widemargin: CommandLine, zoo: Zoo) -> None:
    words = ("zoo", "measure", zoo.folder, "--measures", "stable_rank,output_margin", "--jobs", 1)
    code, out, _ = widemargin(*words)
    assert (code, out) == (0, f"2 networks measured now. What tracks the gap: widemargin evaluate {zoo.folder}\n")
    assert all([*measured_values(zoo, run)] == ["stable_rank", "output_margin"] for run in zoo.runs())
    assert widemargin(*words)[1].startswith("0 networks measured now.")
