"""Bars of scores: which are shown, and what the axes say."""

from dataclasses import replace

import numpy as np
import pytest
from matplotlib.axes import Axes

from widemargin.figures import ScoreBar, draw_score_bars, score_bars
from widemargin.prediction import Score

SCORE = Score("medians", "quartiles", "log", "all", True, "least squares", "all", 40, 4, grouped_kfold_r2=0.5)


def test_bars_are_the_scores_on_left_out_configurations_in_order() -> None:
    trivial = replace(SCORE, name="trivial", is_baseline=True, grouped_kfold_r2=-0.1)
    assert score_bars([replace(SCORE, grouped_kfold_r2_interval=(0.3, 0.7)), trivial]) == [
        ScoreBar("medians", 0.5, (0.3, 0.7), False),
        ScoreBar("trivial", -0.1, None, True),
    ]


def test_a_regression_without_a_score_keeps_its_row_and_has_no_bar(ax: Axes) -> None:
    bars = score_bars([replace(SCORE, grouped_kfold_r2=None), SCORE])
    draw_score_bars(ax, bars)
    assert np.isnan(ax.patches[0].get_width())
    assert len(ax.get_yticklabels()) == 2
    assert ax.get_xlim() == (0.0, 1.0)


def test_each_bar_and_interval_is_as_long_as_its_score(ax: Axes) -> None:
    bars = [ScoreBar("a", 0.5, (0.25, 0.75), False), ScoreBar("b", -0.25, None, True)]
    assert draw_score_bars(ax, bars) is ax
    assert [patch.get_width() for patch in ax.patches][:2] == [0.5, -0.25]
    (interval, _) = ax.get_lines()
    assert list(interval.get_xdata()) == [0.25, 0.75]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["a", "b"]
    assert ax.get_xlabel() == "R² on configurations left out; lines: 95 % intervals"
    assert ax.get_ylim()[0] > ax.get_ylim()[1]


def test_scores_far_below_zero_are_cut_off(ax: Axes) -> None:
    draw_score_bars(ax, [ScoreBar("a", -80.0, (-100.0, 0.1), False)])
    assert ax.patches[0].get_width() == -0.5
    assert ax.get_xlim() == (-0.5, 1.0)


def test_axes_begin_at_the_lowest_score(ax: Axes) -> None:
    draw_score_bars(ax, [ScoreBar("a", 0.2, (-0.1, 0.4), False)])
    assert ax.get_xlim() == pytest.approx((-0.105, 1.0))


def test_without_scores_there_are_empty_axes(ax: Axes) -> None:
    assert draw_score_bars(ax, []).get_xlim() == (0.0, 1.0)
