import numpy as np
import pytest
import torch

from curvature.known_curvature import NETWORKS, bowl, dense, rotated, trained_network
from widemargin.curvature import spectral_density
from widemargin.errors import InvalidInputError

VALUES = torch.logspace(-2, 1, 150, dtype=torch.float64)
HESSIAN = rotated(VALUES)


def log_shifted(x):
    return np.log(x + 0.5)


@pytest.mark.parametrize("name", NETWORKS)
def test_small_networks_have_their_eigenvalues(name):
    trained = trained_network(name)
    found = spectral_density(trained)
    expected = torch.linalg.eigvalsh(dense(trained))
    np.testing.assert_allclose(found.nodes[0], expected, rtol=1e-9, atol=1e-14)
    assert found.is_exact
    assert found.num_eigenvalues == found.num_products == len(expected)
    integral = found.integral(lambda x: np.log(x**2 + 1))
    assert integral.value == pytest.approx(float(torch.log(expected**2 + 1).sum()))
    assert integral.standard_error is None


def test_log_determinant_is_within_its_standard_error():
    expected = float(torch.logdet(HESSIAN + 0.5 * torch.eye(150)))
    scores = []
    for seed in range(30):
        density = spectral_density(bowl(HESSIAN), num_probes=4, num_steps=25, seed=seed)
        found = density.integral(log_shifted)
        assert not density.is_exact
        assert density.num_products == 100
        assert found.caveats == ()
        scores.append((found.value - expected) / found.standard_error)
    assert abs(np.mean(scores)) < 3 * np.std(scores) / 30**0.5
    assert 0.6 < np.median(np.abs(scores)) < 1.2  # 0.76 for three degrees of freedom


def test_moments_are_those_of_the_dense_eigenvalues():
    density = spectral_density(bowl(HESSIAN), num_probes=7, num_steps=20)
    for order in (1, 2, 3):
        found = density.moment(order)
        assert abs(found.value - float((VALUES**order).mean())) < 4 * found.standard_error
        assert found.standard_error < 0.5 * found.value


def test_each_probe_integrates_polynomials_exactly():
    """Gauss quadrature of k nodes is exact up to degree 2k − 1: f(H) as its own probe sees it."""
    density = spectral_density(bowl(HESSIAN), num_probes=2, num_steps=4, seed=5)
    generator = torch.Generator().manual_seed(5)
    probes = 2.0 * torch.randint(0, 2, (2, 150), generator=generator).double() - 1.0
    for degree in range(8):
        expected = [float(z @ torch.linalg.matrix_power(HESSIAN, degree) @ z) / 150 for z in probes]
        np.testing.assert_allclose((density.weights * density.nodes**degree).sum(axis=1), expected, rtol=1e-9)
    for degree in range(4):
        expected = [float(z @ torch.linalg.matrix_power(HESSIAN, degree) @ z) / 150 for z in probes]
        found = (density.coarse_weights * density.coarse_nodes**degree).sum(axis=1)
        np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_stops_where_a_probe_has_seen_everything():
    values = torch.cat([torch.ones(90), torch.full((60,), 7.0)])
    density = spectral_density(bowl(rotated(values)), num_probes=3, num_steps=20)
    assert density.num_products == 6  # two different eigenvalues
    np.testing.assert_allclose(density.weights.sum(axis=1), 1)
    found = density.integral(np.log)
    assert abs(found.value - 60 * np.log(7)) < 4 * found.standard_error
    assert found.caveats == ()


def test_says_when_steps_were_too_few():
    hessian = rotated(torch.logspace(-6, 2, 150))
    density = spectral_density(bowl(hessian), num_probes=6, num_steps=4)
    assert "Raise num_steps" in density.integral(lambda x: np.log(np.abs(x) + 1e-6)).caveats[0]


def test_fixed_parameters_are_left_out():
    trained = trained_network("mlp")
    exact = spectral_density(trained, normalization="filter")
    sampled = spectral_density(trained, normalization="filter", num_probes=2, num_steps=14)
    assert exact.num_eigenvalues == sampled.num_eigenvalues == 30
    assert exact.is_exact
    assert not sampled.is_exact
    assert exact.integral(np.ones_like).value == pytest.approx(30)
    assert sampled.integral(np.ones_like).value == pytest.approx(30)


def test_smoothed_density_integrates_to_one_and_finds_the_mass():
    values = torch.cat([torch.ones(75), torch.full((75,), 7.0)])
    density = spectral_density(bowl(rotated(values)))
    grid = np.linspace(-2, 10, 2001)
    curve = density.smoothed(grid, 0.2)
    step = grid[1] - grid[0]
    assert curve.sum() * step == pytest.approx(1)
    assert curve[grid < 4].sum() * step == pytest.approx(0.5)
    assert curve[np.searchsorted(grid, 1.0)] == pytest.approx(0.5 / (0.2 * np.sqrt(2 * np.pi)), rel=1e-3)


def test_says_what_is_wrong():
    trained = bowl(torch.diag(torch.tensor([-1.0, 1.0])))
    density = spectral_density(trained)
    with (
        np.errstate(invalid="ignore"),
        pytest.raises(InvalidInputError, match=r"function must be finite from -1 to 1.*clip"),
    ):
        density.integral(np.log)
    with pytest.raises(InvalidInputError, match="bandwidth must be positive, got 0"):
        density.smoothed(np.zeros(2), 0.0)
    with pytest.raises(InvalidInputError, match="must be at least 2, got 1 and 80"):
        spectral_density(trained, num_probes=1)
