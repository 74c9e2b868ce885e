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

NUM_DRAWS, NUM_FIRST = 10, 4
"""Perturbations at each σ; the first few decide where all of them are well on one side."""

NUM_HALVINGS = 10
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

    Ten steps of bisection of log σ from 1e-6 to 100, which leave a bracket of 1.8 %, with the same 10 draws of noise
    at every σ; where the first 4 are all well on one side they decide alone. The error is that of the mean fall over
    the draws, divided by the slope of the fall around σ.

    Args:
        trained: The network with its training data.
        unit: Standard deviation of each parameter's noise where σ is 1.
        seed: Seed of the draws.

    Raises:
        MeasureNotApplicableError: Accuracy is below 0.1, or there is no such σ.
        InvalidLogitsError: The network's output is no finite table of logits.

    Source: Jiang et al. 2019 (arXiv 1912.02178), appendix on PAC-Bayes measures; ours bisects standard deviations.
    """
    with trained.borrowed():
        evaluation = Evaluation(trained)
        accuracy = float(evaluation.at(evaluation.center.unsqueeze(0)).accuracies[0])
        if accuracy < FALL:
            raise MeasureNotApplicableError(f"accuracy on the sample is {accuracy:.3g} and cannot fall by {FALL}.")
        low, high = math.log(LOWEST), math.log(HIGHEST)
        logs, falls = [], []
        for _ in range(NUM_HALVINGS):
            logs.append((low + high) / 2)
            falls.append(_falls(evaluation, math.exp(logs[-1]) * unit, accuracy=accuracy, seed=seed))
            if falls[-1].mean() < FALL:
                low = logs[-1]
            else:
                high = logs[-1]
    if not math.log(LOWEST) < low < high < math.log(HIGHEST):
        raise MeasureNotApplicableError(
            f"accuracy on the sample is {accuracy:.3g} and does not fall by {FALL} at any noise from {LOWEST:g} to "
            f"{HIGHEST:g}."
        )
    near = [index for index, log in enumerate(logs) if abs(log - logs[-1]) < math.log(2)]
    slope = np.polyfit([logs[index] for index in near], [falls[index].mean() for index in near], 1)[0]
    error = falls[-1].std(ddof=1) / math.sqrt(len(falls[-1]))
    return NoiseTolerance(math.exp((low + high) / 2), float(error / slope) if slope > 0 else math.inf)


def _falls(
    evaluation: Evaluation, deviations: Float[Tensor, " parameters"], *, accuracy: float, seed: int
) -> Float[NDArray[np.float64], " draws"]:
    """Return by how much accuracy falls under the first draws, and under all where these do not decide.

    Draws are made anew for each σ from the same seed, as many at once as are evaluated at once.
    """
    generator = torch.Generator().manual_seed(seed)
    falls = np.empty(0)
    while len(falls) < NUM_DRAWS and (len(falls) < NUM_FIRST or not _is_decided(falls)):
        wanted = NUM_FIRST if len(falls) < NUM_FIRST else NUM_DRAWS
        num = min(evaluation.points_at_once, wanted - len(falls))
        noise = torch.stack([torch.randn(len(deviations), generator=generator) for _ in range(num)]).to(deviations)
        points = (evaluation.center + noise * deviations).to(evaluation.center)
        falls = np.append(falls, accuracy - evaluation.at(points).accuracies)
    return falls


def _is_decided(falls: Float[NDArray[np.float64], " draws"]) -> bool:
    """Return whether every draw is on the same side of the fall that is looked for, by half of it or more."""
    return bool((falls <= 0.5 * FALL).all() or (falls >= 1.5 * FALL).all())
