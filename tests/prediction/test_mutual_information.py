"""Conditional mutual information against its definition by loops, by hand, and what must not change it."""

import itertools
import math
from collections import Counter

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from widemargin.prediction import ConditionalMutualInformation, conditional_mutual_information, resamples_of

HYPERPARAMETERS = ("hp.lr", "hp.depth", "hp.norm", "hp.same")


def entropy(events: Counter) -> float:
    return -sum(num / events.total() * math.log2(num / events.total()) for num in events.values())


def naive(networks: list[tuple[tuple, float, float, int]]) -> dict[tuple[int, int], float]:
    """Return the score given each pair of hyperparameters, of networks (configuration, measure, gap, copy)."""
    scores = {}
    for given_these in itertools.permutations(range(len(networks[0][0])), 2):
        cells: dict[tuple, list[tuple[bool, bool]]] = {}
        for one, other in itertools.product(networks, repeat=2):
            if one[0] == other[0] and one[3] != other[3]:
                continue  # two copies of one configuration
            cell = tuple((one[0][place], other[0][place]) for place in given_these)
            cells.setdefault(cell, []).append((one[1] > other[1], one[2] > other[2]))
        told = uncertain = 0.0
        for events in cells.values():
            of_measure, of_gap = (Counter(event[side] for event in events) for side in (0, 1))
            told += (entropy(of_measure) + entropy(of_gap) - entropy(Counter(events))) / len(cells)
            uncertain += entropy(of_gap) / len(cells)
        scores[given_these] = 100 * told / uncertain
    return scores


def networks_of(table: pd.DataFrame) -> list[tuple[tuple, float, float, int]]:
    rows = table.replace({np.nan: None}).to_dict("records")
    return [(tuple(row[name] for name in HYPERPARAMETERS), row["m.norm"], row["gap"], 0) for row in rows]


def test_value_is_that_of_the_definition_on_an_incomplete_grid_with_ties(incomplete: pd.DataFrame) -> None:
    found = conditional_mutual_information(incomplete, "m.norm")
    scores = naive(networks_of(incomplete))
    assert found.value == pytest.approx(min(scores.values()))
    least = min(scores, key=lambda pair: scores[pair])
    assert set(found.hyperparameters) == {HYPERPARAMETERS[place] for place in least} - {"hp.same"}


def test_interval_is_that_of_the_definition_on_whole_configurations_copied(incomplete: pd.DataFrame) -> None:
    found = conditional_mutual_information(incomplete, "m.norm", num_resamples=12, seed=1)
    networks = networks_of(incomplete)
    numbered = incomplete.groupby(list(HYPERPARAMETERS), dropna=False).ngroup().to_numpy()
    scores = []
    for counts in resamples_of(numbered, num_resamples=12, seed=1).counts.astype(int):
        copies = [
            (*network[:3], copy)
            for network, number in zip(networks, numbered, strict=True)
            for copy in range(counts[number])
        ]
        scores.append(min(naive(copies).values()))
    moved = np.array(scores) - np.median(scores) + found.value
    assert found.interval == pytest.approx(tuple(np.quantile(np.maximum(moved, 0), [0.025, 0.975])))


def test_a_case_by_hand() -> None:
    table = pd.DataFrame({"hp.a": [0, 0, 0], "hp.b": [1, 1, 1], "gap": [0.1, 0.2, 0.3], "norm": [1, 3, 2]})
    # of nine ordered pairs the gap is greater in three, with the measure in two of them; the measure alone in one
    both, one, neither = 2 / 9, 1 / 9, 5 / 9
    told = both * math.log2(both / (1 / 3) ** 2) + neither * math.log2(neither / (2 / 3) ** 2)
    told += 2 * one * math.log2(one / (1 / 3 * 2 / 3))
    uncertain = -(1 / 3 * math.log2(1 / 3) + 2 / 3 * math.log2(2 / 3))
    assert conditional_mutual_information(table, "norm").value == pytest.approx(100 * told / uncertain)


@settings(deadline=None, derandomize=True, max_examples=10)
@given(seed=st.integers(0, 1000))
def test_only_order_matters_and_that_of_rows_does_not(seed: int) -> None:
    rng = np.random.default_rng(seed)
    table = pd.DataFrame({"hp.lr": np.arange(36) % 4, "hp.depth": np.arange(36) // 12, "gap": rng.normal(size=36)})
    table["m.norm"] = table["gap"] + rng.normal(size=36)
    expected = conditional_mutual_information(table, "m.norm", num_resamples=20)
    moved = table.assign(**{"m.norm": np.exp(3 * table["m.norm"]), "gap": table["gap"] ** 3})
    found = conditional_mutual_information(moved.sample(frac=1, random_state=seed), "m.norm", num_resamples=20)
    assert found.value == pytest.approx(expected.value)
    assert found.interval == pytest.approx(expected.interval)


def test_the_gap_itself_tells_all(incomplete: pd.DataFrame) -> None:
    assert conditional_mutual_information(incomplete, "gap").value == pytest.approx(100)


def test_a_measure_that_two_hyperparameters_give_away_tells_nothing(incomplete: pd.DataFrame) -> None:
    table = incomplete.assign(**{"m.norm": incomplete["hp.lr"] * incomplete["hp.depth"]})
    found = conditional_mutual_information(table, "m.norm")
    assert found.value == pytest.approx(0, abs=1e-9)
    assert found.hyperparameters == ("hp.lr", "hp.depth")


def test_a_constant_hyperparameter_leaves_the_others_alone(incomplete: pd.DataFrame) -> None:
    found = conditional_mutual_information(incomplete, "m.norm", hyperparameters=["hp.norm", "hp.same"])
    alone = conditional_mutual_information(incomplete, "m.norm", hyperparameters=["hp.norm"])
    assert found == alone
    assert found.hyperparameters == ("hp.norm",)


def test_many_networks_at_once_are_as_good_as_few(incomplete: pd.DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = conditional_mutual_information(incomplete, "m.norm", num_resamples=30)
    monkeypatch.setattr("widemargin.prediction.mutual_information.PAIRS_AT_ONCE", 1000)
    found = conditional_mutual_information(incomplete, "m.norm", num_resamples=30)
    assert found.value == pytest.approx(expected.value)
    assert found.interval == pytest.approx(expected.interval)


def test_without_hyperparameters_or_different_gaps_there_is_no_score(incomplete: pd.DataFrame) -> None:
    for table, names in ((incomplete, ["hp.seed"]), (incomplete.assign(gap=0.1), None)):
        found = conditional_mutual_information(table, "m.norm", hyperparameters=names)
        assert found == ConditionalMutualInformation(None, None, ())


@pytest.mark.parametrize("strength", [0, 2])
def test_intervals_hold_the_mean_score_of_such_zoos_about_as_often_as_they_say(strength: float) -> None:
    rng, found = np.random.default_rng(0), []
    grid = pd.DataFrame(
        itertools.product(range(4), range(3), range(3), range(2)), columns=["lr", "depth", "x", "seed"]
    )
    number = np.arange(72) // 2
    for _ in range(60):
        known, unknown = rng.normal(size=(2, 36))[:, number]
        table = grid.assign(
            gap=0.3 * grid["lr"] + 0.5 * known + 0.3 * rng.normal(size=72),
            norm=strength * known + unknown + 0.3 * rng.normal(size=72),
        )
        found.append(
            conditional_mutual_information(table, "norm", hyperparameters=["lr", "depth", "x"], num_resamples=200)
        )
    mean = np.mean([score.value for score in found])
    held = np.mean([score.interval[0] <= mean <= score.interval[1] for score in found])
    assert held >= 0.88
