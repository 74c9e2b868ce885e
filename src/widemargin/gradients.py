"""Gradients that are handed on part by part, so that they are never held all at once."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import TypeAlias

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge, Node, get_gradient_edge

__all__ = ["Receive", "each_part", "leaf"]

Receive: TypeAlias = Callable[[int, Tensor], object]
"""Takes the number of an input and a part of the gradient in it, which is gone afterwards unless it is kept."""

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
    """Hand the gradient of Σ outputs · weights in each input to a function, a part for each place it is used in.

    The parts of one input add up to its gradient; a weight that a network uses once has one part. Inputs that no
    output depends on are left out.

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
    roots = [
        output.node if isinstance(output, GradientEdge) else get_gradient_edge(output).node for output in outputs
    ]
    nodes = list(_nodes(roots))
    ways = _ways({get_gradient_edge(value).node: index for index, value in enumerate(inputs)}, nodes)

    def take(ends: Sequence[Node | None], gradients: Sequence[Tensor | None], _: object) -> tuple[Tensor | None, ...]:
        """Hand on what leads to an input, and leave nothing of it for autograd, which keeps it until all is there."""
        left = list(gradients)
        for slot, end in enumerate(ends):
            part = left[slot]
            if end in ways and part is not None:
                left[slot] = None
                way, index = ways[end]
                for view in way:
                    part = view(part)  # type: ignore[operator]  # nodes are called like functions
                receive(index, part)
        return tuple(left)

    hooks = []
    for node in nodes:
        ends = [end for end, _ in node.next_functions]
        if node not in ways and any(end in ways for end in ends):
            hooks.append(node.register_hook(partial(take, ends)))
    try:
        torch.autograd.grad(
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


def leaf(value: Tensor) -> Tensor:
    """Return a tensor that is differentiated in place of another, whose memory it shares."""
    value = value.detach()
    return (value.clone() if value.is_inference() else value).requires_grad_()


def _nodes(roots: Sequence[Node]) -> Iterator[Node]:
    """Yield every node of a graph once."""
    seen, left = set(roots), list(dict.fromkeys(roots))
    while left:
        node = left.pop()
        yield node
        for following, _ in node.next_functions:
            if following is not None and following not in seen:
                seen.add(following)
                left.append(following)


def _ways(numbers: Mapping[Node, int], nodes: Sequence[Node]) -> dict[Node | None, tuple[list[Node], int]]:
    """Return the nodes that lead to one input only, through views of it: the way there, and the input's number."""
    ways: dict[Node | None, tuple[list[Node], int]] = {node: ([], index) for node, index in numbers.items()}
    views = [node for node in nodes if node.name() in VIEWS]
    for _ in range(LONGEST_WAY):
        for node in views:
            if node not in ways and (known := ways.get(node.next_functions[0][0])) is not None:
                ways[node] = ([node, *known[0]], known[1])
    return ways
