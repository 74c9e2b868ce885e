"""The ablations of the margin-distribution paper, and the baselines they have to beat, in one table."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from widemargin.errors import InvalidInputError
from widemargin.prediction.gap_predictor import GapPredictor
from widemargin.prediction.intervals import Interval, Resamples, resamples_of
from widemargin.prediction.regression import regression_scores
from widemargin.prediction.scores import kfold_r2, number_or_none
from widemargin.prediction.subsets import subsets_of

__all__ = ["ABLATIONS", "TRIVIAL", "Ablation", "Score", "ablation_scores", "features_of", "varied_hyperparameters"]


@dataclass(frozen=True, slots=True)
class Ablation:
    """One row of the table: which features go into which regression.

    Attributes:
        name: What a reader calls it.
        features: Prefix of the columns; ``trivial`` and ``num_train`` for baselines of named columns,
            ``trivial_and_logarithms`` for these and their logarithms, ``signature_and_trivial`` for the logarithms of
            quartiles beside them, ``hyperparameters`` for the configuration itself, one-hot.
        columns: The columns themselves, for the baselines.
        transform: Of the features, before the regression.
        regularization: ``None`` for the paper's least squares.
        layer: Position of a single layer; ``None`` for all.
        statistic: A single statistic; ``None`` for all.
        is_baseline: Whether it uses no hidden margin.
    """

    name: str
    features: str
    transform: Literal["log", "identity"] = "log"
    regularization: Literal["ridge"] | None = None
    layer: int | None = None
    statistic: str | None = None
    columns: tuple[str, ...] = ()
    is_baseline: bool = False


TRIVIAL = ("train_accuracy", "train_loss")
"""What a baseline knows of a network: columns of the table."""

ABLATIONS = (
    Ablation("full signature, least squares", "quartiles"),
    Ablation("full signature, ridge", "quartiles", regularization="ridge"),
    Ablation("medians only", "quartiles", statistic="median"),
    Ablation("not transformed", "quartiles", "identity"),
    Ablation("not transformed, ridge", "quartiles", "identity", regularization="ridge"),
    Ablation("not normalized", "unnormalized_quartiles"),
    Ablation("not normalized, ridge", "unnormalized_quartiles", regularization="ridge"),
    Ablation("layer 1 alone", "quartiles", layer=0),
    Ablation("layer 2 alone", "quartiles", layer=1),
    Ablation("layer 3 alone", "quartiles", layer=2),
    Ablation("layer 4 alone", "quartiles", layer=3),
    Ablation("moments", "moments"),
    Ablation("moments, not transformed", "moments", "identity"),
    Ablation("moments, not transformed, ridge", "moments", "identity", regularization="ridge"),
    Ablation("spectrally normalized margin", "spectral_margin", is_baseline=True),
    Ablation(
        "training accuracy and loss",
        "trivial",
        "identity",
        columns=TRIVIAL,
        is_baseline=True,
    ),
    Ablation(
        "log training accuracy and loss",
        "trivial",
        columns=TRIVIAL,
        is_baseline=True,
    ),
    Ablation(
        "training accuracy and loss, ridge",
        "trivial",
        "identity",
        "ridge",
        columns=TRIVIAL,
        is_baseline=True,
    ),
    Ablation(
        "training accuracy, loss and their logarithms, ridge",
        "trivial_and_logarithms",
        "identity",
        "ridge",
        columns=TRIVIAL,
        is_baseline=True,
    ),
    Ablation(
        "full signature, accuracy, loss and their logarithms, ridge",
        "signature_and_trivial",
        "identity",
        "ridge",
        columns=TRIVIAL,
    ),
    Ablation("log number of training examples", "num_train", columns=("num_train",), is_baseline=True),
    Ablation("hyperparameters, one-hot", "hyperparameters", "identity", is_baseline=True),
)


@dataclass(frozen=True, slots=True)
class Score:
    """Scores of one ablation on one subset; ``None`` where a score does not exist, and why in ``note``.

    Attributes:
        name: The ablation's name.
        features: Which features.
        transform: ``log`` or ``identity``.
        layers: ``all``, or the name of the one layer; ``output`` and ``none`` for baselines.
        normalized: Whether margins are normalized (by total variation, or the spectral complexity).
        regression: ``least squares`` or ``ridge``.
        subset: Which networks.
        num_networks: How many networks.
        num_features: How many features.
        train_accuracy_range: Least and greatest training accuracy of these networks.
        r2: On the networks it was fitted on.
        adjusted_r2: … less what so many features explain by chance; for ridge by effective parameters.
        adjusted_r2_interval: Where it might have come to lie with other configurations, at 95 %; as
            :func:`widemargin.prediction.r2_interval` draws them.
        kfold_r2: On networks left out.
        kfold_r2_error: Its standard error over the choice of folds.
        kfold_r2_interval: As ``adjusted_r2_interval``.
        grouped_kfold_r2: … with repeats of a configuration left out together.
        grouped_kfold_r2_error: Its standard error over the choice of folds.
        grouped_kfold_r2_interval: As ``adjusted_r2_interval``.
        same_data_r2: On configurations left out, after the mean of each data setting (same training examples and
            labels) is taken off features and gaps: what it knows beyond the data itself.
        mse: Mean squared error on the networks it was fitted on [squared gap].
        is_baseline: Whether it uses no hidden margin.
        note: Why scores are missing or to be doubted.
    """

    name: str
    features: str
    transform: str
    layers: str
    normalized: bool
    regression: str
    subset: str
    num_networks: int
    num_features: int
    train_accuracy_range: tuple[float, float] | None = None
    r2: float | None = None
    adjusted_r2: float | None = None
    adjusted_r2_interval: Interval | None = None
    kfold_r2: float | None = None
    kfold_r2_error: float | None = None
    kfold_r2_interval: Interval | None = None
    grouped_kfold_r2: float | None = None
    grouped_kfold_r2_error: float | None = None
    grouped_kfold_r2_interval: Interval | None = None
    same_data_r2: float | None = None
    mse: float | None = None
    is_baseline: bool = False
    note: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Return the score by name."""
        return asdict(self)


def ablation_scores(
    table: pd.DataFrame, ablations: Sequence[Ablation] = ABLATIONS, *, num_resamples: int = 1000, seed: int = 0
) -> list[Score]:
    """Return the scores of every ablation on every subset of the networks.

    Args:
        table: One row a network with ``gap``, ``configuration``, ``data``, ``train_accuracy`` and the features of
            :func:`widemargin.zoo.zoo_table`; rows whose ``why_left_out`` is not empty are left out.
        ablations: The rows of the table.
        num_resamples: How often configurations are drawn for the intervals.
        seed: Seed of these draws.

    Raises:
        InvalidInputError: No network has margins.
    """
    usable = table[table["why_left_out"] == ""]
    if usable.empty:
        raise InvalidInputError(
            f"scores need networks with a gap and margins, got none among {len(table)} runs. See why_left_out in "
            "their table."
        )
    scores = []
    for subset, networks in subsets_of(usable).items():
        resamples = resamples_of(networks["configuration"], num_resamples=num_resamples, seed=seed)
        scores += [_score(ablation, networks, subset, resamples) for ablation in ablations]
    return scores


def varied_hyperparameters(table: pd.DataFrame) -> list[str]:
    """Return the configuration's columns that differ between networks, the seed of the repeat aside."""
    return [
        column
        for column in table.columns
        if column.startswith("hp.") and column != "hp.seed" and table[column].nunique(dropna=False) > 1
    ]


def features_of(ablation: Ablation, table: pd.DataFrame) -> pd.DataFrame:
    """Return the columns that an ablation's regression takes; none where the table lacks them.

    Hyperparameters become a column of zeros and ones for every value but the first, numbers too.
    """
    if ablation.features == "hyperparameters":
        varied = table[varied_hyperparameters(table)].map(str)
        return pd.get_dummies(varied, drop_first=True, dtype=float) if varied.shape[1] else varied
    if ablation.columns:
        if ablation.features == "trivial_and_logarithms":
            return training_numbers(table)
        if ablation.features == "signature_and_trivial":
            return signature_logarithms(table).join(training_numbers(table))
        return table[list(ablation.columns) if set(ablation.columns) <= set(table.columns) else []].astype(float)
    names = [name for name in table.columns if name.startswith(f"{ablation.features}/")]
    if ablation.statistic is not None:
        names = [name for name in names if name.endswith(f"/{ablation.statistic}")]
    if ablation.layer is not None:
        layers = _layers(names)
        names = [name for name in names if layers[ablation.layer : ablation.layer + 1] == [_layer(name)]]
    return table[names].astype(float)


def signature_logarithms(table: pd.DataFrame) -> pd.DataFrame:
    """Return the logarithms of the quartile signature."""
    return _logarithms(table[[name for name in table.columns if name.startswith("quartiles/")]].astype(float))


def training_numbers(table: pd.DataFrame) -> pd.DataFrame:
    """Return training accuracy, loss and their logarithms; no column where the table lacks one of the two."""
    named = table[list(TRIVIAL) if set(TRIVIAL) <= set(table.columns) else []].astype(float)
    return named.join(_logarithms(named))


def _logarithms(columns: pd.DataFrame) -> pd.DataFrame:
    """Return logarithms under names of their own; none of what is not positive."""
    return columns.where(columns > 0).map(np.log).add_prefix("log ")


def _score(ablation: Ablation, table: pd.DataFrame, subset: str, resamples: Resamples) -> Score:
    features = features_of(ablation, table)
    accuracies = table["train_accuracy"]
    score: dict[str, Any] = {
        "name": ablation.name,
        "features": ablation.features,
        "transform": ablation.transform,
        "layers": _described_layers(ablation, features),
        "normalized": ablation.features in ("quartiles", "moments", "spectral_margin", "signature_and_trivial"),
        "regression": ablation.regularization or "least squares",
        "subset": subset,
        "num_networks": len(table),
        "num_features": features.shape[1],
        "train_accuracy_range": (float(accuracies.min()), float(accuracies.max())) if len(table) else None,
        "is_baseline": ablation.is_baseline,
    }
    if reason := _why_unfitted(ablation, features):
        return Score(**score, note=reason)
    gap, configurations = table["gap"].to_numpy(dtype=np.float64), table["configuration"].to_numpy()
    predictor = GapPredictor(ablation.transform, ablation.regularization)
    score |= regression_scores(predictor, features.to_numpy(), gap, configurations, resamples)
    if score["note"]:
        return Score(**score)
    if len(gap) < 10 * features.shape[1]:
        score["note"] = "fewer than ten networks per feature"
    transformed = features.map(np.log) if ablation.transform == "log" else features
    return Score(**score, same_data_r2=same_data_r2(transformed, table, ablation.regularization))


def same_data_r2(
    transformed: pd.DataFrame, table: pd.DataFrame, regularization: Literal["ridge"] | None
) -> float | None:
    """Return R² on left-out configurations among networks trained on the same data; None where that is not known."""
    if "data" not in table or table["data"].nunique() == table["configuration"].nunique():
        return None
    deviations = transformed - transformed.groupby(table["data"]).transform("mean")
    rounding = deviations.std() <= 1e-9 * transformed.abs().max()
    gap = table["gap"] - table.groupby("data")["gap"].transform("mean")
    value = kfold_r2(
        GapPredictor("identity", regularization),
        deviations.loc[:, ~rounding].to_numpy() if not rounding.all() else np.zeros((len(gap), 1)),
        gap.to_numpy(dtype=np.float64),
        groups=table["configuration"].to_numpy(),
    ).value
    return number_or_none(value)


def _why_unfitted(ablation: Ablation, features: pd.DataFrame) -> str:
    """Return why these networks allow no regression; empty if they do."""
    if len(features) < 3:
        return "fewer than three networks"
    incomplete = features.isna().any(axis=1)
    if features.shape[1] == 0 or incomplete.all():
        return "these networks do not have these features"
    if incomplete.any():
        return f"{int(incomplete.sum())} of the networks do not have these features"
    if ablation.transform == "log" and bool((features <= 0).any(axis=None)):
        return "some values are not positive and have no logarithm"
    return ""


def _described_layers(ablation: Ablation, features: pd.DataFrame) -> str:
    if ablation.columns or ablation.features == "hyperparameters":
        return "none"
    if ablation.features == "spectral_margin":
        return "output"
    layers = _layers(list(features.columns))
    return "all" if ablation.layer is None else (layers[0] if layers else "none")


def _layers(names: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(_layer(name) for name in names))


def _layer(name: str) -> str:
    """Return the layer in ``kind/layer/statistic``."""
    return name.partition("/")[2].rpartition("/")[0]
