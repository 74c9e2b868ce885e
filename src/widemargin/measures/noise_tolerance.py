"""How much random noise on its parameters a network bears."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from widemargin.errors import MeasureNotApplicableError
from widemargin.landscape.evaluation import Evaluation
from widemargin.parameters import Unit
from widemargin.trained_model import TrainedModel

__all__ = ["NoiseTolerance", "noise_tolerance"]

Doubles: TypeAlias = NDArray[np.float64]

FALL = 0.1
"""By how much accuracy is to fall [share]."""

NUM_DRAWS = 10
NUM_SCOUTS = 2
"""So many of the draws find out by themselves where all are to look."""

LOWEST, HIGHEST = 1e-6, 1e2
"""Between these standard deviations it is looked for."""

FAR, NEAR = 0.3, 0.1
"""How far apart in log σ the two ends around the crossing may be: of the scouts, and of all draws."""


@dataclass(frozen=True, slots=True)
class NoiseTolerance:
    """The noise under which accuracy falls by 0.1 on average.

    Attributes:
        deviation: Its standard deviation σ [units of each parameter].
        relative_error: One standard error of σ as a share of it; infinite where it cannot be told.
    """

    deviation: float
    relative_error: float


def noise_tolerance(trained: TrainedModel, *, unit: Unit, seed: int) -> NoiseTolerance:
    """Return the standard deviation σ of Gaussian noise σ ∘ unit that costs 0.1 of the training accuracy on average.

    Two draws of noise bisect log σ from 1e-6 to 100. From their crossing all 10, the same at every σ, step up or down
    until the fall is met between two σ less than a tenth apart, where a straight line finds it. The error is that of
    the mean fall over the draws, divided by the slope of the fall around σ.

    Args:
        trained: The network with its training data.
        unit: Standard deviation of each parameter's noise where σ is 1.
        seed: Seed of the draws.

    Raises:
        MeasureNotApplicableError: Accuracy is below 0.1, or there is no such σ.
        InvalidLogitsError: The network's output is no finite table of logits.

    Source: Jiang et al. 2019 (arXiv 1912.02178), appendix on PAC-Bayes measures; ours bisects standard deviations.

    Example:
        >>> net = torch.nn.Linear(100, 1, bias=False)
        >>> _ = torch.nn.init.ones_(net.weight)
        >>> trained = TrainedModel(net, (torch.eye(100), torch.ones(100).long()))
        >>> round(noise_tolerance(trained, unit=torch.ones_like, seed=0).deviation, 1)  # the normal quantile: 0.78
        0.8
    """
    with trained.borrowed():
        evaluation = Evaluation(trained)
        accuracy = float(evaluation.at(evaluation.center.unsqueeze(0)).accuracies[0])
        if accuracy < FALL:
            raise MeasureNotApplicableError(f"accuracy on the sample is {accuracy:.3g} and cannot fall by {FALL}.")

        def falls(num_draws: int) -> Callable[[float], Doubles]:
            return lambda log: accuracy - _accuracies(evaluation, unit, math.exp(log), num_draws, seed)

        scouts = _bracket(falls(NUM_SCOUTS), start=math.log(LOWEST * HIGHEST) / 2, step=math.inf, width=FAR)
        found = _bracket(falls(NUM_DRAWS), start=scouts.crossing, step=0.9 * NEAR, width=NEAR)
    if not found.is_closed:
        raise MeasureNotApplicableError(
            f"accuracy on the sample is {accuracy:.3g} and does not fall by {FALL} at any noise from {LOWEST:g} to "
            f"{HIGHEST:g}."
        )
    near = {log: fall.mean() for log, fall in (scouts.falls | found.falls).items()}
    near = {log: fall for log, fall in near.items() if abs(log - found.crossing) < math.log(2)}
    slope = np.polyfit(list(near), list(near.values()), 1)[0]
    error = found.falls[found.high].std(ddof=1) / math.sqrt(NUM_DRAWS)
    return NoiseTolerance(math.exp(found.crossing), float(error / slope) if slope > 0 else math.inf)


@dataclass(frozen=True, eq=False)
class _Bracket:
    """Two log σ that the fall is looked for between, and the falls of accuracy that were seen, by log σ."""

    low: float
    high: float
    falls: dict[float, Doubles]

    @property
    def is_closed(self) -> bool:
        """Whether the fall was met, and not only an end of the range."""
        return self.low in self.falls and self.high in self.falls

    @property
    def crossing(self) -> float:
        """The log σ at which a straight line meets the fall, or the middle where there is none."""
        if not self.is_closed:
            return (self.low + self.high) / 2
        before, behind = self.falls[self.low].mean(), self.falls[self.high].mean()
        return float(self.low + (self.high - self.low) * (FALL - before) / (behind - before))


def _bracket(falls: Callable[[float], Doubles], *, start: float, step: float, width: float) -> _Bracket:
    """Step out from the start, ever further, until the fall is between two points; then halve what lies between."""
    low, high, log = math.log(LOWEST), math.log(HIGHEST), start
    seen: dict[float, Doubles] = {}
    while high - low > width:
        seen[log] = falls(log)
        low, high = (log, high) if seen[log].mean() < FALL else (low, log)
        log = low + step if high not in seen else high - step
        if not low < log < high or {low, high} <= seen.keys():
            log = (low + high) / 2
        step *= 2
    return _Bracket(low, high, seen)


def _accuracies(
    evaluation: Evaluation, unit: Unit, deviation: float, num_draws: int, seed: int
) -> Float[Doubles, " {num_draws}"]:
    """Return the accuracy under each draw; they are made anew, as many at once as are evaluated at once."""
    generator = torch.Generator().manual_seed(seed)
    parts = []
    for start in range(0, num_draws, evaluation.points_at_once):
        num = min(evaluation.points_at_once, num_draws - start)
        noisy = (_noisy(evaluation, unit, deviation, generator) for _ in range(num))
        parts.append(evaluation.at(torch.stack(list(noisy))).accuracies)
    return np.concatenate(parts)


def _noisy(
    evaluation: Evaluation, unit: Unit, deviation: float, generator: torch.Generator
) -> Float[Tensor, " parameters"]:
    trained, space = evaluation.trained, evaluation.space
    point = torch.randn(space.num_parameters, generator=generator).to(trained.device, space.dtype)
    for own, piece in space.pieces(dict(trained.network.named_parameters()), point):
        piece.mul_(deviation * unit(own)).add_(own)
    return point
