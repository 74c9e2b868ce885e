"""Up the slope of the training loss, within a ball around a network."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Literal, TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor

from widemargin.batches import Batch
from widemargin.errors import InvalidInputError, MeasureNotApplicableError
from widemargin.gradients import each_part, leaf
from widemargin.parameters import ParameterSpace, Unit, squared_norm
from widemargin.trained_model import TrainedModel, checked_logits

__all__ = ["BallNorm", "Slope", "ascent", "slope"]

BallNorm: TypeAlias = Literal["max", "euclidean"]

STEP = 2.0
"""In units of the radius: any point of the ball is within reach of any other; a quarter rises far more slowly."""


@dataclass(frozen=True, eq=False)
class Slope:
    """The mean training loss at a point of parameter space, and its gradient, in double precision unless large."""

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
    leaves = {name: leaf(point[name]) for name in space.names}
    gradient = torch.zeros(space.num_parameters, dtype=space.sum_dtype, device=trained.device)
    views = list(space.views(gradient).values())

    def add(batch: Batch, labels: Tensor) -> float:
        with torch.enable_grad():
            total = trained.losses(checked_logits(trained.logits(batch), labels), labels).double().sum()
        if total.requires_grad:
            each_part([total], list(leaves.values()), lambda index, part: views[index].add_(part))
        return total.item()

    loss, num_examples = 0.0, 0
    for batch, labels in trained.batches("train"):
        loss += trained.with_parameters(leaves, partial(add, batch, labels))
        num_examples += len(labels)
    _check_finite(loss, float(torch.linalg.vector_norm(gradient, ord=math.inf)))
    return Slope(loss / num_examples, gradient.div_(num_examples))


def ascent(
    trained: TrainedModel,
    start: Callable[[], Slope],
    *,
    unit: Unit,
    norm: BallNorm,
    radius: float,
    num_steps: int,
) -> list[float]:
    """Return the loss at a network and after each step of projected gradient ascent; one pass each, the last a third.

    A step from w to w + unit ∘ δ goes along the steepest δ of its norm: the signs of the gradient under ``"max"``,
    the gradient itself under ``"euclidean"``. It is twice the radius long, and what leads out of the ball is brought
    back: the first step ends at ‖δ‖ = radius. The last loss is taken without a gradient. A point and a gradient are
    held at once, and nothing else of their size.

    Args:
        trained: The network with its training data.
        start: Returns loss and gradient at the network.
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
        >>> with trained.borrowed():
        ...     before, after = ascent(
        ...         trained, lambda: slope(trained), unit=torch.ones_like, norm="max", radius=0.5, num_steps=1
        ...     )
        >>> round(after - before, 6)
        1.5
    """
    space = ParameterSpace.of(trained.network)
    with trained.borrowed() as network:
        center = dict(network.named_parameters())
        here = start()
        losses = [here.loss]
        point = space.flat(center).to(space.sum_dtype)
        for num_left in reversed(range(num_steps)):
            if not _step_up(partial(_pieces, space, center, point, here.gradient, unit), norm, radius):
                if num_left < num_steps - 1:
                    break
                raise MeasureNotApplicableError("the gradient on the sample is 0, and gives no direction of ascent.")
            del here  # before the next one is made
            try:
                if num_left:
                    here = slope(trained, space.named(point))
                    losses.append(here.loss)
                else:
                    losses.append(_loss(trained, space.named(point)))
            except InvalidInputError as error:
                raise MeasureNotApplicableError("the loss is not finite all over the neighborhood.") from error
    return losses


def _pieces(
    space: ParameterSpace, center: Mapping[str, Tensor], point: Tensor, gradient: Tensor, unit: Unit
) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
    """Yield pieces of the center, the units, the point (views), and the slope: the gradient in those units."""
    for own, here, part in space.pieces(center, point, gradient):
        near = own.to(here)
        units = unit(near)
        yield near, units, here, units * part


def _step_up(pieces: Callable[[], Iterator[tuple[Tensor, ...]]], norm: BallNorm, radius: float) -> bool:
    """Move the point one step; return whether there is a direction to move in."""
    length = math.sqrt(sum(squared_norm(slope) for *_, slope in pieces()))
    if length == 0:
        return False
    if norm == "max":
        for near, units, here, slope in pieces():
            reach = radius * units
            here.copy_(near + (here - near + STEP * reach * slope.sign()).clamp(-reach, reach))
        return True
    for _, units, here, slope in pieces():
        here.add_(units * (STEP * radius / length) * slope)
    moved = math.sqrt(sum(squared_norm(((here - near) / units)[units > 0]) for near, units, here, _ in pieces()))
    for near, _, here, _ in pieces():
        here.copy_(near + (here - near) * (radius / moved))  # a factor of 1 at most
    return True


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
