"""Scores in the terminal: tables that are read at 80 columns, an interval below each value."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from widemargin.prediction import Evaluation, Interval, MeasureScore, Score

__all__ = ["cell", "print_evaluation", "print_notes", "score_table"]

INTERVALS = "below: 95 % interval over configurations"


def print_evaluation(evaluation: "Evaluation", *, everything: bool = False, by_hyperparameter: bool = False) -> None:
    """Print the leaderboard of a table's measures, and what to know of them.

    Args:
        evaluation: The scores.
        everything: Whether tables of the other scores follow.
        by_hyperparameter: Whether a table follows of what happens where one hyperparameter changes.
    """
    Console(markup=False).print(_leaderboard(evaluation))
    if everything:
        Console(markup=False).print(_of_values(evaluation), _of_order(evaluation.scores))
    if by_hyperparameter:
        Console(markup=False).print(_by_hyperparameter(evaluation.scores))
        errors = [score.sign_error for score in evaluation.scores]
        worst = [error.worst_environment if error.worst else "" for error in errors]  # none where it never errs
        for environment in filter(None, dict.fromkeys(worst)):
            names = [
                score.name for score, where in zip(evaluation.scores, worst, strict=True) if where == environment
            ]
            print(f"worst at {environment}: {'; '.join(names)}")
    print_notes(evaluation.scores)
    if evaluation.num_without_gap:
        print(f"networks left out because their gap is missing or infinite: {evaluation.num_without_gap}")
    for note in evaluation.notes:
        print(note)
    for reason in dict.fromkeys(evaluation.left_out.values()):
        names = [name for name, why in evaluation.left_out.items() if why == reason]
        print(f"left out ({reason}): {', '.join(names)}")


def print_notes(scores: "Sequence[Score | MeasureScore]") -> None:
    """Print every note once, with the regressions or measures that it is on."""
    for note in dict.fromkeys(score.note for score in scores if score.note):
        print(f"{note}: {'; '.join(score.name for score in scores if score.note == note)}")


def score_table(title: str, caption: str, columns: Sequence[str], *, first: Sequence[str]) -> Table:
    """Return a table without rows.

    Args:
        title: What it shows.
        caption: What its columns hold.
        columns: Headers of numbers.
        first: Headers of the words before them.
    """
    table = Table(
        title=title,
        caption=caption,
        title_justify="left",
        caption_justify="left",
        box=SIMPLE_HEAD,
        pad_edge=False,
    )
    for column in first:
        table.add_column(column, overflow="fold")
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    return table


def cell(value: float | None, interval: "Interval | None" = None, *, decimals: int = 3) -> str:
    """Return a score, and its interval in a line below with a decimal less."""
    text = "–" if value is None else f"{value:.{decimals}f}"
    if interval is None:
        return text
    low, high = (round(end, decimals - 1) + 0.0 for end in interval)  # no minus sign before 0
    return f"{text}\n{low:.{decimals - 1}f}…{high:.{decimals - 1}f}"


def _leaderboard(evaluation: "Evaluation") -> Table:
    table = score_table(
        f"{evaluation.gap}: {len(evaluation.scores)} measures on {evaluation.num_networks} networks of "
        f"{evaluation.num_configurations} configurations",
        "R²: of a line, on left-out configurations; 0: no better than the mean gap · τ: Kendall's rank correlation, "
        "−1 to 1 · CMI: conditional mutual information, percent of what two hyperparameters leave open; noise is a "
        "little above 0 · error: sign error, how often the order of two gaps is misjudged where one hyperparameter "
        "changes, if the measure is taken in its expected direction (where none is known, in that of τ); 0.5: "
        f"chance · p: how probable such a |τ| is by chance for any of the "
        f"measures (permutations, corrected by Holm) · {INTERVALS} · *: R² or all on fewer networks, see below",
        ("R²", "τ", "CMI", "error", "p"),
        first=("measure",),
    )
    for score in evaluation.scores:
        told, error = score.conditional_mutual_information, score.sign_error
        table.add_row(
            score.name + (" *" if score.num_networks < evaluation.num_networks else ""),
            cell(score.grouped_kfold_r2, score.grouped_kfold_r2_interval),
            cell(score.kendall, score.kendall_interval),
            cell(told.value, told.interval, decimals=2),
            cell(error.mean, error.mean_interval),
            _probability(score.holm_p_value),
        )
    return table


def _of_values(evaluation: "Evaluation") -> Table:
    given = " and ".join(evaluation.given)
    partial = f"partial: R² of what {given} leave open, on left-out configurations · " if given else ""
    table = score_table(
        "Scores of values",
        "n: networks with a finite value · adj., k-fold: R² of a line, adjusted, on left-out networks · r: Pearson's "
        f"correlation · {partial}{INTERVALS}",
        ("n", "adj.", "k-fold", "r", *(["partial"] if given else [])),
        first=("measure",),
    )
    for score in evaluation.scores:
        table.add_row(
            score.name,
            str(score.num_networks),
            cell(score.adjusted_r2, score.adjusted_r2_interval),
            cell(score.kfold_r2, score.kfold_r2_interval),
            cell(score.pearson, score.pearson_interval),
            *([cell(score.partial_r2.value, score.partial_r2.interval)] if given else []),
        )
    return table


def _of_order(scores: "Sequence[MeasureScore]") -> Table:
    table = score_table(
        "Scores of order",
        "ρ: Spearman's rank correlation · Ψ: granulated Kendall, mean τ where one hyperparameter changes · 90 %: "
        "nine of ten environments (pairs of configurations, one hyperparameter apart) have a lower sign error · "
        "worst: the highest · p: of |τ| by permutations, for this measure alone · FDR: least share of false findings "
        f"(Benjamini and Hochberg) at which it is one · {INTERVALS}",
        ("ρ", "Ψ", "90 %", "worst", "p", "FDR"),
        first=("measure",),
    )
    for score in scores:
        error, granulated = score.sign_error, score.granulated_kendall
        table.add_row(
            score.name,
            cell(score.spearman, score.spearman_interval),
            cell(granulated.value, granulated.interval),
            cell(error.percentile_90, error.percentile_90_interval),
            cell(error.worst),
            _probability(score.p_value),
            _probability(score.false_discovery_rate),
        )
    return table


def _by_hyperparameter(scores: "Sequence[MeasureScore]") -> Table:
    table = score_table(
        "Where one hyperparameter changes",
        "ψ: Kendall's τ where this one alone changes · error: sign error, in the measure's expected direction (where "
        "none is known, in that of τ over all networks); 0.5: chance · 90 %: nine of ten environments (pairs of "
        "configurations) have a lower one · worst: the "
        f"highest · {INTERVALS}",
        ("ψ", "error", "90 %", "worst"),
        first=("measure", "changes"),
    )
    for score in scores:
        granulated, errors = score.granulated_kendall.per_hyperparameter, score.sign_error.per_hyperparameter
        for position, (name, psi) in enumerate(granulated.items()):
            error = errors.get(name)
            table.add_row(
                "" if position else score.name,
                name,
                cell(psi.value, psi.interval),
                *(
                    (
                        cell(error.mean, error.mean_interval),
                        cell(error.percentile_90, error.percentile_90_interval),
                        cell(error.worst),
                    )
                    if error
                    else ("–",) * 3
                ),
            )
    return table


def _probability(value: float | None) -> str:
    return "–" if value is None else f"{value:.2g}"
