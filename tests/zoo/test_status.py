from collections.abc import Callable
from pathlib import Path

import pytest

from widemargin.zoo import Failure, Study, Zoo, carry_out, train_zoo, zoo_status
from widemargin.zoo.cost import training_flops

MakeStudy = Callable[..., Study]


def test_every_planned_run_is_one_of_five_things(tmp_path: Path, small_study: MakeStudy) -> None:
    diverging = {"optimizer": "sgd", "lr": 1e6, "num_steps": 30}
    study = small_study({"training": [{"num_steps": 10}, diverging]}, repeats=4)
    zoo = Zoo(tmp_path, "3fe-1-1")
    zoo.adopt(study)
    ended, tried, given_up, running, *missing = [run for run in study.runs() if run.training.optimizer == "adamw"] + [
        run for run in study.runs() if run.training.optimizer == "sgd"
    ]
    for config in (ended, missing[0]):
        carry_out(zoo, config)
    zoo.note_failure(tried.key, Failure(1, "killed"))
    zoo.note_failure(given_up.key, Failure(2, "killed"))
    with zoo.locked(num_workers=3), zoo.workplace([running.key]) as place:
        place.tell(0.25)
        status = zoo_status(zoo)
    assert (status.study, status.planned) == ("small", 8)
    assert (status.finished, status.diverged, status.failed, status.running, status.missing) == (1, 1, 1, 1, 4)
    assert status.failures == {given_up.key: Failure(2, "killed")}
    assert status.num_workers == 3

    runs = {run.folder.name: run for run in zoo.runs()}
    steps = runs[missing[0].key].result["num_steps"] / 30  # as far as it came before it diverged
    done = training_flops(ended) + steps * training_flops(missing[0])
    seconds = sum(run.result["seconds"] for run in runs.values())
    left = training_flops(tried) + 0.75 * training_flops(running) + sum(map(training_flops, missing[1:]))
    assert status.seconds_left == pytest.approx(left * seconds / done / 3)


def test_what_is_under_way_of_a_driver_that_is_gone_is_missing(tmp_path: Path, small_study: MakeStudy) -> None:
    zoo = Zoo(tmp_path, "3fe-1-1")
    zoo.adopt(small_study())
    with zoo.workplace([small_study().runs()[0].key]):
        status = zoo_status(Zoo(tmp_path))
    assert (status.running, status.missing, status.num_workers, status.seconds_left) == (0, 1, 0, None)


def test_a_folder_without_a_study_is_what_is_in_it(mixed_zoo: Zoo, tmp_path: Path) -> None:
    (tmp_path / "runs").symlink_to(mixed_zoo.runs_folder)
    status = zoo_status(Zoo(tmp_path))
    assert (status.study, status.planned, status.finished, status.diverged) == (None, 4, 3, 1)


def test_a_finished_zoo_has_no_time_left(mixed_zoo: Zoo) -> None:
    status = zoo_status(mixed_zoo)
    assert (status.finished, status.diverged, status.missing, status.seconds_left) == (3, 1, 0, 0)
    assert status.as_dict()["failures"] == {}


def test_shares_that_are_trained_now_count_together(tmp_path: Path, small_study: MakeStudy) -> None:
    def look(_: object) -> None:
        with Zoo(tmp_path, f"{division}-2-2").locked(num_workers=4):
            seen.append(zoo_status(Zoo(tmp_path)).num_workers)

    seen: list[int] = []
    study = small_study(repeats=2)
    train_zoo(study, tmp_path, jobs=1, shard=(2, 2))
    (name,) = [path.name for path in (tmp_path / "locks").iterdir()]
    division = name.partition("-")[0]
    train_zoo(study, tmp_path, jobs=1, shard=(1, 2), on_progress=look)
    assert set(seen) == {5}
