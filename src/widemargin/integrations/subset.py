"""Some of the training data, drawn once, so that records of one training can be compared."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, DistributedSampler, IterableDataset, TensorDataset, default_collate

from widemargin.batches import Batch
from widemargin.measures.sample import rows, sampled
from widemargin.trained_model import TrainedModel

__all__ = ["drawn_batches"]


def drawn_batches(trained: TrainedModel, num: int, *, seed: int) -> list[Batch]:
    """Return examples of the training data as batches, which no shuffling, sharing or padding changes any more.

    Of a map-style data set, in a loader or not, only the examples drawn are read; they are collated all at once, so
    that sequences are padded to one length, and then divided into batches of the loader's size. Of batches in any
    other form all are read, of a stream its first ``num`` examples. Call it while the network is borrowed: loaders
    and data sets use random numbers.

    Args:
        trained: The network with its training data, in any form that it takes.
        num: How many examples; all where there are no more.
        seed: Seed of the draw.

    Raises:
        EmptyDataError: There is no example.
        InvalidInputError: The data has a form that is not understood.

    Example:
        >>> trained = TrainedModel(torch.nn.Linear(1, 2), (torch.arange(9.0).unsqueeze(1), torch.arange(9) % 2))
        >>> [batch[1].tolist() for batch in drawn_batches(trained, 4, seed=0)]
        [[0, 0, 1, 0]]
    """
    loader = trained.train_data if isinstance(trained.train_data, DataLoader) else None
    data: Any = trained.train_data if loader is None else loader.dataset
    if isinstance(data, tuple | list) and len(data) >= 2 and all(isinstance(part, Tensor) for part in data):
        data = TensorDataset(*data)
    if isinstance(data, IterableDataset):
        trained = replace(trained, train_data=_first(trained, num))
    elif known := _indices(data, loader):
        drawn = torch.randperm(len(known), generator=torch.Generator().manual_seed(seed))[:num].sort().values
        collate = default_collate if loader is None else loader.collate_fn
        size = getattr(loader and loader.batch_sampler, "batch_size", None) or trained.batch_size
        whole = collate([data[known[place]] for place in drawn.tolist()])
        return [rows(whole, places, len(drawn)) for places in torch.split(torch.arange(len(drawn)), size)]
    num_examples = sum(len(labels) for _, labels in trained.batches("train"))
    return list(sampled(trained, num, num_examples=num_examples, seed=seed).train_data)


def _indices(data: Any, loader: DataLoader[Any] | None) -> list[int]:
    """Return what a loader takes one by one from a data set, in one order everywhere; nothing where it does not."""
    if not isinstance(data, Dataset) if loader is None else loader.batch_sampler is None:
        return []
    if loader is None or isinstance(loader.sampler, DistributedSampler):
        return list(range(len(data)))
    return sorted(set(loader.sampler))


def _first(trained: TrainedModel, num: int) -> list[Batch]:
    batches, num_read = [], 0
    for batch, labels in trained.batches("train"):
        batches.append(batch)
        num_read += len(labels)
        if num_read >= num:
            break
    return batches
