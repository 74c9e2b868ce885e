"""What several measures predict together: a family of them, all of them, all with the signature."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from widemargin.prediction.ablations import Score, same_data_r2, signature_logarithms, training_numbers
from widemargin.prediction.columns import FEWEST_NETWORKS
from widemargin.prediction.gap_predictor import GapPredictor
from widemargin.prediction.intervals import resamples_of
from widemargin.prediction.regression import regression_scores
from widemargin.prediction.subsets import subsets_of

__all__ = ["combination_features", "combination_scores"]

KNOWN_SHARE = 0.5
ALL = "all"


def combination_scores(
    table: pd.DataFrame, families: Mapping[str, Sequence[str]], *, num_resamples: int = 1000, seed: int = 0
) -> list[Score]:
    """Return what ridge regressions on many measures at once reach, on every subset of the networks.

    One on each family, and one on it with training accuracy, loss and their logarithms; the same for all measures;
    and one on all measures with these and the margin signature. The best of them is a little better here than it
    will be elsewhere, because it was the best of several.

    Args:
        table: As for :func:`ablation_scores`, with the measures.
        families: Columns of the measures by the name of their family, of which they may have several; those that the
            table lacks are left out.
        num_resamples: How often configurations are drawn for the intervals.
        seed: Seed of these draws.
    """
    usable = table[table["why_left_out"] == ""]
    every = list(dict.fromkeys(name for names in families.values() for name in names))
    scores = []
    for subset, networks in subsets_of(usable).items():
        together = combination_features(networks, every)
        if len(networks) < FEWEST_NETWORKS or together.empty:
            continue
        beside = training_numbers(networks)
        combinations: dict[str, pd.DataFrame] = {}
        for name, names in {**families, ALL: every}.items():
            features = together if name == ALL else combination_features(networks, names)
            if not features.empty:
                combinations[f"measures: {name}"] = features
                combinations[f"measures: {name} + accuracy and loss"] = features.join(beside)
        combinations[f"measures: {ALL} + accuracy and loss + signature"] = pd.concat(
            [together, beside, signature_logarithms(networks)], axis=1
        )
        scores += [
            _score(name, features, networks, subset, num_resamples, seed)
            for name, features in combinations.items()
            if not features.isna().any(axis=None)
        ]
    return scores


def combination_features(table: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """Return measures as a regression on many takes them.

    The logarithm of what is positive for every network, so that magnitudes do not matter, and else the measure
    itself. What is missing or infinite becomes the median; a measure that is so for more than half of the networks,
    or the same for all, is left out.

    Args:
        table: One row a network.
        names: Columns; those that the table lacks are left out.

    Example:
        >>> table = pd.DataFrame({"m.norm": [1.0, np.e, np.inf], "m.loss": [0.0, 1.0, 2.0], "m.depth": [3, 3, 3]})
        >>> combination_features(table, ["m.norm", "m.loss", "m.depth"]).to_dict("list")
        {'log m.norm': [0.0, 1.0, 0.5], 'm.loss': [0.0, 1.0, 2.0]}
    """
    columns = {}
    for name in names:
        if name not in table:
            continue
        known = table[name].astype(np.float64).replace([np.inf, -np.inf], np.nan)
        if known.notna().mean() <= KNOWN_SHARE or known.nunique() < 2:
            continue
        is_positive = bool((known.dropna() > 0).all())
        values = known.map(np.log) if is_positive else known
        columns[f"log {name}" if is_positive else name] = values.fillna(values.median())
    return pd.DataFrame(columns, index=table.index)


def _score(
    name: str, features: pd.DataFrame, table: pd.DataFrame, subset: str, num_resamples: int, seed: int
) -> Score:
    accuracies, configurations = table["train_accuracy"], table["configuration"].to_numpy()
    found = regression_scores(
        GapPredictor("identity", "ridge"),
        features.to_numpy(),
        table["gap"].to_numpy(dtype=np.float64),
        configurations,
        resamples_of(configurations, num_resamples=num_resamples, seed=seed),
    )
    if len(features) < 10 * features.shape[1]:
        found["note"] = found["note"] or "fewer than ten networks per feature"
    return Score(
        name=name,
        features="measures",
        transform="log where positive",
        layers="none",
        normalized=False,
        regression="ridge",
        subset=subset,
        num_networks=len(table),
        num_features=features.shape[1],
        train_accuracy_range=(float(accuracies.min()), float(accuracies.max())),
        same_data_r2=same_data_r2(features, table, "ridge"),
        **found,
    )
