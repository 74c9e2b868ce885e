"""Data sets by name or from the user's files, training subsets, wrong labels, augmentation."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import get_args

import torch
from torch import Tensor

from widemargin.data.cache import CachedData, cache_folder, cached
from widemargin.data.classification_data import (
    ClassificationData,
    balanced_choice,
    balanced_subset,
    chosen,
    corrupt_labels,
    prepared,
)
from widemargin.data.digits import digits
from widemargin.data.images import (
    Augmentation,
    CropAndFlip,
    PerChannel,
    Preparation,
    Standardization,
    standardized_images,
)
from widemargin.data.label_files import labels_from_file
from widemargin.data.sources import HubName, StoredData, read_source
from widemargin.data.toys import concentric_rings, swiss_roll
from widemargin.errors import InvalidInputError

__all__ = [
    "DATASETS",
    "Augmentation",
    "CachedData",
    "ClassificationData",
    "CropAndFlip",
    "DataSet",
    "HubName",
    "PerChannel",
    "Preparation",
    "Sources",
    "Standardization",
    "StoredData",
    "balanced_subset",
    "cache_folder",
    "cached",
    "concentric_rings",
    "corrupt_labels",
    "digits",
    "labels_from_file",
    "load",
    "prepared",
    "read_source",
    "standardized_images",
    "swiss_roll",
]

STANDARDIZATIONS = get_args(Standardization)


@dataclass(frozen=True, slots=True)
class DataSet:
    """What is known of a data set before it is read.

    Attributes:
        num_train: Training examples.
        num_classes: Classes.
        input_shape: Shape of one input.
        make: Function that returns it, where it needs no files.
        hub: Where it is on the Hugging Face hub, where it does.
        can_be_drawn: Whether its distribution is known, so that fresh examples can be drawn.
        has_extra: Whether it has a split ``extra``, neither trained on nor tested.
    """

    num_train: int
    num_classes: int
    input_shape: tuple[int, ...]
    make: Callable[[], ClassificationData] | None = None
    hub: HubName | None = None
    can_be_drawn: bool = False
    has_extra: bool = False


DATASETS: Mapping[str, DataSet] = {
    "digits": DataSet(1000, 10, (1, 8, 8), digits),
    "rings": DataSet(130, 2, (2,), concentric_rings, can_be_drawn=True),
    "swiss-roll": DataSet(200, 2, (2,), swiss_roll, can_be_drawn=True),
    "cifar10": DataSet(50_000, 10, (3, 32, 32), hub=HubName("uoft-cs/cifar10", None, "label")),
    "cifar100": DataSet(50_000, 100, (3, 32, 32), hub=HubName("uoft-cs/cifar100", None, "fine_label")),
    "svhn": DataSet(
        73_257, 10, (3, 32, 32), hub=HubName("ufldl-stanford/svhn", "cropped_digits", "label"), has_extra=True
    ),
    "fashion-mnist": DataSet(60_000, 10, (1, 28, 28), hub=HubName("zalando-datasets/fashion_mnist", None, "label")),
    "mnist": DataSet(60_000, 10, (1, 28, 28), hub=HubName("ylecun/mnist", None, "label")),
}


@dataclass(frozen=True, slots=True)
class Sources:
    """Where the examples and labels that a name stands for are to be read.

    Attributes:
        data: A folder of Parquet files or images, an ``.npz``, a hub name, or what came from Python by its name in
            the cache; ``None`` for the data set's own place on the hub.
        labels: An ``.npz`` of training labels.
    """

    data: str | None = None
    labels: str | None = None

    @property
    def labels_checksum(self) -> str | None:
        """SHA-256 of the file of labels."""
        if self.labels is None:
            return None
        try:
            return hashlib.sha256(Path(self.labels).read_bytes()).hexdigest()
        except OSError as error:
            raise InvalidInputError(f"the labels {self.labels} must be a readable .npz: {error.strerror}.") from None


def load(
    name: str,
    *,
    num_train: int | None = None,
    label_corruption: float = 0.0,
    seed: int = 0,
    labels: str | None = None,
    standardization: Standardization = "per-image",
    sources: Sources | None = None,
) -> ClassificationData:
    """Return a data set, cut down and with wrong training labels as asked.

    Args:
        name: A key of ``DATASETS``, or ``owner/name`` for one on the hub or for whatever ``sources`` names.
        num_train: How many training examples to keep, classes balanced; ``None`` for all.
        label_corruption: Share of training labels that are exchanged for another class.
        seed: Seed of the choice of examples and of wrong labels.
        labels: Name of the array of training labels to take in place of the data's own.
        standardization: Of stored images: each by its own mean and deviation, or each channel by those of the whole
            training set. Data that is not stored as images stays as it is.
        sources: Where to read what needs files.

    Raises:
        InvalidInputError: No such data set, a number out of range, or files that are not what they should be.
    """
    sources = sources or Sources()
    data = _whole(name, sources.data)
    clean = data.train_labels
    given = clean if labels is None else _labels_of(sources, labels, data)
    preparation = _preparation(data, standardization)
    if num_train is not None:
        kept, left = balanced_choice(clean, data.num_classes, num_train, seed=seed)
        clean, given, data = clean[kept], given[kept], chosen(data, kept, left)
    data = replace(data, train_labels=given)
    if label_corruption:
        data = corrupt_labels(data, label_corruption, seed=seed)
    data = replace(data, num_corrupted=int((data.train_labels != clean).sum()))
    return data if preparation is None else prepared(data, preparation)


def _whole(name: str, source: str | None) -> ClassificationData:
    """Return all of a data set as it is stored.

    Raises:
        InvalidInputError: No such data set, or the source cannot be read or does not hold it.
    """
    known = DATASETS.get(name)
    if known is not None and known.make is not None:
        if source is not None:
            raise InvalidInputError(f"{name} needs no files: leave out --data.")
        return known.make()
    if known is None and "/" not in name:
        raise InvalidInputError(f"data must be one of {', '.join(DATASETS)}, or owner/name, got {name!r}.")
    found = cached(source or (known.hub.name if known and known.hub else name), known.hub if known else None)
    shape = tuple(found.data.splits["train"][0].shape[1:])
    if known is not None and (shape, found.data.num_classes) != (known.input_shape, known.num_classes):
        raise InvalidInputError(
            f"{name} has inputs of shape {list(known.input_shape)} in {known.num_classes} classes, but "
            f"{found.source} has {list(shape)} in {found.data.num_classes}. If it is another data set, name it "
            "owner/name in the study."
        )
    splits = found.data.splits
    whole = ClassificationData(*splits["train"], *splits["test"], found.data.num_classes)
    extra_inputs, extra_labels = splits.get("extra", (None, None))
    return replace(
        whole, extra_inputs=extra_inputs, extra_labels=extra_labels, source=found.source, checksum=found.checksum
    )


def _labels_of(sources: Sources, name: str, data: ClassificationData) -> Tensor:
    if sources.labels is None:
        raise InvalidInputError(f"the labels {name!r} are taken from an .npz file: name it with --labels.")
    return labels_from_file(sources.labels, name, num_examples=len(data.train_labels), num_classes=data.num_classes)


def _preparation(data: ClassificationData, standardization: Standardization) -> Preparation | None:
    """Return what makes network inputs of stored images; None for data that is not stored as images."""
    if data.train_inputs.dtype != torch.uint8:
        return None
    if standardization not in STANDARDIZATIONS:
        raise InvalidInputError(
            f"standardization must be one of {', '.join(STANDARDIZATIONS)}, got {standardization!r}."
        )
    return standardized_images if standardization == "per-image" else PerChannel.of(data.train_inputs)
