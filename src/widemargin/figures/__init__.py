"""Figures: data first, drawing on matplotlib axes second."""

from widemargin.figures.margins import (
    Density,
    OrderStatistics,
    draw_margin_density,
    draw_order_statistics,
    margin_densities,
    order_statistics,
)
from widemargin.figures.predictions import PredictedGaps, draw_predicted_gaps, predicted_gaps

__all__ = [
    "Density",
    "OrderStatistics",
    "PredictedGaps",
    "draw_margin_density",
    "draw_order_statistics",
    "draw_predicted_gaps",
    "margin_densities",
    "order_statistics",
    "predicted_gaps",
]
