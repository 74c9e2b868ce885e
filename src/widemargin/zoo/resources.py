"""What runs are carried out with, a device and data, and whether it is what was used before."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from widemargin import data
from widemargin.data import ClassificationData, CropAndFlip, Sources
from widemargin.errors import InvalidInputError, RunError
from widemargin.training import Poison, has_bfloat16
from widemargin.zoo.store import Run, Zoo
from widemargin.zoo.study import RunConfig

__all__ = [
    "Resources",
    "augmentation_of",
    "examples_of",
    "examples_of_run",
    "on_device",
    "poison_of",
    "provenance",
    "settled",
    "sources_of",
]


@dataclass(frozen=True, slots=True)
class Resources:
    """What runs are carried out with; none of it decides what becomes of them.

    Attributes:
        sources: Where the data is.
        device: ``"auto"`` for a CUDA device where there is one, else the processor; or a device's name.
    """

    sources: Sources = field(default_factory=Sources)
    device: str = "auto"

    @property
    def torch_device(self) -> torch.device:
        """The device itself.

        Raises:
            InvalidInputError: There is no such device here.
        """
        if self.device == "auto":
            return torch.device("cuda" if torch.cuda.is_available() else "cpu")
        try:
            if not self.device.startswith(("cpu", "cuda", "mps")):
                raise RuntimeError("no such kind")
            return torch.ones(1, device=self.device).add(1).device
        except (RuntimeError, AssertionError, NotImplementedError) as error:
            said = str(error).partition("\n")[0]
            raise InvalidInputError(
                f"device must be auto, cpu, or a cuda or mps device of this machine, got {self.device!r}: {said}"
            ) from None


def settled(resources: Resources, zoo: Zoo, configs: Sequence[RunConfig]) -> Resources:
    """Return resources with every source named and read once, before any run is trained.

    What is not named is where the zoo's finished runs have it from, else at the data set's own place on the hub.

    Raises:
        InvalidInputError: A source is missing or cannot be read, a zoo of several data sets is given one source, the
            data allows no such poison or augmentation, or there is no such device.
        RunError: Finished runs were trained on other images or labels.
    """
    done, given = zoo.runs(), resources.sources
    by_data: dict[tuple[Any, ...], list[RunConfig]] = {}
    for config in configs:
        by_data.setdefault((config.data.name, config.data.labels, config.data.num_train), []).append(config)
    has_one_set = len({name for name, *_ in by_data}) == 1
    if given.data is not None and not has_one_set:
        raise InvalidInputError("a study of several data sets takes each from the hub: leave out --data.")
    if given.labels is not None and not any(labels for _, labels, _ in by_data):
        raise InvalidInputError("the study takes no labels from a file (data.labels): leave out --labels.")
    before = {
        name: next((run.result[name]["source"] for run in done if name in run.result), None)
        for name in ("data", "labels")
    }
    found = replace(
        resources,
        sources=Sources(
            _absolute(given.data or (before["data"] if has_one_set else None)),
            _absolute(given.labels or before["labels"]),
        ),
    )
    for alike in by_data.values():
        examples = examples_of(alike[0], found.sources)
        for config in alike:
            augmentation_of(config, examples)
            poison_of(config, examples)
        _check_unchanged(zoo, done, alike[0], provenance(alike[0], examples, found))
    return found


def _absolute(source: str | None) -> str | None:
    """Return a path that another process or machine understands; other names as they are."""
    return str(Path(source).resolve()) if source is not None and Path(source).exists() else source


def _check_unchanged(zoo: Zoo, done: Sequence[Run], config: RunConfig, now: Mapping[str, Any]) -> None:
    for run in done:
        for name, what in (("data", "images"), ("labels", "labels")):
            is_like = run.config.data.name == config.data.name and name in now and name in run.result
            if is_like and now[name]["checksum"] != run.result[name]["checksum"]:
                raise RunError(
                    f"{zoo.folder} holds runs that were trained on other {what} than {now[name]['source']} has. "
                    "Choose another folder with --out."
                )


def examples_of(config: RunConfig, sources: Sources | None = None) -> ClassificationData:
    """Return the data of a run."""
    return data.load(**config.data.model_dump(), sources=sources)


def sources_of(run: Run) -> Sources:
    """Return where a run's data was when it was trained."""
    named = {name: run.result.get(name, {}).get("source") for name in ("data", "labels")}
    return Sources(**named)


def examples_of_run(run: Run, sources: Sources | None = None) -> ClassificationData:
    """Return the data that a run was trained on.

    Raises:
        RunError: The run is damaged, or the data is not what it was trained on.
        InvalidInputError: The data cannot be read.
    """
    before = sources_of(run)
    sources = Sources((sources and sources.data) or before.data, (sources and sources.labels) or before.labels)
    try:
        examples, labels_checksum = examples_of(run.config, sources), sources.labels_checksum
    except InvalidInputError as error:
        raise RunError(
            f"the data of {run.folder} cannot be read: {error} If it has moved, say with --data where it is now."
        ) from None
    for name, what, checksum, source in (
        ("data", "examples", examples.checksum, examples.source),
        ("labels", "labels", labels_checksum, sources.labels),
    ):
        if checksum != run.result.get(name, {}).get("checksum"):
            raise RunError(
                f"{run.folder} was trained on other {what} than {source} has now. Put back what it was trained on, "
                "or say with --data where that is."
            )
    return examples


def on_device(examples: ClassificationData, device: torch.device) -> ClassificationData:
    """Return the data with what training and measuring touch on the device; extra examples stay where they are."""
    names = ("train_inputs", "train_labels", "test_inputs", "test_labels", "stored_train_inputs")
    held = {name: value for name in names if (value := getattr(examples, name)) is not None}
    return replace(examples, **{name: value.to(device) for name, value in held.items()})


def augmentation_of(config: RunConfig, examples: ClassificationData) -> tuple[Tensor | None, CropAndFlip | None]:
    """Return the inputs that a run's augmentation works on, and the augmentation; nothing where it has none.

    Raises:
        InvalidInputError: The data is not stored as images.
    """
    if config.training.augmentation == "none":
        return None, None
    if examples.stored_train_inputs is None or examples.preparation is None:
        raise InvalidInputError(f"training.augmentation needs stored images, and {config.data.name} has none.")
    return examples.stored_train_inputs, CropAndFlip(examples.preparation)


def poison_of(config: RunConfig, examples: ClassificationData) -> Poison | None:
    """Return a run's poison; None where it has none.

    Raises:
        InvalidInputError: The data has no such pool.
    """
    poison = config.training.poison
    return Poison.of(examples, **poison.model_dump()) if poison.factor > 0 else None


def provenance(config: RunConfig, examples: ClassificationData, resources: Resources) -> dict[str, Any]:
    """Return what a result says of where its data came from and what it was computed with."""
    device, sources = resources.torch_device, resources.sources
    narrow = config.training.precision == "bfloat16" and has_bfloat16(device)
    found: dict[str, Any] = {"device": device.type, "precision": "bfloat16" if narrow else "float32"}
    if examples.source is not None:
        found["data"] = {"source": examples.source, "checksum": examples.checksum}
    if config.data.labels is not None and sources.labels is not None:
        file = str(Path(sources.labels).resolve())
        found["labels"] = {"source": file, "checksum": sources.labels_checksum}
    return found
