import os
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import faulty_runs
from widemargin.errors import InvalidInputError, StudyError, ZooBusyError
from widemargin.zoo import Failure, Progress, Run, Study, Zoo, execution, train_zoo, workers

MakeStudy = Callable[..., Study]
DIVERGING = {"optimizer": "sgd", "lr": 1e6, "num_steps": 10}
TIMES = {"seconds", "training_seconds", "measuring_seconds"}


def six(small_study: MakeStudy) -> Study:
    return small_study({"training.lr": [0.001, 0.01], "network.dropout": [0, 0.1, 0.2]})


def state(zoo: Zoo) -> dict[Path, tuple[int, int, bytes]]:
    """Return identity, time and content of every file of the runs."""
    files = [file for run in zoo.runs() for file in run.folder.iterdir()]
    return {file: (file.stat().st_ino, file.stat().st_mtime_ns, file.read_bytes()) for file in files}


def test_any_number_of_workers_gives_the_same_networks(tmp_path: Path, small_study: MakeStudy) -> None:
    study = small_study({"training": [{"num_steps": 10}, DIVERGING], "network.dropout": [0, 0.2]})
    one, two = (train_zoo(study, tmp_path / str(jobs), jobs=jobs) for jobs in (1, 2))
    assert one.keys() == two.keys() == {config.key for config in study.runs()}
    for run, other in zip(one.runs(), two.runs(), strict=True):
        for name in ("config.json", "initial.safetensors", "weights.safetensors", "history.jsonl"):
            assert (run.folder / name).read_bytes() == (other.folder / name).read_bytes()
        assert {n: v for n, v in run.result.items() if n not in TIMES} == {
            n: v for n, v in other.result.items() if n not in TIMES
        }
        if run.result["status"] == "finished":
            np.testing.assert_array_equal(run.margins.distances, other.margins.distances)


def test_the_study_is_written_beside_its_runs(tmp_path: Path, small_study: MakeStudy) -> None:
    zoo = train_zoo(six(small_study), tmp_path / "deep" / "zoo", jobs=1)
    assert zoo.study == six(small_study)
    assert [run.config.key for run in zoo.runs()] == sorted(config.key for config in six(small_study).runs())


def test_what_is_finished_is_not_trained_again(tmp_path: Path, small_study: MakeStudy) -> None:
    zoo = train_zoo(six(small_study), tmp_path, jobs=1)
    before = state(zoo)
    told: list[Progress] = []
    train_zoo(six(small_study), tmp_path, jobs=1, on_progress=told.append)
    assert told == [Progress(num_done=6, num_runs=6, num_diverged=0)]
    assert state(zoo) == before


def test_goes_on_where_it_was_interrupted(tmp_path: Path, small_study: MakeStudy) -> None:
    def interrupt(progress: Progress) -> None:
        if progress.num_done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_zoo(six(small_study), tmp_path, jobs=1, on_progress=interrupt)
    zoo = Zoo(tmp_path)
    before = state(zoo)
    num_before = len(zoo.runs())
    assert 4 <= num_before < 6  # another run may end while this one is told of
    told: list[Progress] = []
    train_zoo(six(small_study), tmp_path, jobs=1, on_progress=told.append)
    assert [progress.num_done for progress in told if progress.seconds > 0] == [*range(num_before + 1, 7)]
    assert before.items() <= state(zoo).items()


def test_each_run_is_handed_over_once_when_it_has_ended(tmp_path: Path, small_study: MakeStudy) -> None:
    handed: list[tuple[str, str]] = []

    def take(run: Run) -> None:
        handed.append((run.folder.name, run.result["status"]))

    study = small_study({"training": [{"num_steps": 10}, DIVERGING], "network.dropout": [0, 0.2]})
    for _ in range(2):
        zoo = train_zoo(study, tmp_path, jobs=2, on_run=take)
        assert sorted(handed) == [(run.folder.name, run.result["status"]) for run in zoo.runs()]


def test_a_study_that_grew_trains_only_what_is_new(tmp_path: Path, small_study: MakeStudy) -> None:
    before = state(train_zoo(small_study({"network.dropout": [0, 0.1]}), tmp_path, jobs=1))
    zoo = train_zoo(small_study({"network.dropout": [0, 0.1, 0.2]}), tmp_path, jobs=1)
    assert len(zoo.runs()) == 3
    assert before.items() <= state(zoo).items()


def test_progress_counts_every_run_once(tmp_path: Path, small_study: MakeStudy) -> None:
    study = small_study({"training": [{"num_steps": 10}, DIVERGING], "network.dropout": [0, 0.2]})
    told: list[Progress] = []
    train_zoo(study, tmp_path, jobs=1, on_progress=told.append)
    assert [(p.num_done, p.num_runs) for p in told if p.seconds > 0] == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert (told[0].num_done, told[-1].num_done) == (0, 4)
    assert [p.num_diverged for p in told] == sorted(p.num_diverged for p in told)
    assert told[-1].num_diverged == 2
    assert told[0].seconds == told[-1].seconds == 0


def test_leftovers_of_an_earlier_process_are_swept_away(tmp_path: Path, small_study: MakeStudy) -> None:
    study = small_study({"network.dropout": [0, 0.1]})
    half = tmp_path / "runs" / study.runs()[0].key
    half.mkdir(parents=True)
    (half / "config.json").write_text("{}")
    (tmp_path / "under_way" / "3fe-1-1-ff").mkdir(parents=True)
    zoo = train_zoo(study, tmp_path, jobs=1)
    assert {path.name for path in zoo.runs_folder.iterdir()} == {config.key for config in study.runs()}
    assert [*(tmp_path / "under_way").iterdir()] == []


def test_a_busy_folder_is_refused_before_anything_is_changed(tmp_path: Path, small_study: MakeStudy) -> None:
    with Zoo(tmp_path).locked(), pytest.raises(ZooBusyError, match="is being trained by another process"):
        train_zoo(small_study(), tmp_path, jobs=1)
    assert not (tmp_path / "study.json").exists()


@pytest.mark.parametrize("shard", [(1, 1), (1, 2), (2, 3)])
def test_whoever_shares_runs_with_another_driver_is_refused(
    tmp_path: Path, small_study: MakeStudy, shard: tuple[int, int]
) -> None:
    def second(_: Progress) -> None:
        with pytest.raises(ZooBusyError, match="is being trained by another process"):
            train_zoo(six(small_study), tmp_path, jobs=1, shard=shard)
        told.append(True)

    told: list[bool] = []
    train_zoo(six(small_study), tmp_path, jobs=1, shard=(1, 2), on_progress=lambda p: told or second(p))
    assert len(Zoo(tmp_path).runs()) == 3
    assert told == [True]


def test_a_folder_of_another_study_is_refused(tmp_path: Path, small_study: MakeStudy) -> None:
    train_zoo(small_study(), tmp_path, jobs=1)
    with pytest.raises(StudyError, match=r"holds 1 runs that are not in the study 'small'"):
        train_zoo(small_study(training__lr=0.5), tmp_path, jobs=1)


# runs that fail


@pytest.fixture
def zoo(tmp_path: Path) -> Zoo:
    return Zoo(tmp_path / "zoo")


@pytest.fixture
def fault(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Let something go wrong while runs are trained."""
    return lambda name: monkeypatch.setattr(workers, "carry_out_together", getattr(faulty_runs, name))


def unstacked(small_study: MakeStudy) -> Study:
    return small_study(repeats=3, network={"name": "mlp", "hidden": [12, 12, 12], "batch_norm": True})


def tries(zoo: Zoo) -> list[list[int]]:
    """Return of every run, in the order of keys, how many were trained together each time that it was tried."""
    return [[*map(int, mark.read_text().split())] for mark in sorted(faulty_runs.marks(zoo).iterdir())]


@pytest.mark.parametrize("threads", [1, 2])
def test_trains_on_so_many_threads_and_leaves_its_own_alone(
    zoo: Zoo, small_study: MakeStudy, fault: Callable[[str], None], threads: int
) -> None:
    before = torch.get_num_threads()
    fault("counting_threads")
    train_zoo(small_study(), zoo.folder, jobs=1, threads=threads)
    assert (faulty_runs.marks(zoo) / "threads").read_text() == str(threads)
    assert torch.get_num_threads() == before


def test_a_run_that_is_killed_costs_nothing_but_itself_and_is_tried_once_more(
    zoo: Zoo, small_study: MakeStudy, fault: Callable[[str], None]
) -> None:
    fault("killed_once")
    train_zoo(unstacked(small_study), zoo.folder, jobs=2)
    assert zoo.keys() == {config.key for config in unstacked(small_study).runs()}
    assert sorted(tries(zoo)) == [[1], [1], [1, 1]]
    assert zoo.failures() == {}
    assert [*(zoo.folder / "under_way").iterdir()] == []


def test_a_run_that_is_killed_again_is_given_up_with_its_signal(
    zoo: Zoo, small_study: MakeStudy, fault: Callable[[str], None]
) -> None:
    fault("killed")
    told: list[Progress] = []
    train_zoo(unstacked(small_study), zoo.folder, jobs=2, on_progress=told.append)
    assert sorted(tries(zoo)) == [[1], [1], [1, 1]]
    (config,) = [config for config in unstacked(small_study).runs() if config.seed == faulty_runs.FAULTY_SEED]
    (failure,) = zoo.failures().values()
    assert zoo.failures().keys() == {config.key}
    assert failure.attempts == 2
    assert failure.reason == (
        "ChildDiedError: its process was killed (SIGKILL), most likely for want of memory: use fewer with --jobs"
    )
    assert (told[-1].num_done, told[-1].num_failed, told[-1].num_runs) == (2, 1, 3)


def test_a_run_that_raises_is_given_up_with_its_traceback(
    zoo: Zoo, small_study: MakeStudy, fault: Callable[[str], None]
) -> None:
    fault("raising")
    train_zoo(unstacked(small_study), zoo.folder, jobs=1)
    (failure,) = zoo.failures().values()
    assert failure.reason == "ZeroDivisionError: a loss of nothing"
    assert re.search(r'faulty_runs\.py", line \d+, in raising', failure.traceback)


def test_what_was_given_up_is_tried_again_only_if_that_is_wanted(
    zoo: Zoo, small_study: MakeStudy, fault: Callable[[str], None]
) -> None:
    fault("raising")
    for _ in range(2):
        train_zoo(unstacked(small_study), zoo.folder, jobs=1)
        assert sorted(tries(zoo)) == [[1], [1], [1, 1]]
    fault("counting_threads")
    train_zoo(unstacked(small_study), zoo.folder, jobs=1, retry_failed=True)
    assert len(zoo.runs()) == 3
    assert zoo.failures() == {}


def test_a_run_that_is_tried_again_finds_its_checkpoint(
    zoo: Zoo, small_study: MakeStudy, fault: Callable[[str], None]
) -> None:
    fault("resuming")
    train_zoo(small_study(), zoo.folder, jobs=1)
    assert (faulty_runs.marks(zoo) / "resumed").read_text() == "half-way"
    assert len(zoo.runs()) == 1
    assert [*zoo.checkpoints_folder.iterdir()] == []


def test_attempts_are_counted_over_restarts(zoo: Zoo, small_study: MakeStudy, fault: Callable[[str], None]) -> None:
    fault("raising")
    (config,) = [config for config in unstacked(small_study).runs() if config.seed == faulty_runs.FAULTY_SEED]
    zoo.note_failure(config.key, Failure(1, "killed before"))
    train_zoo(unstacked(small_study), zoo.folder, jobs=1)
    assert sorted(tries(zoo)) == [[1], [1], [1]]
    assert zoo.failures()[config.key].attempts == 2


def test_the_runs_of_a_stack_that_failed_are_tried_one_by_one(
    zoo: Zoo, small_study: MakeStudy, fault: Callable[[str], None]
) -> None:
    fault("killed")
    train_zoo(small_study(repeats=3), zoo.folder, jobs=1)
    assert tries(zoo) == [[3, 1], [3, 1], [3, 1]]
    assert len(zoo.runs()) == 2
    assert [failure.attempts for failure in zoo.failures().values()] == [2]


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("disk_full", OSError, "No space left on device"),
        ("disk_full_for_rust", OSError, r"^\[Errno 28\] No space left on device$"),
        ("data_missing", InvalidInputError, "put the images there"),
        ("study_wrong", StudyError, "no such thing"),
    ],
)
def test_what_every_run_would_meet_stops_the_zoo_at_once(
    zoo: Zoo,
    small_study: MakeStudy,
    fault: Callable[[str], None],
    name: str,
    error: type[Exception],
    message: str,
) -> None:
    fault(name)
    with pytest.raises(error, match=message):
        train_zoo(unstacked(small_study), zoo.folder, jobs=1)
    assert len(tries(zoo)) <= 2
    assert zoo.failures() == {}
    assert [*(zoo.folder / "under_way").iterdir()] == []
    with zoo.locked():
        pass


def test_says_what_is_under_way_and_ends_it_when_interrupted(
    zoo: Zoo, small_study: MakeStudy, fault: Callable[[str], None]
) -> None:
    def interrupt(progress: Progress) -> None:
        if progress.num_under_way > 0:
            told.append(progress.num_under_way)
            os.kill(os.getpid(), signal.SIGINT)

    told: list[float] = []
    fault("slow")
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            train_zoo(small_study(), zoo.folder, jobs=1, on_progress=interrupt)
    finally:
        signal.signal(signal.SIGINT, before)
    assert told[0] == 0.5
    process = int((faulty_runs.marks(zoo) / "process").read_text())
    deadline = time.monotonic() + 10
    while Path(f"/proc/{process}").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not Path(f"/proc/{process}").exists()
    assert [*(zoo.folder / "under_way").iterdir()] == []


# order, time left, shares


def test_the_longest_runs_come_first_and_stacks_are_as_many_as_workers(small_study: MakeStudy) -> None:
    network = {"name": "mlp", "hidden": [12, 12, 12], "batch_norm": True}
    alone = small_study({"training.num_steps": [10, 30, 20]}, network=network).runs()
    stacked = small_study(repeats=3, training__num_steps=8).runs()
    tasks = execution.tasks_of([*alone, *stacked], set(), 2)
    assert [[config.training.num_steps for config in task] for task in tasks] == [[30], [20], [8, 8], [10], [8]]
    assert [len(task) for task in execution.tasks_of(stacked, {stacked[0].key}, 2)] == [1, 1, 1]


def test_no_stack_is_larger_than_is_faster(small_study: MakeStudy) -> None:
    tasks = execution.tasks_of(small_study(repeats=150).runs(), set(), 1)
    assert [len(task) for task in tasks] == [50, 50, 50]


def test_tells_the_time_left_from_the_flops_of_what_has_ended(tmp_path: Path, small_study: MakeStudy) -> None:
    network = {"name": "mlp", "hidden": [12, 12, 12], "batch_norm": True}
    study = small_study({"training.num_steps": [30, 10, 20]}, network=network)
    told: list[Progress] = []
    zoo = train_zoo(study, tmp_path, jobs=1, on_progress=told.append)
    first, second, third = sorted(zoo.runs(), key=lambda run: -run.config.training.num_steps)
    ended = [progress for progress in told if progress.seconds > 0]
    assert [progress.seconds for progress in ended] == [run.result["seconds"] for run in (first, second, third)]
    assert ended[0].seconds_left == pytest.approx(first.result["seconds"])
    assert ended[1].seconds_left == pytest.approx((first.result["seconds"] + second.result["seconds"]) * 10 / 50)
    assert ended[2].seconds_left == pytest.approx(0)


def test_shares_together_are_the_whole_zoo(tmp_path: Path, small_study: MakeStudy) -> None:
    told: list[Progress] = []
    train_zoo(six(small_study), tmp_path, jobs=1, shard=(2, 2), on_progress=told.append)
    assert (told[-1].num_done, told[-1].num_runs) == (3, 3)
    before = state(Zoo(tmp_path))
    zoo = train_zoo(six(small_study), tmp_path, jobs=1, shard=(1, 2))
    assert zoo.keys() == {config.key for config in six(small_study).runs()}
    assert before.items() <= state(zoo).items()


def test_a_store_that_there_is_not_is_refused(small_study: MakeStudy) -> None:
    message = (
        r"nowhere://zoo must be a folder, or an address that fsspec knows, but: Unsupported filesystem: 'nowhere'"
    )
    with pytest.raises(InvalidInputError, match=message):
        train_zoo(small_study(), "nowhere://zoo", jobs=1)


@pytest.mark.parametrize("shard", [(0, 2), (3, 2), (1, 0)])
def test_a_share_that_there_is_not_is_refused(tmp_path: Path, small_study: MakeStudy, shard: tuple[int, int]) -> None:
    with pytest.raises(InvalidInputError, match=rf"shard must be i/n with i from 1 to n, got {shard[0]}/{shard[1]}"):
        train_zoo(six(small_study), tmp_path, jobs=1, shard=shard)
