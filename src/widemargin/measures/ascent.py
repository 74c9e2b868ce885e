"""Up the slope of the training loss, within a ball around a network."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor

from widemargin.errors import InvalidInputError, MeasureNotApplicableError
from widemargin.parameters import ParameterSpace
from widemargin.trained_model import TrainedModel, checked_logits

__all__ = ["BallNorm", "Slope", "ascent", "slope"]

BallNorm: TypeAlias = Literal["max", "euclidean"]

STEP = 2.0
"""In units of the radius: any point of the ball is within reach of any other; a quarter rises far more slowly."""


@dataclass(frozen=True, eq=False)
class Slope:
    """The mean training loss at a point of parameter space, and its gradient in double precision."""

    loss: float
    gradient: Float[Tensor, " parameters"]


def slope(trained: TrainedModel, at: Mapping[str, Tensor] | None = None) -> Slope:
    """Return the mean training loss and its gradient; one pass. Call it while the network is borrowed.

    Args:
        trained: The network with its training data.
        at: Where: parameters by name; default: the network's own.

    Raises:
        InvalidLogitsError: The network's output is no finite table of logits.
        InvalidLabelsError: Labels are out of range or not integers.
        InvalidInputError: The loss is not one number per example, loss or gradient are not finite, or there is no
            parameter.
        EmptyDataError: There is no training example.
    """
    space = ParameterSpace.of(trained.network)
    point = dict(trained.network.named_parameters()) if at is None else at
    leaves = {name: point[name].detach().clone().requires_grad_() for name in space.names}
    loss, num_examples = 0.0, 0
    gradient = torch.zeros(space.num_parameters, dtype=torch.float64, device=trained.device)
    for batch, labels in trained.batches("train"):
        with torch.enable_grad():
            logits = checked_logits(trained.logits_at(leaves, batch), labels)
            total = trained.losses(logits, labels).double().sum()
            parts = torch.autograd.grad(total, list(leaves.values()), allow_unused=True, materialize_grads=True)
        loss += total.item()
        gradient += space.flat(dict(zip(space.names, parts, strict=True)))
        num_examples += len(labels)
    _check_finite(loss, float(gradient.abs().max()))
    return Slope(loss / num_examples, gradient / num_examples)


def ascent(
    trained: TrainedModel,
    start: Slope,
    *,
    unit: Float[Tensor, " parameters"],
    norm: BallNorm,
    radius: float,
    num_steps: int,
) -> list[float]:
    """Return the loss after each step of projected gradient ascent from the network; one pass each, the last a third.

    A step from w to w + unit ∘ δ goes along the steepest δ of its norm: the signs of the gradient under ``"max"``,
    the gradient itself under ``"euclidean"``. It is twice the radius long, and what leads out of the ball is brought
    back: the first step ends at ‖δ‖ = radius. The last loss is taken without a gradient.

    Args:
        trained: The network with its training data.
        start: Loss and gradient at the network.
        unit: What a δ of 1 is in each parameter; those with 0 stay fixed.
        norm: Of δ.
        radius: Largest norm of δ.
        num_steps: When to stop; sooner where the gradient is 0.

    Raises:
        MeasureNotApplicableError: The gradient is 0 at the network itself, or a loss on the way is not finite.

    Example:
        >>> trained = TrainedModel(
        ...     torch.nn.Linear(1, 2, bias=False).double(), (torch.tensor([[3.0]]), torch.tensor([0])),
        ...     loss=lambda logits, labels: logits[:, 0],
        ... )
        >>> ones = torch.ones(2, dtype=torch.float64)
        >>> with trained.borrowed():
        ...     start = slope(trained)
        >>> (loss,) = ascent(trained, start, unit=ones, norm="max", radius=0.5, num_steps=1)
        >>> round(loss - start.loss, 6)
        1.5
    """
    space = ParameterSpace.of(trained.network)
    center = space.flat(trained.network).double()
    step, here = torch.zeros_like(center), start
    losses: list[float] = []
    with trained.borrowed():
        for num_left in reversed(range(num_steps)):
            slope_of_step = unit * here.gradient
            if not bool(slope_of_step.any()):
                if losses:
                    break
                raise MeasureNotApplicableError("the gradient on the sample is 0, and gives no direction of ascent.")
            if norm == "max":
                step = (step + STEP * radius * slope_of_step.sign()).clamp(-radius, radius)
            else:
                step = step + STEP * radius * slope_of_step / slope_of_step.norm()
                step *= radius / step.norm()  # which is no less than the radius
            point = space.named(center + unit * step)
            try:
                if num_left:
                    here = slope(trained, point)
                    losses.append(here.loss)
                else:
                    losses.append(_loss(trained, point))
            except InvalidInputError as error:
                raise MeasureNotApplicableError("the loss is not finite all over the neighborhood.") from error
    return losses


def _loss(trained: TrainedModel, at: Mapping[str, Tensor]) -> float:
    """Return what :func:`slope` does, without the gradient."""
    loss, num_examples = 0.0, 0
    with torch.no_grad():
        for batch, labels in trained.batches("train"):
            logits = checked_logits(trained.logits_at(at, batch), labels)
            loss += trained.losses(logits, labels).double().sum().item()
            num_examples += len(labels)
    _check_finite(loss)
    return loss / num_examples


def _check_finite(*numbers: float) -> None:
    if not all(map(math.isfinite, numbers)):
        raise InvalidInputError(
            "the loss and its gradient must be finite, got NaN or infinity. Look for roots, norms and divisions at 0 "
            "in the network and the loss, or measure in float64."
        )
