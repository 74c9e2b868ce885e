"""Grids of hyperparameters against comparing networks one by one."""

import itertools

import numpy as np
import pandas as pd

from widemargin.prediction.grid import grid_of, signs_of_differences

HYPERPARAMETERS = ("hp.lr", "hp.depth", "hp.norm", "hp.same", "hp.seed")


def test_networks_are_numbered_by_all_hyperparameters_but_the_seed(incomplete: pd.DataFrame) -> None:
    grid = grid_of(incomplete, HYPERPARAMETERS)
    expected = incomplete.groupby(list(HYPERPARAMETERS[:-1]), dropna=False).ngroup()
    np.testing.assert_array_equal(grid.which, expected)
    assert grid.names == HYPERPARAMETERS[:-1]


def test_neighbors_are_all_pairs_that_differ_in_one_hyperparameter(incomplete: pd.DataFrame) -> None:
    grid = grid_of(incomplete, HYPERPARAMETERS)
    found = {
        (neighbors.hyperparameter, first, second)
        for neighbors in grid.neighbors()
        for first, second in zip(neighbors.first.tolist(), neighbors.second.tolist(), strict=True)
    }
    expected = set()
    for first, second in itertools.combinations(range(len(grid.codes)), 2):
        differ = np.flatnonzero(grid.codes[first] != grid.codes[second])
        if len(differ) == 1:
            expected.add((grid.names[differ[0]], first, second))
    assert found == expected


def test_sums_between_configurations_are_those_over_their_networks(incomplete: pd.DataFrame) -> None:
    grid = grid_of(incomplete, HYPERPARAMETERS)
    values = np.random.default_rng(0).normal(size=(len(incomplete), len(incomplete)))
    found = grid.between(values)
    for first, second in itertools.product(range(len(grid.codes)), repeat=2):
        expected = values[grid.which == first][:, grid.which == second].sum()
        np.testing.assert_allclose(found[first, second], expected)


def test_some_of_the_networks_have_the_grid_of_their_table(incomplete: pd.DataFrame) -> None:
    known = np.arange(len(incomplete)) % 3 > 0
    some, expected = grid_of(incomplete, HYPERPARAMETERS).of(known), grid_of(incomplete[known], HYPERPARAMETERS)
    np.testing.assert_array_equal(some.which, expected.which)
    assert [some.difference("hp.lr", 0, 1)] == [expected.difference("hp.lr", 0, 1)]


def test_a_difference_in_words_says_what_changes_and_what_stays() -> None:
    table = pd.DataFrame({"lr": [0.1, 0.2, 0.2], "norm": [None, None, "batch"], "same": 1})
    grid = grid_of(table, ["lr", "norm", "same"])
    first, second = grid.which[0], grid.which[1]
    assert grid.difference("lr", int(first), int(second)) == "lr 0.1 → 0.2 at norm none"


def test_equal_infinities_do_not_differ() -> None:
    signs = signs_of_differences(np.array([np.inf, 1.0, np.inf]))
    np.testing.assert_array_equal(signs, [[0, 1, 0], [-1, 0, -1], [0, 1, 0]])
