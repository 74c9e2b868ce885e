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
from widemargin.data.toys import concentric_rings, swiss_roll
from widemargin.errors import InvalidInputError

__all__ = [
    "DATASETS",
    "ClassificationData",
    "DataSet",
    "balanced_subset",
    "concentric_rings",
    "corrupt_labels",
    "digits",
    "load",
    "standardized_images",
    "swiss_roll",
]


@dataclass(frozen=True, slots=True)
class DataSet:
    """What is known of a data set before it is read."""

    read: Callable[[], ClassificationData]
    num_train: int
    num_classes: int
    input_shape: tuple[int, ...]
    can_be_drawn: bool = False


DATASETS: Mapping[str, DataSet] = {
    "digits": DataSet(digits, num_train=1000, num_classes=10, input_shape=(1, 8, 8)),
    "rings": DataSet(concentric_rings, num_train=130, num_classes=2, input_shape=(2,), can_be_drawn=True),
    "swiss-roll": DataSet(swiss_roll, num_train=200, num_classes=2, input_shape=(2,), can_be_drawn=True),
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
