"""Permutation p-values against every permutation, corrections against statsmodels and scipy."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats
from statsmodels.stats.multitest import multipletests

from widemargin.errors import InvalidInputError
from widemargin.prediction import benjamini_hochberg, holm, permutation_p_values


def drawn(num: int = 5) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    gap = rng.normal(size=num).round(1)
    return np.stack([gap + 0.5 * rng.normal(size=num), rng.integers(0, 3, size=num).astype(float)]), gap


def test_values_near_the_share_of_all_permutations_with_as_large_a_tau() -> None:
    measures, gap = drawn()
    found = permutation_p_values(measures, gap, np.arange(5), num_permutations=20_000)
    for measure, p_value in zip(measures, found, strict=True):
        taus = [
            abs(stats.kendalltau(measure, gap[list(order)]).statistic) for order in itertools.permutations(range(5))
        ]
        exact = np.mean(np.array(taus) >= abs(stats.kendalltau(measure, gap).statistic) - 1e-12)
        assert p_value == pytest.approx(exact, abs=0.015)


def test_repeats_stay_together_and_sizes_apart() -> None:
    rng = np.random.default_rng(0)
    configurations = np.array([0, 0, 1, 2, 2, 3, 3, 4])  # 0, 2, 3 have two repeats, 1 and 4 one
    measure, gap = rng.normal(size=(2, 8))
    taus = []
    for twos in itertools.permutations([0, 2, 3]):
        for ones in itertools.permutations([1, 4]):
            permuted = np.empty(8)
            for to, origin in zip([0, 2, 3, 1, 4], [*twos, *ones], strict=True):
                permuted[configurations == to] = gap[configurations == origin]
            taus.append(abs(stats.kendalltau(measure, permuted).statistic))
    exact = np.mean(np.array(taus) >= taus[0] - 1e-12)
    found = permutation_p_values(measure[None], gap, configurations, num_permutations=20_000)
    assert found[0] == pytest.approx(exact, abs=0.015)
    assert exact < 0.9


def test_missing_values_make_no_pairs() -> None:
    measures, gap = drawn()
    known = np.arange(5) != 3
    found = permutation_p_values(np.where(known, measures, np.nan)[:1], gap, np.arange(5), num_permutations=20_000)
    taus = [
        abs(stats.kendalltau(measures[0][known], gap[list(order)][known]).statistic)
        for order in itertools.permutations(range(5))
    ]
    assert found[0] == pytest.approx(np.mean(np.array(taus) >= taus[0] - 1e-12), abs=0.015)


def test_infinities_are_the_greatest() -> None:
    measures, gap = drawn(12)
    infinite = np.stack([np.where(measures[0] == measures[0].max(), value, measures[0]) for value in (np.inf, 1e9)])
    first, second = permutation_p_values(infinite, gap, np.arange(12), num_permutations=999)
    assert first == second


def test_chance_alone_is_below_five_percent_in_five_of_a_hundred_cases() -> None:
    rng = np.random.default_rng(0)
    configurations = np.repeat(np.arange(15), 2)
    shared = np.repeat(rng.normal(size=(400, 15)), 2, axis=1)  # repeats share all but a little of measure and gap
    measures = shared + 0.1 * rng.normal(size=shared.shape)
    gap = np.repeat(rng.normal(size=15), 2) + 0.1 * rng.normal(size=30)
    p_values = permutation_p_values(measures, gap, configurations, num_permutations=399)
    assert 0.02 < np.mean(p_values <= 0.05) < 0.08


def test_only_order_matters_and_neither_the_sign_nor_the_other_measures_do() -> None:
    measures, gap = drawn(20)
    expected = permutation_p_values(measures, gap, np.arange(20), num_permutations=99)
    found = permutation_p_values(np.exp(-measures[:1]), gap**3, np.arange(20), num_permutations=99)
    assert found[0] == expected[0]


def test_a_perfect_measure_has_the_least_p_value_that_there_is() -> None:
    gap = np.arange(30.0)
    assert permutation_p_values(gap[None], gap, np.arange(30), num_permutations=99)[0] == 0.01


def test_no_permutations_are_refused() -> None:
    with pytest.raises(InvalidInputError, match=r"^the number of permutations must be at least 1, got 0\.$"):
        permutation_p_values(*drawn(), np.arange(5), num_permutations=0)


@settings(deadline=None, derandomize=True, max_examples=30)
@given(arrays(np.float64, st.integers(1, 12), elements=st.floats(0.001, 1)))
def test_corrections_are_those_of_statsmodels_and_scipy(p_values: np.ndarray) -> None:
    np.testing.assert_allclose(holm(p_values), multipletests(p_values, method="holm")[1])
    np.testing.assert_allclose(benjamini_hochberg(p_values), stats.false_discovery_control(p_values))


def test_no_tests_have_no_corrections() -> None:
    assert len(holm(np.zeros(0))) == len(benjamini_hochberg(np.zeros(0))) == 0
