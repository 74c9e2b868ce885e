"""What is done with zoos on stores that have no locks and rename nothing."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from upath import UPath

from widemargin.errors import RunError, ZooBusyError
from widemargin.zoo import (
    Progress,
    Run,
    RunConfig,
    Study,
    Zoo,
    damages,
    load_trained,
    remove_damaged,
    train_zoo,
    zoo_status,
    zoo_table,
)

MakeStudy = Callable[..., Study]


@pytest.fixture(scope="module")
def study(small_study: MakeStudy) -> Study:
    return small_study({"training.lr": [0.001, 0.01]}, repeats=2)


@pytest.fixture
def folder() -> Iterator[UPath]:
    folder = UPath("memory://bucket/zoo")
    yield folder
    if folder.exists():
        folder.fs.rm(folder.path, recursive=True)


@pytest.fixture
def zoo(folder: UPath, study: Study) -> Zoo:
    return train_zoo(study, str(folder), jobs=1)


def test_a_store_holds_the_same_runs_as_a_local_folder(zoo: Zoo, study: Study, tmp_path: Path) -> None:
    local = train_zoo(study, tmp_path, jobs=1)
    assert zoo.keys() == local.keys() == {config.key for config in study.runs()}
    for run, other in zip(zoo.runs(), local.runs(), strict=True):
        assert {path.name for path in run.folder.iterdir()} == {path.name for path in other.folder.iterdir()}
        assert run.config == other.config
        assert run.result["files"] == other.result["files"]
        np.testing.assert_array_equal(run.margins.distances, other.margins.distances)
    columns = ["gap", "train_loss", *(name for name in zoo_table(local) if name.startswith("quartiles/"))]
    pd.testing.assert_frame_equal(zoo_table(zoo)[columns], zoo_table(local)[columns])
    assert zoo.study == study
    assert sorted(path.name for path in zoo.folder.iterdir()) == sorted(path.name for path in tmp_path.iterdir())


def test_networks_are_read_from_a_store(zoo: Zoo) -> None:
    run = zoo.runs()[0]
    trained, initial = load_trained(run), load_trained(run, "initial")
    assert run.result["gap"] == pytest.approx(
        np.mean((trained.network(trained.train_data[0]).argmax(1) == trained.train_data[1]).numpy())
        - np.mean((trained.network(trained.test_data[0]).argmax(1) == trained.test_data[1]).numpy())
    )
    assert not torch.equal(trained.network.head.bias, initial.network.head.bias)


def test_what_is_finished_on_a_store_is_not_trained_again(zoo: Zoo, study: Study) -> None:
    before = {run.folder.name: run.result for run in zoo.runs()}
    told: list[Progress] = []
    train_zoo(study, zoo.folder, jobs=1, on_progress=told.append)
    assert [progress.num_done for progress in told] == [4]
    assert {run.folder.name: run.result for run in zoo.runs()} == before


def test_half_an_upload_is_no_run_and_is_swept_away(zoo: Zoo, study: Study) -> None:
    run = zoo.runs()[0]
    (run.folder / "result.json").unlink()
    assert len(zoo.runs()) == 3
    assert [damage.reason for damage in damages(zoo)] == ["result.json is missing, which is written last"]
    assert zoo_status(zoo).missing == 1
    train_zoo(study, zoo.folder, jobs=1)
    assert damages(zoo) == []
    assert zoo_status(zoo).finished == 4


def test_an_upload_ends_with_the_result(
    folder: UPath, small_config: Callable[..., RunConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    names: list[str] = []
    write_bytes = UPath.write_bytes

    def spy(path: UPath, content: bytes) -> int:
        names.append(path.name)
        return write_bytes(path, content)

    monkeypatch.setattr(UPath, "write_bytes", spy)
    with Zoo(folder).writing(small_config()) as local:
        for name in ("zebra", "result.json", "weights.safetensors"):
            (local / name).write_text("{}")
    assert names == ["config.json", "weights.safetensors", "zebra", "result.json"]


def test_a_run_that_is_on_the_store_already_stays_as_it_is(
    folder: UPath, small_config: Callable[..., RunConfig]
) -> None:
    config = small_config()
    for number in (1, 2):
        with Zoo(folder).writing(config) as local:
            (local / "result.json").write_text(f'{{"status": "finished", "number": {number}}}')
    assert Run(folder / "runs" / config.key).result["number"] == 1


def test_damage_on_a_store_is_named_and_removed(zoo: Zoo) -> None:
    weights = zoo.runs()[0].folder / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    found = damages(zoo)
    assert any("weights.safetensors is not what was written" in damage.reason for damage in found)
    with pytest.raises(RunError, match=r"memory://bucket/zoo/runs/.*must be a safetensors file"):
        load_trained(zoo.runs()[0])
    assert remove_damaged(zoo, found) == 1
    assert len(zoo.runs()) == 3


def test_a_second_driver_on_a_store_is_refused(folder: UPath, study: Study) -> None:
    def second(_: Progress) -> None:
        with pytest.raises(ZooBusyError, match="is being trained by another process"):
            train_zoo(study, folder, jobs=1)
        refused.append(True)

    refused: list[bool] = []
    train_zoo(study, folder, jobs=1, on_progress=lambda progress: refused or second(progress))
    assert refused == [True]


def test_checkpoints_of_a_zoo_on_a_store_are_local_and_its_own(small_config: Callable[..., RunConfig]) -> None:
    one, other = (Zoo(UPath(f"memory://bucket/{name}")).checkpoint(small_config()) for name in "ab")
    assert one.name == other.name == f"{small_config().key}.safetensors"
    assert one.parent != other.parent
