"""Second derivatives where torch has none of its own."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

__all__ = ["TwiceDifferentiable"]


class TwiceDifferentiable(TorchFunctionMode):
    """Within it, ``hardsigmoid`` is computed by operations with a second derivative.

    Values are the same bits, in single and double precision. It is the one activation of ``torch.nn`` that can be
    differentiated once only. Being piecewise linear, it bends nowhere but where its pieces meet; what lies before it
    and behind it does.

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


STANDS_FOR: Mapping[Callable[..., Any], Callable[..., Any]] = {
    functional.hardsigmoid: _hardsigmoid,
    torch._C._nn.hardsigmoid: _hardsigmoid,
    torch._C._nn.hardsigmoid_: lambda input: _hardsigmoid(input, inplace=True),
}
