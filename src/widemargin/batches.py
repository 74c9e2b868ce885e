"""Batches in all the forms that they come in: what of them are labels, and what the network is called with."""

import inspect
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, DistributedSampler

from widemargin.errors import InvalidInputError

__all__ = [
    "Batch",
    "Fields",
    "arguments",
    "as_batches",
    "as_mapping",
    "contents",
    "label_key",
    "labels_of",
    "transferred",
]

Batch: TypeAlias = Any
"""A tuple or list ``(inputs, labels)`` or ``(inputs, more inputs, labels)``; or a mapping or object with ``labels``,
``label`` or ``y``. In a longer tuple the labels are the first entry that is one integer an example, behind as many
inputs as the network cannot do without."""

LABEL_KEYS = ("labels", "label", "y")


def as_batches(data: Any, batch_size: int) -> Iterable[Batch]:
    """Return the batches of data that may not be batched yet.

    Raises:
        InvalidInputError: The data has a form that is not understood.
    """
    if isinstance(data, DataLoader):
        if isinstance(data.sampler, DistributedSampler):
            raise InvalidInputError(
                "train_data must hold every example on every process, got a DataLoader with a "
                "DistributedSampler, which repeats examples to fill up. Hand over a plain loader: its batches "
                "are divided among the processes here."
            )
        return data
    if isinstance(data, Dataset):
        return DataLoader(data, batch_size=batch_size)
    if isinstance(data, tuple | list) and len(data) >= 2 and all(isinstance(part, Tensor) for part in data):
        return _slices(data, batch_size)
    if isinstance(data, Iterable):
        return data
    raise InvalidInputError(
        "data must be a DataLoader, a Dataset, a list of batches or tensors (inputs, labels), got "
        f"{type(data).__name__}."
    )


def _slices(columns: Sequence[Tensor], batch_size: int) -> Iterator[tuple[Tensor, ...]]:
    if len({len(column) for column in columns}) > 1:
        *inputs, labels = (str(len(column)) for column in columns)
        raise InvalidInputError(
            f"inputs and labels must be equally many, got {' and '.join(inputs)} inputs and {labels} labels."
        )
    for start in range(0, len(columns[0]), batch_size):
        yield tuple(column[start : start + batch_size] for column in columns)


class Fields(dict[str, Any]):
    """A mapping whose entries are attributes, too: batches that were objects can be used as before."""

    def __init__(self, entries: Mapping[str, Any]) -> None:
        super().__init__(entries)
        self.__dict__ = self


def as_mapping(batch: object) -> Batch:
    """Return what an object holds by name; tensors, tuples and mappings as they are, and what holds nothing."""
    if isinstance(batch, Tensor | tuple | list | Mapping):
        return batch
    if hasattr(batch, "keys") and hasattr(batch, "__getitem__"):  # a mapping but by name
        return {key: batch[key] for key in batch.keys()}  # noqa: SIM118  # may iterate over something else
    if is_dataclass(batch):
        return {each.name: getattr(batch, each.name) for each in fields(batch)}
    return getattr(batch, "__dict__", batch)


def transferred(batch: Batch, device: torch.device, dtype: torch.dtype | None) -> Batch:
    """Return the batch on the device, every floating tensor in it in the given precision (if any)."""
    if isinstance(batch, Tensor):
        target = dtype if dtype is not None and batch.is_floating_point() else batch.dtype
        moved = batch.to(device=device, dtype=target)
        return moved.clone() if moved.is_inference() else moved
    if isinstance(batch, Mapping):
        return {key: transferred(value, device, dtype) for key, value in batch.items()}
    if isinstance(batch, tuple | list):
        return [transferred(value, device, dtype) for value in batch]
    return batch


def labels_of(network: nn.Module, batch: Batch) -> Tensor:
    """Return the labels of a batch.

    Raises:
        InvalidInputError: There are none.
    """
    if isinstance(batch, Mapping):
        found = batch.get(label_key(batch))
        got = f"a mapping with the keys {sorted(map(str, batch))}"
    else:
        found = batch[_num_inputs(network, batch)] if isinstance(batch, tuple | list) and len(batch) >= 2 else None
        got = f"{type(batch).__name__}" + (f" of {len(batch)}" if isinstance(batch, tuple | list) else "")
    if not isinstance(found, Tensor):
        raise InvalidInputError(
            "a batch must be a tuple (inputs, labels) of tensors, or a mapping or object with an entry 'labels', got "
            f"{got}. Wrap the loader so that it yields one of these; a list of single examples needs a DataLoader."
        )
    if found.ndim == 0:
        raise InvalidInputError(
            "a batch must hold the labels of its examples, got a single label. Hand over a list of single examples "
            "as torch.utils.data.DataLoader(examples, batch_size=…)."
        )
    return found


def label_key(batch: Mapping[str, Any]) -> str | None:
    """Return under which name a mapping holds its labels."""
    return next((key for key in LABEL_KEYS if key in batch), None)


def _num_inputs(network: nn.Module, batch: Sequence[Any]) -> int:
    """Return how many entries of a tuple stand before the labels."""
    if len(batch) <= 2:
        return 1
    parameters = inspect.signature(network.forward).parameters.values()
    by_position = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    num_needed = sum(each.kind in by_position and each.default is each.empty for each in parameters)
    num_least = min(max(1, num_needed), len(batch) - 1)
    places = range(num_least, len(batch))
    return next((place for place in places if _are_class_indices(batch[place])), num_least)


def _are_class_indices(value: object) -> bool:
    return isinstance(value, Tensor) and value.ndim == 1 and not value.is_floating_point()


def arguments(network: nn.Module, batch: Batch) -> tuple[Sequence[Any], Mapping[str, Any]]:
    """Return what a network is called with on a batch."""
    if not isinstance(batch, Mapping):
        return batch[: _num_inputs(network, batch)], {}
    named = {key: batch[key] for key in batch if key != label_key(batch)}
    try:
        inspect.signature(network.forward).bind(**named)
    except TypeError:
        return [Fields(batch)], {}
    return [], named


def contents(batch: Batch) -> str:
    """Return what a batch holds beside its labels, in words."""
    if isinstance(batch, Mapping):
        return ", ".join(str(key) for key in batch if key != label_key(batch))
    return f"{len(batch) - 1} of {len(batch)} entries"
