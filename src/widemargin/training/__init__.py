"""Fitting networks to data: plain, poisoned, and many at once."""

from widemargin.training.classical import (
    QuadraticModel,
    SupportVectorMachine,
    fit_quadratic_model,
    fit_support_vector_machine,
)
from widemargin.training.fit import OptimizerName, Precision, fit, has_bfloat16
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
    "Precision",
    "QuadraticModel",
    "Schedule",
    "StackFit",
    "SupportVectorMachine",
    "fit",
    "fit_quadratic_model",
    "fit_support_vector_machine",
    "has_bfloat16",
    "poisoned_loss",
    "train_stack",
    "unlikelihood",
]
