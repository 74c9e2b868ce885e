import os
import signal
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from widemargin.errors import RunError, StudyError, ZooBusyError
from widemargin.zoo import Progress, Resources, Run, RunConfig, Study, Zoo, execution, train_zoo

MakeStudy = Callable[..., Study]
DIVERGING = {"optimizer": "sgd", "lr": 1e6, "num_steps": 10}
TIMES = {"seconds", "training_seconds", "measuring_seconds"}


def six(small_study: MakeStudy) -> Study:
    return small_study({"training.lr": [0.001, 0.01], "network.dropout": [0, 0.1, 0.2]})


def state(zoo: Zoo) -> dict[Path, tuple[int, int, bytes]]:
    """Return identity, time and content of every file of the runs."""
    files = [file for run in zoo.runs() for file in run.folder.iterdir()]
    return {file: (file.stat().st_ino, file.stat().st_mtime_ns, file.read_bytes()) for file in files}


def workers(parent: int) -> list[int]:
    """Return the live worker processes of a process."""
    pids = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            stat, command = (folder / "stat").read_text(), (folder / "cmdline").read_text()
        except OSError:
            continue  # it ended meanwhile
        status, parent_pid = stat.rpartition(")")[2].split()[:2]
        if int(parent_pid) == parent and status != "Z" and "popen_loky_posix" in command:
            pids.append(int(folder.name))
    return pids


@pytest.fixture(scope="module", autouse=True)
def _no_workers_left() -> Iterator[None]:
    yield
    from joblib.externals.loky import get_reusable_executor

    get_reusable_executor().shutdown(wait=True)


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
    assert len(zoo.runs()) == 4
    told: list[Progress] = []
    train_zoo(six(small_study), tmp_path, jobs=1, on_progress=told.append)
    assert [progress.num_done for progress in told] == [4, 5, 6, 6]
    assert before.items() <= state(zoo).items()


def test_a_study_that_grew_trains_only_what_is_new(tmp_path: Path, small_study: MakeStudy) -> None:
    before = state(train_zoo(small_study({"network.dropout": [0, 0.1]}), tmp_path, jobs=1))
    zoo = train_zoo(small_study({"network.dropout": [0, 0.1, 0.2]}), tmp_path, jobs=1)
    assert len(zoo.runs()) == 3
    assert before.items() <= state(zoo).items()


def test_progress_counts_every_run_once(tmp_path: Path, small_study: MakeStudy) -> None:
    study = small_study({"training": [{"num_steps": 10}, DIVERGING], "network.dropout": [0, 0.2]})
    told: list[Progress] = []
    train_zoo(study, tmp_path, jobs=1, on_progress=told.append)
    assert [(p.num_done, p.num_runs) for p in told] == [(0, 4), (1, 4), (2, 4), (3, 4), (4, 4), (4, 4)]
    assert [p.num_diverged for p in told] == sorted(p.num_diverged for p in told)
    assert told[-1].num_diverged == told[-2].num_diverged == 2
    assert told[0].seconds == told[-1].seconds == 0
    assert all(p.seconds > 0 for p in told[1:-1])


def test_leftovers_of_an_earlier_process_are_swept_away(tmp_path: Path, small_study: MakeStudy) -> None:
    study = small_study({"network.dropout": [0, 0.1]})
    half = tmp_path / "runs" / study.runs()[0].key
    half.mkdir(parents=True)
    (half / "config.json").write_text("{}")
    (tmp_path / "runs" / ".partial-ab-1-cd").mkdir()
    zoo = train_zoo(study, tmp_path, jobs=1)
    assert {path.name for path in zoo.runs_folder.iterdir()} == {config.key for config in study.runs()}


@pytest.fixture
def three_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.usefixtures("three_threads")
def test_trains_on_one_torch_thread_and_restores_their_number(
    tmp_path: Path, small_study: MakeStudy, monkeypatch: pytest.MonkeyPatch, fails: bool
) -> None:
    seen: list[int] = []
    carry_out_together = execution.carry_out_together

    def spy(zoo: Zoo, configs: list[RunConfig], resources: Resources) -> list[Run]:
        seen.append(torch.get_num_threads())
        if fails:
            raise KeyboardInterrupt
        return carry_out_together(zoo, configs, resources)

    monkeypatch.setattr(execution, "carry_out_together", spy)
    with pytest.raises(KeyboardInterrupt) if fails else nullcontext():
        train_zoo(small_study(), tmp_path, jobs=1)
    assert seen == [1]
    assert torch.get_num_threads() == 3


def test_a_busy_folder_is_refused_before_anything_is_changed(tmp_path: Path, small_study: MakeStudy) -> None:
    with Zoo(tmp_path).locked(), pytest.raises(ZooBusyError, match="is being trained by another process"):
        train_zoo(small_study(), tmp_path, jobs=1)
    assert not (tmp_path / "study.json").exists()


def test_a_folder_of_another_study_is_refused(tmp_path: Path, small_study: MakeStudy) -> None:
    train_zoo(small_study(), tmp_path, jobs=1)
    with pytest.raises(StudyError, match=r"holds 1 runs that are not in the study 'small'"):
        train_zoo(small_study(training__lr=0.5), tmp_path, jobs=1)


def test_a_killed_worker_does_not_stop_the_zoo(tmp_path: Path, small_study: MakeStudy) -> None:
    study = small_study({"network.dropout": [0, 0.1, 0.2], "training.lr": [0.001, 0.01]}, training__num_steps=300)
    told: list[Progress] = []
    killed: list[int] = []
    early: dict[Path, tuple[int, int, bytes]] = {}

    def kill(progress: Progress) -> None:
        told.append(progress)
        if progress.num_done == 2 and not killed:
            early.update(state(Zoo(tmp_path)))
            killed.append(workers(os.getpid())[0])
            os.kill(killed[0], signal.SIGKILL)

    zoo = train_zoo(study, tmp_path, jobs=2, on_progress=kill)
    assert len(killed) == 1
    assert zoo.keys() == {config.key for config in study.runs()}
    assert {path.name for path in zoo.runs_folder.iterdir()} == zoo.keys()
    assert early.items() <= state(zoo).items()
    counts = [progress.num_done for progress in told]
    assert counts == sorted(counts)
    assert counts[0] == 0
    assert counts[-1] == 6
    assert all(progress.num_runs == 6 for progress in told)


def test_workers_that_keep_dying_stop_the_zoo(
    tmp_path: Path, small_study: MakeStudy, monkeypatch: pytest.MonkeyPatch
) -> None:
    deaths = tmp_path / "deaths"
    deaths.mkdir()

    def die(*_: Any) -> None:  # nested, so that it travels to the worker by value
        (deaths / str(os.getpid())).touch()
        os.kill(os.getpid(), signal.SIGKILL)

    monkeypatch.setattr(execution, "_work", die)
    monkeypatch.setattr(execution, "MAX_DEATHS_WITHOUT_PROGRESS", 1)
    message = r"worker processes died 2 times in a row .* for want of memory\. Use fewer with --jobs"
    with pytest.raises(RunError, match=message):
        train_zoo(small_study(), tmp_path / "zoo", jobs=2)
    assert len([*deaths.iterdir()]) >= 2
    with Zoo(tmp_path / "zoo").locked():
        pass
