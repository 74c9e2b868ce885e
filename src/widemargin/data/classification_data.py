"""In-memory data for classification: training and test examples as tensors."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from jaxtyping import Int, Shaped
from torch import Tensor

from widemargin.data.images import Preparation
from widemargin.errors import InvalidInputError

__all__ = ["ClassificationData", "balanced_choice", "balanced_subset", "chosen", "corrupt_labels", "prepared"]


@dataclass(frozen=True, eq=False)
class ClassificationData:
    """Training and test examples.

    Attributes:
        train_inputs: Inputs of the training examples, as the network takes them.
        train_labels: Class indices to train on; some may be corrupted.
        test_inputs: Inputs of the test examples.
        test_labels: Class indices of the test examples, always clean.
        num_classes: How many classes there are.
        num_corrupted: How many training labels are wrong on purpose.
        extra_inputs: Inputs of clean examples that are neither trained on nor tested, if there are any; as they are
            stored, for there may be many, so where there is a preparation they want it first.
        extra_labels: Their class indices.
        draw: Function of a number and a generator that returns so many fresh inputs and labels, where the
            distribution itself is known.
        stored_train_inputs: The training inputs before their preparation, which augmentation works on.
        preparation: From stored inputs to those that the network takes; ``None`` where they are the same.
        source: Where the examples were read, if they were.
        checksum: SHA-256 of all that was read there.
    """

    train_inputs: Shaped[Tensor, "examples ..."]
    train_labels: Int[Tensor, " examples"]
    test_inputs: Shaped[Tensor, "test_examples ..."]
    test_labels: Int[Tensor, " test_examples"]
    num_classes: int
    num_corrupted: int = 0
    extra_inputs: Shaped[Tensor, "extra_examples ..."] | None = None
    extra_labels: Int[Tensor, " extra_examples"] | None = None
    draw: Callable[[int, torch.Generator], tuple[Tensor, Tensor]] | None = None
    stored_train_inputs: Shaped[Tensor, "examples ..."] | None = None
    preparation: Preparation | None = None
    source: str | None = None
    checksum: str | None = None

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one input."""
        return tuple(self.train_inputs.shape[1:])


def prepared(data: ClassificationData, preparation: Preparation) -> ClassificationData:
    """Return stored data with its training and test inputs made ready for the network."""
    return replace(
        data,
        train_inputs=_in_parts(preparation, data.train_inputs),
        test_inputs=_in_parts(preparation, data.test_inputs),
        stored_train_inputs=data.train_inputs,
        preparation=preparation,
    )


def _in_parts(preparation: Preparation, inputs: Tensor, rows_at_once: int = 1000) -> Tensor:
    """Prepare some rows at a time, so that what lies between stays in the processor's cache."""
    return torch.cat([preparation(rows) for rows in torch.split(inputs, rows_at_once)])


def balanced_subset(data: ClassificationData, num_train: int, *, seed: int) -> ClassificationData:
    """Return the data with fewer training examples, the classes as equal as their sizes allow.

    Subsets of one seed are nested: a larger one holds every smaller one. What is left over becomes extra examples,
    unless there are some already.

    Raises:
        InvalidInputError: More examples than there are, or fewer than one a class.
    """
    return chosen(data, *balanced_choice(data.train_labels, data.num_classes, num_train, seed=seed))


def chosen(data: ClassificationData, kept: Int[Tensor, " kept"], left: Int[Tensor, " left"]) -> ClassificationData:
    """Return the data with the training examples at some places; those left over are extra, unless there are some."""
    smaller = replace(data, train_inputs=data.train_inputs[kept], train_labels=data.train_labels[kept])
    if data.extra_labels is not None:
        return smaller
    return replace(smaller, extra_inputs=data.train_inputs[left], extra_labels=data.train_labels[left])


def balanced_choice(
    labels: Int[Tensor, " examples"], num_classes: int, num_kept: int, *, seed: int
) -> tuple[Int[Tensor, " kept"], Int[Tensor, " left"]]:
    """Return the places of the examples that a balanced subset keeps and leaves, both in rising order.

    Raises:
        InvalidInputError: More examples than there are, or fewer than one a class.
    """
    if not num_classes <= num_kept <= len(labels):
        raise InvalidInputError(
            f"num_train must be from {num_classes} (one of each class) to {len(labels)} (all), got {num_kept}."
        )
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    one_hot = torch.nn.functional.one_hot(labels[order], num_classes)
    rank_in_class = one_hot.cumsum(dim=0).gather(1, labels[order].unsqueeze(1)).squeeze(1)
    by_rank = order[rank_in_class.argsort(stable=True)]
    return by_rank[:num_kept].sort().values, by_rank[num_kept:].sort().values


def corrupt_labels(data: ClassificationData, share: float, *, seed: int) -> ClassificationData:
    """Return the data with a share of its training labels exchanged for another class drawn at random.

    Raises:
        InvalidInputError: The share is not from 0 to 1.
    """
    if not 0 <= share <= 1:
        raise InvalidInputError(f"label corruption must be a share from 0 to 1, got {share}.")
    num_corrupted = round(share * len(data.train_labels))
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.randperm(len(data.train_labels), generator=generator)[:num_corrupted]
    shift = torch.randint(1, data.num_classes, (num_corrupted,), generator=generator)
    labels = data.train_labels.clone()
    labels[chosen] = (labels[chosen] + shift) % data.num_classes
    return replace(data, train_labels=labels, num_corrupted=num_corrupted)
