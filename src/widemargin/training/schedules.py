"""How the learning rate falls."""

import math
from collections.abc import Callable, Mapping
from typing import Literal, TypeAlias

from widemargin.errors import InvalidInputError

__all__ = ["SCHEDULES", "Schedule", "lr_factor"]

Schedule: TypeAlias = Literal["cosine", "constant", "steps"]

STEP_PLACES = (0.5, 0.75, 0.9)
"""Under ``"steps"`` the learning rate is divided by ten after these shares of the training."""

SCHEDULES: Mapping[str, Callable[[float], float]] = {
    "cosine": lambda progress: 0.5 * (1 + math.cos(math.pi * progress)),
    "constant": lambda _: 1.0,
    "steps": lambda progress: 0.1 ** sum(progress >= place for place in STEP_PLACES),
}


def lr_factor(schedule: Schedule) -> Callable[[float], float]:
    """Return the factor of the first learning rate as a function of the share of the training that is done.

    Raises:
        InvalidInputError: No such schedule.
    """
    if schedule not in SCHEDULES:
        raise InvalidInputError(f"schedule must be one of {', '.join(SCHEDULES)}, got {schedule!r}.")
    return SCHEDULES[schedule]
