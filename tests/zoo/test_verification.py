import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from widemargin.errors import ZooBusyError
from widemargin.zoo import Run, RunConfig, Zoo, carry_out, damages, remove_damaged, train_zoo


@pytest.fixture
def zoo(mixed_zoo: Zoo, tmp_path: Path) -> Zoo:
    """A copy of the mixed zoo, to be damaged."""
    shutil.copytree(mixed_zoo.folder, tmp_path / "zoo")
    return Zoo(tmp_path / "zoo")


@pytest.fixture
def run(zoo: Zoo) -> Run:
    return next(run for run in zoo.runs() if run.result["status"] == "finished")


@pytest.fixture
def diverged(zoo: Zoo) -> Run:
    return next(run for run in zoo.runs() if run.result["status"] == "diverged")


def reasons(zoo: Zoo, run: Run) -> list[str]:
    """Return what is wrong with one run, after making sure that nothing is with the others."""
    found = damages(zoo)
    assert {damage.key for damage in found} <= {run.folder.name}
    return [damage.reason for damage in found]


def rewrite(run: Run, **fields: Any) -> None:
    """Change a run's result, without checksums unless they are given."""
    result = {**run.result, "files": {}, **fields}
    (run.folder / "result.json").write_text(json.dumps(result))


def test_a_sound_zoo_has_no_damage(mixed_zoo: Zoo) -> None:
    assert damages(mixed_zoo) == []


def test_a_zoo_without_runs_has_no_damage(tmp_path: Path) -> None:
    assert damages(Zoo(tmp_path)) == []


@pytest.mark.parametrize("name", ["history.jsonl", "initial.safetensors", "margins.npz", "weights.safetensors"])
def test_one_wrong_bit_in_any_file_is_named(zoo: Zoo, run: Run, name: str) -> None:
    content = bytearray((run.folder / name).read_bytes())
    content[-8] ^= 1
    (run.folder / name).write_bytes(content)
    pattern = rf"{re.escape(name)} is not what was written: its checksum is \w{{8}}…, and was \w{{8}}…"
    assert any(re.fullmatch(pattern, reason) for reason in reasons(zoo, run))


@pytest.mark.parametrize(
    "name", ["config.json", "history.jsonl", "initial.safetensors", "margins.npz", "weights.safetensors"]
)
@pytest.mark.parametrize("is_old", [True, False])
def test_a_missing_file_is_named(zoo: Zoo, run: Run, name: str, is_old: bool) -> None:
    if is_old:  # from before results held checksums
        rewrite(run)
    (run.folder / name).unlink()
    assert name in str(reasons(zoo, run))


def test_truncated_weights_are_named_and_how(zoo: Zoo, run: Run) -> None:
    rewrite(run)
    weights = run.folder / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-7])
    (reason,) = reasons(zoo, run)
    assert reason.startswith("weights.safetensors cannot be read (")


def test_a_run_under_a_foreign_name_is_named(zoo: Zoo, run: Run) -> None:
    foreign = Run(run.folder.with_name("0123456789abcdef"))
    shutil.move(run.folder, foreign.folder)
    assert reasons(zoo, foreign) == [
        f"config.json must hash to the run's name, and hashes to {foreign.config.key}",
    ]


def test_weights_of_another_network_are_named(
    zoo: Zoo, run: Run, small_config: Callable[..., RunConfig], tmp_path: Path
) -> None:
    rewrite(run)
    other = carry_out(Zoo(tmp_path / "other"), small_config(network__hidden=[12, 5, 12], training__num_steps=1))
    shutil.copy(other.folder / "weights.safetensors", run.folder)
    assert reasons(zoo, run) == [
        "weights.safetensors must fit the network of config.json, but does not at layers.1.0.bias, "
        "layers.1.0.weight, layers.2.0.weight"
    ]


@pytest.mark.parametrize("is_damaged", [False, True])
def test_weights_for_data_that_is_not_known_beforehand_must_agree_with_the_initial_ones(
    small_config: Callable[..., RunConfig], tmp_path: Path, is_damaged: bool
) -> None:
    config, zoo = small_config(data={"name": "me/mine"}), Zoo(tmp_path)
    with zoo.writing(config) as folder:
        save_file({"bias": torch.zeros(3)}, folder / "initial.safetensors")
        save_file({"bias": torch.zeros(4 if is_damaged else 3)}, folder / "weights.safetensors")
        (folder / "history.jsonl").write_text('{"step": 7}\n')
        (folder / "result.json").write_text('{"status": "diverged", "num_steps": 7, "seconds": 1.5}')
    expected = ["weights.safetensors must fit the network of config.json, but does not at bias"] if is_damaged else []
    assert [damage.reason for damage in damages(zoo)] == expected


def test_infinite_weights_are_damage_unless_the_run_diverged(zoo: Zoo, run: Run, diverged: Run) -> None:
    for each in (run, diverged):
        rewrite(each)
        parameters = load_file(each.folder / "weights.safetensors")
        parameters["head.bias"][3] = torch.nan
        save_file(parameters, each.folder / "weights.safetensors")
    assert reasons(zoo, run) == ["weights.safetensors must be finite, but is not at head.bias"]


@pytest.mark.parametrize("lines", ["", "{}\n", '{"step": 3}\n', "garbage"])
def test_a_history_that_breaks_off_is_named(zoo: Zoo, run: Run, lines: str) -> None:
    rewrite(run)
    (run.folder / "history.jsonl").write_text(lines)
    last = "3" if "3" in lines else "None"
    assert reasons(zoo, run) == [
        f"history.jsonl must end at step {run.result['num_steps']}, and ends at {last}",
    ]


def test_margins_of_other_data_are_named(zoo: Zoo, run: Run) -> None:
    rewrite(run, num_train=11)
    assert reasons(zoo, run) == ["margins.npz must hold 11 examples, got 10"]


@pytest.mark.parametrize(("name", "value"), [("gap", None), ("train_loss", float("inf")), ("num_parameters", "many")])
def test_a_result_without_a_number_is_named(zoo: Zoo, run: Run, name: str, value: object) -> None:
    rewrite(run, **{name: value})
    assert reasons(zoo, run) == [f"result.json must give a number as {name}, got {value!r}"]


def test_an_unknown_status_is_named(zoo: Zoo, run: Run) -> None:
    rewrite(run, status="bored")
    assert reasons(zoo, run) == ["result.json must say finished or diverged, got 'bored'"]


def test_a_folder_without_a_result_is_named_unless_it_is_being_written(zoo: Zoo, run: Run) -> None:
    (run.folder / "result.json").unlink()
    assert reasons(zoo, run) == ["result.json is missing, which is written last"]
    with zoo.locked(), zoo.workplace([run.folder.name]):
        assert damages(zoo) == []


def test_what_is_removed_is_trained_anew(zoo: Zoo, run: Run, mixed_zoo: Zoo) -> None:
    good = (run.folder / "weights.safetensors").read_bytes()
    (run.folder / "weights.safetensors").write_bytes(good[:-1])
    found = damages(zoo)
    with zoo.locked(), pytest.raises(ZooBusyError):
        remove_damaged(zoo, found)
    assert remove_damaged(zoo, found) == 1
    assert zoo.keys() == mixed_zoo.keys() - {run.folder.name}
    assert zoo.study is not None
    train_zoo(zoo.study, zoo.folder, jobs=1)
    assert (run.folder / "weights.safetensors").read_bytes() == good
    assert damages(zoo) == []
