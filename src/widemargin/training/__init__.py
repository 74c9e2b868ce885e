"""Fitting networks to data: plain, poisoned, and many at once."""

from widemargin.training.fit import OptimizerName, fit
from widemargin.training.history import Fit, HistoryRecord
from widemargin.training.poison import Poison, PoisonPool, PoisonSchedule, poisoned_loss, unlikelihood
from widemargin.training.schedules import Schedule
from widemargin.training.stack import StackFit, train_stack

__all__ = [
    "Fit",
    "HistoryRecord",
    "OptimizerName",
    "Poison",
    "PoisonPool",
    "PoisonSchedule",
    "Schedule",
    "StackFit",
    "fit",
    "poisoned_loss",
    "train_stack",
    "unlikelihood",
]
