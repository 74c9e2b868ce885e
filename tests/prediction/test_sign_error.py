"""Robust sign error against its definition by loops, by hand, and what must not change it."""

import itertools
import math
from collections.abc import Mapping

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from widemargin.errors import InvalidInputError
from widemargin.prediction import SignError, resamples_of, robust_sign_error

HYPERPARAMETERS = ("hp.lr", "hp.depth", "hp.norm", "hp.same")


def sign(a: float, b: float) -> int:
    return (a > b) - (a < b)


def naive(rows: list[dict], num_test: float) -> dict[frozenset, tuple[str, float]]:
    """Return what changes in each environment, a pair of configurations, and its error."""
    wrong: dict[frozenset, list[tuple[float, float]]] = {}
    changes: dict[frozenset, str] = {}
    for one, other in itertools.combinations(rows, 2):
        changed = [name for name in HYPERPARAMETERS if one[name] != other[name]]
        if len(changed) != 1:
            continue
        difference = abs(one["gap"] - other["gap"])
        weight = max(0, 1 - 2 * math.exp(-2 * num_test * (difference / 2) ** 2)) ** 2
        error = (1 - sign(one["m.norm"], other["m.norm"]) * sign(one["gap"], other["gap"])) / 2
        pair = frozenset(tuple(row[name] for name in HYPERPARAMETERS) for row in (one, other))
        changes[pair] = changed[0]
        wrong.setdefault(pair, []).append((weight, error))
    return {
        pair: (changes[pair], sum(weight * error for weight, error in errors) / sum(weight for weight, _ in errors))
        for pair, errors in wrong.items()
        if sum(weight for weight, _ in errors) > 0
    }


def rows_of(table: pd.DataFrame) -> list[dict]:
    return table.replace({np.nan: None}).to_dict("records")


@pytest.mark.parametrize("num_test", [300, 10_000])
def test_values_are_those_of_the_definition_on_an_incomplete_grid_with_ties(
    incomplete: pd.DataFrame, num_test: int
) -> None:
    found = robust_sign_error(incomplete, "m.norm", num_test=num_test)
    environments = naive(rows_of(incomplete), num_test)
    for name, part in (("", found), *found.per_hyperparameter.items()):
        errors = [error for changed, error in environments.values() if name in ("", changed)]
        assert part.num_environments == len(errors)
        assert part.mean == pytest.approx(np.mean(errors))
        assert part.percentile_90 == pytest.approx(np.quantile(errors, 0.9))
        assert part.worst == pytest.approx(max(errors))
    assert set(found.per_hyperparameter) == {changed for changed, _ in environments.values()}


def test_intervals_are_those_of_the_definition_on_whole_configurations_copied(incomplete: pd.DataFrame) -> None:
    found = robust_sign_error(incomplete, "m.norm", num_test=1000, num_resamples=30, seed=2)
    environments = naive(rows_of(incomplete), 1000)
    configurations = [tuple(row[name] for name in HYPERPARAMETERS) for row in rows_of(incomplete)]
    numbered = incomplete.groupby(list(HYPERPARAMETERS), dropna=False).ngroup().to_numpy()
    number_of = dict(zip(configurations, numbered, strict=True))
    means, high = [], []
    for counts in resamples_of(numbered, num_resamples=30, seed=2).counts.astype(int):
        errors = [
            error
            for pair, (_, error) in environments.items()
            for _ in range(math.prod(counts[number_of[configuration]] for configuration in pair))
        ]
        means.append(np.mean(errors))
        high.append(np.quantile(errors, 0.9))
    assert found.mean_interval == pytest.approx(tuple(np.quantile(means, [0.025, 0.975])))
    assert found.percentile_90_interval == pytest.approx(tuple(np.quantile(high, [0.025, 0.975])))


def by_hand() -> pd.DataFrame:
    table = pd.DataFrame({"hp.lr": [1, 1, 2, 2], "hp.depth": [1, 2, 1, 2], "gap": [0.1, 0.2, 0.3, 0.4]})
    return table.assign(norm=[1.0, 2.0, 0.5, 2.0])


def test_a_case_by_hand_names_the_environment_in_which_it_is_worst() -> None:
    found = robust_sign_error(by_hand(), "norm", num_test=10_000)
    # lr at depth 1: wrong, at depth 2: tied; depth: right twice
    assert found.mean == pytest.approx((1 + 0.5 + 0 + 0) / 4)
    assert (found.worst, found.worst_environment) == (1, "hp.lr 1 → 2 at hp.depth 1")
    assert found.per_hyperparameter["hp.depth"].worst == 0
    assert (found.mean_interval, found.num_environments) == (None, 4)


def test_of_equally_bad_environments_the_one_known_best_is_named() -> None:
    table = pd.DataFrame({"hp.lr": [1, 2, 3], "gap": [0.10, 0.13, 0.30], "norm": [3.0, 2.0, 1.0]})
    assert robust_sign_error(table, "norm", num_test=1000).worst_environment == "hp.lr 1 → 3"


def test_gaps_that_the_test_examples_cannot_tell_apart_do_not_count() -> None:
    table = pd.DataFrame({"hp.lr": [1, 2, 3], "gap": [0.10, 0.11, 0.50], "norm": [2.0, 1.0, 3.0]})
    few, many = (robust_sign_error(table, "norm", num_test=num) for num in (100, 100_000))
    assert (few.num_environments, few.worst) == (2, 0)
    assert (many.num_environments, many.worst) == (3, 1)


def test_the_number_of_test_examples_comes_from_the_table_unless_given() -> None:
    table = pd.DataFrame({"hp.lr": [1, 2, 3], "gap": [0.10, 0.11, 0.50], "norm": [2.0, 1.0, 3.0]})
    assert robust_sign_error(table.assign(num_test=100), "norm").num_environments == 2
    assert robust_sign_error(table.assign(num_test=100), "norm", num_test=100_000).num_environments == 3
    assert robust_sign_error(table.assign(num_test=[100, 10**6, 10**6]), "norm").num_environments == 2


def test_with_infinitely_many_test_examples_all_gaps_but_equal_ones_count() -> None:
    table = pd.DataFrame({"hp.lr": [1, 2, 3], "gap": [0.1, 0.1, 0.1 + 1e-9], "norm": [1.0, 2.0, 3.0]})
    assert robust_sign_error(table, "norm").num_environments == 2


@pytest.mark.parametrize("part", ["mean", "per_hyperparameter"])
def test_the_other_sign_makes_right_of_wrong(part: str, incomplete: pd.DataFrame) -> None:
    def means(found: SignError) -> list[float]:
        each: Mapping[str, SignError] = found.per_hyperparameter if part == "per_hyperparameter" else {"": found}
        return [error.mean for error in each.values()]

    there, back = (robust_sign_error(incomplete, "m.norm", sign=sign) for sign in (1, -1))
    assert means(back) == pytest.approx([1 - mean for mean in means(there)])
    assert (there.sign, back.sign) == (1, -1)


@settings(deadline=None, derandomize=True, max_examples=10)
@given(seed=st.integers(0, 1000))
def test_only_the_order_of_measures_matters_and_that_of_rows_does_not(seed: int) -> None:
    rng = np.random.default_rng(seed)
    table = pd.DataFrame({"hp.lr": np.arange(36) % 4, "hp.depth": np.arange(36) // 12, "gap": rng.random(36)})
    table["m.norm"] = table["gap"] + rng.normal(size=36)
    moved = table.assign(**{"m.norm": np.exp(3 * table["m.norm"])}).sample(frac=1, random_state=seed)
    expected, found = (robust_sign_error(each, "m.norm", num_test=500) for each in (table, moved))
    assert found.mean == pytest.approx(expected.mean)
    assert found.mean_interval == pytest.approx(expected.mean_interval)
    assert found.percentile_90_interval == pytest.approx(expected.percentile_90_interval)


def test_without_environments_there_is_no_score(incomplete: pd.DataFrame) -> None:
    expected = SignError(-1, None, None, None, None, None, "", 0, {})
    for table, names in ((incomplete, ["hp.same"]), (incomplete.assign(gap=0.1), None)):
        assert robust_sign_error(table, "m.norm", sign=-1, hyperparameters=names) == expected


def test_a_sign_that_is_none_is_refused(incomplete: pd.DataFrame) -> None:
    with pytest.raises(InvalidInputError) as caught:
        robust_sign_error(incomplete, "m.norm", sign=0)
    assert str(caught.value) == (
        "the sign of a measure must be 1, if it should rise with the gap, or -1, if it should fall, got 0."
    )


def test_no_test_examples_are_refused(incomplete: pd.DataFrame) -> None:
    with pytest.raises(InvalidInputError, match=r"^the number of test examples must be at least 1, got 0\.$"):
        robust_sign_error(incomplete, "m.norm", num_test=0)
