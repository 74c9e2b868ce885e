"""Gradients that are handed on one by one, so that all of them are never held at once."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeAlias

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge

__all__ = ["Receive", "each_gradient", "leaf"]

Receive: TypeAlias = Callable[[int, Tensor], object]
"""Takes the number of an input and the gradient in it, which is gone afterwards unless it is kept."""


def each_gradient(
    outputs: Sequence[Tensor] | Sequence[GradientEdge],
    inputs: Sequence[Tensor],
    receive: Receive,
    *,
    weights: Sequence[Tensor] | None = None,
    retain_graph: bool = False,
    create_graph: bool = False,
) -> None:
    """Hand the gradient of Σ outputs · weights in each input to a function, as soon as it is whole.

    Inputs that no output depends on are left out.

    Args:
        outputs: Tensors, or the places in the graph that they came from.
        inputs: Leaves of the graph.
        receive: Called once for each input that outputs depend on.
        weights: One for each output; default: ones, for scalar outputs.
        retain_graph: Whether the graph can be walked again.
        create_graph: Whether the gradients can be differentiated themselves.

    Example:
        >>> weight = torch.tensor([2.0, 3.0], requires_grad=True)
        >>> each_gradient([(weight**2).sum()], [weight], lambda index, gradient: print(index, gradient.tolist()))
        0 [4.0, 6.0]
    """

    def take(index: int, gradient: Tensor) -> Tensor:
        receive(index, gradient)
        return gradient.new_zeros(()).expand_as(gradient)  # what autograd keeps instead

    hooks = [value.register_hook(partial(take, index)) for index, value in enumerate(inputs)]  # type: ignore[no-untyped-call]
    try:
        torch.autograd.grad(
            outputs, inputs, weights, retain_graph=retain_graph or create_graph, create_graph=create_graph,
            allow_unused=True,
        )  # fmt: skip
    finally:
        for hook in hooks:
            hook.remove()


def leaf(value: Tensor) -> Tensor:
    """Return a tensor that is differentiated in place of another, whose memory it shares."""
    value = value.detach()
    return (value.clone() if value.is_inference() else value).requires_grad_()
