"""Data sets by name, training subsets, label corruption."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from widemargin.data.classification_data import (
    ClassificationData,
    balanced_subset,
    corrupt_labels,
    standardized_images,
)
from widemargin.data.digits import digits
from widemargin.errors import InvalidInputError

__all__ = [
    "DATASETS",
    "ClassificationData",
    "DataSet",
    "balanced_subset",
    "corrupt_labels",
    "digits",
    "load",
    "standardized_images",
]


@dataclass(frozen=True, slots=True)
class DataSet:
    """What is known of a data set before it is read."""

    read: Callable[[], ClassificationData]
    num_train: int
    num_classes: int
    input_shape: tuple[int, ...]


DATASETS: Mapping[str, DataSet] = {
    "digits": DataSet(digits, num_train=1000, num_classes=10, input_shape=(1, 8, 8)),
}


def load(
    name: str, *, num_train: int | None = None, label_corruption: float = 0.0, seed: int = 0
) -> ClassificationData:
    """Return a data set, cut down and with corrupted training labels as asked.

    Args:
        name: A key of ``DATASETS``.
        num_train: How many training examples to keep, classes balanced; ``None`` for all.
        label_corruption: Share of training labels that are exchanged for another class.
        seed: Seed of the choice of examples and of wrong labels.

    Raises:
        InvalidInputError: No such data set, or a number out of range.
    """
    if name not in DATASETS:
        raise InvalidInputError(f"data must be one of {', '.join(DATASETS)}, got {name!r}.")
    data = DATASETS[name].read()
    if num_train is not None:
        data = balanced_subset(data, num_train, seed=seed)
    return corrupt_labels(data, label_corruption, seed=seed) if label_corruption else data
