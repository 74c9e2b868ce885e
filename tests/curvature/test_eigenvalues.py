from dataclasses import replace

import numpy as np
import pytest
import torch

from curvature.known_curvature import NETWORKS, bowl, dense, rotated, trained_network
from widemargin.curvature import CurvatureProduct, top_eigenvalues
from widemargin.errors import InvalidInputError


@pytest.mark.parametrize("matrix", ["hessian", "gauss-newton"])
@pytest.mark.parametrize("name", NETWORKS)
def test_are_those_of_the_dense_matrix(name, matrix):
    trained = trained_network(name)
    found = top_eigenvalues(trained, num=3, matrix=matrix, tolerance=1e-6)
    expected = torch.linalg.eigvalsh(dense(trained, matrix)).flip(0)[:3]
    np.testing.assert_allclose(found.values, expected, rtol=1e-6)
    assert found.has_converged
    assert found.caveats == ()


@pytest.mark.parametrize("size", [50, 200, 1000])
def test_finds_those_of_a_rotated_bowl_over_six_decades(size):
    values = torch.logspace(-3, 3, size, dtype=torch.float64)
    trained = bowl(rotated(values))
    found = top_eigenvalues(trained, num=5, tolerance=1e-8)
    np.testing.assert_allclose(found.values, values.flip(0)[:5], rtol=1e-8)
    assert found.has_converged


def test_vectors_are_eigenvectors_and_residuals_their_errors():
    hessian = rotated(torch.linspace(-2, 5, 60))
    found = top_eigenvalues(bowl(hessian), num=4, tolerance=1e-3)
    torch.testing.assert_close(found.vectors @ found.vectors.T, torch.eye(4, dtype=torch.float64))
    errors = (found.vectors @ hessian - torch.tensor(found.values)[:, None] * found.vectors).norm(dim=1)
    np.testing.assert_allclose(errors, found.residuals, rtol=1e-6, atol=1e-12)
    assert (found.residuals <= 1e-3 * found.values).all()


def test_restarts_lose_nothing():
    values = torch.linspace(1, 2, 400, dtype=torch.float64)  # crowded: takes more vectors than fit
    found = top_eigenvalues(bowl(rotated(values)), num=2, tolerance=1e-5)
    assert found.has_converged
    assert found.num_products > 40
    np.testing.assert_allclose(found.values, values.flip(0)[:2], rtol=1e-8)


def test_largest_means_algebraically():
    found = top_eigenvalues(bowl(rotated(torch.linspace(-9, -1, 70))), num=2, tolerance=1e-6)
    np.testing.assert_allclose(found.values, [-1, -1 - 8 / 69], rtol=1e-6)


def test_finds_multiple_eigenvalues_of_a_small_space():
    found = top_eigenvalues(bowl(rotated(torch.tensor([0.0, 1, 2, 2, 2]))), num=4)
    np.testing.assert_allclose(found.values, [2, 2, 2, 1], rtol=1e-9)


def test_goes_on_behind_an_invariant_space():
    values = torch.cat([torch.ones(95), torch.tensor([2.0, 3, 4, 5, 6])])
    found = top_eigenvalues(bowl(rotated(values)), num=8)
    np.testing.assert_allclose(found.values, [6, 5, 4, 3, 2, 1, 1, 1], rtol=1e-9)
    assert found.has_converged


def test_no_curvature_is_zero_and_converged():
    found = top_eigenvalues(bowl(torch.zeros(50, 50)), num=2)
    assert found.values.tolist() == [0, 0]
    assert found.has_converged


def test_filter_normalized_ones_are_those_of_the_scaled_matrix():
    trained = trained_network("convolution and BatchNorm")
    norms = torch.cat(
        [
            (p.detach().flatten(1).norm(dim=1, keepdim=True).expand(len(p), p[0].numel()) if p.ndim > 1 else 0 * p)
            .detach()
            .flatten()
            for p in trained.model.parameters()
        ]
    )
    expected = torch.linalg.eigvalsh(norms[:, None] * dense(trained) * norms).flip(0)[:2]
    found = top_eigenvalues(trained, num=2, normalization="filter", tolerance=1e-7)
    np.testing.assert_allclose(found.values, expected, rtol=1e-7)
    assert (found.vectors[:, norms == 0] == 0).all()


def test_parameters_that_stay_fixed_add_no_zeros():
    trained = replace(trained_network("mlp"), loss=lambda logits, labels: -(logits**2).sum(dim=1))
    found = top_eigenvalues(trained, num=30, matrix="gauss-newton", normalization="filter")
    scale = CurvatureProduct.normalized(trained, "gauss-newton", "filter").scale
    is_free = scale > 0
    expected = (scale[:, None] * dense(trained, "gauss-newton") * scale)[is_free][:, is_free]
    np.testing.assert_allclose(found.values, torch.linalg.eigvalsh(expected).flip(0), rtol=1e-9, atol=1e-12)


def test_follows_the_parameters_that_are_named():
    trained = trained_network("mlp")
    at = {name: 2 * value.detach() for name, value in trained.model.named_parameters()}
    expected = torch.linalg.eigvalsh(dense(trained, at=at))[-1]
    assert top_eigenvalues(trained, at=at, tolerance=1e-6).values[0] == pytest.approx(float(expected), rel=1e-6)


def test_does_not_hide_that_it_has_not_converged():
    found = top_eigenvalues(bowl(rotated(torch.linspace(1, 2, 400))), num=2, max_products=6)
    assert not found.has_converged
    assert found.num_products == 6
    assert "Not converged after 6 products" in found.caveats[0]
    assert "top_eigenvalues(…, max_products=…) goes on for longer." in found.caveats[0]
    assert (found.residuals > 1e-3 * found.values).any()
    assert found.values[0] <= 2


def test_says_which_number_is_out_of_range():
    trained = bowl(torch.eye(5))
    with pytest.raises(InvalidInputError, match=r"num must be from 1 to the number of free parameters \(5\), got 6"):
        top_eigenvalues(trained, num=6)
    with pytest.raises(InvalidInputError, match=r"max_products must be at least num \(3\), got 2"):
        top_eigenvalues(trained, num=3, max_products=2)
    with pytest.raises(InvalidInputError, match="tolerance must be between 0 and 1, got 0"):
        top_eigenvalues(trained, tolerance=0.0)
