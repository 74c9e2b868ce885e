"""Curvature with two vectors in memory against dense matrices."""

import pytest
import torch

from curvature.known_curvature import NETWORKS, bowl, dense, rotated, trained_network
from widemargin import TrainedModel, gradients
from widemargin.curvature import CurvatureProduct
from widemargin.curvature.two_vectors import sampled_trace, top_eigenvalue_in_two_vectors
from widemargin.errors import InvalidInputError
from widemargin.parameters import ParameterSpace
from widemargin.results import Estimate


def largest(trained: TrainedModel, normalization: str = "none", **options) -> Estimate:
    options = {"tolerance": 1e-6, "max_products": 60, "seed": 0} | options
    with trained.borrowed(), torch.no_grad():
        return top_eigenvalue_in_two_vectors(
            CurvatureProduct.normalized(trained, "hessian", normalization), **options
        )


def trace(trained: TrainedModel, normalization: str = "none", num_probes: int = 200) -> Estimate:
    with trained.borrowed(), torch.no_grad():
        product = CurvatureProduct.normalized(trained, "hessian", normalization)
        return sampled_trace(product, num_probes=num_probes, seed=0)


def normalized(trained: TrainedModel, normalization: str) -> torch.Tensor:
    space = ParameterSpace.of(trained.network)
    norms = space.groups(space.flat(trained.network), normalization).norms
    return norms.unsqueeze(1) * dense(trained) * norms


@pytest.mark.parametrize("normalization", ["none", "filter", "layer"])
@pytest.mark.parametrize("name", NETWORKS)
def test_they_are_those_of_the_dense_matrix(name, normalization):
    trained = trained_network(name)
    matrix = normalized(trained, normalization)
    assert largest(trained, normalization).value == pytest.approx(float(torch.linalg.eigvalsh(matrix)[-1]), rel=1e-4)
    found = trace(trained, normalization)
    assert found.value == pytest.approx(float(matrix.trace()), abs=4 * found.standard_error + 1e-9)


def test_a_diagonal_matrix_has_its_trace_from_any_probe():
    found = trace(bowl(torch.tensor([1.0, -4.0, 6.0], dtype=torch.float64).diag()), num_probes=2)
    assert (found.value, found.standard_error) == (pytest.approx(3), pytest.approx(0, abs=1e-12))


def test_a_space_of_three_dimensions_takes_three_products():
    trained = bowl(rotated(torch.tensor([1.0, 2.0, 3.0])))
    with trained.borrowed(), torch.no_grad():
        product = CurvatureProduct(trained)
        found = top_eigenvalue_in_two_vectors(product, tolerance=1e-9, max_products=9, seed=0)
    assert found.value == pytest.approx(3)
    assert product.num_products == 3


def test_what_was_found_by_then_comes_with_a_caveat():
    found = largest(bowl(rotated(torch.linspace(0, 1, 200))), max_products=4)
    assert 0.5 < found.value < 1
    assert found.caveats[-1].startswith("Not converged after 4 products: the residual is ")


def test_the_size_of_batches_does_not_matter():
    found = [largest(trained_network("mlp", batch_size=size)).value for size in (3, 13)]
    assert found[0] == pytest.approx(found[1])


def test_a_curvature_that_is_not_finite_is_refused():
    trained = bowl(torch.eye(2, dtype=torch.float64))
    rooted = TrainedModel(trained.network, trained.train_data, loss=lambda logits, labels: logits[:, 1] ** 0.5)
    for of in (largest, trace):
        with pytest.raises(InvalidInputError, match="the loss must have finite second derivatives"):
            of(rooted)


@pytest.mark.parametrize("name", NETWORKS)
def test_gradients_in_parts_make_the_same_products(name, monkeypatch):
    trained = trained_network(name)
    expected = largest(trained).value
    monkeypatch.setattr(gradients, "BYTES_AT_ONCE", 0)
    assert largest(trained).value == pytest.approx(expected, rel=1e-9)
