import jaxtyping
import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint
from torch.utils.data import DataLoader, TensorDataset

from curvature.known_curvature import NETWORKS, Attention, bowl, dense, rotated, trained_network
from widemargin import TrainedModel
from widemargin.curvature import (
    CurvatureProduct,
    hessian_diagonal,
    hessian_trace,
    products,
    spectral_density,
    top_eigenvalues,
)
from widemargin.errors import InvalidInputError, InvalidLogitsError
from widemargin.measures.ascent import slope


def whole(trained: TrainedModel, **options) -> torch.Tensor:
    with trained.borrowed():
        product = CurvatureProduct(trained, **options)
        return product(torch.eye(product.num_parameters, dtype=torch.float64))


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("matrix", ["hessian", "gauss-newton"])
@pytest.mark.parametrize("name", NETWORKS)
def test_is_the_dense_matrix(name, matrix):
    trained = trained_network(name)
    torch.testing.assert_close(whole(trained, matrix=matrix), dense(trained, matrix), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", NETWORKS)
def test_is_the_dense_matrix_in_single_precision_too(name):
    trained = trained_network(name, dtype=torch.float32)
    torch.testing.assert_close(whole(trained).float(), dense(trained), rtol=1e-4, atol=1e-6)


def test_is_symmetric():
    found = whole(trained_network("attention"))
    torch.testing.assert_close(found, found.T, rtol=1e-9, atol=1e-14)


def test_a_bowl_has_its_own_hessian():
    hessian = rotated(torch.tensor([-3.0, 0.0, 1.0, 1e6]))
    torch.testing.assert_close(whole(bowl(hessian)), hessian)


@pytest.mark.parametrize("matrix", ["hessian", "gauss-newton"])
@pytest.mark.parametrize("batch_size", [1, 4, 13])
def test_ignores_how_data_is_batched(batch_size, matrix):
    expected = whole(trained_network("mlp", batch_size=13), matrix=matrix)
    found = whole(trained_network("mlp", batch_size=batch_size), matrix=matrix)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("matrix", ["hessian", "gauss-newton"])
def test_gives_the_same_with_and_without_kept_graphs(matrix, monkeypatch):
    trained = trained_network("convolution and BatchNorm")
    vectors = random(3, 81)
    with trained.borrowed():
        product = CurvatureProduct(trained, matrix=matrix)
        first, kept = product(vectors), product(vectors)
        assert len(product._kept) == 3  # batches
        monkeypatch.setattr(products, "KEPT_BYTES", 0)
        product = CurvatureProduct(trained, matrix=matrix)
        made_anew = [product(vectors), product(vectors)]
        assert product._kept == []
    assert all(torch.equal(first, other) for other in (kept, *made_anew))


def test_a_shuffling_loader_does_not_matter():
    trained = trained_network("mlp", batch_size=13)
    loader = DataLoader(TensorDataset(*trained.train_data), batch_size=4, shuffle=True)
    shuffled = TrainedModel(trained.model, loader, loss=trained.loss)
    torch.testing.assert_close(whole(shuffled), whole(trained), rtol=1e-10, atol=1e-13)


def test_several_vectors_are_multiplied_like_one_and_counted():
    trained = trained_network("mlp")
    vectors = random(3, 38)
    with trained.borrowed():
        product = CurvatureProduct(trained)
        together = product(vectors)
        for vector, row in zip(vectors, together, strict=True):
            assert torch.equal(product(vector), row)
    assert product.num_products == 6


def test_products_come_in_the_precision_of_the_vectors():
    trained = trained_network("mlp")
    with trained.borrowed():
        assert CurvatureProduct(trained)(torch.ones(38)).dtype == torch.float32
        assert CurvatureProduct(trained)(torch.ones(38, dtype=torch.float64)).dtype == torch.float64


def test_scale_multiplies_from_both_sides():
    trained = trained_network("mlp")
    scale = random(38).abs()
    torch.testing.assert_close(whole(trained, scale=scale), scale[:, None] * dense(trained) * scale)


@pytest.mark.parametrize("normalization", ["filter", "layer"])
def test_normalized_coordinates_are_scaled_by_the_norms_and_biases_stay_fixed(normalization):
    trained = trained_network("mlp")
    with trained.borrowed():
        product = CurvatureProduct.normalized(trained, "hessian", normalization)
        found, free = product(torch.eye(38, dtype=torch.float64)), product.dense()
        norms = []
        for parameter in trained.model.parameters():
            if parameter.ndim < 2:
                norms.append(torch.zeros(parameter.numel()))
            elif normalization == "filter":
                norms += [row.detach().norm().expand(len(row)) for row in parameter]
            else:
                norms.append(parameter.detach().norm().expand(parameter.numel()))
    norms = torch.cat(norms)
    torch.testing.assert_close(found, norms[:, None] * dense(trained) * norms)
    assert (product.is_free == (norms > 0)).all()
    torch.testing.assert_close(free, found[product.is_free][:, product.is_free])
    assert len(free) == 30
    assert (product.signs(4, torch.Generator())[:, norms == 0] == 0).all()


def test_units_share_the_graphs_and_count_for_themselves():
    trained = trained_network("convolution and BatchNorm")
    vectors = random(2, 81)
    with trained.borrowed():
        plain, expected = CurvatureProduct(trained), CurvatureProduct.normalized(trained, "hessian", "filter")
        products = plain(vectors)
        normalized = plain.in_units("filter")
        normalized.trained = None  # what is kept is all that is left
        assert torch.equal(normalized(vectors), expected(vectors))
        assert torch.equal(plain(vectors), products)
    assert (plain.num_products, normalized.num_products) == (4, 2)


def test_graphs_that_were_made_in_units_serve_the_plain_product_too():
    trained = trained_network("convolution and BatchNorm")
    vectors = random(2, 81)
    with trained.borrowed():
        plain, expected = CurvatureProduct(trained), CurvatureProduct(trained)
        plain.in_units("filter")(vectors)
        plain.trained = None
        assert torch.equal(plain(vectors), expected(vectors))


def test_the_whole_matrix_is_that_of_its_parts(monkeypatch):
    trained = trained_network("mlp")
    with trained.borrowed():
        monkeypatch.setattr("widemargin.curvature.products.ROWS_AT_ONCE", 7)
        product = CurvatureProduct(trained)
        found = product.dense()
    torch.testing.assert_close(found, dense(trained))
    assert torch.equal(found, found.T)
    assert product.num_products == 38


def test_zero_filters_stay_fixed_with_a_caveat():
    trained = trained_network("mlp")
    with torch.no_grad():
        trained.model[0].weight[2] = 0
    with trained.borrowed():
        product = CurvatureProduct.normalized(trained, "hessian", "filter")
    assert product.is_free.sum() == 30 - 3
    assert product.caveats == ("1 filters are 0: they stay fixed, as biases do.",)


def test_differentiates_elsewhere():
    trained = trained_network("convolution and BatchNorm")
    at = {name: value.detach() + 0.1 for name, value in trained.model.named_parameters()}
    at["1.running_var"] = torch.full((2,), 3.0, dtype=torch.float64)
    found = whole(trained, at=at)
    torch.testing.assert_close(found, dense(trained, at=at), rtol=1e-9, atol=1e-12)
    assert (found - whole(trained)).abs().max() > 1e-3


class Recomputed(Attention):
    """Activations are computed again on the way back."""

    def forward(self, x):
        return checkpoint(super().forward, x, use_reentrant=False)


@pytest.mark.parametrize("is_frozen", [False, True])
def test_layers_that_are_computed_again_are_so_at_the_same_point(is_frozen):
    data = torch.randn(13, 6, 4, dtype=torch.float64), torch.arange(13) % 3
    point = {name: torch.randn_like(value) for name, value in Attention().double().named_parameters()}
    images, slopes = [], []
    for kind in (Attention, Recomputed):
        trained = TrainedModel(kind().double().requires_grad_(not is_frozen), data, batch_size=5)
        with trained.borrowed():
            images.append(CurvatureProduct(trained, at=point)(torch.ones(75, dtype=torch.float64)))
            slopes.append(slope(trained, point).gradient)
    torch.testing.assert_close(images[1], images[0])
    torch.testing.assert_close(slopes[1], slopes[0])


def test_frozen_parameters_are_differentiated_too():
    trained = trained_network("mlp")
    expected = whole(trained)
    trained.model.requires_grad_(False)
    assert torch.equal(whole(trained), expected)


@pytest.mark.parametrize("matrix", ["hessian", "gauss-newton"])
@pytest.mark.parametrize(
    "loss",
    [lambda logits, labels: logits[:, 0], lambda logits, labels: 0 * labels.double()],
    ids=["linear", "constant"],
)
def test_a_loss_without_curvature_gives_zeros(loss, matrix):
    trained = TrainedModel(nn.Linear(3, 3), (torch.randn(4, 3), torch.arange(4) % 3), loss=loss)
    assert (whole(trained, matrix=matrix) == 0).all()


def test_works_inside_no_grad_and_inference_mode():
    trained = trained_network("mlp")
    expected = whole(trained)
    for context in (torch.no_grad(), torch.inference_mode()):
        with context:
            assert torch.equal(whole(trained), expected)


def test_says_that_batch_statistics_depend_on_batching():
    model = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3, track_running_stats=False))
    assert "1 normalize by the statistics of each batch" in CurvatureProduct(TrainedModel(model, [])).caveats[0]


def test_says_what_cannot_be_multiplied(monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    trained = trained_network("mlp")
    with pytest.raises(InvalidInputError, match="matrix must be one of hessian, gauss-newton, got 'fisher'"):
        CurvatureProduct(trained, matrix="fisher")
    mean = TrainedModel(trained.model, trained.train_data, loss=nn.functional.cross_entropy)
    with pytest.raises(
        InvalidInputError, match=r"one number per example, shape \[13\], got \[\].*reduction=\"none\""
    ):
        whole(mean)
    root = TrainedModel(
        trained.model, trained.train_data, loss=lambda logits, labels: (0 * logits[:, 0]).abs().sqrt()
    )
    with pytest.raises(InvalidInputError, match=r"finite second derivatives, got NaN or infinity.*float64"):
        whole(root)
    with torch.no_grad():
        trained.model[0].weight[0, 0] = torch.nan
    with pytest.raises(InvalidLogitsError, match="must be finite, got NaN"):
        whole(trained)


FUNCTIONS = {
    "eigenvalues": top_eigenvalues,
    "trace": lambda trained: hessian_trace(trained, num_probes=2),
    "diagonal": lambda trained: hessian_diagonal(trained, num_probes=2),
    "density": lambda trained: spectral_density(trained, num_probes=2, num_steps=3),
    "filter-normalized": lambda trained: top_eigenvalues(trained, normalization="filter"),
    "Gauss-Newton": lambda trained: top_eigenvalues(trained, matrix="gauss-newton"),
}


def snapshot(model: nn.Module) -> list[object]:
    """Everything of a network and of random state that could be disturbed, as plain values and bytes."""
    tensors = [*model.state_dict(keep_vars=True).values()]
    tensors += [p.grad for p in model.parameters() if p.grad is not None]
    return [
        [(id(value), value.detach().numpy().tobytes(), value.requires_grad) for value in tensors],
        [module.training for module in model.modules()],
        [(len(m._forward_hooks), len(m._forward_pre_hooks)) for m in model.modules()],
        torch.get_rng_state().tolist(),
        np.random.get_state()[1].tolist(),
    ]


@pytest.mark.parametrize("call", FUNCTIONS.values(), ids=FUNCTIONS.keys())
def test_the_network_comes_back_bit_identical(call):
    trained = trained_network("convolution and BatchNorm")
    trained.model[1].eval()
    trained.model[0].weight.requires_grad_(False)
    trained.model(trained.train_data[0]).sum().backward()
    before = snapshot(trained.model)
    call(trained)
    assert snapshot(trained.model) == before


class Interrupting(nn.Module):
    """Draws random numbers, writes into a buffer, and raises at its n-th call."""

    def __init__(self, error: BaseException, at_call: int) -> None:
        super().__init__()
        self.inner = nn.Linear(4, 3)
        self.register_buffer("written", torch.zeros(2))
        self.error, self.at_call, self.num_calls = error, at_call, 0

    def forward(self, x):
        torch.rand(1), np.random.rand()
        self.written += 1
        self.num_calls += 1
        if self.num_calls == self.at_call:
            raise self.error
        return self.inner(x)


@pytest.mark.parametrize("at_call", [1, 3])
@pytest.mark.parametrize("error", [KeyboardInterrupt(), ValueError("broken")], ids=["ctrl-c", "exception"])
@pytest.mark.parametrize("call", FUNCTIONS.values(), ids=FUNCTIONS.keys())
def test_the_network_comes_back_bit_identical_after(call, error, at_call):
    model = Interrupting(error, at_call)
    trained = TrainedModel(model, (torch.randn(9, 4), torch.arange(9) % 3), batch_size=3)
    before = snapshot(model)
    with pytest.raises(type(error)):
        call(trained)
    assert snapshot(model) == before


@pytest.mark.parametrize("call", FUNCTIONS.values(), ids=FUNCTIONS.keys())
def test_the_same_seed_gives_the_same_numbers(call):
    first, second = (call(trained_network("convolution and BatchNorm")) for _ in range(2))
    assert repr(first) == repr(second)
