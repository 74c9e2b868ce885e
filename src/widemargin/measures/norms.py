"""Sizes of a network and of its weights: counts, norms, distances from initialization, their products and sums."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import TypeAlias

from torch import Tensor

from widemargin.errors import MeasureNotApplicableError
from widemargin.measures.linear_maps import RESHAPED, where_it_convolves
from widemargin.measures.measure import Measure
from widemargin.measures.quantities import Quantities
from widemargin.measures.singular_values import spectral_norm
from widemargin.parameters import squared_norm
from widemargin.results import Estimate

__all__ = ["NORM_MEASURES", "log_product", "margin_quantile", "over_margin"]

Function: TypeAlias = Callable[[Quantities], Estimate]

MARGIN_QUANTILE = 0.1


def margin_quantile(quantities: Quantities) -> float:
    """Return the 10 % quantile γ of the training examples' output margins, in whose units norms are measured.

    Raises:
        MeasureNotApplicableError: It is not above 0: more than a tenth of the examples are misclassified.
    """
    gamma = float(quantities.outputs.margins.quantile(MARGIN_QUANTILE))
    if gamma <= 0:
        raise MeasureNotApplicableError(
            f"the 10 % quantile of the output margins must be above 0 to divide by, and is {gamma:.3g}: more than a "
            "tenth of the training examples are misclassified."
        )
    return gamma


def _num_parameters(quantities: Quantities) -> Estimate:
    return Estimate(float(quantities.space.num_parameters))


def _sum(by_layer: Mapping[str, float], caveats: tuple[str, ...] = ()) -> Estimate:
    return Estimate(sum(by_layer.values()), per_layer=by_layer, caveats=caveats)


def _reshaped(quantities: Quantities) -> tuple[str, ...]:
    return where_it_convolves(quantities.trained.network, RESHAPED)


def _kernels(quantities: Quantities) -> dict[str, Tensor]:
    """Return every parameter of two dimensions or more as a matrix."""
    return {name: value.flatten(1) for name, value in quantities.parameters.items() if value.ndim >= 2}


def _changes(quantities: Quantities) -> Iterator[tuple[str, Tensor]]:
    """Yield what training added to each of them, in double precision."""
    initial = quantities.initial_parameters
    for name, kernel in _kernels(quantities).items():
        yield name, kernel.double() - initial[name].flatten(1)


def _squared_frobenius(quantities: Quantities) -> dict[str, float]:
    return {each.name: squared_norm(each.weight) for each in quantities.linear_maps}


def _squared_spectral(quantities: Quantities) -> dict[str, float]:
    return {name: float(values[0] ** 2) for name, values in quantities.singular_values.items()}


def _parameter_norm(quantities: Quantities) -> Estimate:
    return _sum({name: squared_norm(kernel) for name, kernel in _kernels(quantities).items()})


def _distance_from_initialization(quantities: Quantities) -> Estimate:
    return _sum({name: squared_norm(change) for name, change in _changes(quantities)})


def _spectral_distance_from_initialization(quantities: Quantities) -> Estimate:
    squared = {name: spectral_norm(change) ** 2 for name, change in _changes(quantities)}
    return _sum(squared, _reshaped(quantities))


def log_product(squared_norms: Mapping[str, float], *caveats: str) -> Estimate:
    """Return the logarithm of the product of layers' squared norms.

    Raises:
        MeasureNotApplicableError: A layer is 0.
    """
    dead = [name for name, value in squared_norms.items() if value == 0]
    if dead:
        raise MeasureNotApplicableError(f"the logarithm of a norm needs weights, but all of {', '.join(dead)} are 0.")
    return _sum({name: math.log(value) for name, value in squared_norms.items()}, caveats)


def over_margin(product: Function) -> Function:
    """Return the measure log(Π / γ²) of a measure log Π; it does not exist where :func:`margin_quantile` does not."""

    def measure(quantities: Quantities) -> Estimate:
        found = product(quantities)
        return replace(found, value=found.value - 2 * math.log(margin_quantile(quantities)))

    return measure


def _evenly_spread(product: Function) -> Function:
    """Return the measure log(d · Π^{1/d}) of a measure log Π over d layers."""

    def measure(quantities: Quantities) -> Estimate:
        found = product(quantities)
        num_layers = len(found.per_layer)
        return replace(found, value=math.log(num_layers) + found.value / num_layers)

    return measure


def _log_spectral_product(quantities: Quantities) -> Estimate:
    return log_product(_squared_spectral(quantities), *_reshaped(quantities))


def _log_frobenius_product(quantities: Quantities) -> Estimate:
    return log_product(_squared_frobenius(quantities))


def _stable_ranks(quantities: Quantities) -> dict[str, float]:
    _log_spectral_product(quantities)  # no layer is 0
    return {
        name: float(values.square().sum() / values[0] ** 2) for name, values in quantities.singular_values.items()
    }


def _frobenius_over_spectral(quantities: Quantities) -> Estimate:
    return _sum(_stable_ranks(quantities), _reshaped(quantities))


def _stable_rank(quantities: Quantities) -> Estimate:
    ranks = _stable_ranks(quantities)
    return Estimate(sum(ranks.values()) / len(ranks), per_layer=ranks, caveats=_reshaped(quantities))


def _log_spectral_bound(quantities: Quantities, numerators: Mapping[str, float]) -> Estimate:
    """Return log(Π‖W_i‖₂² · Σ numerator_i / ‖W_i‖₂² / γ²).

    Raises:
        MeasureNotApplicableError: All numerators are 0.
    """
    product = over_margin(_log_spectral_product)(quantities)
    squared = _squared_spectral(quantities)
    ratios = {name: numerators[name] / squared[name] for name in squared}
    if sum(ratios.values()) == 0:
        raise MeasureNotApplicableError("the distance from initialization is 0: the network was not trained.")
    return Estimate(product.value + math.log(sum(ratios.values())), per_layer=ratios, caveats=product.caveats)


def _log_spectral_initialization_bound(quantities: Quantities) -> Estimate:
    _ = quantities.initial_parameters  # linear maps take 0 where these are not known
    moved = {each.name: squared_norm(each.weight - each.reference) for each in quantities.linear_maps}
    return _log_spectral_bound(quantities, moved)


def _log_spectral_origin_bound(quantities: Quantities) -> Estimate:
    return _log_spectral_bound(quantities, _squared_frobenius(quantities))


def _log_spectral_complexity(quantities: Quantities) -> Estimate:
    found = quantities.spectral_complexity
    if not math.isfinite(found.value):
        raise MeasureNotApplicableError(" ".join(found.caveats))
    return found


FANTASTIC = "Jiang et al. 2020, Fantastic generalization measures (arXiv 1912.02178), appendix C"
DEEP = "Grows with depth and width, so networks of different size differ by it even where they generalize alike."
LARGE_WEIGHTS = "Multiplying one layer and dividing the next changes nothing a ReLU network does, but changes this."
MARGIN_UNITS = "Does not exist where a tenth of the training examples are misclassified, and explodes just before."

NORM_MEASURES: tuple[Measure, ...] = (
    Measure(
        name="num_parameters",
        family="size and norms",
        function=_num_parameters,
        sign=1,
        unit="parameters",
        formula="ω",
        idea="How many numbers training adjusts. Classical bounds grow with it.",
        misleads="Wider networks often generalize better, so its sign is often the opposite.",
        reference=FANTASTIC,
        uses=("space",),
        is_scale_invariant=True,
    ),
    Measure(
        name="parameter_norm",
        family="size and norms",
        function=_parameter_norm,
        sign=1,
        unit="",
        formula="Σᵢ ‖Wᵢ‖²_F",
        idea="The squared size of all weights. Small weights make smooth functions, all else equal.",
        misleads=LARGE_WEIGHTS,
        reference=FANTASTIC,
        uses=("parameters",),
    ),
    Measure(
        name="distance_from_initialization",
        family="size and norms",
        function=_distance_from_initialization,
        sign=1,
        unit="",
        formula="Σᵢ ‖Wᵢ − Wᵢ⁰‖²_F",
        idea="How far training moved the weights. A network that hardly had to move has used little of its capacity.",
        misleads="Longer training and larger learning rates move further whether or not the gap grows. "
        + LARGE_WEIGHTS,
        reference="Nagarajan and Kolter 2019 (arXiv 1901.01672), section 4; " + FANTASTIC,
        uses=("parameters", "initial_parameters"),
        needs=("initial parameters",),
    ),
    Measure(
        name="spectral_distance_from_initialization",
        family="size and norms",
        function=_spectral_distance_from_initialization,
        sign=1,
        unit="",
        formula="Σᵢ ‖Wᵢ − Wᵢ⁰‖²₂",
        idea="How far training moved each layer along the direction it changed most. A few may carry all learning.",
        misleads=LARGE_WEIGHTS,
        reference=FANTASTIC,
        uses=("parameters", "initial_parameters"),
        needs=("initial parameters",),
    ),
    Measure(
        name="log_spectral_product",
        family="size and norms",
        function=_log_spectral_product,
        sign=1,
        unit="log",
        formula="Σᵢ log ‖Wᵢ‖²₂",
        idea="How much the network can stretch a change of its input at most. Rademacher complexity grows with it.",
        misleads=DEEP + " Reshaped kernels understate the operator.",
        reference=FANTASTIC,
        uses=("singular_values",),
        is_scale_invariant=True,
    ),
    Measure(
        name="log_spectral_product_over_margin",
        family="size and norms",
        function=over_margin(_log_spectral_product),
        sign=1,
        unit="log",
        formula="Σᵢ log ‖Wᵢ‖²₂ − 2 log γ,  γ: 10 % quantile of output margins",
        idea="The stretch of the network in units of the margin it reaches with it. Scaling the last layer cancels.",
        misleads=DEEP + " " + MARGIN_UNITS,
        reference=FANTASTIC,
        uses=("outputs", "singular_values"),
        is_scale_invariant=True,
    ),
    Measure(
        name="log_spectral_sum",
        family="size and norms",
        function=_evenly_spread(_log_spectral_product),
        sign=1,
        unit="log",
        formula="log d + (1/d) Σᵢ log ‖Wᵢ‖²₂,  d: number of layers",
        idea="The product of spectral norms spread evenly over the layers. Less sensitive to depth than the product.",
        misleads="Still compares networks of different depth poorly.",
        reference=FANTASTIC,
        uses=("singular_values",),
        is_scale_invariant=True,
    ),
    Measure(
        name="log_spectral_sum_over_margin",
        family="size and norms",
        function=_evenly_spread(over_margin(_log_spectral_product)),
        sign=1,
        unit="log",
        formula="log d + (1/d) (Σᵢ log ‖Wᵢ‖²₂ − 2 log γ)",
        idea="The evenly spread product of spectral norms in units of the margin. Scaling the last layer cancels.",
        misleads=MARGIN_UNITS,
        reference=FANTASTIC,
        uses=("outputs", "singular_values"),
        is_scale_invariant=True,
    ),
    Measure(
        name="log_frobenius_product",
        family="size and norms",
        function=_log_frobenius_product,
        sign=1,
        unit="log",
        formula="Σᵢ log ‖Wᵢ‖²_F",
        idea="The product of the layers' sizes. Size-independent bounds of sample complexity grow with it.",
        misleads=DEEP,
        reference="Golowich et al. 2018 (arXiv 1712.06541); " + FANTASTIC,
        uses=("linear_maps",),
        is_scale_invariant=True,
    ),
    Measure(
        name="log_frobenius_product_over_margin",
        family="size and norms",
        function=over_margin(_log_frobenius_product),
        sign=1,
        unit="log",
        formula="Σᵢ log ‖Wᵢ‖²_F − 2 log γ",
        idea="The product of the layers' sizes in units of the margin reached with them. Scaling the last layer "
        "cancels.",
        misleads=DEEP + " " + MARGIN_UNITS,
        reference=FANTASTIC,
        uses=("linear_maps", "outputs"),
        is_scale_invariant=True,
    ),
    Measure(
        name="log_frobenius_sum",
        family="size and norms",
        function=_evenly_spread(_log_frobenius_product),
        sign=1,
        unit="log",
        formula="log d + (1/d) Σᵢ log ‖Wᵢ‖²_F",
        idea="The product of the layers' sizes spread evenly over them. Less sensitive to depth than the product.",
        misleads="Still compares networks of different depth poorly.",
        reference=FANTASTIC,
        uses=("linear_maps",),
        is_scale_invariant=True,
    ),
    Measure(
        name="log_frobenius_sum_over_margin",
        family="size and norms",
        function=_evenly_spread(over_margin(_log_frobenius_product)),
        sign=1,
        unit="log",
        formula="log d + (1/d) (Σᵢ log ‖Wᵢ‖²_F − 2 log γ)",
        idea="The evenly spread product of the layers' sizes in units of the margin. Scaling the last layer cancels.",
        misleads=MARGIN_UNITS,
        reference=FANTASTIC,
        uses=("linear_maps", "outputs"),
        is_scale_invariant=True,
    ),
    Measure(
        name="frobenius_over_spectral",
        family="size and norms",
        function=_frobenius_over_spectral,
        sign=1,
        unit="dimensions",
        formula="Σᵢ ‖Wᵢ‖²_F / ‖Wᵢ‖²₂",
        idea="How many directions the layers really use, all together. Few used directions compress well.",
        misleads=DEEP,
        reference=FANTASTIC,
        uses=("singular_values",),
        is_scale_invariant=True,
    ),
    Measure(
        name="stable_rank",
        family="size and norms",
        function=_stable_rank,
        sign=1,
        unit="dimensions",
        formula="(1/d) Σᵢ ‖Wᵢ‖²_F / ‖Wᵢ‖²₂",
        idea="How many directions a layer really uses, on average. Unlike the rank it forgives small singular "
        "values.",
        misleads="Wider layers have room for a larger one.",
        reference="Neyshabur et al. 2018 (arXiv 1707.09564); Sanyal et al. 2020 (arXiv 1906.04659)",
        uses=("singular_values",),
        is_scale_invariant=True,
    ),
    Measure(
        name="log_spectral_initialization_bound",
        family="size and norms",
        function=_log_spectral_initialization_bound,
        sign=1,
        unit="log",
        formula="log(Π ‖Wᵢ‖²₂ · Σ ‖Wᵢ − Wᵢ⁰‖²_F / ‖Wᵢ‖²₂ / γ²)",
        idea="Main term of the spectral PAC-Bayes bound around initialization. Stretch, distance and margin in one.",
        misleads=DEEP + " " + MARGIN_UNITS,
        reference="Pitas et al. 2017 (arXiv 1801.00171); " + FANTASTIC,
        uses=("initial_parameters", "linear_maps", "outputs", "singular_values"),
        needs=("initial parameters",),
    ),
    Measure(
        name="log_spectral_origin_bound",
        family="size and norms",
        function=_log_spectral_origin_bound,
        sign=1,
        unit="log",
        formula="log(Π ‖Wᵢ‖²₂ · Σ ‖Wᵢ‖²_F / ‖Wᵢ‖²₂ / γ²)",
        idea="Main term of the spectral PAC-Bayes bound around zero. Stretch, stable rank and margin in one.",
        misleads=DEEP + " " + MARGIN_UNITS,
        reference="Neyshabur et al. 2018 (arXiv 1707.09564), theorem 1; " + FANTASTIC,
        uses=("linear_maps", "outputs", "singular_values"),
        is_scale_invariant=True,
    ),
    Measure(
        name="log_spectral_complexity",
        family="size and norms",
        function=_log_spectral_complexity,
        sign=1,
        unit="log",
        formula="log(Π ‖Wᵢ‖₂ · (Σ (‖(Wᵢ − Wᵢ⁰)ᵀ‖₂,₁ / ‖Wᵢ‖₂)^⅔)^{3/2})",
        idea="Capacity in the spectrally normalized margin bound. It counts how many output units changed, how much.",
        misleads=DEEP,
        reference="Bartlett, Foster and Telgarsky 2017 (arXiv 1706.08498), equation 1.2",
        uses=("spectral_complexity",),
    ),
)
