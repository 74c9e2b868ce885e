"""What a zoo shows, gathered for the report and for machines."""

import math
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import pandas as pd

from widemargin.errors import InvalidInputError
from widemargin.figures import (
    Density,
    OrderStatistics,
    PredictedGaps,
    margin_densities,
    order_statistics,
    predicted_gaps,
)
from widemargin.figures.margins import central_range
from widemargin.margins import MarginDistribution
from widemargin.prediction import (
    ABLATIONS,
    GapPredictor,
    Interval,
    Score,
    features_of,
    kfold_r2,
    varied_hyperparameters,
)
from widemargin.zoo import Run, Zoo, regressions_on, zoo_table

__all__ = ["Findings", "Portrait", "zoo_findings"]

PAPER, RIDGE = ABLATIONS[0], ABLATIONS[1]
WELL_FITTED = 0.99
MIN_DATA_SETTINGS = 4


@dataclass(frozen=True)
class Portrait:
    """One network of the zoo, close up."""

    run: str
    title: str
    configuration: str
    train_accuracy: float
    test_accuracy: float
    num_train: int
    data: str
    densities: tuple[Density, ...]
    statistics: tuple[OrderStatistics, ...]


@dataclass(frozen=True)
class Findings:
    """Everything that the report says about a zoo.

    Attributes:
        name: Name of the study.
        description: What the study is for.
        table: One row a network.
        scores: The ablation table on every subset of networks.
        predictor: Name of the regression that predicts left-out configurations best, of the full signature's two.
        predictions: Its predictions.
        well: The network with the smallest gap of those that fit their training set.
        badly: … with the largest gap.
        varied: Configuration columns that differ between networks.
    """

    name: str
    description: str
    table: pd.DataFrame
    scores: tuple[Score, ...]
    predictor: str
    predictions: PredictedGaps
    well: Portrait
    badly: Portrait
    varied: tuple[str, ...]

    @property
    def usable(self) -> pd.DataFrame:
        """The networks that have a gap and margins."""
        return self.table[self.table["why_left_out"] == ""]

    def score(self, name: str, subset: str = "all") -> Score:
        """Return one row of the ablation table."""
        return next(score for score in self.scores if score.name == name and score.subset == subset)

    @property
    def by_subset(self) -> dict[str, tuple[Score, ...]]:
        """The ablation table by subset, in the order of the subsets."""
        names = dict.fromkeys(score.subset for score in self.scores)
        return {name: tuple(score for score in self.scores if score.subset == name) for name in names}

    @property
    def best_baseline(self) -> Score:
        """The baseline that predicts left-out configurations best."""
        return max((s for s in self.scores if s.is_baseline and s.subset == "all"), key=_left_out)

    @property
    def best_trivial(self) -> Score:
        """The best of the forms of training accuracy and loss, on all networks."""
        return self.best_trivial_on("all")

    def best_trivial_on(self, subset: str) -> Score:
        """Return the best of the forms of training accuracy and loss on a subset."""
        forms = ("trivial", "trivial_and_logarithms")
        return max((s for s in self.scores if s.features in forms and s.subset == subset), key=_left_out)

    def best_signature_on(self, subset: str) -> Score:
        """Return the better of the full signature's two regressions on a subset."""
        return max((self.score(name, subset) for name in (PAPER.name, RIDGE.name)), key=_left_out)

    def together_on(self, subset: str = "all") -> Score:
        """Return the score of margins, training accuracy and loss together on a subset."""
        return next(s for s in self.scores if s.features == "signature_and_trivial" and s.subset == subset)

    @property
    def test_noise_r2(self) -> float:
        """The R² that even the true gaps would have: what the finite test set's noise leaves to explain."""
        accuracy, num_test = self.usable["test_accuracy"], self.usable["num_test"]
        variance = self.usable["gap"].var(ddof=0)
        return float(1 - (accuracy * (1 - accuracy) / num_test).mean() / variance) if variance > 0 else np.nan

    @property
    def data_share(self) -> float:
        """Share of the gaps' variance that lies between networks trained on different data."""
        gap = self.usable["gap"]
        within = gap - self.usable.groupby("data")["gap"].transform("mean")
        total = float(gap.var(ddof=0))
        return 1 - float((within**2).mean()) / total if total > 0 else np.nan

    @property
    def same_data_noise_r2(self) -> float:
        """As :attr:`test_noise_r2`, for what is left of the gaps when each data setting's mean is taken off."""
        return 1 - (1 - self.test_noise_r2) / (1 - self.data_share) if self.data_share < 1 else np.nan

    @property
    def unseen_data_r2(self) -> float | None:
        """R² of the predictor on data settings that were left out of its fit; None where there are too few."""
        usable = self.usable
        if usable["data"].nunique() < MIN_DATA_SETTINGS:
            return None
        ablation = next(ablation for ablation in ABLATIONS if ablation.name == self.predictor)
        predictor = GapPredictor(ablation.transform, ablation.regularization)
        gap = usable["gap"].to_numpy(dtype=np.float64)
        return kfold_r2(
            predictor, features_of(ablation, usable).to_numpy(), gap, groups=usable["data"].to_numpy()
        ).value

    @property
    def repeat_r2(self) -> float:
        """The R² of each configuration's mean gap: what repeats leave to explain; NaN without repeats."""
        groups = self.usable.groupby("configuration")["gap"]
        within, total = groups.var(ddof=1).mean(), self.usable["gap"].var(ddof=1)
        return float(1 - within / total) if total > 0 else np.nan


def zoo_findings(zoo: Zoo, scores: list[Score] | None = None, table: pd.DataFrame | None = None) -> Findings:
    """Return what a zoo shows.

    Args:
        zoo: The folder of runs.
        scores: What regressions reach, as :func:`widemargin.zoo.regressions_on` says it, where that is known already.
        table: The zoo's table, where it is known already.

    Raises:
        InvalidInputError: Fewer than two configurations have margins.
        RunError: A run is damaged.
    """
    table = zoo_table(zoo) if table is None else table
    if table.empty:
        raise InvalidInputError(
            f"a report needs finished runs, but {zoo.folder} holds none. Train a zoo there first."
        )
    usable = table[table["why_left_out"] == ""]
    if usable["configuration"].nunique() < 2:
        raise InvalidInputError(
            "a report needs networks of at least 2 configurations with margins, got "
            f"{usable['configuration'].nunique()}. Let the zoo finish, or widen its grid."
        )
    scores = regressions_on(table) if scores is None else scores
    full = [score for score in scores if score.subset == "all" and score.name in (PAPER.name, RIDGE.name)]
    best = max(full, key=_left_out)
    ablation = next(ablation for ablation in ABLATIONS if ablation.name == best.name)
    varied = tuple(varied_hyperparameters(table))
    fitted = usable[usable["train_accuracy"] >= WELL_FITTED]
    candidates = fitted if len(fitted) >= 2 else usable
    low, high = str(candidates["gap"].idxmin()), str(candidates["gap"].idxmax())
    margins = {key: Run(zoo.runs_folder / key).margins for key in (low, high)}
    ranges = _common_ranges(list(margins.values()))
    study = zoo.study
    return Findings(
        name=study.name if study else zoo.folder.name,
        description=study.description if study else "",
        table=table,
        scores=tuple(scores),
        predictor=best.name,
        predictions=predicted_gaps(table, ablation),
        well=_portrait("generalizes well", low, table, margins[low], ranges, varied),
        badly=_portrait("generalizes badly", high, table, margins[high], ranges, varied),
        varied=varied,
    )


def score_text(value: float | None) -> str:
    """Return a score to three digits; a dash where it does not exist."""
    return "–" if value is None or math.isnan(value) else f"{value:.3f}".replace("-", "−")


def interval_text(interval: Interval) -> str:
    """Return the ends of an interval to two digits.

    Example:
        >>> interval_text((-0.0012, 0.955))
        '0.00…0.95'
    """
    return "…".join(f"{round(end, 2) + 0.0:.2f}".replace("-", "−") for end in interval)


def configuration_text(row: "pd.Series[Any]", varied: tuple[str, ...]) -> str:
    """Return what sets a network apart from the others of its zoo, and its seed."""
    return ", ".join(configuration_parts(row, varied))


def configuration_parts(row: "pd.Series[Any]", varied: tuple[str, ...]) -> list[str]:
    """Return what :func:`configuration_text` strings together."""
    parts = [f"{column.removeprefix('hp.').rpartition('.')[2]} {row[column]}" for column in varied]
    return [*parts, f"seed {row['hp.seed']}"]


def _portrait(
    title: str,
    key: str,
    table: pd.DataFrame,
    margins: MarginDistribution,
    ranges: dict[str, tuple[float, float]],
    varied: tuple[str, ...],
) -> Portrait:
    row = cast("pd.Series[Any]", table.loc[key])
    return Portrait(
        run=key,
        title=title,
        configuration=configuration_text(row, varied),
        train_accuracy=float(row["train_accuracy"]),
        test_accuracy=float(row["test_accuracy"]),
        num_train=int(row["num_train"]),
        data=str(row["data"]),
        densities=tuple(margin_densities(margins, ranges)),
        statistics=tuple(order_statistics(margins)),
    )


def _common_ranges(distributions: list[MarginDistribution]) -> dict[str, tuple[float, float]]:
    """Return per layer the range that shows the bulk of every distribution."""
    ranges: dict[str, tuple[float, float]] = {}
    for distribution in distributions:
        for layer, column in zip(distribution.layers, distribution.normalized.T, strict=True):
            low, high = central_range(column[np.isfinite(column)])
            known = ranges.get(layer, (low, high))
            ranges[layer] = (min(low, known[0]), max(high, known[1]))
    return ranges


def _left_out(score: Score) -> float:
    return -np.inf if score.grouped_kfold_r2 is None else score.grouped_kfold_r2
