"""What a zoo's measures know of its gaps: each by itself, and all that is fitted to several of them."""

from typing import Any

import pandas as pd

from widemargin.measures import CHEAP_MEASURES, MEASURES, Measure
from widemargin.prediction import TRIVIAL, Evaluation, Score, ablation_scores, combination_scores, evaluate

__all__ = ["catalog_columns", "evaluate_zoo", "regressions_on"]


def evaluate_zoo(table: pd.DataFrame, **options: Any) -> Evaluation:
    """Return the scores of the catalogue's measures, in the directions that their sources expect.

    Training accuracy and loss are given; their partial R² says what measures add to them.

    Args:
        table: Of the zoo, as :func:`zoo_table` has it; networks without gap or margins are left out.
        **options: As for :func:`widemargin.prediction.evaluate`.

    Raises:
        InvalidInputError: Fewer than three networks are left, or none was measured.
    """
    signs = {column: measure.sign for column, measure in catalog_columns().items()}
    return evaluate(table[table["why_left_out"] == ""], signs=signs, given=TRIVIAL, **options)


def regressions_on(table: pd.DataFrame, *, num_resamples: int = 1000, seed: int = 0) -> list[Score]:
    """Return what regressions reach on every subset of a zoo: on signatures, baselines, and measures that were taken.

    Measures go together by family; those that are cheap are taken together, too.

    Args:
        table: As for :func:`evaluate_zoo`.
        num_resamples: How often configurations are drawn for the intervals.
        seed: Seed of these draws.

    Raises:
        InvalidInputError: No network has margins.
    """
    families: dict[str, list[str]] = {}
    for column, measure in catalog_columns().items():
        families.setdefault(measure.family, []).append(column)
    families["cheap ones"] = [f"m.{name}" for name in CHEAP_MEASURES]
    scores = ablation_scores(table, num_resamples=num_resamples, seed=seed)
    return scores + combination_scores(table, families, num_resamples=num_resamples, seed=seed)


def catalog_columns() -> dict[str, Measure]:
    """Return the catalogue by the columns of a zoo's table."""
    return {f"m.{name}": measure for name, measure in MEASURES.items()}
