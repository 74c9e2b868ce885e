"""From signatures to the generalization gap: the predictor, its scores, the ablations."""

from widemargin.prediction.ablations import ABLATIONS, SUBSETS, Ablation, Score, ablation_scores, features_of
from widemargin.prediction.gap_predictor import GapPredictor
from widemargin.prediction.scores import adjusted_r2, kfold_r2, left_out_predictions, mean_squared_error, r2

__all__ = [
    "ABLATIONS",
    "SUBSETS",
    "Ablation",
    "GapPredictor",
    "Score",
    "ablation_scores",
    "adjusted_r2",
    "features_of",
    "kfold_r2",
    "left_out_predictions",
    "mean_squared_error",
    "r2",
]
