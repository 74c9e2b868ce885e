"""Several processes under torchrun that share one computation."""

from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

import torch.distributed as dist
from torch.utils.data import BatchSampler, DataLoader, IterableDataset, SequentialSampler

from widemargin.errors import InvalidInputError

__all__ = ["gathered", "own_share", "place", "refuse_shuffling"]

T = TypeVar("T")


def place() -> tuple[int, int]:
    """Return this process's number and how many there are; (0, 1) outside of torchrun."""
    return (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)


def own_share(batches: Iterable[T]) -> Iterator[tuple[int, T]]:
    """Yield every n-th batch, with its number among all, for one of n processes that are given the same batches."""
    rank, num_processes = place()
    for index, batch in enumerate(batches):
        if index % num_processes == rank:
            yield index, batch


def gathered(value: T, problem: Exception | None, doing: str) -> list[T]:
    """Return what each process found, in their order; every one of them must call this, whatever happened to it.

    Args:
        value: What this process found.
        problem: What went wrong here, if anything; it is raised once the others know of it.
        doing: What all of them are at, in the words of an error.

    Raises:
        RuntimeError: Another process failed.
    """
    if problem is not None and not dist.is_initialized():
        raise problem
    if not dist.is_initialized():
        return [value]
    shares: list[Any] = [None] * dist.get_world_size()
    failure = None if problem is None else f"{type(problem).__name__}: {problem}"
    dist.all_gather_object(shares, (value, failure))
    if problem is not None:
        raise problem
    for rank, (_, failed) in enumerate(shares):
        if failed is not None:
            raise RuntimeError(f"process {rank} failed while {doing}: {failed}")
    return [found for found, _ in shares]


def refuse_shuffling(data: object) -> None:
    """Refuse a loader that gives every process another order, of which shares would overlap.

    Raises:
        InvalidInputError: It shuffles, or batches in a way of its own.
    """
    if not isinstance(data, DataLoader) or isinstance(data.dataset, IterableDataset):
        return
    if not isinstance(data.sampler, SequentialSampler) or type(data.batch_sampler) not in (BatchSampler, type(None)):
        raise InvalidInputError(
            "on several processes train_data must come in the same order everywhere, got a DataLoader with a "
            f"{type(data.sampler).__name__} and a {type(data.batch_sampler).__name__}. "
            "Hand over a loader with shuffle=False."
        )
