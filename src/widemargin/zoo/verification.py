"""Reading every run of a zoo again, and saying what is damaged."""

import contextlib
import hashlib
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from safetensors.torch import load

from widemargin.data import DATASETS
from widemargin.errors import RunError
from widemargin.zoo.cost import blueprint
from widemargin.zoo.store import Run, Zoo
from widemargin.zoo.study import RunConfig
from widemargin.zoo.table import RESULT_COLUMNS
from widemargin.zoo.workplace import removed

__all__ = ["Damage", "damages", "remove_damaged"]

STATUSES = ("finished", "diverged")


@dataclass(frozen=True, slots=True)
class Damage:
    """What is wrong with one run.

    Attributes:
        key: Which run.
        reason: What was expected and what is there, in one sentence.
    """

    key: str
    reason: str


def damages(zoo: Zoo) -> list[Damage]:
    """Return everything that is wrong with a zoo's runs; empty if nothing is.

    Of every run are read: its configuration, whose hash must be its name; the checksums that its result gives;
    initial parameters and weights, which must fit the network and be finite if the run is; its history, which must be
    as long as its training was; its margins, if it is finished; and the fields of its result. No code of the files is
    run.
    """
    found = [Damage(run.folder.name, reason) for run in zoo.runs() for reason in _faults(run)]
    known = zoo.keys() | zoo.under_way().keys()
    folders = [*zoo.runs_folder.iterdir()] if zoo.runs_folder.is_dir() else []
    strange = sorted(path.name for path in folders if path.is_dir() and path.name not in known)
    return found + [Damage(name, "result.json is missing, which is written last") for name in strange]


def remove_damaged(zoo: Zoo, found: list[Damage]) -> int:
    """Remove damaged runs, so that training the zoo makes them anew; return how many they were.

    Raises:
        ZooBusyError: The zoo is being trained.
    """
    with zoo.locked():
        return sum(removed(zoo.runs_folder / key) for key in {damage.key for damage in found})


def _faults(run: Run) -> Iterator[str]:
    try:
        config, result = run.config, run.result
    except RunError as error:
        yield str(error)
        return
    if config.key != run.folder.name:
        yield f"config.json must hash to the run's name, and hashes to {config.key}"
    if changed := [*_wrong_checksums(run, result.get("files", {}))]:
        yield from changed
        return  # whatever else is wrong with those files follows from it
    if result["status"] not in STATUSES:
        yield f"result.json must say finished or diverged, got {result['status']!r}"
    is_finished = result["status"] == "finished"
    for name in RESULT_COLUMNS if is_finished else ("num_steps", "seconds"):
        if not isinstance(value := result.get(name), int | float) or not math.isfinite(value):
            yield f"result.json must give a number as {name}, got {value!r}"
    yield from _wrong_parameters(run, config, is_finished)
    yield from _wrong_history(run, result.get("num_steps"))
    if is_finished:
        try:
            num_examples, num_train = run.margins.num_examples, result.get("num_train")
            if num_examples != num_train:
                yield f"margins.npz must hold {num_train} examples, got {num_examples}"
        except RunError as error:
            yield str(error)


def _wrong_checksums(run: Run, files: dict[str, str]) -> Iterator[str]:
    for name, checksum in files.items():
        try:
            found = hashlib.sha256((run.folder / name).read_bytes()).hexdigest()
        except OSError as error:
            yield f"{name} cannot be read ({error.strerror or type(error).__name__})"
        else:
            if found != checksum:
                yield f"{name} is not what was written: its checksum is {found[:8]}…, and was {checksum[:8]}…"


def _wrong_parameters(run: Run, config: RunConfig, is_finished: bool) -> Iterator[str]:
    expected = None
    if config.data.name in DATASETS:  # else its sizes are known only from the data: the two files must agree
        network = blueprint(config.network.model_dump_json(), config.data.name)
        expected = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    for file in ("initial.safetensors", "weights.safetensors"):
        try:
            found = load((run.folder / file).read_bytes())
        except Exception as error:  # safetensors raises an error type of its own, the file system others
            yield f"{file} cannot be read ({error})"
            continue
        shapes = {name: tuple(value.shape) for name, value in found.items()}
        expected = shapes if expected is None else expected
        if shapes != expected:
            differing = sorted(name for name in shapes.keys() | expected if shapes.get(name) != expected.get(name))
            yield f"{file} must fit the network of config.json, but does not at {', '.join(differing)}"
        if is_finished or file.startswith("initial"):
            infinite = [name for name, value in found.items() if not torch.isfinite(value).all()]
            if infinite:
                yield f"{file} must be finite, but is not at {', '.join(infinite)}"


def _wrong_history(run: Run, num_steps: object) -> Iterator[str]:
    last = None
    with contextlib.suppress(OSError, ValueError, IndexError, KeyError, TypeError):
        last = json.loads((run.folder / "history.jsonl").read_text().splitlines()[-1])["step"]
    if last != num_steps:
        yield f"history.jsonl must end at step {num_steps}, and ends at {last}"
