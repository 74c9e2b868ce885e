import pytest
import torch
from torch import nn

from landscape.cases import CASES, bowl, generator
from widemargin.curvature import CurvatureProduct
from widemargin.errors import InvalidInputError
from widemargin.landscape import preconditioners
from widemargin.landscape.preconditioners import MeanCurvature, Preconditioner, coordinates
from widemargin.parameters import ParameterSpace

NAMES = ["diagonal", "low-rank", "full"]


def rotated(spectrum: torch.Tensor) -> torch.Tensor:
    n = len(spectrum)
    rotation = torch.linalg.qr(torch.randn(n, n, generator=generator(0), dtype=torch.float64)).Q
    return rotation @ spectrum.double().diag() @ rotation.T


def scale_of(network: nn.Module, normalization: str) -> torch.Tensor:
    space = ParameterSpace.of(network)
    return coordinates(space.groups(space.flat(network), normalization))


def made(hessian: torch.Tensor, name: str, *, damping: float = 0.5, rank: int = 3) -> torch.Tensor:
    """The preconditioner as a dense matrix."""
    n = len(hessian)
    product = CurvatureProduct(bowl(hessian, torch.zeros(n)))
    change = Preconditioner.of(MeanCurvature(product), name, damping=damping, rank=rank, seed=0)
    return change(torch.eye(n, dtype=torch.float64))


def power(matrix: torch.Tensor, exponent: float) -> torch.Tensor:
    values, vectors = torch.linalg.eigh(matrix)
    result = vectors @ (values**exponent).diag() @ vectors.T
    return result / torch.linalg.det(result) ** (1 / len(matrix))


@pytest.mark.parametrize("name", NAMES)
def test_the_determinant_is_1(name):
    torch.testing.assert_close(torch.linalg.det(made(rotated(torch.logspace(-2, 2, 9)), name)).item(), 1.0)


def test_full_is_the_inverse_root_of_the_damped_hessian_on_its_own_axes():
    hessian = rotated(torch.logspace(-2, 2, 9))
    expected = power(hessian + 0.5 * torch.eye(9), -0.5)
    torch.testing.assert_close(made(hessian, "full"), expected)


def test_low_rank_is_that_with_the_mean_for_all_eigenvalues_beyond_the_rank():
    spectrum = torch.tensor([1.0, 2.0, 3.0, 2.0, 1.0, 3.0, 50.0, 70.0, 90.0]).double()
    flattened = torch.cat([torch.full((6,), 2.0), spectrum[6:]])
    expected = power(rotated(flattened) + 0.5 * torch.eye(9), -0.5)
    torch.testing.assert_close(made(rotated(spectrum), "low-rank"), expected, rtol=0.1, atol=0.02)
    torch.testing.assert_close(made(rotated(flattened), "low-rank"), expected, rtol=1e-6, atol=1e-8)


def test_diagonal_is_that_of_the_diagonal_alone():
    spectrum = torch.logspace(-2, 2, 9, dtype=torch.float64)
    torch.testing.assert_close(made(spectrum.diag(), "diagonal"), power(spectrum.diag() + 0.5 * torch.eye(9), -0.5))
    coupled = spectrum.diag() + 0.003 * (1 - torch.eye(9))  # estimated, now
    expected = power(spectrum.diag() + 0.5 * torch.eye(9), -0.5)
    torch.testing.assert_close(made(coupled, "diagonal"), expected, rtol=0.02, atol=1e-9)


def test_noise_in_the_diagonal_makes_no_direction_look_flat():
    hessian = rotated(torch.logspace(-2, 4, 60))
    base = made(hessian, "diagonal", damping=1e-9).diagonal()
    exact = power(hessian.diagonal().diag(), -0.5).diagonal()
    assert (base / exact).max() < 5


def test_the_curvature_is_that_of_the_minimum_and_of_the_ends_by_two_to_one():
    trained = CASES["float64"]()
    with trained.borrowed() as network:
        space = ParameterSpace.of(network)
        points = [space.named(space.flat(network) + shift) for shift in (0.1, -0.2)]
        scale = scale_of(network, "filter")
        at_ends = [CurvatureProduct(trained, matrix="gauss-newton", scale=scale, at=point) for point in points]
        curvature = MeanCurvature(CurvatureProduct(trained, scale=scale), tuple(at_ends))
        vectors = torch.randn(3, space.num_parameters, generator=generator(0), dtype=torch.float64)
        found, dense = curvature(vectors), curvature.dense()
        expected = 2 / 3 * CurvatureProduct(trained, scale=scale)(vectors)
        expected += sum(at_end(vectors) for at_end in at_ends) / 6
    torch.testing.assert_close(found, expected)
    is_free = scale != 0
    torch.testing.assert_close(vectors[:, is_free] @ dense, expected[:, is_free])


@pytest.mark.parametrize("name", NAMES)
def test_negative_curvature_counts_as_flat(name):
    spectrum = torch.tensor([-4.0, -4.0, -4.0, -4.0, -4.0, -4.0, 5.0, 6.0, 7.0]).double()
    expected = power((spectrum.clamp(min=0) + 0.5).diag(), -0.5)
    torch.testing.assert_close(made(spectrum.diag(), name), expected, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("normalization", ["filter", "layer", "none"])
def test_acts_in_the_normalized_coordinates_and_leaves_fixed_parameters_alone(name, normalization):
    trained = CASES["float64"]()
    with trained.borrowed() as network:
        product = CurvatureProduct(trained, scale=scale_of(network, normalization))
        change = Preconditioner.of(MeanCurvature(product), name, damping=0.5, rank=3, seed=0)
        is_free = product.is_free
        matrix = change(torch.eye(len(is_free), dtype=torch.float64)[is_free])
        hessian = product.dense()
    assert (matrix[:, ~is_free] == 0).all()
    inner = matrix[:, is_free]
    assert float(torch.linalg.slogdet(inner).logabsdet) == pytest.approx(0, abs=1e-6)
    if name == "full":
        values, vectors = torch.linalg.eigh((hessian + hessian.T) / 2)
        expected = vectors @ (values.clamp(min=0) + 0.5).rsqrt().diag() @ vectors.T
        torch.testing.assert_close(inner / inner[0, 0], expected / expected[0, 0])


def test_coordinates_move_filters_by_their_norm_times_the_root_of_their_share():
    trained = CASES["float64"]()
    with trained.borrowed() as network:
        scale = scale_of(network, "filter")
        weight = network[2].weight.detach()
        named = ParameterSpace.of(network).named(scale)
    n = 7 * 5 + 6 * 7 + 3 * 6
    expected = weight.norm(dim=1, keepdim=True).expand_as(weight) * (n / 7) ** 0.5
    torch.testing.assert_close(named["2.weight"], expected)
    assert (named["2.bias"] == 0).all()


def test_eigenvalues_that_do_not_converge_are_left_out_and_reported(monkeypatch):
    monkeypatch.setattr(preconditioners, "PRODUCTS_PER_EIGENVALUE", 1)
    hessian = rotated(torch.cat([torch.linspace(1, 2, 198), torch.tensor([50.0, 90.0])]))  # two beside a crowd
    product = CurvatureProduct(bowl(hessian, torch.zeros(200)))
    change = Preconditioner.of(MeanCurvature(product), "low-rank", damping=0.5, rank=5, seed=0)
    assert len(change.factors) == 2
    assert change.caveats == ("Only 2 of 5 eigenvalues converged; the preconditioner has that rank.",)
    assert product.num_products == 1 * (5 + preconditioners.SPARE) + preconditioners.NUM_PROBES
    matrix = change(torch.eye(200, dtype=torch.float64))
    assert float(torch.linalg.slogdet(matrix).logabsdet) == pytest.approx(0, abs=1e-6)


def test_an_unknown_preconditioner_is_refused():
    product = CurvatureProduct(bowl(torch.eye(3), torch.zeros(3)))
    past_the_checker_of_annotations = Preconditioner.of.__wrapped__
    with pytest.raises(InvalidInputError, match="must be None or one of diagonal, low-rank, full, got 'fuzzy'"):
        past_the_checker_of_annotations(Preconditioner, MeanCurvature(product), "fuzzy", damping=0.5, rank=1, seed=0)


@pytest.mark.parametrize("rank", [0, 3])
def test_a_rank_out_of_range_is_refused(rank):
    product = CurvatureProduct(bowl(torch.eye(3), torch.zeros(3)))
    with pytest.raises(InvalidInputError, match=r"rank must be from 1 to below the number .* \(3\), got"):
        Preconditioner.of(MeanCurvature(product), "low-rank", damping=0.5, rank=rank, seed=0)


def test_full_is_refused_for_a_network_that_is_too_large(monkeypatch):
    monkeypatch.setattr(preconditioners, "MAX_FULL", 2)
    product = CurvatureProduct(bowl(torch.eye(3), torch.zeros(3)))
    with pytest.raises(InvalidInputError, match=r'needs at most 2 parameters that move, got 3\. Use "low-rank"'):
        Preconditioner.of(MeanCurvature(product), "full", damping=0.5, rank=1, seed=0)
