"""The leaderboard of a zoo's measures as a page of Markdown, to be kept beside the results of its study."""

from collections.abc import Sequence
from pathlib import Path

from widemargin.prediction import Evaluation, MeasureScore
from widemargin.report.comparison import Comparison
from widemargin.report.comparison_verdict import comparison_verdict
from widemargin.report.findings import score_text
from widemargin.report.markdown_tables import markdown_table, plain, score_cell

__all__ = ["write_leaderboard_page"]

CAPTION = (
    "R²: of a line in this one measure, on configurations left out. τ: Kendall's rank correlation with the gap; (!) "
    "where it contradicts the direction that the measure's source expects, beyond chance. CMI: conditional mutual "
    "information. Sign error: how often the order of two gaps is misjudged where one hyperparameter changes, if the "
    "measure is taken in its expected direction; mean, and in the worst pair of configurations; 0.5: chance. Partial "
    "R²: share of what training accuracy and loss leave open that the measure explains, on configurations left out. "
    "p: of |τ|, corrected for testing all of them. In brackets 95 % intervals over configurations."
)
COLUMNS = ("measure", "R²", "τ", "CMI %", "sign error", "worst", "partial R²", "p (Holm)")


def write_leaderboard_page(comparison: Comparison, folder: Path) -> Path:
    """Write NAME-measures.md for the zoo NAME, and return its path.

    What the comparison says in sentences, then every measure's scores with 95 % intervals on each subset of networks.

    Args:
        comparison: Of a zoo's measures.
        folder: Gets the file; an older one is overwritten.
    """
    parts = [
        f"# {plain(comparison.name)}: every measure on the same networks",
        "\n".join(f"- {plain(sentence)}" for sentence in comparison_verdict(comparison)),
        CAPTION,
        *(
            part
            for name, evaluation in comparison.evaluations.items()
            for part in (_heading(name, evaluation), _table(comparison, evaluation.scores))
        ),
    ]
    page = folder / f"{comparison.name}-measures.md"
    page.write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    return page


def _heading(name: str, evaluation: Evaluation) -> str:
    which = "All networks" if name == "all" else f"Networks with {name}"
    return f"## {which} ({evaluation.num_networks})"


def _table(comparison: Comparison, scores: Sequence[MeasureScore]) -> str:
    rows = [
        (
            f"`{plain(comparison.label(score.name))}`",
            score_cell(score.grouped_kfold_r2, score.grouped_kfold_r2_interval),
            score_cell(score.kendall, score.kendall_interval) + (" (!)" if comparison.is_turned(score) else ""),
            score_cell(score.conditional_mutual_information.value, score.conditional_mutual_information.interval),
            score_cell(score.sign_error.mean, score.sign_error.mean_interval),
            score_text(score.sign_error.worst),
            score_cell(score.partial_r2.value, score.partial_r2.interval),
            "–" if score.holm_p_value is None else f"{score.holm_p_value:.2g}",
        )
        for score in scores
    ]
    return markdown_table(COLUMNS, rows)
