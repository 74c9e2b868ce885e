"""What training asks of its examples before it begins."""

import torch
from torch import Tensor, nn

from widemargin.errors import InvalidInputError, InvalidLabelsError, InvalidLogitsError

__all__ = ["check_examples", "check_numbers"]


def check_numbers(num_steps: int, batch_size: int | None) -> None:
    """Refuse a training of a length or batch size that does not exist.

    Raises:
        InvalidInputError: Fewer than 0 steps, or batches without examples.
    """
    if num_steps < 0:
        raise InvalidInputError(f"num_steps must be at least 0, got {num_steps}.")
    if batch_size is not None and batch_size < 1:
        raise InvalidInputError(f"batch_size must be at least 1, or None for all examples, got {batch_size}.")


def check_examples(network: nn.Module, inputs: Tensor, labels: Tensor, what: str = "training") -> None:
    """Refuse examples that the network cannot be trained on; two of them are sent through it to see its logits.

    Raises:
        InvalidInputError: No examples, or not as many labels as inputs.
        InvalidLabelsError: Labels that are not class indices below the number of logits (below 2 for one logit).
        InvalidLogitsError: The network returns no tensor of one row per example.
    """
    if len(inputs) == 0:
        raise InvalidInputError(f"{what} needs at least one example, got none.")
    if labels.shape != (len(inputs),):
        raise InvalidInputError(
            f"{what} needs one label per example, got {len(inputs)} inputs and labels of shape {list(labels.shape)}."
        )
    if labels.is_floating_point() or labels.dtype == torch.bool:
        raise InvalidLabelsError(
            f"{what} needs integer class indices as labels, got {str(labels.dtype).removeprefix('torch.')}. Turn 0.0 "
            "and 1.0 into integers with labels.long()."
        )
    was_training = network.training
    try:
        with torch.no_grad():
            logits = network.eval()(inputs[:2])
    finally:
        network.train(was_training)
    if not isinstance(logits, Tensor) or logits.ndim > 2 or len(logits) != min(2, len(inputs)):
        got = f"shape {list(logits.shape)}" if isinstance(logits, Tensor) else type(logits).__name__
        raise InvalidLogitsError(
            f"training takes networks that return logits as a tensor of one row per example, got {got}. Wrap the "
            "network in a module that does."
        )
    num_classes = max(logits.shape[1] if logits.ndim == 2 else 1, 2)
    smallest, largest = int(labels.min()), int(labels.max())
    if smallest < 0 or largest >= num_classes:
        raise InvalidLabelsError(
            f"labels of {what} must be class indices from 0 to below {num_classes}, got a minimum of {smallest} and "
            f"a maximum of {largest}."
        )
