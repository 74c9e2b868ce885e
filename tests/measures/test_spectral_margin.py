"""The spectral complexity against closed forms, loops and its scaling law."""

import math
from collections.abc import Mapping

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from widemargin.errors import InvalidInputError, MeasureNotApplicableError
from widemargin.measures import input_frobenius_norm, spectral_complexity, spectrally_normalized_margins
from widemargin.networks import MLP
from widemargin.trained_model import TrainedModel


def trained(
    network: nn.Module, *shape: int, initial: Mapping[str, Tensor] | None = None, num_examples: int = 6
) -> TrainedModel:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(num_examples, *shape, generator=generator)
    return TrainedModel(network, (inputs, torch.arange(num_examples) % 2), initial_parameters=initial, batch_size=4)


def seeded(network: nn.Module, seed: int = 0) -> nn.Module:
    """Return the network with drawn parameters and running statistics."""
    generator = torch.Generator().manual_seed(seed)
    for tensor in [*network.parameters(), *network.buffers()]:
        if tensor.is_floating_point():
            tensor.data.copy_(torch.randn(tensor.shape, generator=generator))
    for name, buffer in network.named_buffers():
        if name.endswith("running_var"):
            buffer.copy_(buffer.abs() + 0.1)
    return network


def naive_log_complexity(weights: list[np.ndarray], references: list[np.ndarray]) -> float:
    product, total = 1.0, 0.0
    for A, M in zip(weights, references, strict=True):
        spectral = np.linalg.svd(A)[1][0]
        product *= spectral
        group = 0.0
        for row in A - M:
            group += np.sqrt((row**2).sum())
        total += (group / spectral) ** (2 / 3)
    return float(np.log(product * total**1.5))


def matrix(weight: Tensor) -> np.ndarray:
    return weight.detach().double().flatten(1).numpy()


def test_a_diagonal_linear_network_has_its_closed_form() -> None:
    network = nn.Linear(2, 2)
    network.weight.data = torch.tensor([[3.0, 0.0], [0.0, -1.0]])
    assert spectral_complexity(trained(network, 2)).value == pytest.approx(math.log(3 * (4 / 3)))


def test_two_identities_have_their_closed_form() -> None:
    network = nn.Sequential(nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 3))
    for layer in (network[0], network[2]):
        layer.weight.data = torch.eye(3)  # ‖I‖₂ = 1 and ‖I‖₂,₁ = 3 each
    assert spectral_complexity(trained(network, 3)).value == pytest.approx(1.5 * math.log(2 * 3 ** (2 / 3)))


def test_rows_are_outputs_in_the_group_norm() -> None:
    network = nn.Linear(3, 2, bias=False)
    network.weight.data = torch.tensor([[3.0, 0.0, 4.0], [0.0, 0.0, 0.0]])  # one output unit: ‖A‖₂ = ‖Aᵀ‖₂,₁ = 5
    assert spectral_complexity(trained(network, 3)).value == pytest.approx(math.log(5))


def test_an_mlp_has_the_value_of_a_naive_computation() -> None:
    network = seeded(MLP(4, (5,), hidden=(7, 6)))
    weights = [matrix(network.layers[0][0].weight), matrix(network.layers[1][0].weight), matrix(network.head.weight)]
    found = spectral_complexity(trained(network, 5))
    assert found.value == pytest.approx(naive_log_complexity(weights, [0 * A for A in weights]), rel=1e-5)
    assert list(found.per_layer) == ["layers.0.0", "layers.1.0", "head"]
    for value, A in zip(found.per_layer.values(), weights, strict=True):
        assert value == pytest.approx(np.log(np.linalg.norm(A, ord=2)), rel=1e-5)


def test_references_are_the_initial_parameters() -> None:
    network, initial = seeded(MLP(4, (5,), hidden=(7, 6))), seeded(MLP(4, (5,), hidden=(7, 6)), seed=1)
    names = ["layers.0.0.weight", "layers.1.0.weight", "head.weight"]
    weights = [matrix(network.state_dict()[name]) for name in names]
    references = [matrix(initial.state_dict()[name]) for name in names]
    found = spectral_complexity(trained(network, 5, initial=initial.state_dict()))
    assert found.value == pytest.approx(naive_log_complexity(weights, references), rel=1e-5)


def test_unknown_initial_parameters_are_a_caveat() -> None:
    network = MLP(4, (5,), hidden=(7,))
    caveat = "The initial parameters are not known: distances are taken from 0."
    assert caveat in spectral_complexity(trained(network, 5)).caveats
    known = trained(network, 5, initial=MLP(4, (5,), hidden=(7,)).state_dict())
    assert caveat not in spectral_complexity(known).caveats


def test_convolutions_are_a_caveat_where_there_are_some() -> None:
    convolving, dense = nn.Sequential(nn.Conv2d(3, 4, 2), nn.Flatten(), nn.Linear(16, 2)), nn.Linear(5, 2)
    initial = [{name: 0 * value for name, value in network.state_dict().items()} for network in (convolving, dense)]
    caveat = "Convolutions count by their reshaped kernels, whose norm is not that of the operator."
    assert spectral_complexity(trained(convolving, 3, 3, 3, initial=initial[0])).caveats == (caveat,)
    assert spectral_complexity(trained(dense, 5, initial=initial[1])).caveats == ()


def test_an_untrained_network_has_no_complexity() -> None:
    network = MLP(4, (5,), hidden=(7,))
    found = spectral_complexity(trained(network, 5, initial=network.state_dict()))
    assert found.value == -math.inf
    assert found.caveats == ("The distance from initialization is 0: the network was not trained.",)


def test_a_layer_that_maps_everything_to_zero_is_named() -> None:
    network = MLP(4, (5,), hidden=(7,))
    nn.init.zeros_(network.head.weight)
    found = spectral_complexity(trained(network, 5))
    assert found.value == -math.inf
    assert found.caveats == ("head maps everything to 0.",)


def test_a_convolution_counts_by_its_reshaped_kernel() -> None:
    network = seeded(nn.Sequential(nn.Conv2d(3, 4, 2), nn.ReLU(), nn.Flatten(), nn.Linear(16, 2)))
    kernel = network[0].weight.detach().double().numpy()
    reshaped = np.stack([kernel[i].reshape(-1) for i in range(4)])
    weights = [reshaped, matrix(network[3].weight)]
    found = spectral_complexity(trained(network, 3, 3, 3)).value
    assert found == pytest.approx(naive_log_complexity(weights, [0 * A for A in weights]), rel=1e-5)


def with_norm(norm: nn.Module, between: nn.Module) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(2, 3, 2), between, norm, nn.ReLU(), nn.Flatten(), nn.Linear(12, 2))


@pytest.mark.parametrize("affine", [True, False])
def test_a_batch_norm_behind_a_convolution_counts_as_folded_into_it(affine: bool) -> None:
    network = seeded(with_norm(nn.BatchNorm2d(3, affine=affine), nn.Identity()))
    convolution, norm = network[0], network[2]
    folded = nn.Sequential(nn.Conv2d(2, 3, 2), *network[3:])
    scale = (norm.weight if affine else 1.0) / torch.sqrt(norm.running_var + norm.eps)
    folded[0].weight.data = convolution.weight.data * scale.view(3, 1, 1, 1)
    folded[0].bias.data = (convolution.bias - norm.running_mean) * scale + (norm.bias if affine else 0.0)
    inputs = torch.randn(4, 2, 3, 3)
    torch.testing.assert_close(folded(inputs), network.eval()(inputs), rtol=1e-4, atol=1e-4)
    found, expected = (spectral_complexity(trained(net, 2, 3, 3)) for net in (network, folded))
    assert found.value == pytest.approx(expected.value, rel=1e-6)
    assert list(found.per_layer) == ["0", "5"]


def test_a_batch_norm_behind_a_linear_layer_counts_as_folded_into_it() -> None:
    network = seeded(MLP(3, (5,), hidden=(6,), batch_norm=True))
    linear, norm = network.layers[0]
    weights = [
        np.diag((norm.weight / torch.sqrt(norm.running_var + norm.eps)).detach().double().numpy())
        @ matrix(linear.weight),
        matrix(network.head.weight),
    ]
    found = spectral_complexity(trained(network, 5)).value
    assert found == pytest.approx(naive_log_complexity(weights, [0 * A for A in weights]), rel=1e-5)


def test_references_are_scaled_by_a_folded_batch_norm_too() -> None:
    network, initial = (seeded(MLP(3, (5,), hidden=(6,), batch_norm=True), seed) for seed in (0, 1))
    linear, norm = network.layers[0]
    D = np.diag((norm.weight / torch.sqrt(norm.running_var + norm.eps)).detach().double().numpy())
    weights = [D @ matrix(linear.weight), matrix(network.head.weight)]
    references = [D @ matrix(initial.layers[0][0].weight), matrix(initial.head.weight)]
    found = spectral_complexity(trained(network, 5, initial=initial.state_dict())).value
    assert found == pytest.approx(naive_log_complexity(weights, references), rel=1e-5)


@pytest.mark.parametrize("between", [nn.ReLU(), nn.ReLU(inplace=True), nn.Tanh()])
def test_a_batch_norm_behind_something_else_counts_as_a_diagonal_map(between: nn.Module) -> None:
    network = seeded(with_norm(nn.BatchNorm2d(3), between))
    norm = network[2]
    diagonal = np.diag((norm.weight / torch.sqrt(norm.running_var + norm.eps)).detach().double().numpy())
    weights = [matrix(network[0].weight), diagonal, matrix(network[5].weight)]
    found = spectral_complexity(trained(network, 2, 3, 3))
    assert found.value == pytest.approx(naive_log_complexity(weights, [0 * A for A in weights]), rel=1e-5)
    assert list(found.per_layer) == ["0", "2", "5"]


def test_a_batch_norm_without_running_statistics_is_refused() -> None:
    network = with_norm(nn.BatchNorm2d(3, track_running_stats=False), nn.Identity())
    with pytest.raises(MeasureNotApplicableError) as caught:
        spectral_complexity(trained(network, 2, 3, 3))
    assert str(caught.value) == "a BatchNorm without running statistics is no fixed linear map."


class Words(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(9, 4)
        self.memory = nn.GRU(4, 5, batch_first=True)
        self.head = nn.Linear(5, 2)

    def forward(self, words: Tensor) -> Tensor:
        logits: Tensor = self.head(self.memory(self.words(words))[0][:, -1])
        return logits


class Bare(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3, 2))

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs @ self.weight


def test_weights_outside_of_linear_maps_are_refused_by_name() -> None:
    words = TrainedModel(Words(), (torch.arange(12).view(4, 3) % 9, torch.tensor([0, 1, 0, 1])))
    with pytest.raises(MeasureNotApplicableError) as caught:
        spectral_complexity(words)
    assert str(caught.value) == (
        "norms of layers are defined for linear layers, convolutions and BatchNorms, but this network "
        "also has weights in "
        "words, memory."
    )


def test_weights_of_the_network_itself_are_refused_by_its_class() -> None:
    with pytest.raises(MeasureNotApplicableError, match=r"this network also has weights in Bare\.$"):
        spectral_complexity(trained(Bare(), 3))


@pytest.mark.parametrize("initial", [{}, {"weight": torch.ones(2, 4)}])
def test_initial_parameters_of_another_network_are_refused(initial: dict[str, Tensor]) -> None:
    with pytest.raises(InvalidInputError) as caught:
        spectral_complexity(trained(nn.Linear(3, 2), 3, initial=initial))
    assert str(caught.value) == (
        "initial_parameters must hold weight of shape [2, 3], got "
        f"{'no such entry' if not initial else 'shape [2, 4]'}. Hand over a copy of this very network's state_dict() "
        "from before training."
    )


@settings(deadline=None, derandomize=True, max_examples=15)
@given(st.floats(1e-3, 1e3))
def test_scaling_one_layer_up_and_the_next_down_changes_nothing(factor: float) -> None:
    network = seeded(MLP(4, (5,), hidden=(7, 6)))
    before = spectral_complexity(trained(network, 5)).value
    network.layers[0][0].weight.data *= factor
    network.layers[1][0].weight.data /= factor
    assert spectral_complexity(trained(network, 5)).value == pytest.approx(before, rel=1e-5)


@settings(deadline=None, derandomize=True, max_examples=15)
@given(st.floats(1e-2, 1e2))
def test_scaling_every_layer_adds_its_logarithm_once_a_layer(factor: float) -> None:
    network = seeded(MLP(4, (5,), hidden=(7, 6)))
    before = spectral_complexity(trained(network, 5)).value
    for name, parameter in network.named_parameters():
        if name.endswith("weight"):
            parameter.data *= factor
    after = spectral_complexity(trained(network, 5)).value
    assert after - before == pytest.approx(3 * math.log(factor), rel=1e-4, abs=1e-5)


def test_the_network_comes_back_untouched() -> None:
    network = seeded(with_norm(nn.BatchNorm2d(3), nn.ReLU())).train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    spectral_complexity(trained(network, 2, 3, 3))
    assert network.training
    assert all(not module._forward_hooks for module in network.modules())
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, before[name])


def test_the_frobenius_norm_runs_over_all_training_inputs() -> None:
    model = trained(nn.Sequential(nn.Flatten(), nn.Linear(12, 2)), 3, 4, num_examples=11)
    assert input_frobenius_norm(model) == pytest.approx(np.linalg.norm(model.train_data[0].double().numpy()))


class Uncalled(nn.Module):
    """Takes its inputs by keyword, and is never run."""

    def forward(self, mask: Tensor, inputs: Tensor) -> Tensor:
        raise AssertionError


def test_the_frobenius_norm_is_that_of_what_the_network_is_called_with() -> None:
    inputs = torch.randn(9, 4, generator=torch.Generator().manual_seed(0))
    batches = [{"x": inputs[i : i + 4], "labels": torch.zeros(len(inputs[i : i + 4]), dtype=int)} for i in (0, 4, 8)]
    model = TrainedModel(
        Uncalled(), batches, forward=lambda network, batch: network(mask=batch["x"] > 0, inputs=2 * batch["x"])
    )
    assert input_frobenius_norm(model) == pytest.approx(2 * float(inputs.norm()))


def test_inputs_that_are_no_numbers_have_no_norm() -> None:
    words = TrainedModel(Words(), (torch.arange(12).view(4, 3) % 9, torch.tensor([0, 1, 0, 1])))
    with pytest.raises(MeasureNotApplicableError) as caught:
        input_frobenius_norm(words)
    assert str(caught.value) == "the network's inputs are no floating-point tensor with a norm."


def test_margins_are_divided_by_complexity_and_mean_input_norm() -> None:
    margins = np.array([1.5, -2.0, 4.0])
    found = spectrally_normalized_margins(margins, math.log(6.0), 10.0)
    np.testing.assert_allclose(found, margins / (6.0 * 10.0 / 3))


def test_margins_stay_finite_where_the_complexity_itself_overflows() -> None:
    found = spectrally_normalized_margins(np.array([1e300, -1e300]), 720.0, 1.0)
    np.testing.assert_allclose(found, np.array([1.0, -1.0]) * math.exp(math.log(2) + 300 * math.log(10) - 720))


def test_normalized_margins_ignore_a_scaling_of_a_network_without_biases() -> None:
    network = seeded(MLP(2, (5,), hidden=(7, 6)))
    for name, parameter in network.named_parameters():
        if name.endswith("bias"):
            nn.init.zeros_(parameter)

    def normalized() -> np.ndarray:
        model = trained(network, 5)
        logits = network(model.train_data[0]).detach().double().numpy()
        return spectrally_normalized_margins(
            logits[:, 0] - logits[:, 1], spectral_complexity(model).value, input_frobenius_norm(model)
        )

    before = normalized()
    network.layers[1][0].weight.data *= 5.0
    np.testing.assert_allclose(normalized(), before, rtol=1e-4)


@pytest.mark.parametrize("norm", [nn.LayerNorm(4), nn.GroupNorm(2, 4), nn.GroupNorm(2, 4, affine=False)])
def test_refuses_norms_that_depend_on_the_example(norm):
    model = nn.Sequential(nn.Linear(3, 4), norm, nn.Linear(4, 2))
    data = (torch.randn(6, 3), torch.arange(6) % 2)
    with pytest.raises(MeasureNotApplicableError, match=r"also has weights in 1\."):
        spectral_complexity(TrainedModel(model, data))


def test_refuses_a_layer_that_is_used_twice():
    shared = nn.Linear(3, 3)
    model = nn.Sequential(shared, nn.ReLU(), shared, nn.Linear(3, 2))
    data = (torch.randn(6, 3), torch.arange(6) % 2)
    with pytest.raises(MeasureNotApplicableError, match="layers that are used once, but 0 is called again"):
        spectral_complexity(TrainedModel(model, data))
