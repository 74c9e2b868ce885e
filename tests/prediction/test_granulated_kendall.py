"""Granulated τ against its definition by loops, by hand, and what must not change it."""

import itertools

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from widemargin.errors import InvalidInputError
from widemargin.prediction import GranulatedKendall, granulated_kendall, resamples_of

HYPERPARAMETERS = ("hp.lr", "hp.depth", "hp.norm", "hp.same")


def configuration_of(row: dict) -> tuple:
    return tuple("none" if row[name] is None else row[name] for name in HYPERPARAMETERS)


def sign(a: float, b: float) -> int:
    return (a > b) - (a < b)


def naive(rows: list[dict]) -> tuple[float, dict[str, float]]:
    """Return Ψ and every ψ, cell by cell and pair by pair."""
    psi = {}
    for changed, name in enumerate(HYPERPARAMETERS):
        cells: dict[tuple, list[int]] = {}
        for one, other in itertools.combinations(rows, 2):
            first, second = configuration_of(one), configuration_of(other)
            shared = [tuple(np.delete(np.array(each, dtype=object), changed)) for each in (first, second)]
            if first[changed] != second[changed] and shared[0] == shared[1]:
                agrees = sign(one["m.norm"], other["m.norm"]) * sign(one["gap"], other["gap"])
                cells.setdefault(shared[0], []).append(agrees)
        if cells:
            psi[name] = float(np.mean([np.mean(pairs) for pairs in cells.values()]))
    return float(np.mean(list(psi.values()))), psi


def test_values_are_those_of_the_definition_on_an_incomplete_grid_with_ties(incomplete: pd.DataFrame) -> None:
    found = granulated_kendall(incomplete, "m.norm")
    value, psi = naive(incomplete.replace({np.nan: None}).to_dict("records"))
    assert found.value == pytest.approx(value)
    assert {name: each.value for name, each in found.per_hyperparameter.items()} == pytest.approx(psi)
    assert set(psi) == {"hp.lr", "hp.depth", "hp.norm"}


def test_intervals_are_those_of_the_definition_on_whole_configurations_copied(incomplete: pd.DataFrame) -> None:
    found = granulated_kendall(incomplete, "m.norm", num_resamples=30, seed=2)
    rows = incomplete.replace({np.nan: None}).to_dict("records")
    numbered = incomplete.groupby(list(HYPERPARAMETERS), dropna=False).ngroup().to_numpy()
    scores = []
    for counts in resamples_of(numbered, num_resamples=30, seed=2).counts.astype(int):
        copies = [row for row, number in zip(rows, numbered, strict=True) for _ in range(counts[number])]
        scores.append(naive(copies))
    for interval, values in (
        (found.interval, [value for value, _ in scores]),
        (found.per_hyperparameter["hp.lr"].interval, [psi["hp.lr"] for _, psi in scores if "hp.lr" in psi]),
    ):
        assert interval == pytest.approx(tuple(np.quantile(values, [0.025, 0.975])))


def test_a_case_by_hand() -> None:
    table = pd.DataFrame({"hp.lr": [1, 1, 2, 2], "hp.depth": [1, 2, 1, 2], "gap": [0.1, 0.2, 0.3, 0.4]})
    found = granulated_kendall(table.assign(norm=[1.0, 2.0, 0.5, 3.0]), "norm")
    # lr: at depth 1 the norm falls (−1), at depth 2 it rises (1); depth: it rises at both
    assert found.per_hyperparameter["hp.lr"].value == 0
    assert found.per_hyperparameter["hp.depth"].value == 1
    assert (found.value, found.interval) == (0.5, None)


@settings(deadline=None, derandomize=True, max_examples=10)
@given(seed=st.integers(0, 1000))
def test_only_order_matters_and_that_of_rows_does_not(seed: int) -> None:
    rng = np.random.default_rng(seed)
    table = pd.DataFrame({"hp.lr": np.arange(36) % 4, "hp.depth": np.arange(36) // 12, "gap": rng.normal(size=36)})
    table["m.norm"] = table["gap"] + rng.normal(size=36)
    moved = table.assign(**{"m.norm": np.exp(3 * table["m.norm"]), "gap": table["gap"] ** 3})
    expected = granulated_kendall(table, "m.norm")
    found = granulated_kendall(moved.sample(frac=1, random_state=seed), "m.norm")
    assert found.value == pytest.approx(expected.value)
    assert found.interval == pytest.approx(expected.interval)


def test_a_turned_measure_turns_the_sign(incomplete: pd.DataFrame) -> None:
    turned = incomplete.assign(**{"m.norm": -incomplete["m.norm"]})
    there, back = (granulated_kendall(table, "m.norm") for table in (incomplete, turned))
    assert back.value == pytest.approx(-there.value)
    assert back.interval == pytest.approx((-there.interval[1], -there.interval[0]))


def test_a_measure_that_knows_one_hyperparameter_alone_is_found_out() -> None:
    table = pd.DataFrame([{"hp.lr": lr, "hp.depth": depth} for lr in range(5) for depth in range(5)])
    table = table.assign(gap=0.1 * table["hp.lr"] + 0.01 * table["hp.depth"], norm=table["hp.lr"] - table["hp.depth"])
    found = granulated_kendall(table, "norm")
    assert {name: each.value for name, each in found.per_hyperparameter.items()} == {"hp.lr": 1, "hp.depth": -1}


@pytest.mark.parametrize("hyperparameters", [["hp.same"], ["hp.seed"], ["hp.lr", "hp.twice"]])
def test_where_no_hyperparameter_changes_alone_there_is_no_score(
    incomplete: pd.DataFrame, hyperparameters: list[str]
) -> None:
    table = incomplete.assign(**{"hp.twice": 2 * incomplete["hp.lr"]})
    assert granulated_kendall(table, "m.norm", hyperparameters=hyperparameters) == GranulatedKendall(None, None, {})


def test_networks_without_gap_or_measure_are_left_out(incomplete: pd.DataFrame) -> None:
    table = incomplete.copy()
    table.iloc[0, table.columns.get_loc("m.norm")] = np.nan
    table.iloc[1, table.columns.get_loc("gap")] = np.inf
    assert granulated_kendall(table, "m.norm") == granulated_kendall(incomplete.iloc[2:], "m.norm")


def test_a_measure_that_is_not_there_is_refused_with_names_like_it(incomplete: pd.DataFrame) -> None:
    with pytest.raises(InvalidInputError) as caught:
        granulated_kendall(incomplete, "m.nrm")
    assert str(caught.value) == (
        "the measure must be one of the table's columns, got 'm.nrm'. Columns like it: m.norm, hp.norm."
    )


def test_a_measure_in_words_is_refused(incomplete: pd.DataFrame) -> None:
    with pytest.raises(
        InvalidInputError, match=r"^a measure must be numbers, but column 'm\.norm' holds type \w+\.$"
    ):
        granulated_kendall(incomplete.assign(**{"m.norm": "high"}), "m.norm")


def test_fewer_than_three_networks_are_refused(incomplete: pd.DataFrame) -> None:
    table = incomplete.assign(**{"m.norm": [1.0, 2.0] + [np.nan] * (len(incomplete) - 2)})
    with pytest.raises(InvalidInputError) as caught:
        granulated_kendall(table, "m.norm")
    assert str(caught.value) == (
        f"scores need at least 3 networks with a finite gap and a value of 'm.norm', got 2 of {len(incomplete)}."
    )
