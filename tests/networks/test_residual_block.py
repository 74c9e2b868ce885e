from functools import partial

import pytest
import torch
from torch import nn

from networks.tensorflow_style import batch_norm, same_convolution, shaken
from widemargin.networks.residual_block import PooledShortcut, ResidualBlock

IMAGES = torch.randn(2, 4, 6, 6, generator=torch.Generator().manual_seed(0))


def block(*args, **options) -> nn.Module:
    torch.manual_seed(1)
    return shaken(ResidualBlock(*args, norm=nn.BatchNorm2d, **options))


def residual(block, images, stride, slope):
    activate = partial(torch.nn.functional.leaky_relu, negative_slope=slope)
    first = activate(batch_norm(images, block.norm1, 1e-5))
    hidden = activate(batch_norm(same_convolution(first, block.conv1, stride), block.norm2, 1e-5))
    return first, same_convolution(hidden, block.conv2, 1)


@pytest.mark.parametrize("slope", [0.0, 0.1])
def test_adds_what_came_in(slope):
    module = block(4, 4, negative_slope=slope)
    torch.testing.assert_close(module(IMAGES), IMAGES + residual(module, IMAGES, 1, slope)[1], rtol=1e-4, atol=1e-5)


def test_an_activated_shortcut_starts_behind_the_first_norm_and_relu():
    module = block(4, 4, shortcut_is_activated=True)
    first, added = residual(module, IMAGES, 1, 0)
    torch.testing.assert_close(module(IMAGES), first + added, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("size", [6, 5])
def test_halves_images_of_even_and_odd_size(size):
    module = block(4, 7, 2, shortcut=PooledShortcut(3, 2))
    images = IMAGES[:, :, :size, :size]
    expected = residual(module, images, 2, 0)[1]
    expected[:, 1:5] += nn.functional.avg_pool2d(images, 2, ceil_mode=True)
    torch.testing.assert_close(module(images), expected, rtol=1e-4, atol=1e-5)
    assert module(images).shape == (2, 7, 3, 3)


def test_a_pooled_shortcut_takes_means_and_puts_empty_channels_around():
    found = PooledShortcut(3, 2)(torch.arange(1.0, 19).view(1, 2, 3, 3))[0]
    assert found[[0, 3, 4]].abs().max() == 0
    torch.testing.assert_close(found[1], torch.tensor([[3, 4.5], [7.5, 9]]))
    torch.testing.assert_close(found[2], torch.tensor([[3, 4.5], [7.5, 9]]) + 9)


def test_what_comes_in_stays_as_it_is():
    images = IMAGES.clone()
    block(4, 4)(images)
    assert torch.equal(images, IMAGES)
