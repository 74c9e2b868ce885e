"""Sharpness: how far the training loss rises close to a network."""

import torch

from widemargin.measures.ascent import BallNorm, ascent
from widemargin.measures.measure import Measure
from widemargin.measures.quantities import FORWARD, Cost, Quantities
from widemargin.parameters import Unit
from widemargin.results import Estimate

__all__ = ["SHARPNESS_MEASURES", "adaptive_sharpness", "keskar_sharpness", "sam_sharpness"]

KESKAR_RADIUS, KESKAR_STEPS = 1e-3, 10
ADAPTIVE_RADIUS, ADAPTIVE_STEPS = 0.5, 5
SAM_RADIUS = 0.05


def keskar_sharpness(quantities: Quantities) -> Estimate:
    """Return 100 · (max L(w + δ) − L(w)) / (1 + L(w)) over |δ_i| ≤ 0.001 · (|w_i| + 1) [percent].

    L is the mean loss on the sample, its maximum that of 10 steps of projected gradient ascent.

    Raises:
        MeasureNotApplicableError: The gradient is 0, or the loss is not finite all over the box.

    Source: Keskar et al. 2017 (arXiv 1609.04836), section 2.2; there by L-BFGS-B.
    """
    losses = _losses(quantities, lambda w: w.abs() + 1, "max", radius=KESKAR_RADIUS, num_steps=KESKAR_STEPS)
    return Estimate(100 * (max(losses) - losses[0]) / (1 + losses[0]))


def adaptive_sharpness(quantities: Quantities) -> Estimate:
    """Return max L(w + |w| ∘ δ) − L(w) over ‖δ‖₂ ≤ 0.5 [loss].

    L is the mean loss on the sample, its maximum that of 5 steps of projected gradient ascent, the first of which is
    ASAM's own.

    Raises:
        MeasureNotApplicableError: The gradient is 0, or the loss is not finite all over the ball.

    Source: Kwon et al. 2021 (arXiv 2102.11600), section 3, without the small constant that is added to |w| there.
    """
    losses = _losses(quantities, torch.abs, "euclidean", radius=ADAPTIVE_RADIUS, num_steps=ADAPTIVE_STEPS)
    return Estimate(max(losses) - losses[0])


def sam_sharpness(quantities: Quantities) -> Estimate:
    """Return L(w + 0.05 g / ‖g‖) − L(w), L the mean loss on the sample and g its gradient [loss].

    Raises:
        MeasureNotApplicableError: The gradient is 0, or the loss is not finite there.

    Source: Foret et al. 2021 (arXiv 2010.01412), section 2.

    Example:
        >>> from widemargin import TrainedModel
        >>> net = torch.nn.Linear(2, 2, bias=False)
        >>> trained = TrainedModel(
        ...     net, (torch.tensor([[3.0, 4.0]]), torch.tensor([0])), loss=lambda logits, labels: logits[:, 0]
        ... )
        >>> round(sam_sharpness(Quantities(trained)).value, 5)
        0.25
    """
    before, after = _losses(quantities, torch.ones_like, "euclidean", radius=SAM_RADIUS, num_steps=1)
    return Estimate(after - before)


def _losses(quantities: Quantities, unit: Unit, norm: BallNorm, *, radius: float, num_steps: int) -> list[float]:
    """Return the loss of the network and those that ascent meets."""
    return ascent(
        quantities.sample, lambda: quantities.slope, unit=unit, norm=norm, radius=radius, num_steps=num_steps
    )


USES = ("sample", "slope")
LOWER_BOUND = "Gradient ascent finds a lower bound of the maximum, the further off the rougher the loss is."

SHARPNESS_MEASURES: tuple[Measure, ...] = (
    Measure(
        name="keskar_sharpness",
        family="sharpness",
        function=keskar_sharpness,
        sign=1,
        unit="percent",
        formula="100 · (max L(w + δ) − L(w)) / (1 + L(w)), |δ_i| ≤ 0.001 · (|w_i| + 1)",
        idea="By how much the loss can rise when every parameter may move by a thousandth of its size plus one. A "
        "minimum that a tiny change destroys holds more information on its training data than a flat one.",
        misleads="Scaling layers against each other changes it and not the network. " + LOWER_BOUND,
        reference="Keskar et al. 2017, arXiv 1609.04836, section 2.2",
        uses=USES,
        cost=Cost(sample=KESKAR_STEPS - 1 + FORWARD),
    ),
    Measure(
        name="adaptive_sharpness",
        family="sharpness",
        function=adaptive_sharpness,
        sign=1,
        unit="loss",
        formula="max L(w + |w| ∘ δ) − L(w), ‖δ‖₂ ≤ 0.5",
        idea="By how much the loss can rise when parameters move in proportion to their own size. That neighborhood "
        "follows a network whose layers are scaled against each other, so that only the function counts.",
        misleads="Its rank among networks depends on the radius, and with it even its sign has been seen to turn. "
        + LOWER_BOUND,
        reference="Kwon et al. 2021, arXiv 2102.11600, section 3; Andriushchenko et al. 2023, arXiv 2302.07011",
        uses=USES,
        cost=Cost(sample=ADAPTIVE_STEPS - 1 + FORWARD),
        is_scale_invariant=True,
    ),
    Measure(
        name="sam_sharpness",
        family="sharpness",
        function=sam_sharpness,
        sign=1,
        unit="loss",
        formula="L(w + 0.05 · g / ‖g‖) − L(w), g = ∇L(w)",
        idea="By how much one step of fixed length up the gradient raises the loss. It is what sharpness-aware "
        "minimization keeps small while training.",
        misleads="Scaling layers against each other changes it and not the network; a step of one length is far for "
        "a small network and near for a large one.",
        reference="Foret et al. 2021, arXiv 2010.01412, section 2",
        uses=USES,
        cost=Cost(sample=FORWARD),
    ),
)
