import numpy as np
import pytest
import torch

from curvature.known_curvature import NETWORKS, bowl, dense, rotated, trained_network
from widemargin import parameters
from widemargin.curvature import CurvatureProduct, hessian_diagonal, hessian_trace
from widemargin.curvature.lanczos import KrylovSpace
from widemargin.curvature.trace import trace_beyond
from widemargin.errors import InvalidInputError


@pytest.mark.parametrize("matrix", ["hessian", "gauss-newton"])
@pytest.mark.parametrize("name", NETWORKS)
def test_small_networks_are_exact(name, matrix):
    trained = trained_network(name)
    expected = dense(trained, matrix).diagonal()
    trace = hessian_trace(trained, matrix=matrix)
    assert trace.value == pytest.approx(float(expected.sum()))
    assert trace.standard_error is None
    diagonal = hessian_diagonal(trained, matrix=matrix)
    torch.testing.assert_close(diagonal.values, expected)
    assert diagonal.standard_errors is None


def test_large_networks_are_probed_without_a_space(monkeypatch):
    monkeypatch.setattr(parameters, "LARGE", 0)
    trained = trained_network("mlp")
    estimate = hessian_trace(trained, num_probes=30)
    assert estimate.value == pytest.approx(float(dense(trained).trace()), abs=4 * estimate.standard_error)
    assert estimate.standard_error > 0


HARD = rotated(torch.linspace(-1, 4, 60))  # no dominant directions
SEEDS = range(40)


def test_trace_is_unbiased_and_its_standard_error_honest():
    estimates = [hessian_trace(bowl(HARD), num_probes=10, seed=seed) for seed in SEEDS]
    scores = np.array([(e.value - float(HARD.trace())) / e.standard_error for e in estimates])
    assert abs(scores.mean()) < 3 * scores.std() / len(SEEDS) ** 0.5
    assert 0.7 < scores.std() < 1.6  # ten probes: a t distribution's is 1.13


def test_diagonal_is_unbiased_and_its_standard_errors_honest():
    estimates = [hessian_diagonal(bowl(HARD), num_probes=10, seed=seed) for seed in SEEDS]
    scores = torch.stack([(e.values - HARD.diagonal()) / e.standard_errors for e in estimates])
    assert scores.mean().abs() < 3 * scores.mean(dim=1).std() / len(SEEDS) ** 0.5
    assert 0.7 < scores.std() < 1.6
    assert estimates[0].num_products == 30


def test_diagonal_is_its_definition_with_the_probes_at_hand():
    generator = torch.Generator().manual_seed(3)
    sketch, probes = (2.0 * torch.randint(0, 2, (10, 60), generator=generator).double() - 1.0 for _ in range(2))
    basis = torch.linalg.qr(HARD @ sketch.T).Q
    inside = basis @ basis.T
    outside = torch.eye(60, dtype=torch.float64) - inside
    samples = torch.stack([probe * (outside @ HARD @ outside @ probe) for probe in probes])
    known = (inside @ HARD + HARD @ inside - inside @ HARD @ inside).diagonal()
    found = hessian_diagonal(bowl(HARD), num_probes=10, seed=3)
    torch.testing.assert_close(found.values, known + samples.mean(dim=0))
    torch.testing.assert_close(found.standard_errors, samples.std(dim=0) / 10**0.5)


def test_trace_is_the_sum_of_the_diagonal():
    diagonal = hessian_diagonal(bowl(HARD), num_probes=10, seed=3)
    assert hessian_trace(bowl(HARD), num_probes=10, seed=3).value == pytest.approx(float(diagonal.values.sum()))


def test_dominant_directions_leave_no_error():
    hessian = rotated(torch.cat([torch.full((95,), 1e-3), torch.tensor([1.0, 5, 10, 50, 1e3])]))
    trace = hessian_trace(bowl(hessian), num_probes=8)
    assert abs(trace.value - float(hessian.trace())) < 4 * trace.standard_error
    assert trace.standard_error < 1e-5 * trace.value  # random signs alone: 0.3
    diagonal = hessian_diagonal(bowl(hessian), num_probes=8)
    torch.testing.assert_close(diagonal.values, hessian.diagonal(), rtol=1e-4, atol=1e-2)


def test_filter_normalized_trace_is_that_of_the_scaled_matrix():
    trained = trained_network("mlp")
    first, _, second, _ = (p.detach() for p in trained.model.parameters())
    squares = torch.cat(
        [
            (first**2).sum(dim=1, keepdim=True).expand(5, 3).flatten(),
            torch.zeros(5),
            (second**2).sum(dim=1, keepdim=True).expand(3, 5).flatten(),
            torch.zeros(3),
        ]
    )
    found = hessian_trace(trained, normalization="filter")
    assert found.value == pytest.approx(float((squares * dense(trained).diagonal()).sum()))


def test_sampled_normalized_trace_is_within_its_error():
    trained = trained_network("convolution and BatchNorm")
    exact = hessian_trace(trained, normalization="filter", num_probes=40)
    sampled = hessian_trace(trained, normalization="filter", num_probes=6)
    assert exact.standard_error is None
    assert abs(sampled.value - exact.value) < 4 * sampled.standard_error


def test_follows_the_parameters_that_are_named():
    trained = trained_network("mlp")
    at = {name: 2 * value.detach() for name, value in trained.model.named_parameters()}
    assert hessian_trace(trained, at=at).value == pytest.approx(float(dense(trained, at=at).trace()))


def krylov_space(hessian: torch.Tensor, size: int, seed: int = 0) -> KrylovSpace[CurvatureProduct]:
    krylov = KrylovSpace(CurvatureProduct(bowl(hessian)), size, torch.Generator().manual_seed(seed))
    with torch.no_grad():
        while krylov.size < size:
            krylov.expand()
    return krylov


def test_a_known_space_leaves_its_complement_to_the_probes():
    krylov = krylov_space(HARD, 7, seed=3)
    generator = torch.Generator().manual_seed(3)
    torch.randn(60, generator=generator, dtype=torch.float64)  # the vector that the space started from
    probes = 2.0 * torch.randint(0, 2, (10, 60), generator=generator).double() - 1.0
    inside = krylov.vectors.T @ krylov.vectors
    outside = torch.eye(60, dtype=torch.float64) - inside
    samples = torch.stack([probe @ outside @ HARD @ outside @ probe for probe in probes])
    found = trace_beyond(krylov, num_probes=10)
    assert found.value == pytest.approx(float((inside @ HARD).trace() + samples.mean()))
    assert found.standard_error == pytest.approx(float(samples.std()) / 10**0.5)


def test_the_trace_beyond_a_space_is_unbiased_and_its_standard_error_honest():
    estimates = [trace_beyond(krylov_space(HARD, 12, seed=seed), num_probes=10) for seed in range(200)]
    scores = np.array([(e.value - float(HARD.trace())) / e.standard_error for e in estimates])
    assert abs(scores.mean()) < 3 * scores.std() / len(scores) ** 0.5
    assert 0.8 < scores.std() < 1.5  # ten probes: a t distribution's is 1.13


def test_the_trace_beyond_a_space_costs_a_product_a_probe_and_leaves_the_space_alone():
    krylov = krylov_space(HARD, 7)
    first = trace_beyond(krylov, num_probes=4)
    assert krylov.product.num_products == 7 + 4
    assert trace_beyond(krylov, num_probes=4) == first


def test_a_restarted_space_knows_its_trace_too():
    hessian = rotated(torch.cat([torch.full((95,), 1e-3), torch.tensor([1.0, 5, 10, 50, 1e3])]))
    krylov = krylov_space(hessian, 12)
    krylov.shrink(6)
    assert krylov.size == 6
    assert trace_beyond(krylov, num_probes=8).value == pytest.approx(float(hessian.trace()), rel=1e-5)


def test_a_space_of_all_dimensions_leaves_no_error():
    hessian = rotated(torch.linspace(-1, 4, 9))
    found = trace_beyond(krylov_space(hessian, 9), num_probes=2)
    assert found.value == pytest.approx(float(hessian.trace()))
    assert found.standard_error is None


def test_one_probe_beyond_a_space_has_no_standard_error():
    with pytest.raises(InvalidInputError, match="num_probes must be at least 2 for a standard error, got 1"):
        trace_beyond(krylov_space(HARD, 3), num_probes=1)


@pytest.mark.parametrize("function", [hessian_trace, hessian_diagonal])
def test_one_probe_has_no_standard_error(function):
    with pytest.raises(InvalidInputError, match="num_probes must be at least 2 for a standard error, got 1"):
        function(bowl(torch.eye(9)), num_probes=1)
