"""The spectrally normalized margin, the baseline that the margin-distribution paper compares with."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn

from widemargin.errors import InvalidInputError, MeasureNotApplicableError
from widemargin.layers import INPUT, tapped
from widemargin.results import Estimate
from widemargin.trained_model import TrainedModel

__all__ = ["input_frobenius_norm", "spectral_complexity", "spectrally_normalized_margins"]

LINEAR = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
BY_EXAMPLE = (nn.LayerNorm, nn.GroupNorm, nn.RMSNorm, nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


@dataclass(frozen=True)
class _LinearMap:
    """One linear map of the network as matrices [outputs, inputs]: trained, and its reference."""

    name: str
    weight: Tensor
    reference: Tensor


def spectral_complexity(trained: TrainedModel) -> Estimate:
    """Return log R, R = Π‖A_i‖₂ · (Σ (‖(A_i − M_i)ᵀ‖₂,₁ / ‖A_i‖₂)^⅔)^{3/2} [natural logarithm].

    A convolution counts by its reshaped kernel; a BatchNorm right behind a linear map is folded into it as it
    acts in evaluation mode, elsewhere it is a diagonal map of its own. The references M_i are the initial
    parameters where they are known, else 0.

    Raises:
        MeasureNotApplicableError: The network has weights outside linear layers, convolutions and BatchNorms, or
            norms that depend on the example (LayerNorm, GroupNorm).
        InvalidInputError: The initial parameters are not those of this network.

    Source: Bartlett, Foster, Telgarsky 2017 (arXiv 1706.08498), equation 1.2.
    """
    maps = _linear_maps(trained)
    log_norms: dict[str, float] = {}
    ratios = 0.0
    for linear in maps:
        spectral = float(torch.linalg.matrix_norm(linear.weight, ord=2))
        if spectral == 0:
            return Estimate(-math.inf, caveats=(f"{linear.name} maps everything to 0.",))
        group = float(torch.linalg.vector_norm(linear.weight - linear.reference, dim=1).sum())
        log_norms[linear.name] = math.log(spectral)
        ratios += (group / spectral) ** (2 / 3)
    value = sum(log_norms.values()) + (1.5 * math.log(ratios) if ratios else -math.inf)
    caveats = ["Convolutions count by their reshaped kernels, whose norm is not that of the operator."]
    if trained.initial_parameters is None:
        caveats.append("The initial parameters are not known: distances are taken from 0.")
    return Estimate(value, per_layer=log_norms, caveats=tuple(caveats))


def input_frobenius_norm(trained: TrainedModel) -> float:
    """Return ‖X‖_F, the root of the sum of all squared training inputs.

    Raises:
        MeasureNotApplicableError: The inputs are no floating-point tensor.
    """
    total = 0.0
    with trained.borrowed() as network, tapped(network, [INPUT]) as activations, torch.no_grad():
        for batch, _ in trained.batches("train"):
            trained.logits(batch)
            if INPUT not in activations:
                raise MeasureNotApplicableError("the network's inputs are no floating-point tensor with a norm.")
            total += float((activations[INPUT].double() ** 2).sum())
    return math.sqrt(total)


def spectrally_normalized_margins(
    output_margins: Float[NDArray[np.float64], " examples"], log_complexity: float, frobenius_norm: float
) -> Float[NDArray[np.float64], " examples"]:
    """Return (f_y − max_{k≠y} f_k) / (R · ‖X‖_F / n) of each example.

    Source: Bartlett, Foster, Telgarsky 2017, section 2, as used in Jiang et al. 2019.
    """
    margins: NDArray[np.float64] = output_margins * np.exp(
        math.log(len(output_margins)) - log_complexity - math.log(frobenius_norm)
    )
    return margins


def _linear_maps(trained: TrainedModel) -> list[_LinearMap]:
    """Return the linear maps in the order of the forward pass, BatchNorms folded where they follow one."""
    order: list[tuple[str, nn.Module]] = []
    behind: dict[str, str] = {}  # BatchNorm → linear layer whose very output it takes
    producer: dict[tuple[int, int], str] = {}  # identity and version: an in-place ReLU keeps the one, not the other
    alive: list[Tensor] = []  # keeps the ids of outputs from being used again

    def note(name: str, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        if any(earlier is module for _, earlier in order):
            raise MeasureNotApplicableError(
                f"the spectral complexity is defined for layers that are used once, but {name} is called again."
            )
        order.append((name, module))
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
                scale = (
                    _scale(modules[scales[name]])
                    if name in scales
                    else torch.ones(len(module.weight)).to(module.weight)
                )
                reference = _reference(trained.initial_parameters, f"{name}.weight".lstrip("."), module.weight)
                column = scale.unsqueeze(1)
                maps.append(_LinearMap(name, column * module.weight.flatten(1), column * reference.flatten(1)))
            elif name not in behind:
                diagonal = torch.diag(_scale(module))
                maps.append(_LinearMap(name, diagonal, torch.zeros_like(diagonal)))
    return [_LinearMap(m.name, m.weight.double(), m.reference.double()) for m in maps]


def _scale(norm: nn.Module) -> Tensor:
    """Return what a BatchNorm in evaluation mode multiplies each channel by."""
    if not isinstance(norm, NORMS) or norm.running_var is None:
        raise MeasureNotApplicableError("a BatchNorm without running statistics is no fixed linear map.")
    inverse = torch.rsqrt(norm.running_var + norm.eps)
    return inverse if norm.weight is None else norm.weight.detach() * inverse


def _reference(initial: Mapping[str, Tensor] | None, name: str, like: Tensor) -> Tensor:
    if initial is None:
        return torch.zeros_like(like)
    if name not in initial or initial[name].shape != like.shape:
        got = f"shape {list(initial[name].shape)}" if name in initial else "no such entry"
        raise InvalidInputError(
            f"initial_parameters must hold {name} of shape {list(like.shape)}, got {got}. Hand over a copy of this "
            "very network's state_dict() from before training."
        )
    return initial[name].to(like)


def _refuse_other_weights(network: nn.Module, linear: set[nn.Module]) -> None:
    others = [name or type(module).__name__ for name, module in _with_weights(network) if module not in linear]
    if others:
        raise MeasureNotApplicableError(
            "the spectral complexity is defined for linear layers, convolutions and BatchNorms, but this network "
            f"also has weights in {', '.join(others[:3])}."
        )


def _with_weights(network: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    for name, module in network.named_modules():
        if isinstance(module, BY_EXAMPLE) or any(weight is not None for weight in module._parameters.values()):
            yield name, module
