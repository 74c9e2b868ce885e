"""How much random noise on its parameters a network bears."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from widemargin.errors import MeasureNotApplicableError
from widemargin.landscape.evaluation import Evaluation
from widemargin.trained_model import TrainedModel

__all__ = ["NoiseTolerance", "noise_tolerance"]

FALL = 0.1
"""By how much accuracy is to fall [share]."""

NUM_DRAWS = 10
NUM_HALVINGS = 8
LOWEST, HIGHEST = 1e-6, 1e2
"""Between these standard deviations it is looked for."""


@dataclass(frozen=True, slots=True)
class NoiseTolerance:
    """The noise under which accuracy falls by 0.1 on average.

    Attributes:
        deviation: Its standard deviation σ [units of each parameter].
        relative_error: One standard error of σ as a share of it; infinite where it cannot be told.
    """

    deviation: float
    relative_error: float


def noise_tolerance(trained: TrainedModel, *, unit: Float[Tensor, " parameters"], seed: int) -> NoiseTolerance:
    """Return the standard deviation σ of Gaussian noise σ ∘ unit that costs 0.1 of the training accuracy on average.

    Eight steps of bisection of log σ from 1e-6 to 100, with the same 10 draws of noise at every σ, then a straight
    line between the two σ around the crossing. The error is that of the mean fall over the draws, divided by the
    slope of the fall around σ.

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
        >>> round(noise_tolerance(trained, unit=torch.ones(100), seed=0).deviation, 1)  # the normal quantile: 0.78
        0.8
    """
    with trained.borrowed():
        evaluation = Evaluation(trained)
        accuracy = float(evaluation.at(evaluation.center.unsqueeze(0)).accuracies[0])
        if accuracy < FALL:
            raise MeasureNotApplicableError(f"accuracy on the sample is {accuracy:.3g} and cannot fall by {FALL}.")
        low, high = math.log(LOWEST), math.log(HIGHEST)
        falls: dict[float, NDArray[np.float64]] = {}
        for _ in range(NUM_HALVINGS):
            middle = (low + high) / 2
            falls[middle] = accuracy - _accuracies(evaluation, math.exp(middle) * unit, seed)
            if falls[middle].mean() < FALL:
                low = middle
            else:
                high = middle
    if low not in falls or high not in falls:
        raise MeasureNotApplicableError(
            f"accuracy on the sample is {accuracy:.3g} and does not fall by {FALL} at any noise from {LOWEST:g} to "
            f"{HIGHEST:g}."
        )
    before, behind = falls[low].mean(), falls[high].mean()
    crossing = low + (high - low) * (FALL - before) / (behind - before)
    near = [log for log in falls if abs(log - crossing) < math.log(2)]
    slope = np.polyfit(near, [falls[log].mean() for log in near], 1)[0]
    error = falls[high].std(ddof=1) / math.sqrt(NUM_DRAWS)
    return NoiseTolerance(math.exp(crossing), float(error / slope) if slope > 0 else math.inf)


def _accuracies(
    evaluation: Evaluation, deviations: Float[Tensor, " parameters"], seed: int
) -> Float[NDArray[np.float64], " draws"]:
    """Return the accuracy under each draw; they are made anew, as many at once as are evaluated at once."""
    generator = torch.Generator().manual_seed(seed)
    parts = []
    for start in range(0, NUM_DRAWS, evaluation.points_at_once):
        num = min(evaluation.points_at_once, NUM_DRAWS - start)
        noise = torch.stack([torch.randn(len(deviations), generator=generator) for _ in range(num)]).to(deviations)
        points = (evaluation.center + noise * deviations).to(evaluation.center)
        parts.append(evaluation.at(points).accuracies)
    return np.concatenate(parts)
