import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from upath import UPath

from tracked_runs import diverged, finished, losses, write_into
from widemargin.integrations.tracking import Tracker, send_pages, send_run, sending_until_it_fails, unsent
from widemargin.zoo import Run, Zoo, hyperparameters


class Memory(Tracker):
    """A tracker that remembers what it was told."""

    def __init__(self, destination: str = "memory", *, fails_at: str = "", has_it: bool = False) -> None:
        self.destination, self.fails_at, self.has_it = destination, fails_at, has_it
        self.begun: list[tuple[str, str, dict[str, Any], str]] = []
        self.steps: list[tuple[int, dict[str, float]]] = []
        self.editions: list[str] = []
        self.numbers: dict[str, float] = {}
        self.files: dict[str, bytes] = {}
        self.num_ended = 0
        self.on_begin: Callable[[], Any] = lambda: None

    def begin(self, key: str, study: str, configuration: Mapping[str, Any], status: str, edition: str = "") -> bool:
        self.begun.append((key, study, dict(configuration), status))
        self.editions.append(edition)
        self.on_begin()
        self._maybe_fail("begin")
        return not self.has_it

    def log_step(self, step: int, metrics: Mapping[str, float]) -> None:
        self.steps.append((step, dict(metrics)))

    def log_numbers(self, numbers: Mapping[str, float]) -> None:
        self.numbers |= numbers
        self._maybe_fail("log_numbers")

    def attach(self, file: Path) -> None:
        assert isinstance(file, Path)  # what trackers upload is local
        self.files[file.name] = file.read_bytes()

    def end(self) -> None:
        self._maybe_fail("end")
        self.num_ended += 1

    def _maybe_fail(self, where: str) -> None:
        if self.fails_at == where:
            raise ConnectionError(f"no line at {where}")


def test_a_run_is_sent_with_configuration_history_numbers_and_files(zoo: Zoo, tmp_path: Path) -> None:
    run, tracker = finished(zoo), Memory()
    assert send_run(zoo, run, tracker)
    assert tracker.begun == [(run.folder.name, "tracked", hyperparameters(run.config), "finished")]
    assert tracker.begun[0][2]["training.num_steps"] == 40
    assert tracker.steps == [
        (record["step"], {f"training/{name}": record[name] for name in ("epoch", "loss", "accuracy", "lr")})
        for record in run.history
    ]
    result = run.result
    assert tracker.numbers["gap"] == result["train_accuracy"] - result["test_accuracy"]
    assert {"train_loss", "test_loss", "train_accuracy", "test_accuracy"} <= tracker.numbers.keys()
    for name, value in run.margins.signature().items():
        assert tracker.numbers[f"signature/{name}"] == value
    for layer, value in zip(run.margins.layers, run.margins.total_variation, strict=True):
        assert tracker.numbers[f"total_variation/{layer}"] == value
    assert tracker.files.keys() == {"weights.safetensors", "margins.png"}
    assert tracker.files["weights.safetensors"] == (run.folder / "weights.safetensors").read_bytes()
    assert tracker.num_ended == 1


def test_the_figure_has_a_panel_a_layer(zoo: Zoo, tmp_path: Path) -> None:
    run, tracker = finished(zoo), Memory()
    send_run(zoo, run, tracker)
    (tmp_path / "margins.png").write_bytes(tracker.files["margins.png"])
    with Image.open(tmp_path / "margins.png") as image:
        assert image.size == (360 * len(run.margins.layers), 300)
        assert len(np.unique(np.asarray(image.convert("L")))) > 50


def test_of_a_diverged_run_there_are_finite_numbers_and_weights(zoo: Zoo) -> None:
    run, tracker = diverged(zoo), Memory()
    assert send_run(zoo, run, tracker)
    assert tracker.begun[0][3] == "diverged"
    logged = [(step, metrics["training/loss"]) for step, metrics in tracker.steps if "training/loss" in metrics]
    assert logged == losses(run)
    assert len(logged) < len(tracker.steps) == len(run.history)
    assert tracker.numbers.keys() == {"training_seconds", "seconds"}
    assert tracker.files.keys() == {"weights.safetensors"}


def test_a_run_is_sent_once_to_a_destination(zoo: Zoo) -> None:
    run = finished(zoo)
    assert [send_run(zoo, run, Memory(where)) for where in ("a", "a", "b", "a", "b")] == [
        True,
        False,
        True,
        False,
        False,
    ]
    again = Memory("a")
    send_run(zoo, run, again)
    assert again.begun == []


def test_runs_that_were_not_sent_are_known(zoo: Zoo) -> None:
    send_run(zoo, finished(zoo), Memory("a"))
    assert unsent(zoo, zoo.runs(), Memory("a")) == [diverged(zoo)]
    assert unsent(zoo, zoo.runs(), Memory("b")) == zoo.runs()


def test_a_note_says_where_a_run_was_sent(zoo: Zoo) -> None:
    run = finished(zoo)
    send_run(zoo, run, Memory("there"))
    (note,) = (zoo.folder / "tracked").iterdir()
    assert note.name.startswith(run.folder.name)
    assert json.loads(note.read_text()) == {"destination": "there"}


@pytest.mark.parametrize("where", ["begin", "log_numbers", "end"])
def test_what_failed_is_sent_anew(zoo: Zoo, where: str) -> None:
    run = finished(zoo)
    before = {file.name: file.read_bytes() for file in run.folder.iterdir()}
    with pytest.raises(ConnectionError, match=f"no line at {where}"):
        send_run(zoo, run, Memory(fails_at=where))
    assert {file.name: file.read_bytes() for file in run.folder.iterdir()} == before
    tracker = Memory()
    assert send_run(zoo, run, tracker)
    assert tracker.num_ended == 1


def test_what_the_tracker_has_complete_is_not_logged_again_nor_asked_for(zoo: Zoo) -> None:
    run, tracker = finished(zoo), Memory(has_it=True)
    assert not send_run(zoo, run, tracker)
    assert (tracker.steps, tracker.num_ended) == ([], 0)
    assert unsent(zoo, [run], tracker) == []


def test_figures_animations_and_pages_in_a_runs_folder_go_with_it(zoo: Zoo, shown: dict[str, bytes]) -> None:
    run, tracker = finished(zoo), Memory()
    write_into(run.folder, shown | {"notes.txt": b"of no concern"})
    assert send_run(zoo, run, tracker)
    assert tracker.files.keys() == {"weights.safetensors", "margins.png", *shown}
    assert {name: tracker.files[name] for name in shown} == shown


def test_a_run_that_got_a_figure_since_is_sent_anew(zoo: Zoo, shown: dict[str, bytes]) -> None:
    run, tracker = finished(zoo), Memory()
    assert send_run(zoo, run, tracker)
    write_into(run.folder, shown)
    assert unsent(zoo, [run], tracker) == [run]
    assert [send_run(zoo, run, tracker) for _ in range(2)] == [True, False]
    assert unsent(zoo, [run], tracker) == []
    write_into(run.folder, {"report.html": b"<p>Anew</p>"})
    assert send_run(zoo, run, tracker)
    assert tracker.files["report.html"] == b"<p>Anew</p>"
    assert tracker.editions[0] == ""
    assert len({*tracker.editions}) == 3


def test_figures_and_pages_of_the_zoo_itself_are_a_run_of_their_own(zoo: Zoo, shown: dict[str, bytes]) -> None:
    tracker = Memory()
    assert send_pages(zoo, tracker) == 0
    write_into(zoo.folder, shown)
    assert [send_pages(zoo, tracker) for _ in range(2)] == [3, 0]
    assert tracker.files == shown
    ((key, *rest),) = tracker.begun
    assert key.startswith("zoo-")
    assert rest == ["tracked", {}, "zoo"]
    assert tracker.num_ended == 1
    assert send_pages(zoo, Memory("elsewhere")) == 3


def test_a_zoos_report_that_was_written_anew_is_sent_anew(zoo: Zoo) -> None:
    tracker = Memory()
    for content in (b"one", b"two"):
        write_into(zoo.folder, {"report.html": content})
        assert send_pages(zoo, tracker) == 1
    assert len({key for key, *_ in tracker.begun}) == 2


def test_pages_that_the_tracker_has_complete_are_not_counted(zoo: Zoo) -> None:
    write_into(zoo.folder, {"report.html": b"one"})
    assert send_pages(zoo, Memory(has_it=True)) == 0


def test_what_another_sends_meanwhile_is_left_to_it(zoo: Zoo) -> None:
    run, tracker, other = finished(zoo), Memory(), Memory()
    sent: list[bool] = []
    tracker.on_begin = lambda: sent.append(send_run(zoo, run, other))
    assert send_run(zoo, run, tracker)
    assert (sent, other.begun) == ([False], [])


def test_a_run_goes_to_two_trackers_at_once(zoo: Zoo) -> None:
    run, tracker, other = finished(zoo), Memory("a"), Memory("b")
    tracker.on_begin = lambda: send_run(zoo, run, other)
    assert send_run(zoo, run, tracker)
    assert other.num_ended == tracker.num_ended == 1


def test_the_first_failure_is_told_and_ends_it(zoo: Zoo) -> None:
    told: list[Exception] = []
    tracker = Memory(fails_at="end")
    send = sending_until_it_fails(zoo, tracker, told.append)
    for run in zoo.runs():
        send(run)
    assert [str(error) for error in told] == ["no line at end"]
    assert len(tracker.begun) == 1


def test_damage_does_not_raise_while_a_zoo_trains(zoo: Zoo) -> None:
    told: list[Exception] = []
    (finished(zoo).folder / "history.jsonl").write_text("{")
    sending_until_it_fails(zoo, Memory(), told.append)(finished(zoo))
    assert "must hold a record a line" in str(told[0])


def test_runs_on_a_store_are_sent_too(trained: Zoo) -> None:
    folder = UPath("memory://tracked/zoo")
    run = finished(trained)
    there = folder / "runs" / run.folder.name
    there.mkdir(parents=True)
    for file in run.folder.iterdir():
        (there / file.name).write_bytes(file.read_bytes())
    for place in (there, folder):
        (place / "report.html").write_bytes(b"one")
    tracker = Memory()
    assert send_run(Zoo(folder), Run(there), tracker)
    assert tracker.files["weights.safetensors"] == (run.folder / "weights.safetensors").read_bytes()
    assert tracker.begun[0][1] == "zoo"  # there is no study beside it
    assert not send_run(Zoo(folder), Run(there), tracker)
    assert tracker.files.pop("report.html") == b"one"
    assert send_pages(Zoo(folder), tracker) == 1
    assert tracker.files["report.html"] == b"one"
    folder.fs.rm(folder.path, recursive=True)


def test_a_dead_layer_has_no_signature_and_no_figure(zoo: Zoo) -> None:
    run, tracker = finished(zoo), Memory()
    with np.load(run.folder / "margins.npz") as file:
        parts = dict(file)
    parts["total_variation"] = np.zeros_like(parts["total_variation"])
    np.savez(run.folder / "margins.npz", **parts)
    assert send_run(zoo, run, tracker)
    assert not any(name.startswith("signature/") for name in tracker.numbers)
    assert tracker.files.keys() == {"weights.safetensors"}


def test_a_killed_sender_leaves_no_lock_behind(zoo: Zoo) -> None:
    run = finished(zoo)
    send_run(zoo, run, Memory())
    (note,) = (zoo.folder / "tracked").iterdir()
    shutil.move(note, note.with_suffix(".lock"))  # what is left of a process that was killed while it held it
    assert send_run(zoo, run, Memory())
