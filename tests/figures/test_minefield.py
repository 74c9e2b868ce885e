"""The minefield: points, colors and the trajectory."""

import numpy as np
from matplotlib.axes import Axes

from widemargin.figures import draw_minefield

PLACES = np.array([[0.0, 0.0], [5.0, 5.0], [1.0, 2.0], [-4.0, 3.0], [2.0, 1.0]])
ACCURACIES = np.array([0.5, 0.2, 0.8, 0.3, 1.0])
IS_TRAJECTORY = np.array([True, False, True, False, True])


def test_the_trajectory_is_connected_in_its_order(ax: Axes) -> None:
    assert draw_minefield(ax, PLACES, ACCURACIES, IS_TRAJECTORY) is ax
    (line,) = ax.get_lines()
    np.testing.assert_array_equal(line.get_xydata(), PLACES[[0, 2, 4]])


def test_every_network_is_a_point_with_its_test_accuracy_as_color(ax: Axes) -> None:
    draw_minefield(ax, PLACES, ACCURACIES, IS_TRAJECTORY)
    for points, which in zip(ax.collections, (~IS_TRAJECTORY, IS_TRAJECTORY), strict=True):
        np.testing.assert_array_equal(points.get_offsets(), PLACES[which])
        np.testing.assert_array_equal(points.get_array(), ACCURACIES[which])
        assert points.get_clim() == (0, 1)


def test_minima_and_trajectory_differ_in_marker(ax: Axes) -> None:
    draw_minefield(ax, PLACES, ACCURACIES, IS_TRAJECTORY)
    bad, good = (points.get_paths()[0].vertices for points in ax.collections)
    assert bad.shape != good.shape
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["bad minima", "training trajectory"]


def test_start_and_end_are_named(ax: Axes) -> None:
    draw_minefield(ax, PLACES, ACCURACIES, IS_TRAJECTORY)
    assert [(text.get_text(), *text.xy) for text in ax.texts] == [("start", 0, 0), ("end", 2, 1)]


def test_axes_and_color_bar_are_labeled(ax: Axes) -> None:
    draw_minefield(ax, PLACES, ACCURACIES, IS_TRAJECTORY)
    assert (ax.get_xlabel(), ax.get_ylabel()) == (
        "t-SNE, first coordinate [no unit]",
        "t-SNE, second coordinate [no unit]",
    )
    bar = ax.figure.axes[1]
    assert bar.get_ylabel() == "test accuracy"
    assert bar.get_yticklabels()[-1].get_text() == "100%"


def test_a_minefield_without_a_trajectory_can_be_drawn(ax: Axes) -> None:
    draw_minefield(ax, PLACES, ACCURACIES, np.zeros(5, dtype=bool)).figure.canvas.draw()
    assert len(ax.texts) == 0
