"""From signatures to the generalization gap: the predictor, its scores, the ablations."""

from widemargin.prediction.ablations import (
    ABLATIONS,
    TRIVIAL,
    Ablation,
    Score,
    ablation_scores,
    features_of,
    varied_hyperparameters,
)
from widemargin.prediction.combinations import combination_features, combination_scores
from widemargin.prediction.correlations import Correlation, kendall, pearson, spearman
from widemargin.prediction.evaluation import Evaluation, evaluate
from widemargin.prediction.gap_predictor import GapPredictor
from widemargin.prediction.granulated_kendall import GranulatedKendall, granulated_kendall
from widemargin.prediction.intervals import LEVEL, Interval, Resamples, r2_interval, resamples_of
from widemargin.prediction.measure_scores import MeasureScore
from widemargin.prediction.measured_ranking import measures_of, rank_measured
from widemargin.prediction.mutual_information import ConditionalMutualInformation, conditional_mutual_information
from widemargin.prediction.permutation_test import benjamini_hochberg, holm, permutation_p_values
from widemargin.prediction.predictor_file import load_predictor, save_predictor
from widemargin.prediction.ranking import RankedNetwork, Ranking, rank, rank_margins
from widemargin.prediction.scores import adjusted_r2, kfold_r2, left_out_predictions, mean_squared_error, r2
from widemargin.prediction.sign_error import SignError, robust_sign_error
from widemargin.prediction.subsets import SUBSETS, has_learned, nearly_equal_accuracy, subsets_of
from widemargin.prediction.zoo_predictor import measures_predictor, signature_predictor

__all__ = [
    "ABLATIONS",
    "LEVEL",
    "SUBSETS",
    "TRIVIAL",
    "Ablation",
    "ConditionalMutualInformation",
    "Correlation",
    "Evaluation",
    "GapPredictor",
    "GranulatedKendall",
    "Interval",
    "MeasureScore",
    "RankedNetwork",
    "Ranking",
    "Resamples",
    "Score",
    "SignError",
    "ablation_scores",
    "adjusted_r2",
    "benjamini_hochberg",
    "combination_features",
    "combination_scores",
    "conditional_mutual_information",
    "evaluate",
    "features_of",
    "granulated_kendall",
    "has_learned",
    "holm",
    "kendall",
    "kfold_r2",
    "left_out_predictions",
    "load_predictor",
    "mean_squared_error",
    "measures_of",
    "measures_predictor",
    "nearly_equal_accuracy",
    "pearson",
    "permutation_p_values",
    "r2",
    "r2_interval",
    "rank",
    "rank_margins",
    "rank_measured",
    "resamples_of",
    "robust_sign_error",
    "save_predictor",
    "signature_predictor",
    "spearman",
    "subsets_of",
    "varied_hyperparameters",
]
