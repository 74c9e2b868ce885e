"""A zoo that is killed again and again, and finished nevertheless."""

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from widemargin.zoo import Zoo, load_study

NUM_KILLS = 20
STUDY = """\
name: survival
base:
  data: {name: digits, num_train: 60}
  network: {name: mlp, hidden: [12, 12, 12], batch_norm: true}
  training: {num_steps: 700, batch_size: 20}
grid:
  training.lr: [0.001, 0.002, 0.003, 0.004]
  network.dropout: [0.0, 0.1]
repeats: 5
"""


class Trainer:
    """``widemargin zoo train`` in a process group of its own, started anew whenever it was killed."""

    def __init__(self, folder: Path) -> None:
        (folder / "study.yaml").write_text(STUDY)
        self.folder, self.zoo = folder, Zoo(folder / "zoo")
        self.processes: list[subprocess.Popen[bytes]] = []

    def is_running(self) -> bool:
        return bool(self.processes) and self.processes[-1].poll() is None

    def start(self) -> None:
        command = [sys.executable, "-m", "widemargin", "zoo", "train", "study.yaml", "--out", "zoo", "--jobs", "2"]
        with (self.folder / "stderr.txt").open("wb") as stderr:
            process = subprocess.Popen(
                command, cwd=self.folder, stdout=subprocess.DEVNULL, stderr=stderr, start_new_session=True
            )
        self.processes.append(process)

    def members(self, name: str) -> list[int]:
        """Return the processes of the current group whose command line holds a word."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                group = int((folder / "stat").read_text().rpartition(")")[2].split()[2])
                if group == self.processes[-1].pid and name in (folder / "cmdline").read_text():
                    found.append(int(folder.name))
        return found

    def entries(self) -> set[str]:
        """Return the names of all runs, finished or not."""
        return {path.name for path in self.zoo.runs_folder.iterdir()} if self.zoo.runs_folder.exists() else set()

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


def kill(trainer: Trainer, victim: str) -> None:
    process = trainer.processes[-1]
    if victim == "worker":
        workers = trainer.members("popen_loky_posix")
        if workers:
            os.kill(workers[0], signal.SIGKILL)
            return
        victim = "main"
    with contextlib.suppress(ProcessLookupError):  # the zoo is finished already
        (os.killpg if victim == "group" else os.kill)(process.pid, signal.SIGKILL)
    process.wait()


@pytest.mark.slow
def test_a_zoo_killed_twenty_times_ends_with_every_run_once(trainer: Trainer) -> None:
    rng = random.Random(0)
    victims = rng.sample((NUM_KILLS // 3 + 1) * ["main", "group", "worker"], NUM_KILLS)
    known: dict[str, tuple[int, int, bytes]] = {}
    num_amid_training = 0
    for victim in victims:
        if not trainer.is_running():
            trainer.start()
        before = trainer.entries()
        # Some kills come at any moment, some as a run begins, half of them after one more run has ended.
        moment = rng.choice(["any", "begun", "ended", "ended"])
        deadline = time.monotonic() + (rng.uniform(0, 4) if moment == "any" else 20)
        while time.monotonic() < deadline and trainer.is_running():
            new = trainer.entries() - before
            if new & trainer.zoo.keys() or (new and moment == "begun"):
                break
            time.sleep(0.01)
        time.sleep(rng.uniform(0, 0.4))
        num_amid_training += any(name.startswith(".partial-") for name in trainer.entries())
        kill(trainer, victim)
        now = trainer.finished()
        assert known.items() <= now.items(), "a finished run was lost or trained again"
        known = now
    assert num_amid_training >= NUM_KILLS * 2 // 5
    assert known

    if not trainer.is_running():
        trainer.start()
    returncode = trainer.processes[-1].wait(timeout=120)
    assert returncode == 0, (trainer.folder / "stderr.txt").read_text()

    planned = {config.key for config in load_study(trainer.folder / "study.yaml").runs()}
    assert len(planned) == 40
    assert {path.name for path in trainer.zoo.runs_folder.iterdir()} == planned
    assert known.items() <= trainer.finished().items()
    assert sorted(path.name for path in trainer.zoo.folder.iterdir()) == [".lock", "runs", "study.json"]
    for run in trainer.zoo.runs():
        assert run.config.key == run.folder.name
        assert run.result["status"] == "finished"
        assert run.margins.num_examples == 60
        assert {path.name for path in run.folder.iterdir()} == {
            "config.json",
            "history.jsonl",
            "initial.safetensors",
            "margins.npz",
            "result.json",
            "weights.safetensors",
        }
        assert json.loads((run.folder / "history.jsonl").read_text().splitlines()[-1])["step"] == 700


@pytest.mark.slow
def test_workers_end_soon_after_the_process_that_wants_them_was_killed(trainer: Trainer) -> None:
    trainer.start()
    deadline = time.monotonic() + 60
    while not trainer.entries() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert trainer.members("popen_loky_posix")
    trainer.processes[-1].kill()
    trainer.processes[-1].wait()
    deadline = time.monotonic() + 10
    while trainer.members("popen_loky_posix") and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not trainer.members("popen_loky_posix")
