"""Every measure on the same networks, gathered for the report."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float
from numpy.typing import NDArray
from scipy.cluster.hierarchy import leaves_list, linkage
from scipy.spatial.distance import squareform

from widemargin.measures import Measure
from widemargin.prediction import SUBSETS, Evaluation, MeasureScore, Score
from widemargin.zoo import catalog_columns, evaluate_zoo, regressions_on

__all__ = ["Comparison", "compared_regressions", "comparison_of", "zoo_comparison"]

SIGNIFICANT = 0.05
ALL, ALIKE = "all", "nearly equal train accuracy"
SIGNATURE = "full signature, ridge"
TRIVIAL_FORMS = ("trivial", "trivial_and_logarithms")


@dataclass(frozen=True, eq=False)
class Comparison:
    """Everything that the report says about measures of the same networks.

    Attributes:
        name: What the networks are called together.
        evaluations: Scores of the measures by subset of the networks; the first one is of all.
        regressions: By subset, regressions on several numbers at once, to stand beside single measures; those that
            they are to be compared with first.
        table: One row a network with a finite gap.
        cards: What the catalogue says of the measures that it has, by column.
        correlations: Kendall's τ between measures, similar ones side by side, whichever their direction.
    """

    name: str
    evaluations: Mapping[str, Evaluation]
    regressions: Mapping[str, tuple[Score, ...]]
    table: pd.DataFrame
    cards: Mapping[str, Measure]
    correlations: pd.DataFrame

    @property
    def evaluation(self) -> Evaluation:
        """The scores on all networks."""
        return next(iter(self.evaluations.values()))

    @property
    def significant(self) -> tuple[MeasureScore, ...]:
        """The measures whose τ chance does not explain, corrected for testing all of them."""
        return tuple(score for score in self.evaluation.scores if _is_significant(score))

    @property
    def turned(self) -> tuple[MeasureScore, ...]:
        """Those of them that go with the gap in the direction opposite to what their source expects."""
        return tuple(score for score in self.significant if self.is_turned(score))

    def is_turned(self, score: MeasureScore) -> bool:
        """Return whether a measure goes with the gap, beyond chance, against the direction its source expects."""
        card = self.cards.get(score.name)
        return card is not None and _is_significant(score) and card.sign * (score.kendall or 0.0) < 0

    def label(self, column: str) -> str:
        """Return what a column is called in the page."""
        return column.removeprefix("m.").removeprefix("hp.")


def comparison_of(
    table: pd.DataFrame,
    evaluations: Mapping[str, Evaluation],
    *,
    name: str,
    cards: Mapping[str, Measure],
    regressions: Mapping[str, Sequence[Score]] | None = None,
) -> Comparison:
    """Return what a page says of measures of the same networks.

    Args:
        table: One row a network, with the columns that were evaluated.
        evaluations: Scores by subset of the networks; the first one is of all.
        name: What the networks are called together.
        cards: Records of measures by column; those of other columns are left out.
        regressions: By subset, regressions to stand beside the measures, those to compare with first.
    """
    evaluation = next(iter(evaluations.values()))
    networks = table[np.isfinite(table[evaluation.gap].to_numpy(dtype=np.float64, na_value=np.nan))]
    columns = [score.name for score in evaluation.scores]
    return Comparison(
        name=name,
        evaluations=evaluations,
        regressions={subset: tuple(found) for subset, found in (regressions or {}).items()},
        table=networks,
        cards={column: cards[column] for column in columns if column in cards},
        correlations=_correlations(networks, columns),
    )


def zoo_comparison(
    table: pd.DataFrame,
    *,
    name: str,
    scores: Sequence[Score] | None = None,
    evaluation: Evaluation | None = None,
    **options: Any,
) -> Comparison:
    """Return what a page says of the measures of a zoo's networks, on all and on those alike in training accuracy.

    Args:
        table: Of the zoo, as :func:`widemargin.zoo.zoo_table` has it.
        name: What the networks are called together.
        scores: What regressions reach, where that is known: of ablations and combinations.
        evaluation: The scores of single measures on all networks, where they are known.
        **options: As for :func:`widemargin.prediction.evaluate`: ``num_resamples``, ``num_permutations``, ``seed``.

    Raises:
        InvalidInputError: Fewer than three networks have a gap and margins, or none was measured.
    """
    usable = table[table["why_left_out"] == ""]
    if scores is None:
        drawn = {key: value for key, value in options.items() if key in ("num_resamples", "seed")}
        scores = regressions_on(table, **drawn)
    evaluations = {ALL: evaluate_zoo(usable, **options) if evaluation is None else evaluation}
    alike = usable[SUBSETS[ALIKE](usable)]
    if 3 <= len(alike) < len(usable):
        evaluations[ALIKE] = evaluate_zoo(alike, **options)
    beside = {subset: compared_regressions(scores, subset) for subset in evaluations}
    return comparison_of(usable, evaluations, name=name, cards=catalog_columns(), regressions=beside)


def compared_regressions(scores: Sequence[Score], subset: str) -> list[Score]:
    """Return what single measures are seen beside on a subset of a zoo's networks.

    First the margin signature by ridge, then the best form of training accuracy and loss, then these together, then
    all regressions on measures.

    Args:
        scores: Of regressions, as :func:`widemargin.zoo.regressions_on` returns them.
        subset: Name of the subset.
    """
    here = [score for score in scores if score.subset == subset]
    trivial = [score for score in here if score.features in TRIVIAL_FORMS and score.grouped_kfold_r2 is not None]
    best = sorted(trivial, key=lambda score: -(score.grouped_kfold_r2 or 0.0))[:1]
    together = [score for score in here if score.features == "signature_and_trivial"]
    signature = [score for score in here if score.name == SIGNATURE]
    return [*signature, *best, *together, *(score for score in here if score.features == "measures")]


def _is_significant(score: MeasureScore) -> bool:
    return score.holm_p_value is not None and score.holm_p_value <= SIGNIFICANT


def _correlations(table: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """Return τ between the columns, in the order of a tree in which similar ones are neighbors."""
    found = table[list(columns)].astype(np.float64).corr(method="kendall")
    if len(columns) < 3:
        return found
    distances: Float[NDArray[np.float64], "columns columns"] = 1 - found.abs().fillna(0.0).to_numpy()
    np.fill_diagonal(distances, 0.0)
    order = leaves_list(linkage(squareform(distances, checks=False), method="average", optimal_ordering=True))
    names: list[Any] = [columns[index] for index in order.tolist()]
    return found.loc[names, names]
