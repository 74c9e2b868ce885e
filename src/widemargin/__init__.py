"""widemargin tells how well a trained network will generalize, from its training data alone, and shows why."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from widemargin.curvature import hessian_trace, spectral_density, top_eigenvalues
    from widemargin.landscape import basin_radii, basin_volume, loss_along, loss_surface
    from widemargin.margins import MarginDistribution, margin_distribution
    from widemargin.measures import MEASURES, Measure, measure_all
    from widemargin.prediction import (
        GapPredictor,
        conditional_mutual_information,
        evaluate,
        granulated_kendall,
        rank,
        robust_sign_error,
    )
    from widemargin.results import Estimate
    from widemargin.trained_model import TrainedModel
    from widemargin.training import poisoned_loss, train_stack

__version__ = "0.1.0"

__all__ = [
    "MEASURES",
    "Estimate",
    "GapPredictor",
    "MarginDistribution",
    "Measure",
    "TrainedModel",
    "basin_radii",
    "basin_volume",
    "conditional_mutual_information",
    "evaluate",
    "granulated_kendall",
    "hessian_trace",
    "loss_along",
    "loss_surface",
    "margin_distribution",
    "measure_all",
    "poisoned_loss",
    "rank",
    "robust_sign_error",
    "spectral_density",
    "top_eigenvalues",
    "train_stack",
]

_HOMES = {
    "Estimate": "widemargin.results",
    "GapPredictor": "widemargin.prediction",
    "MEASURES": "widemargin.measures",
    "MarginDistribution": "widemargin.margins",
    "Measure": "widemargin.measures",
    "TrainedModel": "widemargin.trained_model",
    "basin_radii": "widemargin.landscape",
    "basin_volume": "widemargin.landscape",
    "conditional_mutual_information": "widemargin.prediction",
    "evaluate": "widemargin.prediction",
    "granulated_kendall": "widemargin.prediction",
    "hessian_trace": "widemargin.curvature",
    "loss_along": "widemargin.landscape",
    "loss_surface": "widemargin.landscape",
    "margin_distribution": "widemargin.margins",
    "measure_all": "widemargin.measures",
    "poisoned_loss": "widemargin.training",
    "rank": "widemargin.prediction",
    "robust_sign_error": "widemargin.prediction",
    "spectral_density": "widemargin.curvature",
    "top_eigenvalues": "widemargin.curvature",
    "train_stack": "widemargin.training",
}


def __getattr__(name: str) -> object:
    """Load a public name where it is first used, so that importing the package stays quick."""
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
