"""Figures: data first, drawing on matplotlib axes second."""

from widemargin.figures.animation import perturbation_walk, write_walk_animation
from widemargin.figures.basins import draw_radii, draw_rays, draw_volume_against_gap
from widemargin.figures.hyperparameters import GapsByValue, draw_gaps_by_value, gaps_by_hyperparameter
from widemargin.figures.margins import (
    Density,
    OrderStatistics,
    draw_margin_density,
    draw_order_statistics,
    margin_densities,
    order_statistics,
)
from widemargin.figures.minefield import draw_minefield
from widemargin.figures.poison import PoisonedQuantity, draw_against_poison
from widemargin.figures.predictions import PredictedGaps, draw_predicted_gaps, predicted_gaps
from widemargin.figures.regions import boundary_lines, draw_decision_regions
from widemargin.figures.scores import ScoreBar, draw_score_bars, score_bars
from widemargin.figures.surfaces import draw_loss_surface, draw_loss_surface_3d, loss_range, lowest_point
from widemargin.figures.walks import WalkQuantity, draw_walk, mark_step, walk_values

__all__ = [
    "Density",
    "GapsByValue",
    "OrderStatistics",
    "PoisonedQuantity",
    "PredictedGaps",
    "ScoreBar",
    "WalkQuantity",
    "boundary_lines",
    "draw_against_poison",
    "draw_decision_regions",
    "draw_gaps_by_value",
    "draw_loss_surface",
    "draw_loss_surface_3d",
    "draw_margin_density",
    "draw_minefield",
    "draw_order_statistics",
    "draw_predicted_gaps",
    "draw_radii",
    "draw_rays",
    "draw_score_bars",
    "draw_volume_against_gap",
    "draw_walk",
    "gaps_by_hyperparameter",
    "loss_range",
    "lowest_point",
    "margin_densities",
    "mark_step",
    "order_statistics",
    "perturbation_walk",
    "predicted_gaps",
    "score_bars",
    "walk_values",
    "write_walk_animation",
]
