"""Does a predictor fitted on natural networks hold for poisoned ones of the same kind?

Takes two zoos with equal layers, say those of nin-cifar10-small and nin-cifar10-poison. Every predictor is fitted on
all usable networks of the first and asked for the gaps of the second; and the second is added to the first, whole
configurations left out. R² is against the poisoned networks' own mean gap, so it is negative where the predictor is
worse than knowing that mean; the bias is the mean of predicted less actual gap.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from record import record
from scipy.stats import spearmanr

from widemargin.measures import CHEAP_MEASURES, MEASURES
from widemargin.prediction import ABLATIONS, GapPredictor, combination_features, features_of, kfold_r2, r2
from widemargin.zoo import Zoo, zoo_table

WANTED = (
    "full signature, least squares",
    "full signature, ridge",
    "medians only",
    "spectrally normalized margin",
    "training accuracy and loss",
    "log training accuracy and loss",
    "training accuracy, loss and their logarithms, ridge",
    "full signature, accuracy, loss and their logarithms, ridge",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("natural", type=Path)
    parser.add_argument("poisoned", type=Path)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    natural, poisoned = (usable(folder) for folder in (options.natural, options.poisoned))
    both = pd.concat([natural, poisoned])
    rows = []
    for name, predictor, features in asked_for(both):
        known, joint = features[: len(natural)], features
        asked = features[len(natural) :]
        predicted, actual = predictor.fit(known, gap(natural)).predict(asked), gap(poisoned)
        rows.append(
            {
                "predictor": name,
                "r2_on_poisoned": r2(actual, predicted),
                "bias_on_poisoned": float((predicted - actual).mean()),
                "root_mean_squared_error_on_poisoned": float(np.sqrt(((predicted - actual) ** 2).mean())),
                "rank_correlation_on_poisoned": float(spearmanr(predicted, actual).statistic),
                "grouped_kfold_r2_natural": grouped(predictor, known, natural),
                "grouped_kfold_r2_of_both_together": grouped(predictor, joint, both),
            }
        )
    record(
        {
            "num_natural": len(natural),
            "num_poisoned": len(poisoned),
            "gaps_natural": [float(gap(natural).min()), float(gap(natural).max())],
            "gaps_poisoned": [float(gap(poisoned).min()), float(gap(poisoned).max())],
            "rows": rows,
        },
        options.out,
    )


def asked_for(both: pd.DataFrame) -> Iterator[tuple[str, GapPredictor, np.ndarray]]:
    """Yield predictors by name, and what they take of all networks; measures where both zoos were measured."""
    for ablation in ABLATIONS:
        if ablation.name in WANTED:
            predictor = GapPredictor(ablation.transform, ablation.regularization)
            yield ablation.name, predictor, features_of(ablation, both).to_numpy()
    kinds = {
        "measures: cheap ones": list(CHEAP_MEASURES),
        "measures: sharpness": [name for name, each in MEASURES.items() if each.family == "sharpness"],
        "measures: margins": [name for name, each in MEASURES.items() if each.family == "margins"],
        "measures: all": list(MEASURES),
    }
    for kind, names in kinds.items():
        features = combination_features(both, [f"m.{name}" for name in names])
        if not features.empty:
            yield kind, GapPredictor("identity", "ridge"), features.to_numpy()


def usable(folder: Path) -> pd.DataFrame:
    table = zoo_table(Zoo(folder))
    return table[table["why_left_out"] == ""]


def gap(table: pd.DataFrame) -> np.ndarray:
    return table["gap"].to_numpy(dtype=np.float64)


def grouped(predictor: GapPredictor, features: np.ndarray, table: pd.DataFrame) -> float:
    return kfold_r2(predictor, features, gap(table), groups=table["configuration"].to_numpy()).value


if __name__ == "__main__":
    main()
