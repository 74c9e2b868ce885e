"""Loss surfaces: range, lowest point, and what is drawn."""

from collections.abc import Callable, Iterator
from dataclasses import replace

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.axes import Axes
from mpl_toolkits.mplot3d import Axes3D

from widemargin.errors import InvalidInputError
from widemargin.figures import draw_loss_surface, draw_loss_surface_3d, loss_range, lowest_point
from widemargin.landscape.surface import Surface


def bowl(height: float = 1.0) -> Surface:
    """Lowest at (0.5, −0.25), which is a point of the grid."""
    x, y = np.linspace(-1, 1, 9), np.linspace(-1, 1, 17)
    losses = height * (0.01 + (x - 0.5) ** 2 + (y[:, None] + 0.25) ** 2)
    return Surface(x, y, losses, np.ones_like(losses), 0.0, "filter", 0, "train", "kept", losses.size, ())


@pytest.fixture
def ax3d() -> Iterator[Axes3D]:
    with mpl.rc_context({"backend": "Agg"}):
        figure, axes = plt.subplots(subplot_kw={"projection": "3d"})
        yield axes
        plt.close(figure)


def with_losses(*values: float) -> Surface:
    """A surface whose first losses are these."""
    losses = bowl().losses.copy()
    losses.ravel()[: len(values)] = values
    return replace(bowl(), losses=losses)


def test_the_range_is_that_of_all_surfaces() -> None:
    high = 0.01 + 1.5**2 + 1.25**2
    assert loss_range(bowl()) == pytest.approx((0.01, high))
    assert loss_range(bowl(), bowl(10.0)) == pytest.approx((0.01, 10 * high))


def test_the_range_leaves_out_what_has_no_logarithm() -> None:
    assert loss_range(with_losses(0.0, -1.0, np.nan, np.inf)) == loss_range(bowl())


def test_a_surface_without_a_usable_loss_is_refused(ax: Axes, ax3d: Axes3D) -> None:
    empty = replace(bowl(), losses=np.full((17, 9), np.nan))
    message = r"needs a loss that is positive and finite, got none among 153\. Look at the surface's caveats\."
    for draw in (loss_range, lambda surface: draw_loss_surface(ax, surface), lambda s: draw_loss_surface_3d(ax3d, s)):
        with pytest.raises(InvalidInputError, match=message):
            draw(empty)


def test_the_lowest_point_is_found() -> None:
    assert lowest_point(bowl()) == (0.5, -0.25)


def test_of_equal_losses_the_nearest_to_the_network_is_the_lowest_point() -> None:
    flat = replace(bowl(), losses=np.maximum(bowl().losses, 0.3))
    x, y = lowest_point(flat)
    candidates = [(x, y) for i, y in enumerate(flat.y) for j, x in enumerate(flat.x) if flat.losses[i, j] == 0.3]
    assert len(candidates) > 5
    assert x**2 + y**2 == min(x**2 + y**2 for x, y in candidates)


def test_the_lowest_point_is_not_nan() -> None:
    assert lowest_point(with_losses(np.nan)) == (0.5, -0.25)


def test_drawing_returns_labeled_axes_with_the_minimum_marked(ax: Axes) -> None:
    assert draw_loss_surface(ax, bowl()) is ax
    assert ax.get_xlabel() == "first direction [filter norm]"
    assert ax.get_ylabel() == "second direction [filter norm]"
    (mark,) = ax.get_lines()
    assert mark.get_xydata().tolist() == [[0.5, -0.25]]
    assert (ax.get_xlim(), ax.get_ylim()) == ((-1, 1), (-1, 1))
    assert ax.get_aspect() == 1


def test_the_color_bar_is_logarithmic_with_plain_numbers(ax: Axes) -> None:
    draw_loss_surface(ax, bowl())
    bar = ax.figure.axes[1]
    assert bar.get_ylabel() == "mean train loss (log scale)"
    assert bar.get_yscale() == "log"
    assert [tick.get_text() for tick in bar.get_yticklabels()] == ["0.01", "0.1", "1"]


def levels(ax: Axes) -> np.ndarray:
    (filled,) = ax.collections
    return filled.levels


def test_levels_are_equally_spaced_in_the_logarithm(ax: Axes) -> None:
    ratios = np.exp(np.diff(np.log(levels(draw_loss_surface(ax, bowl())))))
    np.testing.assert_allclose(ratios, ratios[0])


def test_surfaces_can_share_their_colors(ax: Axes) -> None:
    between = loss_range(bowl(), bowl(100.0))
    assert levels(draw_loss_surface(ax, bowl(), between=between))[[0, -1]] == pytest.approx(between)


@pytest.mark.parametrize("value", [0.0, -1.0, np.nan, np.inf, 1e30])
def test_losses_of_any_value_can_be_drawn(value: float, ax: Axes, ax3d: Axes3D) -> None:
    draw_loss_surface(ax, with_losses(value), between=(0.01, 5.0)).figure.canvas.draw()
    draw_loss_surface_3d(ax3d, with_losses(value), between=(0.01, 5.0)).figure.canvas.draw()


@pytest.mark.parametrize("draw", [draw_loss_surface, draw_loss_surface_3d])
def test_a_flat_surface_can_be_drawn(draw: Callable[[Axes, Surface], Axes], ax: Axes, ax3d: Axes3D) -> None:
    flat = replace(bowl(), losses=np.full((17, 9), 0.3))
    draw(ax3d if draw is draw_loss_surface_3d else ax, flat).figure.canvas.draw()


def test_the_landscape_has_the_logarithm_as_height(ax3d: Axes3D) -> None:
    surface = bowl()
    assert draw_loss_surface_3d(ax3d, surface) is ax3d
    assert ax3d.zz_dataLim.intervalx.tolist() == pytest.approx([-2, np.log10(surface.losses.max())])


def test_the_landscape_has_labels_and_the_minimum_marked(ax3d: Axes3D) -> None:
    draw_loss_surface_3d(ax3d, bowl())
    labels = (ax3d.get_xlabel(), ax3d.get_ylabel(), ax3d.get_zlabel())
    assert labels == ("first direction [filter norm]", "second direction [filter norm]", "mean train loss")
    (mark,) = ax3d.get_lines()
    assert [float(part[0]) for part in mark.get_data_3d()] == pytest.approx([0.5, -0.25, -2])
    ax3d.figure.canvas.draw()
    assert "$10^{-1}$" in [tick.get_text() for tick in ax3d.get_zticklabels()]
