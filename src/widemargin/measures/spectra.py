"""Shapes of the weights' spectra: power-law tails and largest eigenvalues, as WeightWatcher looks at them."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from widemargin.errors import MeasureNotApplicableError
from widemargin.measures.measure import Measure
from widemargin.measures.quantities import Quantities
from widemargin.results import Estimate

__all__ = ["SPECTRUM_MEASURES", "PowerLaw", "power_law"]

FEWEST_EIGENVALUES = 10
"""Layers with fewer say nothing about the shape of a tail."""

FEWEST_IN_TAIL = 2


@dataclass(frozen=True, slots=True)
class PowerLaw:
    """A density proportional to x^−exponent from a minimum on.

    Attributes:
        exponent: Maximum-likelihood exponent α.
        standard_error: (α − 1) / √(number in the tail).
        minimum: Where the tail begins, chosen for the smallest distance.
        distance: Kolmogorov–Smirnov distance between tail and fit.
    """

    exponent: float
    standard_error: float
    minimum: float
    distance: float


def power_law(values: Float[Tensor, " values"]) -> PowerLaw:
    """Return the power law that fits the tail of positive numbers best.

    Args:
        values: At least two different ones above 0.

    Raises:
        MeasureNotApplicableError: Fewer than two different positive values.

    Source: Clauset, Shalizi, Newman 2009 (arXiv 0706.1062), equations 3.1 and 3.9.

    Example:
        >>> round(power_law(torch.linspace(0.0001, 0.9999, 5000).double() ** -0.5).exponent, 1)  # density ∝ x^−3
        3.0
    """
    ordered = values[values > 0].double().sort().values
    starts = torch.unique(ordered)[: -FEWEST_IN_TAIL + 1]
    if len(starts) == 0:
        raise MeasureNotApplicableError("a power law needs two different eigenvalues above 0 at least.")
    fits = [_fit(ordered[ordered >= start], float(start)) for start in starts]
    return min(fits, key=lambda fit: fit.distance)


def _fit(tail: Tensor, minimum: float) -> PowerLaw:
    num = len(tail)
    exponent = 1 + num / float((tail / minimum).log().sum())
    expected = 1 - (tail / minimum) ** (1 - exponent)
    places = torch.arange(num + 1, dtype=tail.dtype, device=tail.device) / num
    distance = float(torch.maximum((places[1:] - expected).abs(), (expected - places[:-1]).abs()).max())
    return PowerLaw(exponent, (exponent - 1) / math.sqrt(num), minimum, distance)


def _tails(quantities: Quantities) -> dict[str, tuple[PowerLaw, float]]:
    """Return the power law and the largest eigenvalue of WᵀW of each layer with enough of them.

    Raises:
        MeasureNotApplicableError: No layer has.
    """
    eigenvalues = {name: values.square() for name, values in quantities.singular_values.items()}
    large = {name: values for name, values in eigenvalues.items() if (values > 0).sum() >= FEWEST_EIGENVALUES}
    if not large:
        raise MeasureNotApplicableError(
            f"a tail needs a layer with {FEWEST_EIGENVALUES} eigenvalues above 0 at least, and there is none."
        )
    return {name: (power_law(values), float(values[0])) for name, values in large.items()}


def _mean(by_layer: Mapping[str, float], standard_errors: list[float] | None = None) -> Estimate:
    num = len(by_layer)
    error = None if standard_errors is None else math.sqrt(sum(each**2 for each in standard_errors)) / num
    return Estimate(sum(by_layer.values()) / num, error, by_layer)


def _power_law_exponent(quantities: Quantities) -> Estimate:
    tails = _tails(quantities)
    by_layer = {name: fit.exponent for name, (fit, _) in tails.items()}
    return _mean(by_layer, [fit.standard_error for fit, _ in tails.values()])


def _weighted_power_law_exponent(quantities: Quantities) -> Estimate:
    tails = _tails(quantities)
    by_layer = {name: fit.exponent * math.log10(largest) for name, (fit, largest) in tails.items()}
    return _mean(by_layer, [abs(math.log10(largest)) * fit.standard_error for fit, largest in tails.values()])


def _log_spectral_norm(quantities: Quantities) -> Estimate:
    largest = {name: float(values[0]) for name, values in quantities.singular_values.items()}
    dead = [name for name, value in largest.items() if value == 0]
    if dead:
        raise MeasureNotApplicableError(f"the logarithm of a norm needs weights, but all of {', '.join(dead)} are 0.")
    return _mean({name: 2 * math.log10(value) for name, value in largest.items()})


WEIGHTWATCHER = "Martin, Peng and Mahoney 2021 (Nature Communications 12, 4122; arXiv 2002.06716)"

SPECTRUM_MEASURES: tuple[Measure, ...] = (
    Measure(
        name="power_law_exponent",
        family="spectra",
        function=_power_law_exponent,
        sign=1,
        unit="",
        formula="mean over layers of α in ρ(λ) ∝ λ^−α, λ: eigenvalues of WᵀW",
        idea="How heavy the tails of the layers' spectra are. Well trained layers are said to have an α from 2 to 4.",
        misleads="Small layers have too few eigenvalues to tell a power law from anything else.",
        reference=WEIGHTWATCHER,
        uses=("singular_values",),
        is_scale_invariant=True,
    ),
    Measure(
        name="weighted_power_law_exponent",
        family="spectra",
        function=_weighted_power_law_exponent,
        sign=1,
        unit="",
        formula="mean over layers of α log₁₀ λ_max",
        idea="Heaviness of tails and size in one number. It needs no data at all.",
        misleads="Mixes scale, which depends on normalization layers, with shape. "
        + "Small layers have few eigenvalues.",
        reference=WEIGHTWATCHER,
        uses=("singular_values",),
    ),
    Measure(
        name="log_spectral_norm",
        family="spectra",
        function=_log_spectral_norm,
        sign=1,
        unit="log₁₀",
        formula="mean over layers of log₁₀ λ_max",
        idea="The typical largest eigenvalue of a layer. It needs no data at all.",
        misleads="Depends on how networks are normalized more than on how they generalize.",
        reference=WEIGHTWATCHER,
        uses=("singular_values",),
        is_scale_invariant=True,
    ),
)
