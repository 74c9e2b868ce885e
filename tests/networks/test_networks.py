"""What every network that takes images keeps to."""

import copy

import pytest
import torch
from torch import nn

from networks.tensorflow_style import shaken
from widemargin import TrainedModel, basin_radii, margin_distribution, networks, top_eigenvalues
from widemargin.errors import InvalidInputError, MeasureNotApplicableError
from widemargin.layers import choose_layers
from widemargin.measures import performance, spectral_complexity
from widemargin.parameters import ParameterSpace

CASES = {
    "nin": {"name": "nin", "width": 8 / 192},
    "nin without BatchNorm": {"name": "nin", "width": 8 / 192, "batch_norm": False},
    "resnet20": {"name": "resnet20", "width": 0.25},
    "resnet32": {"name": "resnet32", "width": 0.25},
    "resnet32 with group norm": {"name": "resnet32", "width": 0.25, "norm": "group"},
}


@pytest.fixture(params=CASES.values(), ids=CASES.keys())
def network(request) -> nn.Module:
    return networks.build(num_classes=4, input_shape=(2, 16, 16), seed=0, **request.param)


@pytest.fixture
def images() -> torch.Tensor:
    return torch.randn(8, 2, 16, 16, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def trained(network, images) -> TrainedModel:
    return TrainedModel(shaken(network), (images, torch.arange(8) % 4))


def test_margins_are_measured_at_the_input_and_three_hidden_points(trained):
    found = margin_distribution(trained)
    assert found.layers == trained.network.margin_layers
    assert len(found.layers) == 4
    assert found.distances.shape == (8, 4)
    assert (found.distances != 0).all()
    assert (found.total_variation > 0).all()


def test_points_are_found_without_being_named_too(trained):
    named = choose_layers(trained, "*").names
    trained.network.margin_layers = "auto"
    found = choose_layers(trained).names
    assert len(found) == 4
    assert found[0] == "input"
    assert set(found) <= set(named)
    inside = ("norm2", "conv2.", "shortcut") if hasattr(trained.network, "stages") else ()
    assert not [name for name in found if name.endswith(inside or "?")]


@pytest.mark.parametrize("is_training", [True, False])
def test_gradients_reach_every_parameter_at_initialization(network, images, is_training):
    network.train(is_training)(images).logsumexp(1).sum().backward()
    stuck = [name for name, parameter in network.named_parameters() if not (parameter.grad != 0).any()]
    assert stuck == []


def test_the_layout_of_memory_changes_nothing(network, images):
    network = shaken(network)
    expected = network(images)
    network.to(memory_format=torch.channels_last)
    found = network(images.contiguous(memory_format=torch.channels_last))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_evaluation_is_deterministic_and_each_example_on_its_own(network, images):
    network.train()(images)  # moves running statistics
    network.eval()
    before = copy.deepcopy(network.state_dict())
    logits = network(images)
    assert torch.equal(network(images), logits)
    torch.testing.assert_close(network(images[3:4])[0], logits[3], rtol=1e-4, atol=1e-5)
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name])


def test_its_state_makes_another_the_same(network, images):
    other = copy.deepcopy(network)
    for parameter in other.parameters():
        nn.init.ones_(parameter)
    shaken(network)
    other.load_state_dict(network.state_dict())
    assert torch.equal(other.eval()(images), network(images))


def test_spectral_complexity_is_a_number_or_not_applicable(trained):
    if any(isinstance(module, nn.GroupNorm) for module in trained.network.modules()):
        with pytest.raises(MeasureNotApplicableError, match=r"also has weights in .*norm1"):
            spectral_complexity(trained)
    else:
        found = spectral_complexity(trained)
        assert torch.isfinite(torch.tensor(found.value))
        kernels = [name for name, module in trained.network.named_modules() if isinstance(module, nn.Conv2d)]
        assert set(kernels) <= set(found.per_layer)


def test_the_top_eigenvalue_is_the_curvature_along_its_vector(trained):
    network, (images, labels) = trained.network, trained.train_data
    found = top_eigenvalues(trained, tolerance=1e-2)
    space = ParameterSpace.of(network)

    def loss_at(point):
        return nn.functional.cross_entropy(torch.func.functional_call(network, space.named(point), images), labels)

    vector = found.vectors[0].float()
    (product,) = torch.func.vjp(torch.func.grad(loss_at), space.flat(network))[1](vector)
    assert found.has_converged
    assert found.values[0] == pytest.approx((product @ vector).item(), rel=1e-3)


def test_basins_have_radii(trained):
    loss = performance(trained).loss
    found = basin_radii(trained, cutoffs=(2 * loss,), num_directions=2)
    assert found.radii.shape == (4, 1)
    assert (found.radii > 0).all()
    assert found.num_not_finite == 0


def test_many_points_at_once_are_each_alone(network, images):
    network = shaken(network)
    space = ParameterSpace.of(network)
    points = torch.stack([space.flat(network), 1.1 * space.flat(network)])
    found = networks.stacked_logits(network, space, points, images, are_shared=True)
    torch.testing.assert_close(found[0], network(images), rtol=1e-3, atol=1e-4)
    assert not torch.allclose(found[1], found[0])


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_a_seed_is_a_network(case):
    made = [networks.build(num_classes=3, input_shape=(1, 8, 8), seed=seed, **case) for seed in (1, 1, 2)]
    flat = [ParameterSpace.of(network).flat(network) for network in made]
    assert torch.equal(flat[0], flat[1])
    assert not torch.equal(flat[0], flat[2])


@pytest.mark.parametrize("name", ["nin", "resnet20", "resnet32"])
@pytest.mark.parametrize("input_shape", [[4], [3, 8, 9], [8, 8]])
def test_images_must_be_square(name, input_shape):
    with pytest.raises(InvalidInputError) as caught:
        networks.build(name, num_classes=3, input_shape=input_shape, seed=0)
    assert str(caught.value) == f"{name} needs square images [channels, size, size], got {input_shape}."


def test_an_unknown_network_is_refused():
    with pytest.raises(InvalidInputError, match="must be one of mlp, nin, resnet20, resnet32, got 'vgg'"):
        networks.build("vgg", num_classes=3, input_shape=(4,), seed=0)
