"""What training asks of its examples before it begins."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from widemargin.errors import InvalidInputError, InvalidLogitsError
from widemargin.trained_model import TrainedModel, check_labels
from widemargin.training.poison import Poison

__all__ = ["check_examples", "check_numbers", "check_poison"]


def check_numbers(num_steps: int, batch_size: int | None) -> None:
    """Refuse a training of a length or batch size that does not exist.

    Raises:
        InvalidInputError: Fewer than 0 steps, or batches without examples.
    """
    if num_steps < 0:
        raise InvalidInputError(f"num_steps must be at least 0, got {num_steps}.")
    if batch_size is not None and batch_size < 1:
        raise InvalidInputError(f"batch_size must be at least 1, or None for all examples, got {batch_size}.")


def check_examples(
    network: nn.Module,
    inputs: Tensor,
    labels: Tensor,
    what: str = "training",
    prepared: Callable[[Tensor], Tensor] | None = None,
) -> None:
    """Refuse examples that the network cannot be trained on; two of them are sent through it to see its logits.

    Args:
        network: The network.
        inputs: All of the examples' inputs.
        labels: All of their labels.
        what: What they are for, in the words of an error.
        prepared: What makes network inputs of them; ``None`` where they are taken as they are.

    Raises:
        InvalidInputError: No examples.
        InvalidLabelsError: Not one class index below the number of logits (below 2 for one logit) per input.
        InvalidLogitsError: The network returns no tensor of one row per example.
    """
    if len(inputs) == 0:
        raise InvalidInputError(f"{what} needs at least one example, got none.")
    with TrainedModel(network, (inputs, labels)).borrowed() as lent, torch.no_grad():
        logits = lent(inputs[:2] if prepared is None else prepared(inputs[:2]))
    if not isinstance(logits, Tensor) or logits.ndim not in (1, 2) or len(logits) != min(2, len(inputs)):
        got = f"shape {list(logits.shape)}" if isinstance(logits, Tensor) else type(logits).__name__
        raise InvalidLogitsError(
            f"training takes networks that return logits as a tensor of one row per example, got {got}. Wrap the "
            "network in a module that does."
        )
    num_classes = max(logits.shape[1] if logits.ndim == 2 else 1, 2)
    check_labels(labels, len(inputs), num_classes, f"labels of {what}")


def check_poison(network: nn.Module, poison: Poison, device: torch.device) -> None:
    """Refuse a fixed pool of poison that the network cannot be trained on.

    Raises:
        InvalidInputError: As for :func:`check_examples`.
    """
    if not callable(poison.source):
        inputs, labels = poison.source
        check_examples(
            network, inputs, labels, "the pool of poison", lambda some: poison.prepared(some.to(device)).float()
        )
