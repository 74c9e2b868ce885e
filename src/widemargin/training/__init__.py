"""Training networks."""

from widemargin.training.fit import Fit, HistoryRecord, OptimizerName, Schedule, fit

__all__ = ["Fit", "HistoryRecord", "OptimizerName", "Schedule", "fit"]
