"""A network's linear maps as matrices, in the order of the forward pass: what norms and spectra are taken of."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from widemargin.errors import InvalidInputError, MeasureNotApplicableError
from widemargin.trained_model import TrainedModel

__all__ = ["CONVOLUTIONS", "RESHAPED", "LinearMap", "initial_value", "linear_maps", "where_it_convolves"]

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
LINEAR = (nn.Linear, *CONVOLUTIONS)
BY_EXAMPLE = (nn.LayerNorm, nn.GroupNorm, nn.RMSNorm, nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
RESHAPED = "Convolutions count by their reshaped kernels, whose norm is not that of the operator."


@dataclass(frozen=True, eq=False)
class LinearMap:
    """One linear map of a network, a BatchNorm right behind it folded in; its matrices are made when asked for.

    Attributes:
        name: Dotted name of the layer.
        module: The layer; a BatchNorm that follows no linear layer is a diagonal map of its own.
        input_size: Height, width, … of what a convolution takes; empty for others.
        scale: What the BatchNorm multiplies each output by, where there is one.
        initial: The layer's weight before training, where that is known.
    """

    name: str
    module: nn.Module
    input_size: tuple[int, ...]
    scale: Float[Tensor, " outputs"] | None = None
    initial: Tensor | None = None

    @property
    def weight(self) -> Float[Tensor, "outputs inputs"]:
        """Its matrix, in single precision at least; the reshaped kernel of a convolution."""
        if isinstance(self.module, NORMS):
            return torch.diag(_scale(self.module))
        return self._scaled(cast(Tensor, self.module.weight).detach())

    @property
    def reference(self) -> Float[Tensor, "outputs inputs"]:
        """The same before training; 0 where that is not known."""
        if self.initial is None:
            weight = self.weight
            return weight.new_zeros(()).expand_as(weight)
        return self._scaled(self.initial)

    def _scaled(self, weight: Tensor) -> Tensor:
        matrix = weight.flatten(1).to(torch.promote_types(weight.dtype, torch.float32))
        return matrix if self.scale is None else self.scale.unsqueeze(1) * matrix


def linear_maps(trained: TrainedModel) -> list[LinearMap]:
    """Return a network's linear maps as they act in evaluation mode, in the order of the forward pass.

    Raises:
        MeasureNotApplicableError: The network has weights outside linear layers, convolutions and BatchNorms, norms
            that depend on the example (LayerNorm, GroupNorm), or layers that are used more than once.
        InvalidInputError: The initial parameters are not those of this network.
    """
    order: list[tuple[str, nn.Module]] = []
    sizes: dict[str, tuple[int, ...]] = {}
    behind: dict[str, str] = {}  # BatchNorm → linear layer whose very output it takes
    producer: dict[tuple[int, int], str] = {}  # identity and version: an in-place ReLU keeps the one, not the other
    alive: list[Tensor] = []  # keeps the ids of outputs from being used again

    def note(name: str, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        if any(earlier is module for _, earlier in order):
            raise MeasureNotApplicableError(
                f"norms of layers are defined for layers that are used once, but {name} is called again."
            )
        order.append((name, module))
        sizes[name] = tuple(inputs[0].shape[2:])
        if isinstance(module, NORMS) and (known := (id(inputs[0]), inputs[0]._version)) in producer:
            behind[name] = producer[known]
        if isinstance(module, LINEAR):
            producer[id(output), output._version] = name
            alive.append(output)

    with trained.borrowed() as network, torch.no_grad():
        named = [(name, module) for name, module in network.named_modules() if isinstance(module, LINEAR + NORMS)]
        _refuse_other_weights(network, {module for _, module in named})
        handles = [
            module.register_forward_hook(lambda m, i, o, name=name: note(name, m, i, o)) for name, module in named
        ]
        try:
            trained.logits(next(trained.batches("train"))[0])
        finally:
            for handle in handles:
                handle.remove()
        scales = {linear: norm for norm, linear in behind.items()}
        modules = dict(order)
        maps = []
        for name, module in order:
            if isinstance(module, LINEAR):
                scale = _scale(modules[scales[name]]) if name in scales else None
                initial, weight = trained.initial_parameters, f"{name}.weight".lstrip(".")
                before = None if initial is None else initial_value(initial, weight, module.weight)
                maps.append(LinearMap(name, module, sizes[name], scale, before))
            elif name not in behind:
                _scale(module)  # refuses those without running statistics
                maps.append(LinearMap(name, module, sizes[name]))
    return maps


def initial_value(initial: Mapping[str, Tensor], name: str, like: Tensor) -> Tensor:
    """Return what a parameter was before training, in the precision and on the device of the trained one.

    Raises:
        InvalidInputError: The initial parameters are not those of this network.
    """
    if name not in initial or initial[name].shape != like.shape:
        got = f"shape {list(initial[name].shape)}" if name in initial else "no such entry"
        raise InvalidInputError(
            f"initial_parameters must hold {name} of shape {list(like.shape)}, got {got}. Hand over a copy of this "
            "very network's state_dict() from before training."
        )
    return initial[name].detach().to(like)


def where_it_convolves(network: nn.Module, caveat: str) -> tuple[str, ...]:
    """Return a caveat on convolutions, or nothing where the network has none."""
    return (caveat,) if any(isinstance(module, CONVOLUTIONS) for module in network.modules()) else ()


def _scale(norm: nn.Module) -> Tensor:
    """Return what a BatchNorm in evaluation mode multiplies each channel by."""
    if not isinstance(norm, NORMS) or norm.running_var is None:
        raise MeasureNotApplicableError("a BatchNorm without running statistics is no fixed linear map.")
    inverse = torch.rsqrt(norm.running_var + norm.eps)
    return inverse if norm.weight is None else norm.weight.detach() * inverse


def _refuse_other_weights(network: nn.Module, linear: set[nn.Module]) -> None:
    others = [name or type(module).__name__ for name, module in _with_weights(network) if module not in linear]
    if others:
        raise MeasureNotApplicableError(
            "norms of layers are defined for linear layers, convolutions and BatchNorms, but this network also "
            f"has weights in {', '.join(others[:3])}."
        )


def _with_weights(network: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    for name, module in network.named_modules():
        if isinstance(module, BY_EXAMPLE) or any(weight is not None for weight in module._parameters.values()):
            yield name, module
