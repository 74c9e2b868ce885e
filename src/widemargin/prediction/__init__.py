"""From signatures to the generalization gap: the predictor, its scores, the ablations."""

from widemargin.prediction.ablations import (
    ABLATIONS,
    Ablation,
    Score,
    ablation_scores,
    features_of,
    varied_hyperparameters,
)
from widemargin.prediction.evaluation import Evaluation, MeasureScore, evaluate
from widemargin.prediction.gap_predictor import GapPredictor
from widemargin.prediction.intervals import LEVEL, Interval, Resamples, r2_interval, resamples_of
from widemargin.prediction.predictor_file import load_predictor, save_predictor
from widemargin.prediction.rank_correlations import RankCorrelation, kendall, spearman
from widemargin.prediction.ranking import RankedNetwork, Ranking, rank, rank_margins
from widemargin.prediction.scores import adjusted_r2, kfold_r2, left_out_predictions, mean_squared_error, r2
from widemargin.prediction.signature_predictor import signature_predictor
from widemargin.prediction.subsets import SUBSETS, has_learned, nearly_equal_accuracy, subsets_of

__all__ = [
    "ABLATIONS",
    "LEVEL",
    "SUBSETS",
    "Ablation",
    "Evaluation",
    "GapPredictor",
    "Interval",
    "MeasureScore",
    "RankCorrelation",
    "RankedNetwork",
    "Ranking",
    "Resamples",
    "Score",
    "ablation_scores",
    "adjusted_r2",
    "evaluate",
    "features_of",
    "has_learned",
    "kendall",
    "kfold_r2",
    "left_out_predictions",
    "load_predictor",
    "mean_squared_error",
    "nearly_equal_accuracy",
    "r2",
    "r2_interval",
    "rank",
    "rank_margins",
    "resamples_of",
    "save_predictor",
    "signature_predictor",
    "spearman",
    "subsets_of",
    "varied_hyperparameters",
]
