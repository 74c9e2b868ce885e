import copy
import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from widemargin import MarginDistribution, TrainedModel, margin_distribution
from widemargin.errors import InvalidInputError, InvalidLabelsError, InvalidLogitsError, RunError
from widemargin.networks import MLP, NiN

QUICK = settings(deadline=None, derandomize=True, max_examples=15)
INF = float("inf")


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def linear(num_classes: int, seed: int) -> nn.Linear:
    model = nn.Linear(5, num_classes).double()
    nn.init.normal_(model.weight, generator=generator(seed))
    nn.init.normal_(model.bias, generator=generator(seed + 1))
    return model


def examples(shape: tuple[int, ...], num_examples: int = 12, num_classes: int = 3, seed: int = 0):
    return torch.randn(num_examples, *shape, generator=generator(seed)), torch.arange(num_examples) % num_classes


def naive_distances(model: nn.Module, head_of: dict[str, nn.Module], x, y, dual: float) -> np.ndarray:
    """One example and one layer at a time, by the definition: ``head_of`` maps a layer's activation to logits."""
    rows = []
    for one, label in zip(x, y, strict=True):
        row = []
        for activation_of, head in head_of.values():
            point = activation_of(one.unsqueeze(0)).detach().requires_grad_(True)
            logits = head(point)[0]
            rivals = [k for k in range(len(logits)) if k != label]
            rival = max(rivals, key=lambda k: logits.detach()[k])
            score = logits[label] - logits[rival]
            (gradient,) = torch.autograd.grad(score, point)
            values = gradient.flatten().double()
            summed = sum(abs(value) ** dual for value in values) if dual < INF else 0
            norm = summed ** (1 / dual) if dual < INF else max(abs(value) for value in values)
            row.append(float((score.double() / norm).detach()))
        rows.append(row)
    return np.array(rows)


@QUICK
@given(st.integers(2, 6), st.integers(0, 10**6))
def test_a_linear_classifiers_distance_is_exact(num_classes, seed):
    model = linear(num_classes, seed)
    x, y = examples((5,), num_classes=num_classes, seed=seed)
    found = margin_distribution(TrainedModel(model, (x, y)), "input").distances[:, 0]
    weight, bias = model.weight.detach(), model.bias.detach()
    for distance, one, label in zip(found, x.double(), y, strict=True):
        logits = weight @ one + bias
        rival = max((k for k in range(num_classes) if k != label), key=lambda k: logits[k])
        w, b = weight[label] - weight[rival], bias[label] - bias[rival]
        assert abs(abs(distance) - float(abs(w @ one + b) / w.norm())) < 1e-10
        assert (distance > 0) == bool(logits.argmax() == label)


@pytest.mark.parametrize(("norm", "dual"), [(1, INF), (2, 2.0), (INF, 1.0), (3, 1.5), (4, 4 / 3)])
def test_a_linear_distance_in_any_norm_reaches_the_boundary(norm, dual):
    model = linear(2, seed=3)
    x, y = examples((5,), num_classes=2)
    distances = margin_distribution(TrainedModel(model, (x, y)), "input", norm).distances[:, 0]
    w = (model.weight[0] - model.weight[1]).detach()
    # The shortest step in the p-norm goes along sign(w)|w|^(q−1); for p = 1 along the largest entry alone.
    step = torch.zeros_like(w)
    if norm == 1:
        step[w.abs().argmax()] = w[w.abs().argmax()].sign()
    else:
        step = w.sign() * w.abs() ** (dual - 1)
    step = step / torch.linalg.vector_norm(step, ord=norm)
    for one, label, distance in zip(x.double(), y, distances, strict=True):
        boundary = one - (1 if label == 0 else -1) * distance * step
        logits = model(boundary).detach()
        assert abs(float(logits[0] - logits[1])) < 1e-10


@pytest.mark.parametrize("norm", [1, 2, INF])
def test_every_layer_is_the_naive_definition(norm):
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Linear(108, 6), nn.ReLU(), nn.Linear(6, 3)
    ).double()
    x, y = examples((1, 8, 8), num_examples=9)
    model(x.double())  # running statistics other than the initial ones
    model.eval()
    points = {"input": (nn.Identity(), model)}
    points |= {str(i): (model[: i + 1], model[i + 1 :]) for i in range(len(model))}
    found = margin_distribution(TrainedModel(model, (x, y)), ["input", "*"], norm)
    assert found.layers == tuple(points)
    dual = {1: INF, 2: 2.0, INF: 1.0}[norm]
    np.testing.assert_allclose(found.distances, naive_distances(model, points, x.double(), y, dual), rtol=1e-9)
    for (activation_of, _), variation in zip(points.values(), found.total_variation, strict=True):
        activations = activation_of(x.double()).flatten(1).detach()
        assert variation == pytest.approx(float(activations.var(dim=0, correction=0).sum()), rel=1e-10)
    logits = model(x.double()).detach()
    assert found.num_misclassified == int((logits.argmax(1) != y).sum())
    assert found.num_examples == 9


@QUICK
@given(st.floats(0.01, 100), st.integers(0, 2), st.integers(0, 10**6))
def test_rescaling_a_relu_network_moves_no_normalized_margin(factor, position, seed):
    torch.manual_seed(seed)
    model = MLP(3, (5,), hidden=(8, 8, 8)).eval()
    x, y = examples((5,), num_examples=40, seed=seed)
    before = margin_distribution(TrainedModel(model, (x, y)))
    scaled = copy.deepcopy(model)
    inner, outer = scaled.layers[position][0], (*[layer[0] for layer in scaled.layers], scaled.head)[position + 1]
    with torch.no_grad():
        inner.weight *= factor
        inner.bias *= factor
        outer.weight /= factor
    after = margin_distribution(TrainedModel(scaled, (x, y)))
    finite = np.isfinite(before.distances)  # a narrow network may be dead for some example
    assert (np.isfinite(after.distances) == finite).all()
    assert np.abs(after.normalized[finite] - before.normalized[finite]).max() <= 1e-5


@pytest.mark.parametrize("batch_size", [1, 5, 12, 100])
def test_ignores_how_data_is_batched(batch_size):
    torch.manual_seed(0)
    model = NiN(3, 1, 8, width=0.05).double().eval()
    x, y = examples((1, 8, 8))
    whole = margin_distribution(TrainedModel(model, (x, y)))
    found = margin_distribution(TrainedModel(model, (x, y), batch_size=batch_size))
    np.testing.assert_allclose(found.distances, whole.distances, rtol=1e-9)
    np.testing.assert_allclose(found.total_variation, whole.total_variation, rtol=1e-9)


def test_in_place_activations_change_nothing():
    def network(inplace: bool) -> nn.Sequential:
        torch.manual_seed(0)
        blocks = [(nn.Linear(5, 5), nn.ReLU(inplace)) for _ in range(3)]
        return nn.Sequential(*itertools.chain(*blocks), nn.Linear(5, 3))

    data = examples((5,))
    fresh = margin_distribution(TrainedModel(network(False), data), ["input", "*"])
    inplace = margin_distribution(TrainedModel(network(True), data), ["input", "*"])
    assert (fresh.distances == inplace.distances).all()
    assert (fresh.total_variation == inplace.total_variation).all()


class InPlaceInput(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(5, 3)

    def forward(self, x):
        return self.inner(x.mul_(2.0))


def test_a_network_may_change_its_input_in_place():
    torch.manual_seed(0)
    model, (x, y) = InPlaceInput(), examples((5,))
    kept = x.clone()
    found = margin_distribution(TrainedModel(model, (x, y)), "input").distances
    doubled = nn.Linear(5, 3)
    doubled.load_state_dict({"weight": 2 * model.inner.weight, "bias": model.inner.bias})
    expected = margin_distribution(TrainedModel(doubled, (kept, y)), "input").distances
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert torch.equal(x, kept)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_device_of_the_data_changes_nothing():
    torch.manual_seed(0)
    model, (x, y) = MLP(3, (5,), hidden=(8, 8, 8)).double().cuda(), examples((5,))
    here = margin_distribution(TrainedModel(model, (x, y)))
    there = margin_distribution(TrainedModel(model, (x.cuda(), y.cuda())))
    np.testing.assert_allclose(here.distances, there.distances, rtol=1e-12)


def test_brings_the_data_to_the_device_of_the_network():
    """The meta device stands in for an accelerator: what was not moved there could not be used there."""
    model = MLP(3, (5,), hidden=(8, 8, 8)).to("meta")
    (batch, labels), *_ = TrainedModel(model, examples((5,))).batches()
    assert {batch[0].device.type, batch[1].device.type, labels.device.type} == {"meta"}


@pytest.mark.parametrize("is_frozen", [False, True])
def test_a_frozen_network_has_the_same_margins(is_frozen):
    torch.manual_seed(0)
    model, data = MLP(3, (5,), hidden=(8, 8, 8)), examples((5,))
    expected = margin_distribution(TrainedModel(model, data), "layers.*")
    frozen = margin_distribution(TrainedModel(copy.deepcopy(model).requires_grad_(False), data), "layers.*")
    assert (frozen.distances == expected.distances).all()
    assert all(parameter.grad is None for parameter in model.parameters())


def test_asking_for_fewer_layers_changes_no_layer():
    torch.manual_seed(0)
    model, data = MLP(3, (5,), hidden=(8, 8, 8)), examples((5,))
    every = margin_distribution(TrainedModel(model, data))
    for i, layer in enumerate(every.layers):
        alone = margin_distribution(TrainedModel(model, data), layer)
        assert (alone.distances[:, 0] == every.distances[:, i]).all()


def test_bfloat16_is_close_to_float32():
    torch.manual_seed(0)
    model, data = MLP(3, (5,), hidden=(32, 32, 32)), examples((5,), num_examples=200)
    exact = margin_distribution(TrainedModel(model, data))
    rough = margin_distribution(TrainedModel(copy.deepcopy(model).bfloat16(), data))
    assert rough.distances.dtype == np.float64
    difference = np.abs(rough.normalized - exact.normalized)
    assert np.median(difference / np.abs(exact.normalized).mean(axis=0)) < 0.05


def test_epsilon_goes_under_the_root():
    model = linear(2, seed=5)
    data = examples((5,), num_classes=2)
    exact = margin_distribution(TrainedModel(model, data), "input").distances
    padded = margin_distribution(TrainedModel(model, data), "input", epsilon=0.5).distances
    squared = float((model.weight[0] - model.weight[1]).detach().square().sum())
    np.testing.assert_allclose(padded, exact * np.sqrt(squared / (squared + 0.5)), rtol=1e-12)


class Dead(nn.Module):
    """The second half of the examples meets a ReLU that lets nothing through."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(2, 2)
        self.head.load_state_dict({"weight": torch.eye(2), "bias": torch.tensor([0.5, 0.0])})

    def forward(self, x):
        return self.head(torch.relu(x))


def test_a_vanishing_gradient_gives_an_infinite_distance_and_a_caveat():
    x = torch.tensor([[1.0, 2.0], [3.0, 1.0], [-1.0, -1.0], [-2.0, -1.0]])
    found = margin_distribution(TrainedModel(Dead(), (x, torch.tensor([0, 0, 0, 1]))), "input")
    assert found.distances[:, 0].tolist() == pytest.approx([-0.5 / 2**0.5, 2.5 / 2**0.5, INF, -INF])
    assert "For 2 of 4 examples the gradient vanishes" in found.caveats[0]


def test_an_example_on_the_boundary_has_distance_zero_and_counts_as_misclassified():
    model = nn.Linear(2, 2, bias=False)
    nn.init.eye_(model.weight)
    found = margin_distribution(TrainedModel(model, (torch.ones(1, 2), torch.tensor([0]))), "input")
    assert found.distances.tolist() == [[0.0]]
    assert found.num_misclassified == 1


def test_warns_of_norms_that_use_each_batchs_statistics():
    model = nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4, track_running_stats=False), nn.Linear(4, 3))
    found = margin_distribution(TrainedModel(model, examples((5,))))
    assert found.caveats[0].startswith("1 normalize by the statistics of each batch")


@pytest.mark.parametrize("factor", [1e25, 1e-30])
def test_very_large_and_very_small_gradients_neither_overflow_nor_vanish(factor):
    torch.manual_seed(0)
    model, data = nn.Linear(5, 3), examples((5,))
    expected = margin_distribution(TrainedModel(model, data), "input")
    with torch.no_grad():
        model.weight *= factor
        model.bias *= factor
    found = margin_distribution(TrainedModel(model, data), "input")
    np.testing.assert_allclose(found.distances, expected.distances, rtol=1e-3)


CAVEATS = {
    "probabilities": (nn.Sequential(nn.Linear(5, 3), nn.Softmax(1)), "outputs look like probabilities"),
    "half": (MLP(3, (5,)).bfloat16(), "computes in half precision"),
    "shallow": (nn.Sequential(nn.Linear(5, 4), nn.Linear(4, 3)), "Only 1 of 3 hidden points"),
}


@pytest.mark.parametrize(("model", "text"), CAVEATS.values(), ids=CAVEATS.keys())
def test_says_when_not_to_trust_the_numbers(model, text):
    found = margin_distribution(TrainedModel(model, examples((5,))))
    assert any(text in caveat for caveat in found.caveats)


def test_an_ordinary_network_has_no_caveat():
    torch.manual_seed(0)
    found = margin_distribution(TrainedModel(MLP(3, (5,), hidden=(64, 64, 64)), examples((5,))))
    assert found.caveats == ()


def test_refuses_a_shuffling_loader_on_several_processes(monkeypatch):
    monkeypatch.setattr("torch.distributed.is_initialized", lambda: True)
    monkeypatch.setattr("torch.distributed.get_rank", lambda: 0)
    monkeypatch.setattr("torch.distributed.get_world_size", lambda: 2)
    loader = DataLoader(TensorDataset(*examples((5,))), shuffle=True)
    with pytest.raises(InvalidInputError, match="same order everywhere, got a DataLoader with a RandomSampler"):
        margin_distribution(TrainedModel(MLP(3, (5,)), loader))


def test_signature_has_twenty_named_numbers():
    torch.manual_seed(0)
    model, data = MLP(3, (5,), hidden=(8, 8, 8)), examples((5,), num_examples=60)
    found = margin_distribution(TrainedModel(model, data))
    signature = found.signature()
    assert len(signature) == 20
    assert list(signature)[:5] == [f"input/{name}" for name in ("lower_fence", "q1", "median", "q3", "upper_fence")]
    correct = found.distances[:, 1][found.distances[:, 1] > 0]
    expected = np.median(correct) / np.sqrt(found.total_variation[1])
    assert signature["layers.0/median"] == pytest.approx(expected)
    assert found.signature(normalized=False)["layers.0/median"] == pytest.approx(np.median(correct))
    assert len(found.signature("moments", keep="all")) == 20


def test_refuses_to_normalize_a_constant_layer():
    model = nn.Linear(2, 2)
    found = margin_distribution(TrainedModel(model, (torch.ones(5, 2), torch.zeros(5, dtype=torch.int64))), "input")
    with pytest.raises(InvalidInputError, match="activations that vary, but input is the same for every example"):
        found.signature()


def test_a_file_gives_everything_back(tmp_path):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4, track_running_stats=False), nn.Linear(4, 3))
    model.add_module("idle", nn.Identity())
    model.forward = lambda x: model[2](model[1](model[0](x)))
    found = margin_distribution(TrainedModel(model, examples((5,))), "*", INF)
    found.save(tmp_path / "margins")
    again = MarginDistribution.load(tmp_path / "margins")
    for name in ("layers", "norm", "skipped", "caveats"):
        assert getattr(again, name) == getattr(found, name), name
    for name in ("distances", "total_variation", "output_margins"):
        assert (getattr(again, name) == getattr(found, name)).all()


@pytest.mark.parametrize("content", [b"", b"garbage", b"PK\x03\x04 and no more"])
def test_a_damaged_file_is_named(tmp_path, content):
    (tmp_path / "m.npz").write_bytes(content)
    with pytest.raises(RunError, match=r"m\.npz must be a margin file, but cannot be read"):
        MarginDistribution.load(tmp_path / "m.npz")


class Constant(nn.Module):
    def __init__(self, output):
        super().__init__()
        self.output, self.inner = output, nn.Linear(2, 2)

    def forward(self, x):
        return self.output + 0 * self.inner(x).sum()


TWO = (torch.ones(2, 2), torch.tensor([0, 1]))
LINEAR = nn.Linear(2, 2)
ERRORS = {
    "nan": (
        (Constant(torch.tensor([[0.0, float("nan")]] * 2)), TWO),
        InvalidLogitsError,
        "NaN or infinity for 2 of 2",
    ),
    "infinite": ((Constant(torch.tensor([[0.0, INF], [0.0, 1.0]])), TWO), InvalidLogitsError, "infinity for 1 of 2"),
    "no class": ((Constant(torch.zeros(2, 0)), TWO), InvalidLogitsError, "one column per class .* got 0 columns"),
    "three dimensions": ((Constant(torch.zeros(2, 2, 2)), TWO), InvalidLogitsError, r"float32 of shape \[2, 2, 2\]"),
    "integers": (
        (nn.Sequential(LINEAR, nn.Softmax(1)), (TWO[0], TWO[0])),
        InvalidLabelsError,
        "got float32 of shape",
    ),
    "too large": (
        (LINEAR, (TWO[0], torch.tensor([1, 2]))),
        InvalidLabelsError,
        "minimum of 1 and a maximum of 2. If the",
    ),
    "negative": ((LINEAR, (TWO[0], torch.tensor([-100, 1]))), InvalidLabelsError, "minimum of -100 .* placeholder"),
    "too few": ((LINEAR, [(TWO[0], torch.tensor([1]))]), InvalidLabelsError, r"as many as the examples \(2\), got 1"),
}


@pytest.mark.parametrize(("arguments", "error", "text"), ERRORS.values(), ids=ERRORS.keys())
def test_says_what_is_wrong_with_outputs_and_labels(arguments, error, text):
    with pytest.raises(error, match=text):
        margin_distribution(TrainedModel(*arguments), "input")


def test_says_so_where_the_output_is_no_tensor():
    class Silent(nn.Module):
        def forward(self, x):
            return None

    with pytest.raises(InvalidLogitsError, match="must return logits as a tensor, got NoneType"):
        margin_distribution(TrainedModel(Silent(), TWO), "input")


def test_says_so_where_gradients_overflow():
    class Steep(nn.Module):
        def forward(self, x):
            return torch.sqrt(x.abs())  # finite at 0, its slope is not

    with pytest.raises(
        InvalidLogitsError, match="gradients of the logits must be finite, got NaN or infinity for 1 of 2"
    ):
        margin_distribution(TrainedModel(Steep(), (torch.tensor([[0.0, 1.0], [1.0, 2.0]]), TWO[1])), "input")


@pytest.mark.parametrize("norm", [0.5, -1, float("nan")])
def test_refuses_what_is_no_norm(norm):
    with pytest.raises(InvalidInputError, match="norm must be the p ≥ 1"):
        margin_distribution(TrainedModel(LINEAR, TWO), "input", norm)


@pytest.mark.parametrize(("norm", "epsilon"), [(2, -1.0), (1, 1e-6), (2, float("nan"))])
def test_refuses_an_epsilon_without_a_root(norm, epsilon):
    with pytest.raises(InvalidInputError, match="epsilon must be 0, or positive with norm 2"):
        margin_distribution(TrainedModel(LINEAR, TWO), "input", norm, epsilon=epsilon)


def test_says_so_where_shapes_change_between_batches():
    model = nn.Sequential(nn.AdaptiveAvgPool1d(4), nn.Flatten(), nn.Linear(4, 2))
    batches = [(torch.randn(2, 1, length), TWO[1]) for length in (7, 9)]
    with pytest.raises(InvalidInputError, match=r"layer 'input' must have the shape \[2, 1, 7\] .* got \[2, 1, 9\]"):
        margin_distribution(TrainedModel(model, batches), "input")


def test_says_so_where_a_later_batch_takes_another_path():
    class Branching(nn.Module):
        def __init__(self):
            super().__init__()
            self.left, self.right, self.head = nn.Linear(2, 2), nn.Linear(2, 2), nn.Linear(2, 2)

        def forward(self, x):
            return self.head(self.left(x) if x[0, 0] > 0 else self.right(x))

    with pytest.raises(InvalidInputError, match="layer 'left' must be reached in every forward pass"):
        margin_distribution(TrainedModel(Branching(), [TWO, (-TWO[0], TWO[1])]), "left")


@pytest.mark.parametrize("shape", [(-1,), (-1, 1)])
def test_one_logit_is_the_second_class_against_zero(shape):
    torch.manual_seed(0)
    linear = nn.Linear(5, 1)

    class OneLogit(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = linear

        def forward(self, inputs):
            return self.linear(inputs).view(shape)

    inputs, labels = torch.randn(30, 5), torch.arange(30) % 2
    found = margin_distribution(TrainedModel(OneLogit(), (inputs, labels)), ["input"], epsilon=0.0)
    score = linear(inputs).squeeze(1) * (2 * labels - 1)
    torch.testing.assert_close(torch.from_numpy(found.output_margins), score.detach().double(), rtol=1e-5, atol=1e-6)
    expected = (score / linear.weight.norm()).detach().double()
    torch.testing.assert_close(torch.from_numpy(found.distances[:, 0].copy()), expected, rtol=1e-5, atol=1e-6)
