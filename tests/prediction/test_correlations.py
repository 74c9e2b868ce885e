"""Correlations against scipy, on the networks and on copies of them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from widemargin.prediction import resamples_of
from widemargin.prediction.correlations import kendall, pearson, spearman

ORACLES = {pearson: stats.pearsonr, spearman: stats.spearmanr, kendall: stats.kendalltau}
OF_RANKS = pytest.mark.parametrize("correlation", [spearman, kendall])
both = pytest.mark.parametrize("correlation", ORACLES)


def drawn(num_configurations: int = 12, repeats: int = 3) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    configurations = np.repeat(np.arange(num_configurations), repeats)
    measure = rng.integers(0, 9, size=len(configurations)).astype(float)
    return measure, (measure + rng.normal(scale=3, size=len(measure))).round(), configurations


@both
def test_values_are_those_of_scipy_with_ties(correlation) -> None:
    measure, gap, configurations = drawn()
    expected = ORACLES[correlation](measure, gap).statistic
    assert correlation(measure, gap, resamples_of(configurations)).value == pytest.approx(expected)


@both
def test_intervals_are_those_of_scipy_on_whole_configurations_copied(correlation) -> None:
    measure, gap, configurations = drawn()
    resamples = resamples_of(configurations, num_resamples=40, seed=1)
    scores = []
    for counts in resamples.counts:
        rows = np.repeat(np.arange(len(gap)), counts[configurations].astype(int))
        scores.append(ORACLES[correlation](measure[rows], gap[rows]).statistic)
    expected = np.quantile(scores, [0.025, 0.975])
    assert correlation(measure, gap, resamples).interval == pytest.approx(tuple(expected))


@settings(deadline=None, derandomize=True, max_examples=15)
@given(st.permutations(range(36)), st.floats(-200, 200), st.floats(-1e3, 1e3))
def test_the_unit_of_pearsons_correlation_does_not_matter_and_order_neither(
    order: list[int], exponent: float, origin: float
) -> None:
    measure, gap, configurations = drawn()
    expected = pearson(measure, gap, resamples_of(configurations))
    found = pearson(10**exponent * measure[order], gap[order] + origin, resamples_of(configurations[order]))
    assert found.value == pytest.approx(expected.value)
    assert found.interval == pytest.approx(expected.interval)


@OF_RANKS
@settings(deadline=None, derandomize=True, max_examples=15)
@given(order=st.permutations(range(36)))
def test_only_ranks_matter_and_order_does_not(correlation, order: list[int]) -> None:
    measure, gap, configurations = drawn()
    expected = correlation(measure, gap, resamples_of(configurations))
    found = correlation(np.exp(30 * measure[order]), gap[order] ** 3, resamples_of(configurations[order]))
    assert found.value == pytest.approx(expected.value)
    assert found.interval == pytest.approx(expected.interval)


@both
def test_a_turned_measure_turns_the_sign(correlation) -> None:
    measure, gap, configurations = drawn()
    there, back = (correlation(sign * measure, gap, resamples_of(configurations)) for sign in (1, -1))
    assert back.value == pytest.approx(-there.value)
    assert back.interval == pytest.approx((-there.interval[1], -there.interval[0]))


@both
def test_perfect_agreement_is_one_in_every_resample(correlation) -> None:
    _, _, configurations = drawn()
    found = correlation(np.arange(36.0), np.arange(36.0), resamples_of(configurations))
    assert found.value == pytest.approx(1)
    assert found.interval == pytest.approx((1, 1))


@both
def test_equal_values_have_no_correlation(correlation) -> None:
    measure, _, configurations = drawn()
    found = correlation(measure, np.full(36, 0.1), resamples_of(configurations))
    assert (found.value, found.interval) == (None, None)


@both
def test_few_configurations_have_a_value_without_an_interval(correlation) -> None:
    found = correlation(*drawn(9)[:2], resamples_of(drawn(9)[2]))
    assert found.value is not None
    assert found.interval is None


@OF_RANKS
def test_infinities_are_the_greatest_and_least(correlation) -> None:
    measure, gap, configurations = drawn()
    infinite = np.where(measure == 0, -np.inf, np.where(measure == 8, np.inf, measure))
    expected, found = (correlation(values, gap, resamples_of(configurations)) for values in (measure, infinite))
    assert found == expected


def test_resamples_in_which_a_measure_does_not_vary_have_no_pearson_correlation() -> None:
    gap, configurations = drawn()[1:]
    measure = np.where(configurations == 0, 0.3, 0.1)
    resamples = resamples_of(configurations, num_resamples=40)
    scores = []
    for counts in resamples.counts[resamples.counts[:, 0] > 0]:
        rows = np.repeat(np.arange(len(gap)), counts[configurations].astype(int))
        scores.append(stats.pearsonr(measure[rows], gap[rows]).statistic)
    assert len(scores) < 40
    assert pearson(measure, gap, resamples).interval == pytest.approx(tuple(np.quantile(scores, [0.025, 0.975])))
