"""What pages of Markdown are made of: tables, scores, texts from elsewhere."""

import html
from collections.abc import Sequence

from widemargin.prediction import Interval
from widemargin.report.findings import interval_text, score_text

__all__ = ["markdown_table", "plain", "score_cell"]


def markdown_table(columns: Sequence[str], rows: Sequence[Sequence[str]], others: str = "--:") -> str:
    """Return a table; the first column is text, the others are aligned as the dashes say.

    Example:
        >>> print(markdown_table(("measure", "τ"), [("margin", "0.5")]))
        | measure | τ |
        | -- | --: |
        | margin | 0.5 |
    """
    lines = [columns, ["--", *[others] * (len(columns) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def score_cell(value: float | None, interval: Interval | None) -> str:
    """Return a score with its interval in brackets.

    Example:
        >>> score_cell(-0.25, (-0.5, 0.125)), score_cell(None, None)
        ('−0.250 (−0.50…0.12)', '–')
    """
    return score_text(value) + (f" ({interval_text(interval)})" if interval else "")


def plain(text: str) -> str:
    """Return text from a file or a user so that Markdown shows it and does not obey it."""
    return html.escape(text, quote=False).replace("|", "\\|").replace("\n", " ").replace("`", "'").replace("[", "\\[")
