"""The largest eigenvalue and its space against a bowl that is known."""

import pytest
import torch

from curvature.known_curvature import bowl, rotated
from measures.sharpness_cases import classifier
from widemargin.curvature import CurvatureProduct
from widemargin.measures.dominant_curvature import dominant_curvature
from widemargin.measures.loss_curvature import (
    filter_normalized_hessian_trace,
    filter_normalized_top_hessian_eigenvalue,
    hessian_trace,
    top_hessian_eigenvalue,
)
from widemargin.measures.quantities import Quantities

HESSIAN = rotated(torch.cat([torch.linspace(-1, 1, 80), torch.tensor([5.0, 20.0])]))


def test_the_largest_eigenvalue_is_found_and_its_space_kept():
    found = dominant_curvature(CurvatureProduct(bowl(HESSIAN)), seed=0)
    assert found.largest.values[0] == pytest.approx(20, rel=1e-2)
    assert found.largest.has_converged
    vectors, matrix = found.krylov.vectors, found.krylov.matrix
    torch.testing.assert_close(vectors @ vectors.T, torch.eye(len(vectors), dtype=torch.float64))
    torch.testing.assert_close(vectors @ HESSIAN @ vectors.T, matrix)
    assert found.largest.values[0] == pytest.approx(float(torch.linalg.eigvalsh(matrix)[-1]))


def test_few_dimensions_are_searched_completely():
    found = dominant_curvature(CurvatureProduct(bowl(rotated(torch.tensor([1.0, 2.0, 3.0])))), seed=0)
    assert found.krylov.size == 3
    assert found.largest.values[0] == pytest.approx(3)


@pytest.mark.parametrize(
    ("top", "trace"),
    [
        (top_hessian_eigenvalue, hessian_trace),
        (filter_normalized_top_hessian_eigenvalue, filter_normalized_hessian_trace),
    ],
)
def test_eigenvalue_and_trace_share_all_products_but_three(top, trace):
    together, alone = Quantities(classifier(num_wrong=3)), Quantities(classifier(num_wrong=3))
    values = top(together).value, trace(together)
    name = "dominant_curvature" if top is top_hessian_eigenvalue else "normalized_dominant_curvature"
    found = getattr(together, name)
    assert found.krylov.product.num_products == found.krylov.size + 3
    assert (trace(alone), top(alone).value) == (values[1], values[0])
