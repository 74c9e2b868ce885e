"""The basin around a network, where there is one."""

from widemargin.errors import MeasureNotApplicableError
from widemargin.landscape import BasinRadii, basin_radii
from widemargin.trained_model import TrainedModel

__all__ = ["CLEARANCE", "CUTOFF", "radii_of_basin"]

CUTOFF = 0.1
"""Mean loss [nats] that bounds a basin."""

CLEARANCE = 0.9
"""A network whose own loss is more than this share of a cutoff has no basin worth the name below it."""

NUM_DIRECTIONS = 5


def radii_of_basin(trained: TrainedModel, *, loss: float, seed: int) -> BasinRadii:
    """Return how far the loss stays below 0.1 along five random filter-normalized directions and their opposites.

    Args:
        trained: The network with its training data.
        loss: Its mean loss.
        seed: Seed of the directions.

    Raises:
        MeasureNotApplicableError: The loss leaves no room below the cutoff.
    """
    if not loss <= CLEARANCE * CUTOFF:
        raise MeasureNotApplicableError(
            f"the loss on the sample, {loss:.3g}, leaves no room below the cutoff of {CUTOFF} that bounds a basin."
        )
    return basin_radii(trained, cutoffs=(CUTOFF,), num_directions=NUM_DIRECTIONS, seed=seed)
