"""The loss on the straight line between two networks of one shape."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from typing import TypeAlias

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn

from widemargin.errors import InvalidInputError
from widemargin.landscape.evaluation import BatchNormStatistics, Evaluation, Losses, PointValues
from widemargin.landscape.slices import Slice
from widemargin.parameters import ParameterSpace
from widemargin.trained_model import TrainedModel

__all__ = ["Interpolation", "loss_between"]

Doubles: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Interpolation(Losses):
    """The loss at (1 − c) · first + c · second.

    Attributes:
        coefficients: The c: 0 is the first network, 1 the second.
        losses: Mean loss of each; NaN and infinity are kept.
        accuracies: Share of the examples that are classified correctly.
        split: Which of the first network's data they are of.
        batch_norm: Which BatchNorm statistics were used.
        num_evaluations: Points evaluated, each one pass over the data (two with re-estimated statistics).
        caveats: Sentences on when not to believe the numbers.
    """

    coefficients: Float[Doubles, " points"]
    losses: Float[Doubles, " points"]
    accuracies: Float[Doubles, " points"]
    split: str
    batch_norm: BatchNormStatistics
    num_evaluations: int
    caveats: tuple[str, ...]

    @property
    def barrier(self) -> float:
        """How far the loss between the networks rises above the straight line between their losses; 0 or more.

        NaN if a loss between them is NaN. It is a lower bound: between two points the loss may be higher.

        Source: Entezari et al. 2022 (arXiv 2110.06296), definition 2.1; Frankle et al. 2020 (arXiv 1912.05671)
        measure from the mean of the two losses, which is the same where these are equal.
        """
        is_between = (self.coefficients >= 0) & (self.coefficients <= 1)
        c, losses = self.coefficients[is_between], self.losses[is_between]
        with np.errstate(invalid="ignore"):  # infinite losses at an end leave no line to rise above
            return float((losses - ((1 - c) * losses[0] + c * losses[-1])).max())


def loss_between(
    first: TrainedModel,
    second: TrainedModel,
    *,
    num_points: int = 51,
    beyond: float = 0.0,
    split: str = "train",
    batch_norm: BatchNormStatistics = "kept",
) -> Interpolation:
    """Return loss and accuracy on the straight line between two networks, over the first one's data.

    Args:
        first: The network at 0, with data.
        second: The network at 1; its data is not looked at.
        num_points: How many points from the one to the other, both included.
        beyond: How far to go on at both ends, in the same steps [distances between the networks].
        split: ``"train"`` or ``"test"``.
        batch_norm: ``"kept"`` interpolates the statistics, as every other floating buffer, so that the ends are the
            two networks; ``"re-estimated"`` takes fresh ones from the training data at each point.

    Raises:
        InvalidInputError: The networks' parameters or buffers differ in name or shape, fewer than two points, or
            ``beyond`` is negative or not finite.
        EmptyDataError: There is no example.
        InvalidLogitsError: The first network's own output is no finite table of logits.
        InvalidLabelsError: Labels are out of range or not integers.

    Source: Goodfellow, Vinyals and Saxe 2015 (arXiv 1412.6544); Frankle et al. 2020 (arXiv 1912.05671).

    Example:
        >>> zero, two = torch.nn.Linear(1, 2, bias=False), torch.nn.Linear(1, 2, bias=False)
        >>> _ = zero.weight.data.fill_(0.0), two.weight.data.fill_(2.0)
        >>> data = (torch.ones(1, 1), torch.tensor([0]))
        >>> wave = lambda logits, labels: logits[:, 0] * (2 - logits[:, 0])
        >>> path = loss_between(TrainedModel(zero, data, loss=wave), TrainedModel(two, data), num_points=5)
        >>> path.losses.tolist(), path.barrier
        ([0.0, 0.75, 1.0, 0.75, 0.0], 1.0)
    """
    if num_points < 2:
        raise InvalidInputError(f"num_points must be 2 or more, both ends included, got {num_points}.")
    if not 0 <= beyond < np.inf:
        raise InvalidInputError(f"beyond must be 0 or more and finite, got {beyond}. 0.5 goes half as far again.")
    _refuse_other_shapes(first.network, second.network)
    num_beyond = ceil(beyond * (num_points - 1) - 1e-9)
    steps = np.arange(-num_beyond, num_points + num_beyond) / (num_points - 1)
    ends = _floating_buffers(second.network)
    with first.borrowed() as network:
        evaluation = Evaluation(first, split=split, batch_norm=batch_norm)
        difference = evaluation.space.flat(second.network).to(evaluation.center) - evaluation.center
        line = Slice(evaluation.center, difference.unsqueeze(0))
        starts = _floating_buffers(network)
        ends = {name: ends[name].to(starts[name]) for name in starts}
        if any(not torch.equal(starts[name], ends[name]) for name in starts):
            values = _with_buffers(evaluation, line, steps, starts, ends)
        else:
            values = line.values(evaluation, steps[:, None])
    caveats = line.caveats_on(evaluation, values)
    return Interpolation(
        steps, values.losses, values.accuracies, split, batch_norm, evaluation.num_evaluations, caveats
    )


def _with_buffers(
    evaluation: Evaluation, line: Slice, steps: Doubles, starts: Mapping[str, Tensor], ends: Mapping[str, Tensor]
) -> PointValues:
    """Evaluate point by point with interpolated buffers: written while the network is borrowed, put back after."""
    lent = dict(evaluation.trained.network.named_buffers())
    parts = []
    for c in steps.tolist():
        for name, start in starts.items():
            lent[name].copy_(torch.lerp(start, ends[name], c))
        parts.append(evaluation.at(line.points(np.array([[c]]))))
    return PointValues(
        np.concatenate([part.losses for part in parts]), np.concatenate([part.accuracies for part in parts])
    )


def _floating_buffers(network: nn.Module) -> dict[str, Tensor]:
    return {name: b.detach().clone() for name, b in network.named_buffers() if b.is_floating_point()}


def _refuse_other_shapes(first: nn.Module, second: nn.Module) -> None:
    shapes = []
    for network in (first, second):
        space = ParameterSpace.of(network)
        buffers = {name: b.shape for name, b in _floating_buffers(network).items()}
        shapes.append({**dict(zip(space.names, space.shapes, strict=True)), **buffers})
    for name in shapes[0] | shapes[1]:
        if shapes[0].get(name) != shapes[1].get(name):
            one, other = (f"shape {list(s[name])}" if name in s else "no such tensor" for s in shapes)
            raise InvalidInputError(
                f"two networks must have parameters of the same names and shapes to go from one to the other, but "
                f"for {name!r} the first has {one} and the second {other}."
            )
