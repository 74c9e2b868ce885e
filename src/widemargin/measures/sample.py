"""A network with a sample of its training data, for measures that would take too long on all of it."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from widemargin.batches import Batch
from widemargin.trained_model import TrainedModel

__all__ = ["rows", "sampled"]


def sampled(trained: TrainedModel, num_sampled: int, *, num_examples: int, seed: int) -> TrainedModel:
    """Return the network with examples drawn from its training data, whatever batches these come in.

    Args:
        trained: The network with all of its training data.
        num_sampled: How many examples to draw; all where there are no more.
        num_examples: How many there are.
        seed: Seed of the draw.
    """
    drawn = torch.randperm(num_examples, generator=torch.Generator().manual_seed(seed))[:num_sampled]
    is_drawn = torch.zeros(num_examples, dtype=torch.bool)
    is_drawn[drawn] = True
    parts, start = [], 0
    for batch, labels in trained.batches("train"):
        wanted = is_drawn[start : start + len(labels)].nonzero().squeeze(1).to(labels.device)
        start += len(labels)
        if len(wanted):
            parts.append(rows(batch, wanted, len(labels)))
    return replace(trained, train_data=_joined(parts, trained.batch_size))


def rows(batch: Batch, wanted: Tensor, num: int) -> Batch:
    """Return some examples of a batch."""
    if isinstance(batch, Tensor):
        return batch[wanted] if batch.ndim and len(batch) == num else batch
    if isinstance(batch, Mapping):
        return {name: rows(part, wanted, num) for name, part in batch.items()}
    if isinstance(batch, tuple | list):
        return type(batch)([rows(part, wanted, num) for part in batch])
    return batch


def _joined(parts: list[Any], batch_size: int) -> list[Any]:
    """Return pairs of tensors as batches of one size; other batches, and those of several shapes, as they are."""
    pairs = [
        part for part in parts if isinstance(part, tuple | list) and all(isinstance(each, Tensor) for each in part)
    ]
    shapes = {tuple(each.shape[1:] for each in pair) for pair in pairs}
    if len(pairs) < len(parts) or len(shapes) != 1:
        return parts
    columns = [torch.split(torch.cat(column), batch_size) for column in zip(*pairs, strict=True)]
    return list(zip(*columns, strict=True))
