"""Fitting networks to data: plain, poisoned, and many at once."""

from widemargin.training.classical import (
    QuadraticModel,
    SupportVectorMachine,
    fit_quadratic_model,
    fit_support_vector_machine,
)
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
    "QuadraticModel",
    "Schedule",
    "StackFit",
    "SupportVectorMachine",
    "fit",
    "fit_quadratic_model",
    "fit_support_vector_machine",
    "poisoned_loss",
    "train_stack",
    "unlikelihood",
]
