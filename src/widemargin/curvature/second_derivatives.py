"""Second derivatives where torch has none of its own, or a wrong one."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

__all__ = ["TwiceDifferentiable"]


class TwiceDifferentiable(TorchFunctionMode):
    """Within it, ``hardsigmoid`` and weight normalization are computed by operations with a second derivative.

    ``hardsigmoid`` is the one activation of ``torch.nn`` that can be differentiated once only. Being piecewise
    linear, it bends nowhere but where its pieces meet; what lies before it and behind it does. Its values are the
    same bits, in single and double precision.

    The slopes of torch's own weight normalization take norms for constants when they are differentiated, which is
    wrong. Its values are the same but for rounding.

    Example:
        >>> point = torch.tensor(1.0, requires_grad=True)
        >>> with TwiceDifferentiable():
        ...     value = functional.hardsigmoid(point**2)
        >>> (slope,) = torch.autograd.grad(value, point, create_graph=True)
        >>> round(torch.autograd.grad(slope, point)[0].item(), 6)  # of point² / 6
        0.333333
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Call a function of torch's, or what stands for it."""
        return STANDS_FOR.get(func, func)(*args, **(kwargs or {}))


def _hardsigmoid(input: Tensor, inplace: bool = False) -> Tensor:
    result = functional.relu6(input + 3) / 6
    return input.copy_(result) if inplace else result


def _weight_norm(direction: Tensor, length: Tensor, dim: int = 0) -> Tensor:
    return direction * (length / torch.norm_except_dim(direction, 2, dim))


STANDS_FOR: Mapping[Callable[..., Any], Callable[..., Any]] = {
    torch._weight_norm: _weight_norm,
    functional.hardsigmoid: _hardsigmoid,
    torch._C._nn.hardsigmoid: _hardsigmoid,
    torch._C._nn.hardsigmoid_: lambda input: _hardsigmoid(input, inplace=True),
}
