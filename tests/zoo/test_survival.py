"""A zoo that is killed again and again, and finished nevertheless."""

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from widemargin.zoo import Study, Zoo, damages, load_study, train_zoo

VICTIMS = 6 * ["driver"] + 3 * ["group"] + 3 * ["nursery"] + 38 * ["child"]
"""The driver alone; all processes at once; what forks guards and children; any of these."""

PATIENCE_SECONDS = 120

STUDY = """\
name: survival
base:
  data: {name: digits, num_train: 60}
  network: {name: mlp, hidden: [12, 12, 12], batch_norm: true}
  training: {num_steps: 400, batch_size: 20}
grid:
  training.lr: [0.001, 0.002, 0.003, 0.004]
  network.dropout: [0.0, 0.1]
repeats: 8
"""


class Trainer:
    """``widemargin zoo train`` in a process group of its own, started anew whenever it was killed."""

    def __init__(self, folder: Path) -> None:
        (folder / "study.yaml").write_text(STUDY)
        self.folder, self.zoo = folder, Zoo(folder / "zoo")
        self.processes: list[subprocess.Popen[bytes]] = []

    def is_running(self) -> bool:
        return bool(self.processes) and self.processes[-1].poll() is None

    def start(self, *options: str) -> None:
        command = [sys.executable, "-m", "widemargin", "zoo", "train", "study.yaml", "--out", "zoo", "--jobs", "2"]
        command += options
        with (self.folder / "stderr.txt").open("wb") as stderr:
            process = subprocess.Popen(
                command, cwd=self.folder, stdout=subprocess.DEVNULL, stderr=stderr, start_new_session=True
            )
        self.processes.append(process)

    def children(self) -> list[int]:
        """Return the nursery of the current driver, its guards and their children."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                group = int((folder / "stat").read_text().rpartition(")")[2].split()[2])
                if group == self.processes[-1].pid and "zoo.nursery" in (folder / "cmdline").read_text():
                    found.append(int(folder.name))
        return sorted(found)  # the oldest first

    def entries(self) -> set[str]:
        """Return the names of all runs and of what is under way."""
        folders = [folder for folder in (self.zoo.runs_folder, self.zoo.folder / "under_way") if folder.exists()]
        return {path.name for folder in folders for path in folder.iterdir()}

    def finished(self) -> dict[str, tuple[int, int, bytes]]:
        """Return of each finished run what tells whether it was written again."""
        states = {}
        for run in self.zoo.runs():
            file = run.folder / "result.json"
            states[run.folder.name] = (file.stat().st_ino, file.stat().st_mtime_ns, file.read_bytes())
        return states


@pytest.fixture
def trainer(tmp_path: Path) -> Iterator[Trainer]:
    trainer = Trainer(tmp_path)
    yield trainer
    for process in trainer.processes:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def wait_until(condition: Callable[[], bool], seconds: float = PATIENCE_SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert condition()


def kill(trainer: Trainer, victim: str, rng: random.Random) -> None:
    process = trainer.processes[-1]
    nursery, *children = trainer.children() or [process.pid]
    if victim in ("child", "nursery"):
        with contextlib.suppress(ProcessLookupError):  # it has just ended
            os.kill(rng.choice(children or [nursery]) if victim == "child" else nursery, signal.SIGKILL)
        return
    with contextlib.suppress(ProcessLookupError):  # the zoo is finished already
        (os.killpg if victim == "group" else os.kill)(process.pid, signal.SIGKILL)
    process.wait()


@pytest.mark.slow
def test_a_zoo_killed_fifty_times_ends_with_every_run_once(trainer: Trainer) -> None:
    rng = random.Random(0)
    known: dict[str, tuple[int, int, bytes]] = {}
    num_amid_training = 0
    for victim in rng.sample(VICTIMS, len(VICTIMS)):
        if not trainer.is_running():
            trainer.start("--retry-failed")
        before = trainer.entries()
        # Some kills come at any moment, some as a run begins, some after one more run has ended.
        moment = rng.choice(["any", "begun", "begun", "ended", "ended"])
        deadline = time.monotonic() + (rng.uniform(0, 3) if moment == "any" else PATIENCE_SECONDS)
        while time.monotonic() < deadline and trainer.is_running():
            new = trainer.entries() - before
            if new & trainer.zoo.keys() or (new and moment == "begun"):
                break
            time.sleep(0.01)
        time.sleep(rng.uniform(0, 0.2))
        num_amid_training += bool(trainer.entries() - trainer.zoo.keys())
        kill(trainer, victim, rng)
        now = trainer.finished()
        assert known.items() <= now.items(), "a finished run was lost or trained again"
        known = now
    assert num_amid_training >= len(VICTIMS) * 2 // 5
    assert known

    planned = {config.key for config in load_study(trainer.folder / "study.yaml").runs()}
    if trainer.is_running():
        trainer.processes[-1].wait(timeout=PATIENCE_SECONDS)
    trainer.start("--retry-failed")
    returncode = trainer.processes[-1].wait(timeout=PATIENCE_SECONDS)
    assert returncode == 0, (trainer.folder / "stderr.txt").read_text()
    assert len(planned) == 64
    assert trainer.entries() == planned
    assert known.items() <= trainer.finished().items()
    assert trainer.zoo.failures() == {}
    assert damages(trainer.zoo) == []
    expected = {"locks", "runs", "study.json", "under_way"}
    assert {path.name for path in trainer.zoo.folder.iterdir()} - {"failures"} == expected
    for run in trainer.zoo.runs():
        assert run.result["status"] == "finished"
        assert json.loads((run.folder / "history.jsonl").read_text().splitlines()[-1])["step"] == 400


@pytest.mark.slow
def test_children_end_soon_after_the_process_that_wants_them_was_killed(trainer: Trainer) -> None:
    trainer.start()
    wait_until(lambda: bool(trainer.zoo.runs()))  # a nursery that is still importing ends only after that
    assert trainer.children()
    trainer.processes[-1].kill()
    trainer.processes[-1].wait()
    wait_until(lambda: not trainer.children(), seconds=20)


@pytest.mark.slow
def test_two_drivers_on_one_folder_are_one(trainer: Trainer) -> None:
    trainer.start()
    wait_until(lambda: bool(trainer.zoo.runs()))
    first, before = trainer.processes[-1], trainer.finished()
    trainer.start()
    assert trainer.processes[-1].wait(timeout=PATIENCE_SECONDS) == 1
    assert "is being trained by another process" in (trainer.folder / "stderr.txt").read_text()
    wait_until(lambda: first.poll() == 0 or len(trainer.zoo.runs()) > len(before) + 1)
    assert before.items() <= trainer.finished().items()
    assert damages(trainer.zoo) == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system with room for a few runs."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounting = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", folder], capture_output=True, check=False
    )
    if mounting.returncode != 0:
        pytest.skip(f"a small file system cannot be mounted here: {mounting.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def test_a_full_disk_stops_the_zoo_with_a_sentence_and_loses_nothing(
    small_disk: Path, small_study: Callable[..., Study]
) -> None:
    study = small_study(repeats=12, network={"name": "mlp", "hidden": [12, 12, 12], "batch_norm": True})
    with pytest.raises(Exception, match=r"No space left on device"):
        train_zoo(study, small_disk / "zoo", jobs=2)
    zoo = Zoo(small_disk / "zoo")
    assert 2 <= len(zoo.runs()) < 12
    assert damages(zoo) == []
    assert [*(zoo.folder / "under_way").iterdir()] == []
    assert zoo.failures() == {}
    before = {run.folder: (run.folder / "result.json").stat().st_ino for run in zoo.runs()}
    subprocess.run(["mount", "-o", "remount,size=4m", small_disk], check=True)
    train_zoo(study, small_disk / "zoo", jobs=2)
    assert zoo.keys() == {config.key for config in study.runs()}
    assert damages(zoo) == []
    assert before.items() <= {run.folder: (run.folder / "result.json").stat().st_ino for run in zoo.runs()}.items()
