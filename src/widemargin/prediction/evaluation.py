"""How far each measure of a table tracks the gap by itself: of any table, from wherever it comes."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from widemargin.errors import InvalidInputError
from widemargin.prediction.columns import FEWEST_NETWORKS, configuring, finite_gaps, matching, numbers, test_sizes
from widemargin.prediction.grid import grid_of
from widemargin.prediction.intervals import FEWEST_CONFIGURATIONS
from widemargin.prediction.measure_scores import NOTABLE, MeasureScore, Setting, measure_scores, share_tied

__all__ = ["Evaluation", "evaluate"]

MEASURES = "m.*"
SIGNIFICANT = 0.05
CONSTANT = "the same for all networks"


@dataclass(frozen=True)
class Evaluation:
    """What a table's measures know of its gap.

    Attributes:
        gap: The gap's column.
        hyperparameters: Columns whose values make a configuration and differ; none: every network is one of its own.
        num_networks: How many networks have a gap.
        num_without_gap: How many were left out because theirs is missing or infinite.
        num_configurations: How many configurations the networks belong to.
        given: Columns that partial R² takes as known.
        scores: Of each measure, the best on left-out configurations first.
        left_out: Columns without scores, and why.
        notes: What to know of the table before believing its scores.
    """

    gap: str
    hyperparameters: tuple[str, ...]
    num_networks: int
    num_without_gap: int
    num_configurations: int
    given: tuple[str, ...]
    scores: tuple[MeasureScore, ...]
    left_out: Mapping[str, str]
    notes: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return everything by name."""
        return asdict(self)


def evaluate(
    table: pd.DataFrame,
    *,
    gap: str = "gap",
    hyperparameters: Sequence[str] | None = None,
    measures: Sequence[str] = (MEASURES,),
    signs: Mapping[str, int] | None = None,
    given: Sequence[str] = (),
    num_test: int | None = None,
    num_resamples: int = 1000,
    num_permutations: int = 9999,
    seed: int = 0,
) -> Evaluation:
    """Return how far each measure, by itself, tracks the gap.

    Networks with equal hyperparameters are repeats of one configuration; a hyperparameter whose name ends in ``seed``
    tells none apart. A network whose value is missing is left out of that measure's scores. An infinite value says
    something, though: "larger than all others", or a bound that holds nothing. Scores of order (ρ, τ, granulated τ,
    conditional mutual information, sign error, p) take it at its word, so that no measure looks better by
    being infinite where it fails; R² and r have no use for it and leave it out. The note counts both.

    Args:
        table: One row a network.
        gap: Column of the generalization gap.
        hyperparameters: Columns or glob patterns; default: ``hp.*``, where there are any.
        measures: Columns or glob patterns.
        signs: By name, 1 for a measure that should rise with the gap, −1 for one that should fall; default: as τ has
            it. Only the sign error asks.
        given: Columns or glob patterns that are known anyhow, such as the training accuracy and loss: each measure's
            partial R² says what it explains beyond them. Default: no such score.
        num_test: How many test examples each gap rests on, for the sign error; default: the column ``num_test``, and
            without it infinitely many.
        num_resamples: How often configurations are drawn for the intervals.
        num_permutations: How often gaps are permuted for the p-values.
        seed: Seed of these draws.

    Raises:
        InvalidInputError: A column that is not there, a gap that is no number, fewer than three networks with one,
            or a number or sign out of range.

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
    has_gap = finite_gaps(table, gap)
    configured, measured = configuring(hyperparameters, columns), matching(measures, columns)
    networks = table[has_gap]
    constant = [name for name in configured if networks[name].nunique(dropna=False) == 1]
    left_out = dict.fromkeys(constant if hyperparameters is not None else (), CONSTANT)  # chosen by name, so told
    reasons = {name: _why_left_out(networks, name, gap) for name in measured if name not in configured}
    left_out |= {name: reason for name, reason in reasons.items() if reason}
    scored = [name for name, reason in reasons.items() if not reason]
    values = np.stack([numbers(networks, name) for name in scored]) if scored else np.zeros((0, len(networks)))
    setting = Setting(
        gap=numbers(networks, gap),
        grid=grid_of(networks, configured),
        num_test=test_sizes(networks, num_test),
        given=_given(networks, given, columns),
        num_resamples=num_resamples,
        num_permutations=num_permutations,
        seed=seed,
    )
    scores = measure_scores(scored, values, setting, signs or {})
    return Evaluation(
        gap=gap,
        hyperparameters=tuple(name for name in setting.grid.names if name not in constant),
        num_networks=len(networks),
        num_without_gap=len(table) - len(networks),
        num_configurations=len(setting.grid.codes),
        given=tuple(matching(given, columns)),
        scores=tuple(sorted(scores, key=_left_out_r2, reverse=True)),
        left_out=left_out,
        notes=_notes(setting, len(scored)),
    )


def _given(networks: pd.DataFrame, given: Sequence[str], columns: Sequence[str]) -> NDArray[np.float64]:
    """Return the columns that are known anyhow.

    Raises:
        InvalidInputError: One of them is not a finite number for every network.
    """
    names = matching(given, columns)
    for name in names:
        if not pd.api.types.is_numeric_dtype(networks[name]):
            raise InvalidInputError(f"given columns must be numbers, but {name!r} holds type {networks[name].dtype}.")
        if num := int((~np.isfinite(numbers(networks, name))).sum()):
            raise InvalidInputError(
                f"given columns must be finite for every network with a gap, but {name!r} is not for {num} of "
                f"{len(networks)}. Leave these networks out, or the column."
            )
    return np.stack([numbers(networks, name) for name in names], axis=1) if names else np.zeros((len(networks), 0))


def _why_left_out(table: pd.DataFrame, name: str, gap: str) -> str:
    if name == gap:
        return "the gap itself"
    if not pd.api.types.is_numeric_dtype(table[name]):
        present = table[name].dropna()
        others = present[pd.to_numeric(present, errors="coerce").isna()]
        return (
            f"not a number: {(present if others.empty else others).iloc[0]!r}" if len(present) else "always missing"
        )
    known = numbers(table, name)
    known = known[np.isfinite(known)]
    if len(known) < FEWEST_NETWORKS:
        return f"finite for only {len(known)} of {len(table)} networks"
    return CONSTANT if np.ptp(known) == 0 else ""


def _notes(setting: Setting, num_measures: int) -> tuple[str, ...]:
    """Return what to know of the table."""
    values, repeats = setting.grid.values, np.bincount(setting.grid.which)
    num_configurations, num_combinations = len(repeats), math.prod(map(len, values))
    num_varied = sum(len(some) > 1 for some in values)
    num_alone = sum(num == 1 for num in Counter(repeats.tolist()).values())
    tied = share_tied(setting.gap)
    notes = []
    if num_varied == 0:
        notes.append("no hyperparameter varies: no scores that compare networks by them")
    elif num_configurations < num_combinations:
        notes.append(
            f"{num_combinations - num_configurations} of {num_combinations} combinations of hyperparameters have no "
            "network: granulated τ, conditional information and sign error rest on the others"
        )
    if num_measures / (setting.num_permutations + 1) > SIGNIFICANT:
        notes.append(
            f"with {setting.num_permutations} permutations no p of {num_measures} measures can fall below "
            f"{num_measures / (setting.num_permutations + 1):.2g} once corrected: ask for more"
        )
    if num_configurations < FEWEST_CONFIGURATIONS:
        notes.append(f"fewer than {FEWEST_CONFIGURATIONS} configurations: no intervals")
    if num_alone:
        notes.append(
            f"{num_alone} of {num_configurations} configurations have as many repeats as no other: permutations "
            "leave their gaps in place"
        )
    if tied >= NOTABLE:
        notes.append(f"gaps are equal for {tied:.0%} of all pairs of networks")
    if num_varied and np.isinf(setting.num_test).any():
        notes.append("number of test examples not known: in sign errors every difference of gaps counts")
    return tuple(notes)


def _left_out_r2(score: MeasureScore) -> float:
    return -np.inf if score.grouped_kfold_r2 is None else score.grouped_kfold_r2
