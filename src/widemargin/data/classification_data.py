"""In-memory data for classification: training and test examples as tensors."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from widemargin.errors import InvalidInputError

__all__ = ["ClassificationData", "balanced_subset", "corrupt_labels", "standardized_images"]


@dataclass(frozen=True, eq=False)
class ClassificationData:
    """Training and test examples.

    Attributes:
        train_inputs: Inputs of the training examples.
        train_labels: Class indices to train on; some may be corrupted.
        test_inputs: Inputs of the test examples.
        test_labels: Class indices of the test examples, always clean.
        num_classes: How many classes there are.
        num_corrupted: How many training labels are wrong on purpose.
        extra_inputs: Inputs of clean examples that are neither trained on nor tested, if there are any.
        extra_labels: Their class indices.
        draw: Function of a number and a generator that returns so many fresh inputs and labels, where the
            distribution itself is known.
    """

    train_inputs: Float[Tensor, "examples ..."]
    train_labels: Int[Tensor, " examples"]
    test_inputs: Float[Tensor, "test_examples ..."]
    test_labels: Int[Tensor, " test_examples"]
    num_classes: int
    num_corrupted: int = 0
    extra_inputs: Float[Tensor, "extra_examples ..."] | None = None
    extra_labels: Int[Tensor, " extra_examples"] | None = None
    draw: Callable[[int, torch.Generator], tuple[Tensor, Tensor]] | None = None

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one input."""
        return tuple(self.train_inputs.shape[1:])


def standardized_images(images: Float[Tensor, "examples ..."]) -> Float[Tensor, "examples ..."]:
    """Return each image less its own mean, over the larger of its deviation and 1/√(number of values).

    Source: the standardization of the paper's published input pipeline.
    """
    flat = images.flatten(1)
    deviation = flat.std(dim=1, correction=0, keepdim=True).clamp_min(flat.shape[1] ** -0.5)
    return ((flat - flat.mean(dim=1, keepdim=True)) / deviation).view_as(images)


def balanced_subset(data: ClassificationData, num_train: int, *, seed: int) -> ClassificationData:
    """Return the data with fewer training examples, the classes as equal as their sizes allow.

    Subsets of one seed are nested: a larger one holds every smaller one. What is left over becomes extra examples.

    Raises:
        InvalidInputError: More examples than there are, or fewer than one a class.
    """
    num_all = len(data.train_labels)
    if not data.num_classes <= num_train <= num_all:
        raise InvalidInputError(
            f"num_train must be from {data.num_classes} (one of each class) to {num_all} (all), got {num_train}."
        )
    order = torch.randperm(num_all, generator=torch.Generator().manual_seed(seed))
    labels = data.train_labels[order]
    one_hot = torch.nn.functional.one_hot(labels, data.num_classes)
    rank_in_class = one_hot.cumsum(dim=0).gather(1, labels.unsqueeze(1)).squeeze(1)
    by_rank = order[rank_in_class.argsort(stable=True)]
    kept, left = by_rank[:num_train].sort().values, by_rank[num_train:].sort().values
    return replace(
        data,
        train_inputs=data.train_inputs[kept],
        train_labels=data.train_labels[kept],
        extra_inputs=data.train_inputs[left],
        extra_labels=data.train_labels[left],
    )


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
