"""Gradient noise at the end of training as measures."""

from widemargin.errors import MeasureNotApplicableError
from widemargin.measures.measure import Measure
from widemargin.measures.quantities import Quantities
from widemargin.results import Estimate

__all__ = ["GRADIENT_MEASURES", "gradient_noise_scale", "gradient_variance"]


def gradient_variance(quantities: Quantities) -> Estimate:
    """Return the trace of the covariance of single examples' gradients on the sample [squared loss / squared unit].

    Raises:
        MeasureNotApplicableError: There is but one example, or a BatchNorm ties the examples of a batch together.

    Source: Jiang et al. 2019 (arXiv 1912.02178), appendix on optimization: gradient noise at the end of training.
    """
    return Estimate(quantities.gradient_noise.variance)


def gradient_noise_scale(quantities: Quantities) -> Estimate:
    """Return that trace over the squared norm of the mean gradient [examples].

    Raises:
        MeasureNotApplicableError: The mean gradient is 0; and as for :func:`gradient_variance`.

    Source: McCandlish et al. 2018 (arXiv 1812.06162), the simple noise scale.
    """
    noise = quantities.gradient_noise
    if noise.squared_mean == 0:
        raise MeasureNotApplicableError("the mean gradient on the sample is 0, and nothing can be measured by it.")
    return Estimate(noise.variance / noise.squared_mean)


GRADIENT_MEASURES: tuple[Measure, ...] = (
    Measure(
        name="gradient_variance",
        family="optimization",
        function=gradient_variance,
        sign=1,
        unit="squared loss / squared unit of a parameter",
        formula="tr Cov(∇loss of an example)",
        idea="How much single examples still pull the parameters apart when training ends. Examples that were "
        "learned by a common rule pull alike.",
        misleads="It falls with the training loss, and says little of networks that differ in that. Scaling layers "
        "against each other changes it and not the network.",
        reference="Jiang et al. 2019, arXiv 1912.02178, appendix on optimization",
        uses=("gradient_noise",),
    ),
    Measure(
        name="gradient_noise_scale",
        family="optimization",
        function=gradient_noise_scale,
        sign=1,
        unit="examples",
        formula="tr Cov(∇loss of an example) / ‖mean ∇loss‖²",
        idea="How many examples a batch needs for its gradient to be more signal than noise. Where examples agree "
        "little, what is learned from some helps others little.",
        misleads="At a minimum the mean gradient is near 0, and the ratio tells how near rather than how the "
        "examples differ.",
        reference="McCandlish et al. 2018, arXiv 1812.06162, section 2.2, equation 2.9",
        uses=("gradient_noise",),
    ),
)
