"""Intervals against resampling written out, and how often they hold what they should."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from widemargin.errors import InvalidInputError
from widemargin.prediction import r2, r2_interval, resamples_of


def drawn(num_configurations: int = 12, repeats: int = 3) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    configurations = np.repeat(np.arange(num_configurations), repeats)
    gap = rng.normal(size=num_configurations)[configurations] + 0.1 * rng.normal(size=len(configurations))
    return gap, gap + 0.4 * rng.normal(size=len(gap)), configurations


def test_the_interval_is_that_of_whole_configurations_copied() -> None:
    gap, predicted, configurations = drawn()
    draws = resamples_of(configurations, num_resamples=50, seed=3)
    scores = []
    for counts in draws.counts:
        rows = [
            row
            for configuration, count in enumerate(counts)
            for _ in range(int(count))
            for row in np.flatnonzero(configurations == configuration)
        ]
        scores.append(r2(gap[rows], predicted[rows]))
    expected = np.quantile(scores, [0.025, 0.975])
    assert r2_interval(gap, (gap - predicted) ** 2, draws) == pytest.approx(tuple(expected))


def test_every_resample_holds_as_many_configurations_as_there_are() -> None:
    draws = resamples_of(["b", "a", "b", "c"], num_resamples=200)
    assert draws.counts.shape == (200, 3)
    assert (draws.counts.sum(axis=1) == 3).all()
    np.testing.assert_allclose(draws.counts.mean(axis=0), 1, atol=0.2)
    np.testing.assert_array_equal(draws.which, [1, 0, 1, 2])


@settings(deadline=None, derandomize=True, max_examples=15)
@given(st.permutations(range(36)), st.floats(1e-3, 1e3), st.floats(-10, 10))
def test_order_unit_and_origin_do_not_matter(order: list[int], factor: float, shift: float) -> None:
    gap, predicted, configurations = drawn()
    expected = r2_interval(gap, (gap - predicted) ** 2, resamples_of(configurations))
    moved = factor * gap[order] + shift, factor**2 * (gap - predicted)[order] ** 2
    assert r2_interval(*moved, resamples_of(configurations[order])) == pytest.approx(expected, rel=1e-6)


def test_perfect_predictions_have_an_interval_without_width() -> None:
    gap, _, configurations = drawn()
    assert r2_interval(gap, np.zeros_like(gap), resamples_of(configurations)) == (1, 1)


def test_more_configurations_narrow_the_interval_and_copies_of_networks_do_not() -> None:
    def width(num_configurations: int, repeats: int) -> float:
        gap, predicted, _ = drawn(num_configurations, 1)
        errors, configurations = (gap - predicted) ** 2, np.arange(num_configurations)
        copies = [np.repeat(values, repeats) for values in (gap, errors, configurations)]
        low, high = r2_interval(copies[0], copies[1], resamples_of(copies[2])) or (np.nan, np.nan)
        return high - low

    assert width(320, 1) < 0.6 * width(80, 1)
    assert width(80, 4) == pytest.approx(width(80, 1))


def test_fewer_than_ten_configurations_have_no_interval() -> None:
    for num, exists in ((9, False), (10, True)):
        gap, predicted, configurations = drawn(num)
        assert (r2_interval(gap, (gap - predicted) ** 2, resamples_of(configurations)) is not None) is exists


def test_equal_gaps_have_no_interval() -> None:
    assert r2_interval(np.full(36, 0.1), np.ones(36), resamples_of(drawn()[2])) is None


def test_no_resamples_are_refused() -> None:
    with pytest.raises(InvalidInputError) as caught:
        resamples_of([1, 2], num_resamples=0)
    assert str(caught.value) == "the number of resamples must be at least 1, got 0."


def test_intervals_hold_the_r2_of_the_population_about_as_often_as_they_say() -> None:
    rng, held = np.random.default_rng(0), 0
    for _ in range(200):
        x = rng.normal(size=60)
        gap = x + 0.5 * rng.normal(size=60)
        low, high = r2_interval(gap, (gap - x) ** 2, resamples_of(np.arange(60), num_resamples=400)) or (2, 2)
        held += low <= 1 - 0.25 / 1.25 <= high
    assert 0.9 <= held / 200 <= 0.99
