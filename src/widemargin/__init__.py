"""widemargin tells how well a trained network will generalize, from its training data alone, and shows why."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from widemargin.margins import MarginDistribution, margin_distribution
    from widemargin.prediction import GapPredictor
    from widemargin.results import Estimate
    from widemargin.trained_model import TrainedModel

__version__ = "0.1.0"

__all__ = ["Estimate", "GapPredictor", "MarginDistribution", "TrainedModel", "margin_distribution"]

_HOMES = {
    "Estimate": "widemargin.results",
    "GapPredictor": "widemargin.prediction",
    "MarginDistribution": "widemargin.margins",
    "TrainedModel": "widemargin.trained_model",
    "margin_distribution": "widemargin.margins",
}


def __getattr__(name: str) -> object:
    """Load a public name where it is first used, so that importing the package stays quick."""
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
