"""The spectrally normalized margin, the baseline that the margin-distribution paper compares with."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray

from widemargin.errors import MeasureNotApplicableError
from widemargin.layers import network_input
from widemargin.measures.linear_maps import RESHAPED, LinearMap, linear_maps, where_it_convolves
from widemargin.measures.singular_values import spectral_norm
from widemargin.results import Estimate
from widemargin.trained_model import TrainedModel

__all__ = ["input_frobenius_norm", "spectral_complexity", "spectrally_normalized_margins"]


def spectral_complexity(
    trained: TrainedModel,
    maps: Sequence[LinearMap] | None = None,
    spectral_norms: Mapping[str, float] | None = None,
) -> Estimate:
    """Return log R, R = Π‖A_i‖₂ · (Σ (‖(A_i − M_i)ᵀ‖₂,₁ / ‖A_i‖₂)^⅔)^{3/2} [natural logarithm].

    A convolution counts by its reshaped kernel; a BatchNorm right behind a linear map is folded into it as it
    acts in evaluation mode, elsewhere it is a diagonal map of its own. The references M_i are the initial
    parameters where they are known, else 0.

    Args:
        trained: The network with its initial parameters, where they are known.
        maps: Its linear maps, where they are at hand.
        spectral_norms: The maps' largest singular values by name, where they are at hand.

    Raises:
        MeasureNotApplicableError: The network has weights outside linear layers, convolutions and BatchNorms, or
            norms that depend on the example (LayerNorm, GroupNorm).
        InvalidInputError: The initial parameters are not those of this network.

    Source: Bartlett, Foster, Telgarsky 2017 (arXiv 1706.08498), equation 1.2.
    """
    maps = linear_maps(trained) if maps is None else maps
    log_norms: dict[str, float] = {}
    ratios = 0.0
    for linear in maps:
        spectral = spectral_norm(linear.weight) if spectral_norms is None else spectral_norms[linear.name]
        if spectral == 0:
            return Estimate(-math.inf, caveats=(f"{linear.name} maps everything to 0.",))
        moved = linear.weight - linear.reference
        group = float(torch.linalg.vector_norm(moved, dim=1, dtype=torch.float64).sum())
        log_norms[linear.name] = math.log(spectral)
        ratios += (group / spectral) ** (2 / 3)
    if ratios == 0:
        return Estimate(-math.inf, caveats=("The distance from initialization is 0: the network was not trained.",))
    value = sum(log_norms.values()) + 1.5 * math.log(ratios)
    caveats = where_it_convolves(trained.network, RESHAPED)
    if trained.initial_parameters is None:
        caveats += ("The initial parameters are not known: distances are taken from 0.",)
    return Estimate(value, per_layer=log_norms, caveats=caveats)


def input_frobenius_norm(trained: TrainedModel) -> float:
    """Return ‖X‖_F, the root of the sum of all squared training inputs; the network is not run.

    Raises:
        MeasureNotApplicableError: The inputs are no floating-point tensor.
    """
    total = 0.0
    with trained.borrowed(), torch.no_grad():
        for batch, _ in trained.batches("train"):
            if (inputs := network_input(trained, batch)) is None:
                raise MeasureNotApplicableError("the network's inputs are no floating-point tensor with a norm.")
            total += float((inputs.double() ** 2).sum())
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
