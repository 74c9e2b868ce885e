"""What keeps the signature's R² on a zoo below 1: noise, few networks, or what margins do not know.

Prints, for a zoo that was trained before, the full signature's scores on all networks and on the networks that
share one value of one hyperparameter; what the finite test set and the repeats leave to explain; the mean residual
of left-out predictions by hyperparameter, which shows what margins misjudge; and what margins know that training
accuracy and loss do not, on networks where these vary and where they do not.

    python benchmarks/what_limits_the_prediction.py demo [--out benchmarks/results/….json]
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from record import record

from widemargin.prediction import (
    ABLATIONS,
    Ablation,
    GapPredictor,
    ablation_scores,
    features_of,
    kfold_r2,
    left_out_predictions,
)
from widemargin.report import zoo_findings
from widemargin.zoo import Zoo, zoo_table

PAPER, RIDGE = ABLATIONS[0], ABLATIONS[1]
FEWEST = 12


def scores(table: pd.DataFrame) -> dict[str, float | int | None]:
    answer: dict[str, float | int | None] = {"networks": len(table)}
    for name, ablation in (("least_squares", PAPER), ("ridge", RIDGE)):
        score = ablation_scores(table, [ablation])[0]
        answer |= {f"{name}_adjusted_r2": score.adjusted_r2, f"{name}_grouped_kfold_r2": score.grouped_kfold_r2}
    return answer


def residuals(table: pd.DataFrame, ablation: Ablation) -> pd.Series:
    predictor = GapPredictor(ablation.transform, ablation.regularization)
    gap = table["gap"].to_numpy(dtype=np.float64)
    groups = table["configuration"].to_numpy()
    predicted = left_out_predictions(predictor, features_of(ablation, table).to_numpy(), gap, groups=groups)
    return pd.Series(gap - predicted, index=table.index)


def beside_accuracy(table: pd.DataFrame) -> dict[str, float | int]:
    """Return grouped k-fold R² of margins, of training accuracy and loss, and of what they say together."""
    gap, groups = table["gap"].to_numpy(dtype=np.float64), table["configuration"].to_numpy()
    signature = np.log(features_of(PAPER, table).to_numpy())
    trivial = table[["train_accuracy", "train_loss"]].to_numpy(dtype=np.float64)
    both_forms = np.hstack([trivial, np.log(trivial)])
    one_hot = features_of(Ablation("", "hyperparameters"), table).to_numpy()

    def grouped(features: np.ndarray, regularization: str | None = "ridge") -> float:
        return kfold_r2(GapPredictor("identity", regularization), features, gap, groups=groups).value

    return {
        "networks": len(table),
        "gap_std": float(gap.std()),
        "signature": grouped(signature),
        "accuracy_and_loss": grouped(trivial, None),
        "accuracy_and_loss_with_logarithms": grouped(both_forms),
        "signature_accuracy_and_loss": grouped(np.hstack([signature, both_forms])),
        "hyperparameters": grouped(one_hot),
        "hyperparameters_accuracy_and_loss": grouped(np.hstack([one_hot, both_forms])),
        "everything": grouped(np.hstack([one_hot, both_forms, signature])),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("zoo", type=Path)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    zoo = Zoo(arguments.zoo)
    findings = zoo_findings(zoo)
    table = zoo_table(zoo)
    table = table[table["why_left_out"] == ""]
    left = residuals(table, RIDGE)
    by_value: dict[str, dict[str, float | int | None]] = {}
    for column in findings.varied:
        for value, part in table.groupby(column):
            name = f"{column.removeprefix('hp.')} = {value}"
            by_value[name] = {**scores(part), "mean_residual": float(left[part.index].mean())}
    result = {
        "zoo": findings.name,
        "all": scores(table),
        "r2_left_by_test_noise": findings.test_noise_r2,
        "r2_left_by_repeats": findings.repeat_r2,
        "share_of_variance_between_data_settings": findings.data_share,
        "same_data_r2_left_by_test_noise": findings.same_data_noise_r2,
        "r2_on_data_settings_left_out": findings.unseen_data_r2,
        "residual_std": float(left.std()),
        "by_value": by_value,
        "beside_accuracy": {
            name: beside_accuracy(table[chosen])
            for name, chosen in (
                ("all", table["train_accuracy"] >= 0),
                ("train accuracy above .9", table["train_accuracy"] > 0.9),
                ("train accuracy up to .9", table["train_accuracy"] <= 0.9),
                *(
                    (f"{c.removeprefix('hp.')} = {v}", table[c] == v)
                    for c in findings.varied
                    for v in table[c].unique()
                ),
            )
            if chosen.sum() >= FEWEST
        },
    }
    record(result, arguments.out)


if __name__ == "__main__":
    main()
