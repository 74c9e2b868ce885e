"""PAC-Bayes bounds, made from the noise that a network bears."""

import math
from collections.abc import Callable, Iterator

from torch import Tensor

from widemargin.measures.measure import Measure
from widemargin.measures.noise_tolerance import NoiseTolerance
from widemargin.measures.quantities import Quantities
from widemargin.parameters import squared_norm
from widemargin.results import Estimate

__all__ = [
    "PAC_BAYES_MEASURES",
    "magnitude_pac_bayes_flatness",
    "magnitude_pac_bayes_from_initialization",
    "magnitude_pac_bayes_from_origin",
    "pac_bayes_flatness",
    "pac_bayes_from_initialization",
    "pac_bayes_from_origin",
]

EPSILON = 1e-3
"""Standard deviation of noise that a magnitude-aware posterior has where a parameter did not move."""


def pac_bayes_from_initialization(quantities: Quantities) -> Estimate:
    """Return ‖w − w₀‖² / 4σ² + log(m / σ) + 10, σ the noise that costs 0.1 of the accuracy [nats].

    m is the number of training examples; σ is found on the sample. The error is that of σ.

    Raises:
        MeasureNotApplicableError: The initial parameters are not known, or accuracy does not fall by 0.1.

    Source: Jiang et al. 2019 (arXiv 1912.02178), appendix, equation 48.
    """
    return _bound(quantities, sum(squared_norm(each) for each in _distances(quantities)))


def pac_bayes_from_origin(quantities: Quantities) -> Estimate:
    """Return ‖w‖² / 4σ² + log(m / σ) + 10, as :func:`pac_bayes_from_initialization` from 0 [nats].

    Raises:
        MeasureNotApplicableError: Accuracy does not fall by 0.1.

    Source: Jiang et al. 2019 (arXiv 1912.02178), appendix, equation 49.
    """
    return _bound(quantities, _squared_length(quantities))


def pac_bayes_flatness(quantities: Quantities) -> Estimate:
    """Return 1 / σ², σ the noise that costs 0.1 of the accuracy [1 / squared unit of a parameter].

    Raises:
        MeasureNotApplicableError: Accuracy does not fall by 0.1.

    Source: Jiang et al. 2019 (arXiv 1912.02178), appendix, equation 53.

    Example:
        >>> import torch
        >>> from widemargin import TrainedModel
        >>> net = torch.nn.Linear(100, 1, bias=False)
        >>> _ = torch.nn.init.constant_(net.weight, 0.1)
        >>> trained = TrainedModel(net, (torch.eye(100), torch.ones(100).long()))
        >>> flatness = pac_bayes_flatness(Quantities(trained))  # (the normal quantile 1.28 / 0.1)² = 164
        >>> abs(flatness.value - 164) < 3 * flatness.standard_error
        True
    """
    return _with_error_of(quantities.noise_tolerance, lambda sigma: sigma**-2)


def magnitude_pac_bayes_from_initialization(quantities: Quantities) -> Estimate:
    """Return ¼ Σ log((ε² + (σ² + 1) ‖d‖² / ω) / (ε² + σ² d_i²)) + log(m / σ) + 10 with d = w − w₀ [nats].

    σ is the noise in units of each parameter's magnitude that costs 0.1 of the accuracy on the sample, m the number
    of training examples, ω that of parameters, and ε 0.001. The error is that of σ.

    Raises:
        MeasureNotApplicableError: The initial parameters are not known, or accuracy does not fall by 0.1.

    Source: Jiang et al. 2019 (arXiv 1912.02178), appendix, equation 56.
    """
    return _magnitude_bound(quantities, sum(squared_norm(each) for each in _distances(quantities)))


def magnitude_pac_bayes_from_origin(quantities: Quantities) -> Estimate:
    """Return ¼ Σ log((ε² + (σ² + 1) ‖w‖² / ω) / (ε² + σ² d_i²)) + log(m / σ) + 10 with d = w − w₀ [nats].

    The prior lies around 0, the posterior's noise still follows the distances from initialization: see
    :func:`magnitude_pac_bayes_from_initialization`.

    Raises:
        MeasureNotApplicableError: The initial parameters are not known, or accuracy does not fall by 0.1.

    Source: Jiang et al. 2019 (arXiv 1912.02178), appendix, equation 57.
    """
    return _magnitude_bound(quantities, _squared_length(quantities))


def magnitude_pac_bayes_flatness(quantities: Quantities) -> Estimate:
    """Return 1 / σ², σ the noise in units of each parameter's magnitude that costs 0.1 of the accuracy.

    Raises:
        MeasureNotApplicableError: Accuracy does not fall by 0.1.

    Source: Jiang et al. 2019 (arXiv 1912.02178), appendix, equation 61.
    """
    return _with_error_of(quantities.relative_noise_tolerance, lambda sigma: sigma**-2)


def _distances(quantities: Quantities) -> Iterator[Tensor]:
    """Yield how far each parameter moved, tensor by tensor, in double precision."""
    initial = quantities.initial_parameters
    for name, value in quantities.parameters.items():
        yield value.double() - initial[name]


def _squared_length(quantities: Quantities) -> float:
    """Return the squared distance from 0."""
    return sum(map(squared_norm, quantities.parameters.values()))


def _bound(quantities: Quantities, squared_distance: float) -> Estimate:
    return _with_error_of(
        quantities.noise_tolerance,
        lambda sigma: squared_distance / (4 * sigma**2) + math.log(quantities.num_examples / sigma) + 10,
    )


def _magnitude_bound(quantities: Quantities, squared_norm: float) -> Estimate:
    def bound(sigma: float) -> float:
        prior = EPSILON**2 + (sigma**2 + 1) * squared_norm / quantities.space.num_parameters
        divergence = 0.0
        for distances in _distances(quantities):
            posterior = distances.mul_(sigma).square_().add_(EPSILON**2)
            divergence += float((math.log(prior) - posterior.log_()).sum()) / 4
        return divergence + math.log(quantities.num_examples / sigma) + 10

    return _with_error_of(quantities.relative_noise_tolerance, bound)


def _with_error_of(tolerance: NoiseTolerance, function: Callable[[float], float]) -> Estimate:
    """Return a function of σ; its error is half of how far it goes over one error of σ either way."""
    sigma, error = tolerance.deviation, tolerance.relative_error
    if math.isinf(error):
        return Estimate(function(sigma), math.inf)
    ends = [function(sigma * math.exp(shift)) for shift in (error, -error)]
    return Estimate(function(sigma), abs(ends[1] - ends[0]) / 2)


PAPER = "Jiang et al. 2019, arXiv 1912.02178, appendix, equation "
NEEDS_A_FALL = "The noise is found by random draws, and where accuracy is near chance it does not exist. "
NOT_INVARIANT = "Scaling layers against each other changes it and not the network."

PAC_BAYES_MEASURES: tuple[Measure, ...] = (
    Measure(
        name="pac_bayes_from_initialization",
        family="sharpness",
        function=pac_bayes_from_initialization,
        sign=1,
        unit="nats",
        formula="‖w − w₀‖² / 4σ² + log(m / σ) + 10",
        idea="The distance that training went, in units of the noise σ that costs a tenth of the accuracy. A network "
        "that bears much noise close to where it began takes few bits to describe, given the beginning.",
        misleads=NEEDS_A_FALL + NOT_INVARIANT,
        reference=PAPER + "48",
        uses=("parameters", "initial_parameters", "noise_tolerance"),
        needs=("initial parameters",),
    ),
    Measure(
        name="pac_bayes_from_origin",
        family="sharpness",
        function=pac_bayes_from_origin,
        sign=1,
        unit="nats",
        formula="‖w‖² / 4σ² + log(m / σ) + 10",
        idea="The norm of the parameters in units of the noise σ that costs a tenth of the accuracy. It stands for "
        "the bits that describe the network to the precision that its accuracy needs.",
        misleads=NEEDS_A_FALL + NOT_INVARIANT,
        reference=PAPER + "49",
        uses=("parameters", "noise_tolerance"),
    ),
    Measure(
        name="pac_bayes_flatness",
        family="sharpness",
        function=pac_bayes_flatness,
        sign=1,
        unit="1 / squared unit of a parameter",
        formula="1 / σ²",
        idea="The noise σ on all parameters that costs a tenth of the accuracy, turned round. Networks in wide "
        "minima bear more of it.",
        misleads=NEEDS_A_FALL + NOT_INVARIANT,
        reference=PAPER + "53",
        uses=("noise_tolerance",),
    ),
    Measure(
        name="magnitude_pac_bayes_from_initialization",
        family="sharpness",
        function=magnitude_pac_bayes_from_initialization,
        sign=1,
        unit="nats",
        formula="¼ Σ log((ε² + (σ² + 1) ‖w − w₀‖² / ω) / (ε² + σ² |w_i − w₀_i|²)) + log(m / σ) + 10",
        idea="The bound for noise that is larger where training moved a parameter further. It asks how evenly the "
        "distance from initialization is spread, in units of the relative noise σ that accuracy bears.",
        misleads=NEEDS_A_FALL + "σ is measured with noise in proportion to parameters, not to their distances.",
        reference=PAPER + "56",
        uses=("space", "parameters", "initial_parameters", "relative_noise_tolerance"),
        needs=("initial parameters",),
    ),
    Measure(
        name="magnitude_pac_bayes_from_origin",
        family="sharpness",
        function=magnitude_pac_bayes_from_origin,
        sign=1,
        unit="nats",
        formula="¼ Σ log((ε² + (σ² + 1) ‖w‖² / ω) / (ε² + σ² |w_i − w₀_i|²)) + log(m / σ) + 10",
        idea="The bound for noise that is larger where training moved a parameter further, with a prior around 0. It "
        "grows with the norm of the parameters and falls with the relative noise σ that accuracy bears.",
        misleads=NEEDS_A_FALL + "σ is measured with noise in proportion to parameters, not to their distances.",
        reference=PAPER + "57",
        uses=("space", "parameters", "initial_parameters", "relative_noise_tolerance"),
        needs=("initial parameters",),
    ),
    Measure(
        name="magnitude_pac_bayes_flatness",
        family="sharpness",
        function=magnitude_pac_bayes_flatness,
        sign=1,
        unit="",
        formula="1 / σ², noise σ |w_i| on each parameter",
        idea="The noise in proportion to each parameter that costs a tenth of the accuracy, turned round. It sees "
        "flatness as the function has it, however layers are scaled.",
        misleads=NEEDS_A_FALL + "Biases and norm parameters that are 0 get no noise.",
        reference=PAPER + "61",
        uses=("relative_noise_tolerance",),
        is_scale_invariant=True,
    ),
)
