"""Picture of what regressions reach, with intervals."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes

from widemargin.figures.colors import NEITHER, WELL
from widemargin.prediction import Interval, Score

__all__ = ["ScoreBar", "draw_score_bars", "score_bars"]

LEAST = -0.5
"""Scores further below 0 are cut off: all of them say that the mean gap predicts better."""


@dataclass(frozen=True)
class ScoreBar:
    """One regression's R² on left-out configurations.

    Attributes:
        name: Of the regression.
        value: The score; NaN where there is none.
        interval: At 95 %; None where there is none.
        is_baseline: Whether it uses no hidden margin.
    """

    name: str
    value: float
    interval: Interval | None
    is_baseline: bool


def score_bars(scores: Sequence[Score]) -> list[ScoreBar]:
    """Return the grouped k-fold R² of each regression, in their order."""
    return [
        ScoreBar(
            score.name,
            np.nan if score.grouped_kfold_r2 is None else score.grouped_kfold_r2,
            score.grouped_kfold_r2_interval,
            score.is_baseline,
        )
        for score in scores
    ]


def draw_score_bars(ax: Axes, bars: Sequence[ScoreBar]) -> Axes:
    """Draw scores as horizontal bars from the top, their intervals as lines; return the axes."""
    for row, bar in enumerate(bars):
        color = NEITHER if bar.is_baseline else WELL
        ax.barh(row, np.maximum(bar.value, LEAST), color=color, height=0.7, alpha=0.8)
        if bar.interval is not None:
            low, high = np.maximum(bar.interval, LEAST)
            ax.plot([low, high], [row, row], color="black", linewidth=1.2)
    for label, color in (("margins", WELL), ("baselines", NEITHER)):
        ax.barh(0, 0, color=color, alpha=0.8, label=label)
    ax.axvline(0.0, color="black", linewidth=0.8)
    lowest = np.nanmin([0.0, *(end for bar in bars for end in (bar.value, *(bar.interval or ())))])
    ax.set_xticks([LEAST, 0.0, 0.5, 1.0])
    ax.set_xlim(max(1.05 * lowest, LEAST), 1.0)
    ax.set_yticks(range(len(bars)), [bar.name for bar in bars])
    ax.set_ylim(len(bars) - 0.4, -0.6)
    ax.set_xlabel("R² on configurations left out; lines: 95 % intervals")
    ax.legend(frameon=False, loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=2)
    return ax
