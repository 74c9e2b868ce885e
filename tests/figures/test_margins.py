"""Data of the margin figures against naive kernels and sorting; the drawing on axes."""

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from scipy.integrate import trapezoid

from widemargin.errors import TooFewExamplesError
from widemargin.figures import draw_margin_density, draw_order_statistics, margin_densities, order_statistics
from widemargin.figures.margins import central_range
from widemargin.margins import MarginDistribution


def distribution(num_examples: int = 60) -> MarginDistribution:
    """Two layers of different size; one example in six or so is misclassified."""
    rng = np.random.default_rng(0)
    distances = rng.normal(1.0, 1.0, size=(num_examples, 1)) * np.array([[1.0, 5.0]])
    distances *= rng.uniform(0.5, 2.0, size=distances.shape)
    return MarginDistribution(("input", "conv"), distances, np.array([4.0, 0.25]), distances[:, 0].copy(), 2.0, {})


def test_the_density_is_that_of_gaussian_kernels_with_scotts_bandwidth() -> None:
    margins = distribution()
    for density, column in zip(margin_densities(margins), margins.normalized.T, strict=True):
        width = column.std(ddof=1) * len(column) ** (-1 / 5)
        expected = [
            np.mean([np.exp(-0.5 * ((x - v) / width) ** 2) / (width * np.sqrt(2 * np.pi)) for v in column])
            for x in density.margins
        ]
        np.testing.assert_allclose(density.density, expected, rtol=1e-8)


def test_the_density_integrates_to_one_over_all_margins() -> None:
    wide = {"input": (-10.0, 10.0), "conv": (-100.0, 150.0)}
    for density in margin_densities(distribution(), wide):
        assert trapezoid(density.density, density.margins) == pytest.approx(1, abs=1e-3)
        assert (density.margins[0], density.margins[-1]) == wide[density.layer]


def test_the_density_shows_the_bulk_of_the_margins() -> None:
    for density in margin_densities(distribution(2000)):
        assert 0.95 < trapezoid(density.density, density.margins) < 1


def test_the_central_range_is_a_tenth_wider_than_the_middle_98_percent_and_the_boundary() -> None:
    assert central_range(np.arange(101.0)) == pytest.approx((0 - 9.9, 99 + 9.9))
    assert central_range(np.arange(101.0) - 50) == pytest.approx((-49 - 9.8, 49 + 9.8))


def test_ranges_of_some_layers_leave_the_others_alone() -> None:
    first, second = margin_densities(distribution(), {"conv": (0.0, 1.0)})
    assert (first.margins[0], first.margins[-1]) == central_range(distribution().normalized[:, 0])
    assert (second.margins[0], second.margins[-1]) == (0.0, 1.0)


def test_the_share_of_misclassified_examples_counts_margins_of_zero_or_less() -> None:
    margins = distribution()
    margins.distances[:5] = 0.0
    for density, column in zip(margin_densities(margins), margins.distances.T, strict=True):
        assert density.share_misclassified == sum(value <= 0 for value in column) / len(column)


def test_constant_margins_have_no_density() -> None:
    margins = distribution()
    margins.distances[:, 1] = 3.0
    assert [density.layer for density in margin_densities(margins)] == ["input"]


def test_infinite_margins_are_left_out_of_the_density() -> None:
    margins = distribution()
    expected = margin_densities(
        MarginDistribution(margins.layers, margins.distances[3:], margins.total_variation, np.zeros(57), 2.0, {})
    )
    margins.distances[:3] = np.inf
    for density, other in zip(margin_densities(margins), expected, strict=True):
        np.testing.assert_allclose(density.density, other.density)


@pytest.mark.parametrize("num_finite", [0, 1])
def test_a_layer_with_fewer_than_two_finite_margins_has_no_density(num_finite: int) -> None:
    margins = distribution()
    margins.distances[num_finite:, 0] = np.inf
    assert [density.layer for density in margin_densities(margins)] == ["conv"]


def test_order_statistics_are_those_of_sorted_correct_margins() -> None:
    margins = distribution(61)
    for found, column in zip(order_statistics(margins), margins.normalized.T, strict=True):
        values = sorted(value for value in column if value > 0)

        def at(share: float, values: list[float] = values) -> float:
            below, part = divmod(share * (len(values) - 1), 1)
            upper = values[min(int(below) + 1, len(values) - 1)]
            return values[int(below)] * (1 - part) + upper * part

        q1, q3 = at(0.25), at(0.75)
        assert (found.q1, found.median, found.q3) == pytest.approx((q1, at(0.5), q3))
        assert found.lower_fence == min(value for value in values if value >= q1 - 1.5 * (q3 - q1))
        assert found.upper_fence == max(value for value in values if value <= q3 + 1.5 * (q3 - q1))


def test_order_statistics_need_four_correct_examples() -> None:
    margins = distribution()
    margins.distances[3:] = -1.0
    with pytest.raises(TooFewExamplesError, match="quartiles of margins at input need at least 4"):
        order_statistics(margins)


def test_drawing_a_density_returns_the_axes_with_labels(ax: Axes) -> None:
    density = margin_densities(distribution())[1]
    assert draw_margin_density(ax, density, label="standard", color="#1b9e77") is ax
    assert (ax.get_xlabel(), ax.get_ylabel(), ax.get_title()) == ("normalized margin", "density", "conv")
    line, boundary = ax.get_lines()
    np.testing.assert_array_equal(line.get_xdata(), density.margins)
    np.testing.assert_array_equal(line.get_ydata(), density.density)
    assert line.get_label() == "standard"
    assert to_rgba(line.get_color()) == to_rgba("#1b9e77")
    assert list(boundary.get_xdata()) == [0.0, 0.0]
    assert ax.get_ylim()[0] == 0


def test_two_densities_without_labels_leave_no_legend_entries(ax: Axes) -> None:
    for density in margin_densities(distribution()):
        draw_margin_density(ax, density)
    assert ax.get_legend_handles_labels()[1] == []


def test_drawing_order_statistics_returns_the_axes_with_labels(ax: Axes) -> None:
    statistics = order_statistics(distribution())
    assert draw_order_statistics(ax, statistics, color="#d95f02") is ax
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("layer", "normalized margin (log scale)")
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["input", "conv"]
    assert ax.get_yscale() == "log"


def test_boxes_stand_at_the_order_statistics(ax: Axes) -> None:
    statistics = order_statistics(distribution())
    draw_order_statistics(ax, statistics)
    drawn = {round(float(y), 12) for line in ax.get_lines() for y in line.get_ydata()}
    for s in statistics:
        assert {round(y, 12) for y in (s.lower_fence, s.q1, s.median, s.q3, s.upper_fence)} <= drawn
