"""Means of two training examples of one class: what lies between what the network was trained on."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from widemargin.errors import MeasureNotApplicableError
from widemargin.trained_model import TrainedModel

__all__ = ["mixed_within_classes"]


def mixed_within_classes(trained: TrainedModel, *, seed: int) -> TrainedModel:
    """Return the network with the mean of each example and another of its class in place of its training data.

    Each class is put in a random order, and each example mixed with the next, the last with the first: every example
    is in two mixtures. Every floating-point tensor with a row for each example is mixed; others, labels too, are
    those of the first of the two. A class of one example is left out.

    Args:
        trained: The network with few enough examples to hold them all at once.
        seed: Seed of the orders.

    Raises:
        MeasureNotApplicableError: Inputs are integers, or of several shapes, or no class has two examples.

    Source: Natekar and Sharma 2020 (arXiv 2012.02775), mixup within a class with λ = ½.

    Example:
        >>> inputs, labels = torch.tensor([[0.0], [5.0], [4.0], [7.0]]), torch.tensor([0, 1, 0, 1])
        >>> trained = TrainedModel(torch.nn.Linear(1, 2), (inputs, labels))
        >>> [(batch[0].ravel().tolist(), given.tolist()) for batch, given in
        ...  mixed_within_classes(trained, seed=0).batches("train")]
        [([2.0, 2.0, 6.0, 6.0], [0, 0, 1, 1])]
    """
    batches, labels = zip(*trained.batches("train"), strict=True)
    sizes = [len(part) for part in labels]
    first, second = _pairs(torch.cat(labels).cpu(), seed)
    if not len(first):
        raise MeasureNotApplicableError("nothing can be mixed, because no class has two examples.")
    num_mixed = 0

    def joined(parts: Sequence[Tensor]) -> Tensor:
        if any(part.ndim == 0 or len(part) != size for part, size in zip(parts, sizes, strict=True)):
            return parts[0]
        if len({part.shape[1:] for part in parts}) > 1:
            raise MeasureNotApplicableError("nothing can be mixed, because inputs have several shapes.")
        return torch.cat(list(parts))

    def mixed(one: Tensor, other: Tensor, parts: Sequence[Tensor]) -> Tensor:
        nonlocal num_mixed
        (column,) = parts
        if column.ndim == 0 or len(column) != sum(sizes):
            return column
        if not column.is_floating_point():
            return column[one]
        num_mixed += 1
        return (column[one] + column[other]) / 2

    whole = _mapped(joined, batches)
    chunks = (torch.split(part.to(trained.device), trained.batch_size) for part in (first, second))
    data = [_mapped(partial(mixed, one, other), [whole]) for one, other in zip(*chunks, strict=True)]
    if not num_mixed:
        raise MeasureNotApplicableError("nothing can be mixed, because inputs are integers (tokens, say).")
    return replace(trained, train_data=data)


def _pairs(labels: Int[Tensor, " examples"], seed: int) -> tuple[Int[Tensor, " pairs"], Int[Tensor, " pairs"]]:
    """Return each example with the next of its class, in a random order that closes to a circle."""
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    order = order[labels[order].argsort(stable=True)]
    _, counts = np.unique(labels.numpy(), return_counts=True)
    circles = [part for part in torch.split(order, counts.tolist()) if len(part) > 1]
    first = torch.cat([order[:0], *circles])
    return first, torch.cat([order[:0], *(part.roll(-1) for part in circles)])


def _mapped(function: Callable[[Sequence[Tensor]], Tensor], batches: Sequence[Any]) -> Any:
    """Return one batch whose tensors are a function of those that stand in the same place in several."""
    head = batches[0]
    if isinstance(head, Tensor):
        return function(batches)
    if isinstance(head, Mapping):
        return {name: _mapped(function, [batch[name] for batch in batches]) for name in head}
    if isinstance(head, tuple | list):
        return [_mapped(function, parts) for parts in zip(*batches, strict=True)]
    return head
