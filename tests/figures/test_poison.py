"""Quantities against the poison factor; zero in its true place."""

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.container import ErrorbarContainer

from widemargin.errors import InvalidInputError
from widemargin.figures import PoisonedQuantity, draw_against_poison

FACTORS = np.array([0.0, 0.0, 0.001, 0.01, 0.01, 0.8])
GAPS = np.array([0.0, 0.1, 0.2, 0.3, 0.5, 0.9])


def drawn_points(ax: Axes) -> np.ndarray:
    (bars,) = [c for c in ax.containers if isinstance(c, ErrorbarContainer)]
    return bars.lines[0].get_xydata()


def test_each_network_is_a_point_at_its_true_factor(ax: Axes) -> None:
    assert draw_against_poison(ax, FACTORS, GAPS) is ax
    np.testing.assert_array_equal(drawn_points(ax), np.column_stack([FACTORS, GAPS]))


def test_the_line_goes_through_the_means_of_each_factor(ax: Axes) -> None:
    draw_against_poison(ax, FACTORS, GAPS, label="swiss roll")
    (line,) = [line for line in ax.get_lines() if line.get_label() == "swiss roll"]
    np.testing.assert_allclose(line.get_xydata(), [[0, 0.05], [0.001, 0.2], [0.01, 0.4], [0.8, 0.9]])


def test_the_axis_is_logarithmic_from_the_smallest_factor_on(ax: Axes) -> None:
    draw_against_poison(ax, FACTORS, GAPS)
    places = ax.get_xaxis_transform().transform([[x, 0.0] for x in (0.0, 0.0005, 0.001, 0.01, 0.1)])[:, 0]
    assert places[4] - places[3] == pytest.approx(places[3] - places[2])
    assert places[1] - places[0] == pytest.approx(places[2] - places[1])
    assert places[0] < places[2]


def test_zero_and_the_change_of_scale_are_labeled(ax: Axes) -> None:
    draw_against_poison(ax, FACTORS, GAPS)
    assert ax.get_xlabel() == "poison factor β (log scale; linear below 0.001)"
    ax.figure.draw_without_rendering()
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["0", "0.001", "0.01", "0.1"]
    assert [line.get_xdata()[0] for line in ax.get_lines() if line.get_linestyle() == ":"] == [0.001]


def test_without_natural_networks_nothing_is_said_of_zero(ax: Axes) -> None:
    draw_against_poison(ax, FACTORS[2:], GAPS[2:])
    assert ax.get_xlabel() == "poison factor β"
    assert not [line for line in ax.get_lines() if line.get_linestyle() == ":"]


def test_natural_networks_alone_can_be_drawn(ax: Axes) -> None:
    draw_against_poison(ax, FACTORS[:2], GAPS[:2]).figure.canvas.draw()
    assert ax.get_xscale() == "linear"


def test_one_poison_factor_alone_can_be_drawn(ax: Axes) -> None:
    draw_against_poison(ax, np.array([0.0, 0.3]), GAPS[:2]).figure.canvas.draw()
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["0", "0.3"]


def test_values_that_are_unknown_are_left_out(ax: Axes) -> None:
    values = np.where(np.arange(6) == 3, np.nan, GAPS)
    draw_against_poison(ax, FACTORS, values, standard_errors=np.arange(6.0), label="all")
    np.testing.assert_array_equal(drawn_points(ax)[:, 1], [0.0, 0.1, 0.2, 0.5, 0.9])
    (line,) = [line for line in ax.get_lines() if line.get_label() == "all"]
    np.testing.assert_allclose(line.get_ydata(), [0.05, 0.2, 0.5, 0.9])
    tops = [segment[1, 1] for segment in ax.containers[0].lines[2][0].get_segments()]
    np.testing.assert_allclose(tops, [0.0, 1.1, 2.2, 4.5, 5.9])


def test_standard_errors_are_bars(ax: Axes) -> None:
    errors = np.linspace(0.01, 0.06, 6)
    draw_against_poison(ax, FACTORS, GAPS, standard_errors=errors)
    (bars,) = ax.containers
    drawn = np.array([segment[:, 1] for segment in bars.lines[2][0].get_segments()])
    np.testing.assert_allclose(drawn, np.column_stack([GAPS - errors, GAPS + errors]))


@pytest.mark.parametrize(
    ("quantity", "label"),
    [
        ("gap", "generalization gap (train − test accuracy)"),
        ("radius", "mean basin radius [filter norm]"),
        ("volume", "log₁₀ of the basin's volume"),
    ],
)
def test_axes_say_what_they_show(quantity: PoisonedQuantity, label: str, ax: Axes) -> None:
    assert draw_against_poison(ax, FACTORS, GAPS, quantity=quantity).get_ylabel() == label


@pytest.mark.parametrize("bad", [-0.1, np.nan, np.inf])
def test_a_factor_that_is_none_is_refused(bad: float, ax: Axes) -> None:
    with pytest.raises(InvalidInputError, match=rf"poison factors must be 0 or more and finite, got {bad:g}\."):
        draw_against_poison(ax, np.array([0.1, bad]), GAPS[:2])


def test_a_quantity_that_is_unknown_is_refused(ax: Axes) -> None:
    with pytest.raises(InvalidInputError, match="quantity must be one of gap, radius, volume, got 'height'"):
        draw_against_poison.__wrapped__(ax, FACTORS, GAPS, quantity="height")
