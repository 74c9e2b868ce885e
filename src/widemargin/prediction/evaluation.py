"""How far each measure of a table tracks the gap by itself: of any table, from wherever it comes."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from widemargin.errors import InvalidInputError
from widemargin.prediction.gap_predictor import GapPredictor
from widemargin.prediction.intervals import Interval, resamples_of
from widemargin.prediction.rank_correlations import kendall, spearman
from widemargin.prediction.regression import regression_scores

__all__ = ["Evaluation", "MeasureScore", "evaluate"]

HYPERPARAMETERS, MEASURES = "hp.*", "m.*"
FEWEST_NETWORKS = 3
CONSTANT = "the same for all networks"


@dataclass(frozen=True, slots=True)
class MeasureScore:
    """How far one measure tracks the gap; intervals are over configurations, at 95 %, None where there is none.

    Attributes:
        name: The measure's column.
        num_networks: How many networks the scores rest on.
        r2: Of the line fitted through all networks.
        adjusted_r2: … less what one feature explains by chance.
        adjusted_r2_interval: As :func:`widemargin.prediction.r2_interval` draws it.
        mse: Mean squared error of that line [squared gap].
        kfold_r2: Of lines fitted to other networks.
        kfold_r2_error: Its standard error over the choice of folds.
        kfold_r2_interval: As ``adjusted_r2_interval``.
        grouped_kfold_r2: Of lines fitted to networks of other configurations.
        grouped_kfold_r2_error: Its standard error over the choice of folds.
        grouped_kfold_r2_interval: As ``adjusted_r2_interval``.
        spearman: Rank correlation ρ with the gap.
        spearman_interval: Its interval.
        kendall: Rank correlation τ-b with the gap.
        kendall_interval: Its interval.
        note: Which networks are missing, and why scores are.
    """

    name: str
    num_networks: int
    r2: float | None = None
    adjusted_r2: float | None = None
    adjusted_r2_interval: Interval | None = None
    mse: float | None = None
    kfold_r2: float | None = None
    kfold_r2_error: float | None = None
    kfold_r2_interval: Interval | None = None
    grouped_kfold_r2: float | None = None
    grouped_kfold_r2_error: float | None = None
    grouped_kfold_r2_interval: Interval | None = None
    spearman: float | None = None
    spearman_interval: Interval | None = None
    kendall: float | None = None
    kendall_interval: Interval | None = None
    note: str = ""


@dataclass(frozen=True)
class Evaluation:
    """What a table's measures know of its gap.

    Attributes:
        gap: The gap's column.
        hyperparameters: Columns whose values make a configuration and differ; none: every network is one of its own.
        num_networks: How many networks have a gap.
        num_without_gap: How many were left out because theirs is missing or infinite.
        num_configurations: How many configurations the networks belong to.
        scores: Of each measure, the best on left-out configurations first.
        left_out: Columns without scores, and why.
    """

    gap: str
    hyperparameters: tuple[str, ...]
    num_networks: int
    num_without_gap: int
    num_configurations: int
    scores: tuple[MeasureScore, ...]
    left_out: Mapping[str, str]

    def as_dict(self) -> dict[str, Any]:
        """Return everything by name."""
        return asdict(self)


def evaluate(
    table: pd.DataFrame,
    *,
    gap: str = "gap",
    hyperparameters: Sequence[str] | None = None,
    measures: Sequence[str] = (MEASURES,),
    num_resamples: int = 1000,
    seed: int = 0,
) -> Evaluation:
    """Return how far each measure, by itself, tracks the gap.

    A measure's scores rest on the networks for which it is finite. Networks with equal hyperparameters are repeats of
    one configuration; a hyperparameter whose name ends in ``seed`` tells none apart.

    Args:
        table: One row a network.
        gap: Column of the generalization gap.
        hyperparameters: Columns or glob patterns; default: ``hp.*``, where there are any.
        measures: Columns or glob patterns.
        num_resamples: How often configurations are drawn for the intervals.
        seed: Seed of these draws.

    Raises:
        InvalidInputError: A column that is not there, a gap that is no number, or fewer than three networks with one.

    Example:
        >>> import numpy as np
        >>> import pandas as pd
        >>> norm = np.linspace(1.0, 2.0, 20)
        >>> table = pd.DataFrame({"gap": 0.1 * norm, "hp.lr": np.arange(20) // 2, "m.norm": norm, "m.depth": 3})
        >>> found = evaluate(table)
        >>> found.scores[0].name, round(found.scores[0].grouped_kfold_r2, 6), found.left_out
        ('m.norm', 1.0, {'m.depth': 'the same for all networks'})
    """
    columns = [str(column) for column in table.columns]
    if gap not in columns:
        raise InvalidInputError(f"the gap's column must be one of the table's, got {gap!r}. {_close(gap, columns)}")
    if not pd.api.types.is_numeric_dtype(table[gap]):
        raise InvalidInputError(f"the gap must be numbers, but column {gap!r} holds type {table[gap].dtype}.")
    configured = _matching(hyperparameters or [HYPERPARAMETERS], columns, is_needed=hyperparameters is not None)
    measured = _matching(measures, columns)
    has_gap = np.isfinite(table[gap].to_numpy(dtype=np.float64, na_value=np.nan))
    if has_gap.sum() < FEWEST_NETWORKS:
        raise InvalidInputError(
            f"scores need at least {FEWEST_NETWORKS} networks with a finite gap, got {has_gap.sum()} of {len(table)}."
        )
    networks = table[has_gap]
    configurations = _configurations(networks, configured)
    left_out = {name: CONSTANT for name in configured if networks[name].nunique(dropna=False) == 1}
    scores = []
    for name in measured:
        if name in configured:
            continue
        if reason := _why_left_out(networks, name, gap):
            left_out[name] = reason
        else:
            scores.append(_score(networks, name, gap, configurations, num_resamples, seed))
    return Evaluation(
        gap=gap,
        hyperparameters=tuple(name for name in configured if name not in left_out),
        num_networks=len(networks),
        num_without_gap=len(table) - len(networks),
        num_configurations=len(np.unique(configurations)),
        scores=tuple(sorted(scores, key=_left_out_r2, reverse=True)),
        left_out=left_out,
    )


def _score(
    table: pd.DataFrame, name: str, gap: str, configurations: NDArray[np.int64], num_resamples: int, seed: int
) -> MeasureScore:
    values = _numbers(table, name)
    known = np.isfinite(values)
    values, gaps, groups = values[known], table[gap].to_numpy(dtype=np.float64)[known], configurations[known]
    resamples = resamples_of(groups, num_resamples=num_resamples, seed=seed)
    scaled = values[:, None] / np.abs(values).max()  # squares of large numbers overflow
    scores = regression_scores(GapPredictor("identity"), scaled, gaps, groups, resamples)
    for correlation in (spearman, kendall):
        found = correlation(values, gaps, resamples)
        scores |= {correlation.__name__: found.value, f"{correlation.__name__}_interval": found.interval}
    missing = f"infinite or missing for {(~known).sum()} of {len(known)} networks" if not known.all() else ""
    scores["note"] = "; ".join(filter(None, (missing, scores["note"])))
    return MeasureScore(name, len(values), **scores)


def _why_left_out(table: pd.DataFrame, name: str, gap: str) -> str:
    if name == gap:
        return "the gap itself"
    if not pd.api.types.is_numeric_dtype(table[name]):
        return f"not a number: {table[name].dropna().iloc[0]!r}" if table[name].notna().any() else "always missing"
    known = _numbers(table, name)
    known = known[np.isfinite(known)]
    if len(known) < FEWEST_NETWORKS:
        return f"finite for only {len(known)} of {len(table)} networks"
    return CONSTANT if np.ptp(known) == 0 else ""


def _numbers(table: pd.DataFrame, name: str) -> NDArray[np.float64]:
    return table[name].to_numpy(dtype=np.float64, na_value=np.nan)


def _configurations(table: pd.DataFrame, hyperparameters: Sequence[str]) -> NDArray[np.int64]:
    telling = [name for name in hyperparameters if name.rpartition(".")[2] != "seed"]
    return np.asarray(table.groupby(telling, dropna=False).ngroup() if telling else range(len(table)), dtype=np.int64)


def _matching(patterns: Sequence[str], columns: Sequence[str], *, is_needed: bool = True) -> list[str]:
    """Return the columns that match any pattern, in their order."""
    for pattern in patterns if is_needed else ():
        if not any(column == pattern or fnmatchcase(column, pattern) for column in columns):
            raise InvalidInputError(
                f"{pattern!r} must name one of the table's columns or match some, and does not. "
                f"{_close(pattern, columns)}"
            )
    return [
        column for column in columns if any(column == pattern or fnmatchcase(column, pattern) for pattern in patterns)
    ]


def _close(name: str, columns: Sequence[str]) -> str:
    close = get_close_matches(name, columns, cutoff=0.5) or list(columns[:5])
    return f"Columns like it: {', '.join(close)}." if close else "The table has no columns."


def _left_out_r2(score: MeasureScore) -> float:
    return -np.inf if score.grouped_kfold_r2 is None else score.grouped_kfold_r2
