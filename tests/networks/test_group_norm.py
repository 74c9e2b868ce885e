import pytest
import torch
from torch.func import functional_call, vmap

from networks.tensorflow_style import group_norm, shaken
from widemargin.networks.group_norm import GroupNorm2d

LAYOUTS = {"plain": torch.contiguous_format, "channels-last": torch.channels_last}


@pytest.fixture(params=LAYOUTS.values(), ids=LAYOUTS.keys())
def images(request) -> torch.Tensor:
    images = torch.randn(3, 40, 5, 5, generator=torch.Generator().manual_seed(0))
    return images.contiguous(memory_format=request.param)


@pytest.mark.parametrize(
    ("num_channels", "num_groups"), [(1, 1), (8, 8), (16, 16), (32, 32), (256, 32), (40, 20), (37, 1)]
)
def test_has_min_32_channels_groups_or_the_most_that_divide_the_channels(num_channels, num_groups):
    assert GroupNorm2d(num_channels).num_groups == num_groups


def test_each_group_has_mean_0_and_variance_1_before_it_is_scaled(images):
    norm = shaken(GroupNorm2d(40))
    torch.testing.assert_close(norm(images), group_norm(images, norm, 20))


def test_epsilon_keeps_a_constant_group_finite():
    assert GroupNorm2d(4).eps == 1e-6
    assert (GroupNorm2d(4)(torch.full((2, 4, 3, 3), 7.0)) == 0).all()


def test_images_keep_their_layout(images):
    assert GroupNorm2d(40)(images).stride() == images.stride()


def test_gradients_are_those_of_the_definition(images):
    norm, images = shaken(GroupNorm2d(40)).double(), images.double().requires_grad_()
    leaves = (images, norm.weight, norm.bias)
    found = torch.autograd.grad(norm(images).sin().sum(), leaves)
    torch.testing.assert_close(found, torch.autograd.grad(group_norm(images, norm, 20).sin().sum(), leaves))


def test_many_are_evaluated_at_once(images):
    norm = shaken(GroupNorm2d(40))
    stacked = {name: torch.stack([value, 2 * value]) for name, value in norm.named_parameters()}
    found = vmap(lambda parameters: functional_call(norm, parameters, images))(stacked)
    torch.testing.assert_close(found[1], 2 * norm(images))
