"""Where the loss first exceeds a cutoff along many rays at once."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray
from torch import Tensor

from widemargin.errors import InvalidInputError
from widemargin.landscape.evaluation import Evaluation

__all__ = ["Crossings", "Draw", "check_search", "first_crossings", "loss_at_minimum"]

Doubles: TypeAlias = NDArray[np.float64]
Draw: TypeAlias = Callable[
    [Sequence[int]], tuple[Float[Tensor, "directions parameters"], Float[Doubles, " directions"]]
]
"""From the numbers of directions to the directions, and the farthest multiple of each that is looked at."""

RATIO = 1.3
"""From one step of the scan to the next; no ridge is skipped that is wider than this."""

NUM_PILOTS = 2
"""Directions that find out where the others' scan begins."""

NEAREST = 2.0**-60
"""Share of the cap below which a ray counts as above the cutoff from the very start."""

BYTES_AT_ONCE = 2**28
"""Rays advance together until their directions, and the points that are looked at, reach this."""


@dataclass(frozen=True, eq=False)
class Crossings:
    """First crossings along rays; rows 2k and 2k + 1 are direction k and its opposite.

    Attributes:
        radii: Distance at which the loss first exceeds the cutoff [multiples of the direction].
        is_censored: Where no crossing was met up to the cap; the radius is the cap there.
        num_not_finite: How many rays met a loss that is NaN or infinite, which counts as above every cutoff.
    """

    radii: Float[Doubles, "rays cutoffs"]
    is_censored: Bool[NDArray[np.bool_], "rays cutoffs"]
    num_not_finite: int

    @property
    def caveats(self) -> tuple[str, ...]:
        """Sentences on when not to believe the radii."""
        if not self.num_not_finite:
            return ()
        return (
            f"{self.num_not_finite} of {len(self.radii)} rays met a loss that is NaN or infinite, which counts as "
            "above every cutoff.",
        )


def check_search(*, cutoffs: Sequence[float], num_directions: int, cap: float) -> None:
    """Check the numbers that say what is looked for.

    Raises:
        InvalidInputError: One is out of range.
    """
    if not len(cutoffs) or not all(0 < cutoff < math.inf for cutoff in cutoffs):
        raise InvalidInputError(
            f"cutoffs must be positive, finite losses, got {list(cutoffs)}. The training loss of the minimum must "
            "be below them; 0.1 is usual."
        )
    if num_directions < 1:
        raise InvalidInputError(f"num_directions must be 1 or more, got {num_directions}.")
    if not 0 < cap < math.inf:
        raise InvalidInputError(f"cap must be positive and finite, got {cap}. Under filter normalization 1 is usual.")


def loss_at_minimum(evaluation: Evaluation, cutoffs: Sequence[float]) -> float:
    """Return the mean loss of the network as it stands.

    Raises:
        InvalidInputError: It is not below every cutoff.
    """
    loss = float(evaluation.at(evaluation.center.unsqueeze(0)).losses[0])
    if not loss < min(cutoffs):
        raise InvalidInputError(
            "the training loss of the minimum must be below the cutoff for there to be a basin, got a loss of "
            f"{loss:.4g} and a cutoff of {min(cutoffs):.4g}. Train further, or take larger cutoffs."
        )
    return loss


def first_crossings(
    evaluation: Evaluation,
    draw: Draw,
    *,
    num_directions: int,
    cutoffs: Sequence[float],
    loss: float,
    precision: float,
) -> Crossings:
    """Return how far it is to the first crossing of each cutoff, along directions and their opposites.

    All rays advance together. Each scans outward in steps of a factor 1.3, from where a few pilot rays have met
    nothing yet, and closes in on the first crossing by interpolation of log loss in log distance; an evaluation
    serves all cutoffs. Call it while the network is borrowed.

    Args:
        evaluation: The loss.
        draw: The directions by their numbers, and how far to look along each.
        num_directions: How many directions.
        cutoffs: Mean losses.
        loss: Mean loss at the center, below every cutoff.
        precision: Largest ratio, less 1, of the two distances between which a crossing is known to lie.
    """
    order = np.argsort(cutoffs, kind="stable")
    search = _Search(evaluation, loss, np.asarray(cutoffs, dtype=np.float64)[order], precision)
    space = evaluation.space
    bytes_of_one = space.num_parameters * space.dtype.itemsize
    at_once = max(1, BYTES_AT_ONCE // (3 * bytes_of_one))  # a direction and the points on it both ways
    start = math.inf
    for some in _chunks(min(NUM_PILOTS, num_directions), at_once):
        start = search.start(*draw(some), below=start)
    parts = [search.along(*draw(some), start) for some in _chunks(num_directions, at_once)]
    radii, is_censored, met_not_finite = (np.concatenate(part) for part in zip(*parts, strict=True))
    back = np.argsort(order)
    return Crossings(radii[:, back], is_censored[:, back], int(met_not_finite.sum()))


@dataclass(frozen=True, eq=False)
class _Brackets:
    """Between which distances crossings lie, and there the log of how much of the way up to the cutoff is done."""

    low: Doubles
    high: Doubles
    log_low: Doubles
    log_high: Doubles

    def of(self, rays: Int[NDArray[np.intp], " some"], columns: Int[NDArray[np.intp], " some"]) -> "_Brackets":
        ends = (self.low, self.high, self.log_low, self.log_high)
        return _Brackets(*(end[rays, columns] for end in ends))

    def share(self) -> Doubles:
        """Return where a straight line of log loss over log distance crosses, else the middle."""
        share = -self.log_low / (self.log_high - self.log_low)
        return np.where(np.isfinite(share) & np.isfinite(self.log_high), share, 0.5)

    def between(self, share: Doubles) -> Doubles:
        distances: Doubles = self.low * (self.high / self.low) ** share
        return distances


@dataclass(frozen=True, eq=False)
class _Search:
    """A search along rays for cutoffs in rising order; nothing but the evaluations so far is its state."""

    evaluation: Evaluation
    loss: float
    cutoffs: Float[Doubles, " cutoffs"]
    precision: float

    def losses(
        self, steps: Float[Tensor, "directions parameters"], rays: Int[NDArray[np.intp], " some"], distances: Doubles
    ) -> Doubles:
        """Return the loss on some rays, as many at once as are evaluated at once; ray 2k + 1 goes against step k."""
        size = self.evaluation.points_at_once
        some = (slice(start, start + size) for start in range(0, len(rays), size))
        losses = [self._losses(steps, rays[each], distances[each]) for each in some]
        return np.concatenate(losses)

    def _losses(self, steps: Tensor, rays: NDArray[np.intp], distances: Doubles) -> Doubles:
        lengths = torch.from_numpy(np.where(rays % 2, -1, 1) * distances)
        points = steps[rays // 2].mul_(lengths.to(steps).unsqueeze(1))
        return self.evaluation.at(self.evaluation.around(points)).losses

    def start(
        self, steps: Float[Tensor, "directions parameters"], caps: Float[Doubles, " directions"], *, below: float
    ) -> float:
        """Return a distance, ``below`` at most, at which no pilot is above a cutoff, though one is at twice that."""

        def all_below(distance: float) -> bool:
            distances = np.full(2 * len(steps), distance)
            return bool((self.losses(steps, np.arange(2 * len(steps)), distances) <= self.cutoffs[0]).all())

        cap = min(float(caps.min()), 2 * below)
        distance = cap / 1024
        while not all_below(distance) and distance > NEAREST * cap:
            distance /= 32
        while 2 * distance < cap and all_below(2 * distance):
            distance *= 2
        return distance

    @np.errstate(all="ignore")
    def along(
        self, steps: Float[Tensor, "directions parameters"], caps: Float[Doubles, " directions"], start: float
    ) -> tuple[Doubles, NDArray[np.bool_], NDArray[np.bool_]]:
        """Return radii, which of them are censored [rays, cutoffs], and which rays met a loss that is not finite."""
        caps = caps.repeat(2)
        distances, losses = np.zeros((len(caps), 1)), np.full((len(caps), 1), self.loss)
        while True:
            brackets = self.brackets(distances, losses)
            is_censored = brackets.low >= caps[:, None]
            is_nothing = brackets.high <= NEAREST * caps[:, None]
            is_closed = brackets.high <= brackets.low * (1 + self.precision) * (1 + 1e-12)  # for rounding
            is_open = ~(is_closed | is_censored | is_nothing)
            rays = np.flatnonzero(is_open.any(axis=1))
            if not len(rays):
                break
            smallest = is_open[rays].argmax(axis=1)  # what is learned on its way serves the larger cutoffs
            further = np.minimum(self.next(brackets.of(rays, smallest), start), caps[rays])
            distances = _appended(distances, rays, further, otherwise=math.inf)
            losses = _appended(losses, rays, self.losses(steps, rays, further), otherwise=math.nan)
        radii = np.where(is_nothing, brackets.high, brackets.between(brackets.share()))
        met_not_finite = (~np.isfinite(losses) & np.isfinite(distances)).any(axis=1)
        return np.where(is_censored, caps[:, None], radii), is_censored, met_not_finite

    def brackets(
        self, distances: Float[Doubles, "rays evaluations"], losses: Float[Doubles, "rays evaluations"]
    ) -> _Brackets:
        """Return the brackets [rays, cutoffs] that follow from all evaluations; the first is the center's."""
        distances = distances[:, None]
        is_above = ~(losses[:, None] <= self.cutoffs[:, None])  # NaN is
        high = np.where(is_above, distances, math.inf)
        low = np.where(distances < high.min(axis=2, keepdims=True), distances, 0.0)
        ends = []
        for where, index in ((low, low.argmax(axis=2)), (high, high.argmin(axis=2))):
            share = (np.take_along_axis(losses, index, axis=1) - self.loss) / (self.cutoffs - self.loss)
            ends.append(np.take_along_axis(where, index[..., None], axis=2)[..., 0])
            ends.append(np.log(np.maximum(share, 1e-6)))
        return _Brackets(ends[0], ends[2], ends[1], ends[3])

    def next(self, bracket: _Brackets, start: float) -> Doubles:
        """Return where each ray is looked at next."""
        parabola = np.nan_to_num(np.exp(-bracket.log_high / 2), nan=0.1)
        back = bracket.high * np.clip(0.9 * parabola, 0.001, 1 / RATIO)
        begin = np.where(np.isinf(bracket.high), start, back)
        scan = np.where(bracket.low == 0, begin, bracket.low * RATIO)
        return np.where(bracket.low * RATIO < bracket.high, scan, self.closer(bracket))

    def closer(self, bracket: _Brackets) -> Doubles:
        """Return a distance a little beside the expected crossing, on the side where the bracket is longer."""
        share = bracket.share()
        wanted = np.log1p(self.precision) / np.log(bracket.high / bracket.low)  # less than 1 while open
        beside = np.clip(share + np.where(share < 0.5, wanted / 2, -wanted / 2), 0.1, 0.9)
        return bracket.between(np.where(share < wanted, wanted, np.where(share > 1 - wanted, 1 - wanted, beside)))


def _chunks(num: int, size: int) -> list[range]:
    return [range(first, min(first + size, num)) for first in range(0, num, size)]


def _appended(table: Doubles, rows: NDArray[np.intp], values: Doubles, *, otherwise: float) -> Doubles:
    column = np.full((len(table), 1), otherwise)
    column[rows, 0] = values
    return np.append(table, column, axis=1)
