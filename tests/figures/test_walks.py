"""Curves of a walk and the dot on them."""

from dataclasses import replace

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb

from widemargin.errors import InvalidInputError
from widemargin.figures import WalkQuantity, draw_walk, mark_step, walk_values
from widemargin.landscape.walk import Walk, walk_coefficients

QUANTITIES: tuple[WalkQuantity, ...] = ("loss", "accuracy", "curvature")


def walk() -> Walk:
    c = walk_coefficients(11, reach=32.0)
    return Walk(
        coefficients=c,
        losses=0.1 + c**2,
        accuracies=1 / (1 + np.abs(c)),
        curvatures=2 + c,
        residuals=np.zeros_like(c),
        normalization="filter",
        seed=0,
        split="train",
        batch_norm="kept",
        num_evaluations=5,
        num_products=9,
        caveats=(),
    )


def test_each_step_is_drawn_once_in_ascending_order(ax: Axes) -> None:
    assert draw_walk(ax, walk()) is ax
    line = ax.get_lines()[0]
    assert line.get_xdata().tolist() == [-32, -1, 0, 1, 32]
    np.testing.assert_allclose(line.get_ydata(), [1024.1, 1.1, 0.1, 1.1, 1024.1])


@pytest.mark.parametrize(
    ("quantity", "label"),
    [("loss", "train loss"), ("accuracy", "train accuracy\n[%]"), ("curvature", "curvature\n[per filter norm²]")],
)
def test_axes_say_what_they_show_in_which_units(quantity: WalkQuantity, label: str, ax: Axes) -> None:
    draw_walk(ax, walk(), quantity=quantity)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("step c [filter norm]", label)


def test_accuracy_is_drawn_in_percent_from_0_to_100(ax: Axes) -> None:
    draw_walk(ax, walk(), quantity="accuracy")
    np.testing.assert_allclose(ax.get_lines()[0].get_ydata(), [100 / 33, 50, 100, 50, 100 / 33])
    assert ax.get_ylim()[0] < 0 < 100 < ax.get_ylim()[1]


def test_positive_losses_have_a_logarithmic_axis_and_others_a_linear_one(ax: Axes) -> None:
    assert draw_walk(ax, walk()).get_yscale() == "log"
    ax.clear()
    assert draw_walk(ax, replace(walk(), losses=walk().losses - 0.1)).get_yscale() == "linear"
    ax.clear()
    assert draw_walk(ax, walk(), quantity="curvature").get_yscale() == "linear"


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_leaves_a_gap(bad: float, ax: Axes) -> None:
    losses = walk().losses.copy()
    losses[[2, 3]] = bad
    draw_walk(ax, replace(walk(), losses=losses))
    np.testing.assert_array_equal(np.isnan(ax.get_lines()[0].get_ydata()), [False, False, False, False, True])
    ax.figure.canvas.draw()


def test_a_walk_that_is_nowhere_finite_can_be_drawn(ax: Axes) -> None:
    draw_walk(ax, replace(walk(), losses=np.full(11, np.nan))).figure.canvas.draw()


def test_two_walks_share_axes_with_names_and_colors(ax: Axes) -> None:
    draw_walk(ax, walk(), label="good", color="#1b9e77")
    draw_walk(ax, walk(), label="bad", color="#d95f02")
    handles, labels = ax.get_legend_handles_labels()
    assert labels == ["good", "bad"]
    assert [to_rgb(handle.get_color()) for handle in handles] == [to_rgb("#1b9e77"), to_rgb("#d95f02")]


@pytest.mark.parametrize("quantity", QUANTITIES)
def test_the_dot_stands_on_the_curve(quantity: WalkQuantity, ax: Axes) -> None:
    draw_walk(ax, walk(), quantity=quantity)
    dot = mark_step(ax, walk(), 6, quantity=quantity)
    expected = {"loss": 1.1, "accuracy": 50.0, "curvature": 1.0}[quantity]
    assert dot.get_xydata().tolist() == [[-1.0, pytest.approx(expected)]]
    assert dot in ax.get_lines()


def test_a_quantity_that_is_unknown_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="quantity must be one of loss, accuracy, curvature, got 'height'"):
        walk_values.__wrapped__(walk(), "height")


def test_a_curvature_that_was_not_computed_is_refused(ax: Axes) -> None:
    with pytest.raises(InvalidInputError, match=r"no curvature\. Take it with loss_along\(…, curvature=True\)\."):
        draw_walk(ax, replace(walk(), curvatures=None), quantity="curvature")
