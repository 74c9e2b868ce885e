"""Spreads of classes and their separation against loops over examples, and the index of scikit-learn."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import davies_bouldin_score

from widemargin.errors import MeasureNotApplicableError
from widemargin.measures.class_separation import class_spreads, davies_bouldin_index
from widemargin.measures.features import Features, squared_distances

QUICK = settings(deadline=None, derandomize=True, max_examples=20)


def drawn(num_examples: int, num_units: int, seed: int) -> torch.Tensor:
    return torch.randn(num_examples, num_units, generator=torch.Generator().manual_seed(seed))


def features(points: torch.Tensor, labels: list[int]) -> Features:
    return Features(
        torch.tensor(labels), torch.zeros(len(labels)).double(), {"a": squared_distances(points)}, None, None
    )


@QUICK
@given(st.integers(2, 5), st.integers(1, 7), st.integers(0, 10**6))
def test_the_index_is_that_of_scikit_learn(num_classes, num_units, seed):
    points, labels = drawn(23, num_units, seed), torch.arange(23) % num_classes
    found = davies_bouldin_index(squared_distances(points), labels)
    assert found == pytest.approx(davies_bouldin_score(points.double().numpy(), labels.numpy()), rel=1e-6)


def test_two_classes_on_a_line_have_their_hand_worked_index():
    points = torch.tensor([[0.0], [2.0], [9.0], [13.0]])  # means 1 and 11, mean distances from there 1 and 2
    assert davies_bouldin_index(squared_distances(points), torch.tensor([0, 0, 1, 1])) == pytest.approx(0.3)


def test_classes_that_no_example_has_are_no_classes():
    points = drawn(9, 3, seed=0)
    few, spread = torch.arange(9) % 3, torch.tensor([1, 5, 40])[torch.arange(9) % 3]
    assert davies_bouldin_index(squared_distances(points), spread) == davies_bouldin_index(
        squared_distances(points), few
    )


@QUICK
@given(st.floats(1e-3, 1e3), st.floats(-1e3, 1e3))
def test_the_index_ignores_scale_and_position(factor, shift):
    points, labels = drawn(12, 4, seed=1).double(), torch.arange(12) % 3
    before, after = (davies_bouldin_index(squared_distances(x), labels) for x in (points, factor * points + shift))
    assert after == pytest.approx(before, rel=1e-6)


def test_one_class_has_no_index():
    with pytest.raises(
        MeasureNotApplicableError, match=r"^classes do not lie apart, because the sample holds only one\."
    ):
        davies_bouldin_index(squared_distances(drawn(4, 2, seed=0)), torch.zeros(4, dtype=torch.int64))


def test_classes_with_the_same_mean_have_no_index():
    points = torch.tensor([[-1.0], [1.0], [-2.0], [2.0]])
    with pytest.raises(
        MeasureNotApplicableError, match=r"^classes do not lie apart, because two have the same mean\."
    ):
        davies_bouldin_index(squared_distances(points), torch.tensor([0, 0, 1, 1]))


def test_squared_distances_are_those_of_a_loop_far_from_the_origin_too():
    points = drawn(6, 5, seed=2).double() + 1e7
    found = squared_distances(points)
    for i, j in itertools.product(range(6), repeat=2):
        assert float(found[i, j]) == pytest.approx(float(((points[i] - points[j]).double() ** 2).sum()), rel=1e-5)


def test_squared_distances_do_not_depend_on_how_units_are_taken_together(monkeypatch):
    points = drawn(6, 11, seed=3)
    whole = squared_distances(points)
    monkeypatch.setattr("widemargin.measures.features.CHUNK_UNITS", 4)
    torch.testing.assert_close(squared_distances(points), whole, rtol=1e-12, atol=1e-12)


def cheapest(points: np.ndarray, first: list[int], second: list[int]) -> float:
    """Try every one-to-one assignment."""
    return min(
        np.mean([np.linalg.norm(points[i] - points[j]) for i, j in zip(first, order, strict=True)])
        for order in itertools.permutations(second)
    )


def test_a_spread_is_the_cheapest_assignment_between_random_halves():
    points = drawn(6, 2, seed=4)
    all_costs = [
        cheapest(points.double().numpy(), list(half), [i for i in range(6) if i not in half])
        for half in itertools.combinations(range(6), 3)
    ]
    found = class_spreads(features(points, [3] * 6), seed=0)
    for cost in found.costs["a"][:, 0]:
        assert min(abs(cost - other) for other in all_costs) < 1e-6
    assert len(set(found.costs["a"][:, 0].round(9))) > 1


def test_a_class_of_two_examples_spreads_by_their_distance():
    points = torch.tensor([[0.0, 0.0], [3.0, 4.0], [7.0, 7.0], [7.0, 8.0]])
    found = class_spreads(features(points, [1, 1, 0, 0]), seed=0)
    assert found.classes.tolist() == [0, 1]
    np.testing.assert_allclose(found.costs["a"], np.tile([1.0, 5.0], (10, 1)))


def test_an_odd_example_is_left_out_of_a_split_and_a_lone_one_altogether():
    found = class_spreads(features(torch.tensor([[0.0], [0.0], [1.0], [5.0]]), [0, 0, 0, 1]), seed=1)
    assert found.classes.tolist() == [0]
    assert found.shares.tolist() == [1.0]
    assert set(found.costs["a"].ravel().round(6)) == {0.0, 1.0}


def test_shares_are_those_of_the_examples():
    found = class_spreads(features(drawn(5, 2, seed=0), [0, 0, 0, 1, 1]), seed=0)
    np.testing.assert_allclose(found.shares, [0.6, 0.4])


def test_the_same_seed_splits_the_same_way_and_another_does_not():
    given_features = features(drawn(12, 3, seed=5), [0] * 12)
    one, same, other = (class_spreads(given_features, seed=seed).costs["a"] for seed in (1, 1, 2))
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


def test_classes_of_one_example_each_have_no_spread():
    with pytest.raises(
        MeasureNotApplicableError, match=r"^no class varies, because none has two examples in the sample"
    ):
        class_spreads(features(drawn(3, 2, seed=0), [0, 1, 2]), seed=0)
