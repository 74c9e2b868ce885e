"""Many networks of one shape evaluated at once."""

from typing import Any

from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call, vmap

from widemargin.parameters import ParameterSpace

__all__ = ["has_stacked_forward", "stacked_logits"]


def has_stacked_forward(network: nn.Module) -> bool:
    """Return whether the network brings a ``stacked_forward`` that stands for its ``forward`` as it is now.

    Both have to be written in the same class, which says by ``can_be_stacked`` whether its parts are still the ones
    that it knows; hooks on any part forbid it.
    """
    kind = vars(type(network))
    if not ("forward" in kind and "stacked_forward" in kind and getattr(network, "can_be_stacked", False)):
        return False
    return not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())


def stacked_logits(
    network: nn.Module,
    space: ParameterSpace,
    points: Float[Tensor, "networks parameters"],
    inputs: Float[Tensor, "..."],
    *,
    are_shared: bool,
) -> Float[Tensor, "networks examples ..."]:
    """Return what the network gives at each point of its parameter space.

    By its own ``stacked_forward`` if it has one, else vectorized by ``torch.func.vmap``.

    Args:
        network: Of the shape that all share; its own parameters are not used.
        space: Its parameters.
        points: One row of parameters for each network.
        inputs: Examples, one set for all networks or one for each.
        are_shared: Whether it is one set for all.
    """
    stacked = space.stacked(points)
    if has_stacked_forward(network):
        own: Any = network
        logits: Tensor = own.stacked_forward(stacked, inputs, are_shared=are_shared)
        return logits

    def one(parameters: dict[str, Tensor], examples: Tensor) -> Tensor:
        found: Tensor = functional_call(network, parameters, (examples,))
        return found

    logits = vmap(one, (0, None if are_shared else 0))(stacked, inputs)
    return logits
