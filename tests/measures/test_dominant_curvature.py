"""The largest eigenvalue and the trace against a bowl that is known, with a space that is kept and without."""

import pytest
import torch

from curvature.known_curvature import bowl, rotated
from measures.sharpness_cases import classifier
from widemargin import parameters
from widemargin.curvature import CurvatureProduct
from widemargin.measures.dominant_curvature import dominant_curvature
from widemargin.measures.loss_curvature import (
    filter_normalized_hessian_trace,
    filter_normalized_top_hessian_eigenvalue,
    hessian_trace,
    top_hessian_eigenvalue,
)
from widemargin.measures.quantities import Quantities
from widemargin.results import Estimate

HESSIAN = rotated(torch.cat([torch.linspace(-1, 1, 80), torch.tensor([5.0, 20.0])]))
BOTH = [
    (top_hessian_eigenvalue, hessian_trace),
    (filter_normalized_top_hessian_eigenvalue, filter_normalized_hessian_trace),
]


def test_the_largest_eigenvalue_and_the_trace_are_found():
    trained = bowl(HESSIAN)
    found = dominant_curvature(CurvatureProduct(trained), seed=0)
    assert found.largest.value == pytest.approx(20, rel=1e-2)
    assert not found.largest.caveats
    with trained.borrowed(), torch.no_grad():
        trace = found.estimate_trace()
    assert trace.value == pytest.approx(25, abs=3 * trace.standard_error)


def test_few_dimensions_are_searched_completely():
    product = CurvatureProduct(bowl(rotated(torch.tensor([1.0, 2.0, 3.0]))))
    assert dominant_curvature(product, seed=0).largest.value == pytest.approx(3)
    assert product.num_products == 3


def test_a_search_through_all_dimensions_is_complete_and_says_nothing_else():
    trained = bowl(rotated(torch.linspace(1, 2, 30)))
    found = dominant_curvature(CurvatureProduct(trained), seed=0)
    with trained.borrowed(), torch.no_grad():
        trace = found.estimate_trace()
    assert found.largest == Estimate(found.largest.value)  # no error, no caveat
    assert (found.largest.value, trace) == (pytest.approx(2), Estimate(trace.value))
    assert trace.value == pytest.approx(45)


@pytest.mark.parametrize(("top", "trace"), BOTH)
def test_eigenvalue_and_trace_share_all_products_but_three(top, trace):
    together, alone = Quantities(classifier(num_wrong=3)), Quantities(classifier(num_wrong=3))
    value = top(together)
    name = "dominant_curvature" if top is top_hessian_eigenvalue else "normalized_dominant_curvature"
    product = getattr(together, name).product
    before = product.num_products
    found = trace(together)
    assert product.num_products == before + 3
    assert (trace(alone), top(alone)) == (found, value)


@pytest.mark.parametrize(("top", "trace"), BOTH)
def test_large_networks_have_the_same_eigenvalue_and_the_same_trace(top, trace, monkeypatch):
    expected = Quantities(classifier(num_wrong=3))
    known = top(expected).value, trace(expected).value
    monkeypatch.setattr(parameters, "LARGE", 1)
    large = Quantities(classifier(num_wrong=3))
    assert top(large).value == pytest.approx(known[0], rel=0.02)
    found = trace(large)
    assert found.value == pytest.approx(known[1], abs=3 * found.standard_error)
    assert found.standard_error < known[1]
