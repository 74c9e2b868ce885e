"""Gradients that are handed on part by part, so that they are never held all at once."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import TypeAlias

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge, Node, get_gradient_edge
from torch.utils.hooks import RemovableHandle

__all__ = ["Receive", "each_part", "leaf", "nodes_behind"]

Receive: TypeAlias = Callable[[int, Tensor], object]
"""Takes the number of an input and a part of the gradient in it, which is gone afterwards unless it is kept."""

BYTES_AT_ONCE = 2**25
"""Gradients may be held at once up to this; walking the graph costs more where they are small."""

VIEWS = ("TBackward0", "TransposeBackward0", "PermuteBackward0", "ViewBackward0", "UnsqueezeBackward0")
LONGEST_WAY = 3
"""Layers use their weights through views; autograd would hold the parts of a gradient where a view ends."""


def each_part(
    outputs: Sequence[Tensor] | Sequence[GradientEdge],
    inputs: Sequence[Tensor],
    receive: Receive,
    *,
    weights: Sequence[Tensor] | None = None,
    retain_graph: bool = False,
    create_graph: bool = False,
) -> None:
    """Hand the gradient of Σ outputs · weights in each input to a function, in parts that add up to it.

    Inputs of more than 32 MiB together have a part for each place they are used in, and no two are held at once;
    others come as a whole. Inputs that no output depends on are left out.

    Args:
        outputs: Tensors that were computed from the inputs, or the places in the graph that they came from.
        inputs: Leaves of the graph.
        receive: Takes each part, as soon as it is there.
        weights: One for each output; default: ones, for scalar outputs.
        retain_graph: Whether the graph can be walked again.
        create_graph: Whether the gradients can be differentiated themselves.

    Example:
        >>> weight = torch.tensor([2.0, 3.0], requires_grad=True)
        >>> each_part([(weight**2).sum()], [weight], lambda index, part: print(index, part.tolist()))
        0 [4.0, 6.0]
    """
    is_large = sum(value.nbytes for value in inputs) > BYTES_AT_ONCE
    hooks = _intercept(outputs, inputs, receive) if is_large else []
    try:
        rest = torch.autograd.grad(
            outputs,
            inputs,
            weights,
            retain_graph=retain_graph or create_graph,
            create_graph=create_graph,
            allow_unused=True,
        )
    finally:
        for hook in hooks:
            hook.remove()
    for index, gradient in enumerate(rest):
        if gradient is not None:
            receive(index, gradient)


def leaf(value: Tensor) -> Tensor:
    """Return a tensor that is differentiated in place of another, whose memory it shares."""
    value = value.detach()
    return (value.clone() if value.is_inference() else value).requires_grad_()


def _intercept(
    outputs: Sequence[Tensor] | Sequence[GradientEdge], inputs: Sequence[Tensor], receive: Receive
) -> list[RemovableHandle]:
    """Have the nodes of a graph hand on what leads to an input, so that nothing is left that autograd would hold."""
    nodes = nodes_behind(
        [(each if isinstance(each, GradientEdge) else get_gradient_edge(each)).node for each in outputs]
    )
    ways = _ways({get_gradient_edge(value).node: index for index, value in enumerate(inputs)}, nodes)

    def take(ends: Sequence[Node | None], gradients: Sequence[Tensor | None], _: object) -> tuple[Tensor | None, ...]:
        left = list(gradients)
        for slot, end in enumerate(ends):
            part = left[slot]
            if end in ways and part is not None:
                left[slot] = None
                views, index = ways[end]
                for view in views:
                    part = view(part)  # type: ignore[operator]  # nodes are called like functions
                receive(index, part)
        return tuple(left)

    found = []
    for node in nodes:
        ends = [end for end, _ in node.next_functions]
        if node not in ways and any(end in ways for end in ends):
            found.append(node.register_hook(partial(take, ends)))
    return found


def nodes_behind(roots: Iterable[Node]) -> list[Node]:
    """Return every node of a graph once, those that it is entered by first."""
    seen = dict.fromkeys(roots)
    left = list(seen)
    while left:
        for following, _ in left.pop().next_functions:
            if following is not None and following not in seen:
                seen[following] = None
                left.append(following)
    return list(seen)


def _ways(numbers: Mapping[Node, int], nodes: Sequence[Node]) -> dict[Node | None, tuple[list[Node], int]]:
    """Return the nodes that lead to one input only, through views of it: the way there, and the input's number."""
    ways: dict[Node | None, tuple[list[Node], int]] = {node: ([], index) for node, index in numbers.items()}
    views = [node for node in nodes if node.name() in VIEWS]
    for _ in range(LONGEST_WAY):
        for node in views:
            if node not in ways and (known := ways.get(node.next_functions[0][0])) is not None:
                ways[node] = ([node, *known[0]], known[1])
    return ways
