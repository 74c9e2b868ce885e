"""Principal components, their elbow and the distances along them against loops and scikit-learn."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.decomposition import PCA

from widemargin.errors import MeasureNotApplicableError
from widemargin.measures.constrained_margins import constrained_distances, elbow, principal_components

QUICK = settings(deadline=None, derandomize=True, max_examples=20)


def drawn(num_examples: int, num_units: int, seed: int) -> torch.Tensor:
    """Return examples whose variances fall off steeply."""
    generator = torch.Generator().manual_seed(seed)
    turned = torch.linalg.qr(torch.randn(num_units, num_units, generator=generator))[0]
    scales = 3.0 ** -torch.arange(num_units)
    return 5 + (torch.randn(num_examples, num_units, generator=generator) * scales) @ turned


@pytest.mark.parametrize(("num_examples", "num_units"), [(40, 6), (6, 40)])
def test_components_span_what_those_of_scikit_learn_span(num_examples, num_units):
    inputs = drawn(num_examples, min(num_units, 8), seed=0).repeat(1, num_units // min(num_units, 8))
    found = principal_components(inputs).numpy()
    expected = PCA().fit(inputs.double().numpy()).components_[: found.shape[1]].T
    assert 1 <= found.shape[1] < min(inputs.shape)
    np.testing.assert_allclose(found.T @ found, np.eye(found.shape[1]), atol=1e-8)
    np.testing.assert_allclose(found @ found.T, expected @ expected.T, atol=1e-6)


def test_inputs_that_are_all_the_same_have_no_components():
    with pytest.raises(
        MeasureNotApplicableError, match=r"^the data has no principal components, because all inputs are"
    ):
        principal_components(torch.full((7, 3), 0.1))


def test_one_input_has_no_components():
    with pytest.raises(MeasureNotApplicableError, match="all inputs are the same"):
        principal_components(torch.ones(1, 3))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([10.0, 1.0, 0.9, 0.8, 0.0], 2),  # the second value ends the fall
        ([10.0, 9.0, 1.0, 0.5, 0.0], 3),
        ([4.0, 3.0, 2.0, 1.0, 0.0], 5),  # a straight line has no elbow
        ([1.0, 1.0, 1.0], 3),
        ([5.0, 4.9, 4.8, 0.0], 4),  # all of it above the chord
        ([5.0, 1.0], 2),
        ([3.0], 1),
    ],
)
def test_the_elbow_is_where_the_fall_ends(values, expected):
    assert elbow(np.array(values)) == expected


@QUICK
@given(st.lists(st.floats(0, 1e6), min_size=3, max_size=30))
def test_the_elbow_is_the_point_farthest_from_the_chord(values):
    values = sorted(values, reverse=True)
    first, last, num = values[0], values[-1], len(values)
    below = [first + (last - first) * i / (num - 1) - value for i, value in enumerate(values)]
    if first - last > 1e-3 and max(below) > 1e-6 * (first - last):
        assert below[elbow(np.array(values)) - 1] == pytest.approx(max(below), rel=1e-9)


@QUICK
@given(st.floats(1e-6, 1e6), st.floats(-1e3, 1e3))
def test_the_elbow_ignores_scale_and_position(factor, shift):
    values = np.array([9.0, 4.0, 2.0, 1.5, 1.2, 1.0])
    assert elbow(factor * values + shift) == elbow(values)


def test_distances_are_margins_over_the_gradient_seen_in_the_subspace():
    gradients, components = torch.randn(5, 4), torch.linalg.qr(torch.randn(4, 2).double())[0]
    margins = torch.tensor([1.0, -2.0, 0.0, 3.0, 0.5]).double()
    found = constrained_distances(margins, gradients, components)
    for distance, margin, gradient in zip(found, margins, gradients, strict=True):
        seen = sum(float(gradient.double() @ components[:, k]) ** 2 for k in range(2)) ** 0.5
        assert distance == pytest.approx(float(margin) / seen)


def test_along_all_directions_distances_are_unconstrained():
    gradients, margins = torch.randn(5, 3), torch.ones(5).double()
    found = constrained_distances(margins, gradients, torch.eye(3).double())
    np.testing.assert_allclose(found, 1 / gradients.double().norm(dim=1).numpy())


def test_a_gradient_across_the_subspace_leads_nowhere():
    components = torch.tensor([[1.0], [0.0]]).double()
    found = constrained_distances(torch.tensor([2.0, -2.0]).double(), torch.tensor([[0.0, 1.0]] * 2), components)
    assert found.tolist() == [np.inf, -np.inf]
