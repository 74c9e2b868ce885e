"""Rays, radii and volumes: what is drawn of them."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.patches import Rectangle

from widemargin.errors import InvalidInputError
from widemargin.figures import draw_radii, draw_rays, draw_volume_against_gap
from widemargin.landscape.basins import BasinRadii

STEPS = np.linspace(0, 1, 5)
CUTOFFS = (0.1, 0.2)
RADII = np.array([[0.02, 0.3], [0.021, 0.5], [0.1, 1.0], [0.3, 1.0], [0.3, 0.9], [0.29, 1.0]])


def basin(**changes: Any) -> BasinRadii:
    options: Mapping[str, Any] = {
        "radii": RADII,
        "is_censored": RADII == 1,
        "cutoffs": CUTOFFS,
        "cap": 1.0,
        "loss": 0.01,
        "normalization": "filter",
        "num_free": 10,
        "seed": 0,
        "num_evaluations": 60,
        "num_not_finite": 0,
    }
    return BasinRadii(**{**options, **changes})


def rays(num: int = 3) -> np.ndarray:
    return 0.01 + STEPS * np.arange(1.0, num + 1)[:, None]


def bars(ax: Axes, *, hatched: bool) -> list[Rectangle]:
    return [bar for bar in ax.patches if (bar.get_hatch() is not None) == hatched and bar.get_height() > 0]


def test_each_ray_is_a_line_and_the_cutoff_another(ax: Axes) -> None:
    assert draw_rays(ax, STEPS, rays(), 0.1) is ax
    *lines, bound = ax.get_lines()
    np.testing.assert_allclose([line.get_ydata() for line in lines], rays())
    np.testing.assert_allclose([line.get_xdata() for line in lines], [STEPS] * 3)
    assert list(bound.get_ydata()) == [0.1, 0.1]
    assert bound.get_label() == "cutoff 0.1"


def test_rays_have_labeled_axes_with_units_and_a_logarithm(ax: Axes) -> None:
    draw_rays(ax, STEPS, rays(), 0.1, normalization="layer")
    assert ax.get_xlabel() == "distance from the minimum [layer norm]"
    assert ax.get_ylabel() == "mean training loss (log scale)"
    assert ax.get_yscale() == "log"


def test_many_rays_are_fainter_than_few(ax: Axes) -> None:
    draw_rays(ax, STEPS, rays(2), 0.1)
    draw_rays(ax, STEPS, rays(500), 0.1)
    assert ax.get_lines()[0].get_alpha() > 0.5 > ax.get_lines()[-1].get_alpha()


@pytest.mark.parametrize("bad", [np.nan, np.inf, 0.0, -1.0])
def test_a_loss_without_a_logarithm_leaves_a_gap(bad: float, ax: Axes) -> None:
    losses = rays()
    losses[1, 2] = bad
    draw_rays(ax, STEPS, losses, 0.1).figure.canvas.draw()
    assert np.isnan(ax.get_lines()[1].get_ydata()).tolist() == [False, False, True, False, False]


def test_two_networks_share_axes_and_the_cutoff(ax: Axes) -> None:
    draw_rays(ax, STEPS, rays(), 0.1, label="good", color="#1b9e77")
    draw_rays(ax, STEPS, 2 * rays(), 0.1, label="bad", color="#d95f02")
    assert sorted(ax.get_legend_handles_labels()[1]) == ["bad", "cutoff 0.1", "good"]


def test_every_ray_is_in_one_bar(ax: Axes) -> None:
    assert draw_radii(ax, basin(), 0.1) is ax
    heights = {}
    for bar in bars(ax, hatched=False):
        low, high = bar.get_x(), bar.get_x() + bar.get_width()
        heights[low] = bar.get_height()
        assert bar.get_height() == ((RADII[:, 0] >= low) & (RADII[:, 0] < high)).sum()
    assert sum(heights.values()) == 6
    assert bars(ax, hatched=True) == []


def test_rays_that_reach_the_cap_are_a_hatched_bar_beyond_it(ax: Axes) -> None:
    draw_radii(ax, basin(), 0.2, label="good")
    (beyond,) = bars(ax, hatched=True)
    assert (beyond.get_x(), beyond.get_height()) == (1, 3)
    assert sum(bar.get_height() for bar in bars(ax, hatched=False)) == 3
    assert ax.get_legend_handles_labels()[1] == ["good", "good reach the cap: 3 of 6"]


def test_rays_that_all_reach_the_cap_can_be_drawn(ax: Axes) -> None:
    draw_radii(ax, basin(radii=np.ones((6, 2)), is_censored=np.ones((6, 2), dtype=bool)), 0.1).figure.canvas.draw()
    assert bars(ax, hatched=False) == []
    assert ax.get_legend_handles_labels()[1][-1] == "reach the cap: 6 of 6"


def test_networks_of_one_cap_have_the_same_bins(ax: Axes) -> None:
    draw_radii(ax, basin(), 0.1)
    edges = [bar.get_x() for bar in ax.patches]
    draw_radii(ax, basin(radii=0.3 * RADII, is_censored=np.zeros((6, 2), dtype=bool)), 0.1)
    others = [bar.get_x() for bar in ax.patches[len(edges) :]]
    np.testing.assert_allclose(others[-len(edges) :], edges)


def test_a_line_stands_at_the_median(ax: Axes) -> None:
    draw_radii(ax, basin(), 0.1, color="#1b9e77")
    (line,) = ax.get_lines()
    assert line.get_xdata()[0] == np.median(RADII[:, 0])
    assert to_rgba(line.get_color()) == to_rgba("#1b9e77")


def test_radii_have_labeled_axes_with_units(ax: Axes) -> None:
    draw_radii(ax, basin(), 0.1)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("radius at cutoff 0.1 [filter norm]", "number of rays")
    assert ax.get_xscale() == "log"


def test_a_cutoff_that_was_not_measured_is_refused(ax: Axes) -> None:
    with pytest.raises(InvalidInputError, match=r"cutoff must be one that was measured \(0\.1, 0\.2\), got 0\.3\."):
        draw_radii(ax, basin(), 0.3)


def test_each_cutoff_has_its_points_and_marker(ax: Axes) -> None:
    gaps, volumes = np.array([0.0, 0.2, 0.5]), np.array([[-10.0, -5.0], [-20.0, -15.0], [-90.0, -70.0]])
    assert draw_volume_against_gap(ax, gaps, volumes, CUTOFFS) is ax
    for points, column in zip(ax.collections, volumes.T, strict=True):
        np.testing.assert_array_equal(points.get_offsets(), np.column_stack([gaps, column]))
    first, second = (points.get_paths()[0].vertices for points in ax.collections)
    assert not np.array_equal(first, second)
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["0.1", "0.2"]
    assert ax.get_xlabel() == "generalization gap (train − test accuracy)"
    assert ax.get_ylabel() == "log₁₀ of the basin's volume"


def test_other_columns_than_cutoffs_are_refused(ax: Axes) -> None:
    message = r"log10_volumes must have a column for each of 2 cutoffs, got 3\."
    with pytest.raises(InvalidInputError, match=message):
        draw_volume_against_gap(ax, np.zeros(4), np.zeros((4, 3)), CUTOFFS)
