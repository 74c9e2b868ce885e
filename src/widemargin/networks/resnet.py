"""The pre-activation residual networks of the two papers."""

from collections.abc import Callable, Mapping
from functools import partial
from math import sqrt
from typing import Literal, TypeAlias

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  # the name everyone knows it by

from widemargin.errors import InvalidInputError
from widemargin.networks.group_norm import GroupNorm2d
from widemargin.networks.residual_block import PooledShortcut, ResidualBlock
from widemargin.networks.same_padding import SameConv2d

__all__ = ["Norm", "ResNet20", "ResNet32"]

Norm: TypeAlias = Literal["batch", "group"]

PAPER_CHANNELS = 16
NEGATIVE_SLOPE = 0.1
NORMS: Mapping[str, Callable[[int], nn.Module]] = {
    "batch": partial(nn.BatchNorm2d, eps=1e-5, momentum=0.003),  # TensorFlow's .997 is the share that is kept
    "group": GroupNorm2d,
}
TRUNCATED_STD = 0.87962566103423978  # of a standard normal variable that is cut at ±2


class ResNet32(nn.Module):
    """Three stages of five pre-activation blocks, the first of each with a 1x1 projection as its shortcut.

    A 3x3 convolution without a norm; the stages, of which the second and the third halve the image and double the
    filters; norm, ReLU, mean over the image, linear head. The margin points are the input and the three stages'
    outputs. BatchNorm's running statistics move by .3 % a step, so train for 1,000 steps or more: after 150 steps,
    a network of width .25 was right on 99.8 % of the digits with their own statistics, on 34 % with the running ones.

    Source: the paper's published code (Jiang et al. 2019), constants of norms and initialization included: kernels
    come from a normal distribution cut at two standard deviations, of variance 1 / fan-in, the head from Glorot's
    uniform one. At stride 2 it pads one pixel on every side, where NiN has TensorFlow's SAME.

    Args:
        num_classes: How many classes there are.
        in_channels: Channels of the images, whose size is free.
        width: Filters in units of the paper's 16, 32 and 64.
        norm: ``"batch"``; or ``"group"`` with min(32, channels) groups, where that divides the channels.

    Raises:
        InvalidInputError: No filter is left, or an unknown norm.

    Example:
        >>> import torch
        >>> ResNet32(100, width=0.25, norm="group")(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2, 100])
    """

    margin_layers = ("input", "stages.0", "stages.1", "stages.2")

    def __init__(
        self, num_classes: int = 10, in_channels: int = 3, *, width: float = 1.0, norm: Norm = "batch"
    ) -> None:
        super().__init__()
        if norm not in NORMS:
            raise InvalidInputError(f"norm must be one of {', '.join(NORMS)}, got {norm!r}.")
        make_norm, channels = NORMS[norm], _num_filters(width)
        self.stem = SameConv2d(in_channels, channels, 3, bias=False)
        self.stages = nn.ModuleList()
        for filters, stride in zip((channels, 2 * channels, 4 * channels), (1, 2, 2), strict=True):
            projection = SameConv2d(channels, filters, 1, stride, bias=False)
            first = ResidualBlock(
                channels,
                filters,
                stride,
                norm=make_norm,
                pads_evenly=True,
                shortcut=projection,
                shortcut_is_activated=True,
            )
            self.stages.append(
                nn.Sequential(first, *(ResidualBlock(filters, filters, norm=make_norm) for _ in range(4)))
            )
            channels = filters
        self.norm = make_norm(channels)
        self.head = nn.Linear(channels, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                std = 1 / sqrt(module.weight[0].numel()) / TRUNCATED_STD
                nn.init.trunc_normal_(module.weight, std=std, a=-2 * std, b=2 * std)
        _initialize_head(self.head)

    def forward(self, images: Float[Tensor, "examples channels height width"]) -> Float[Tensor, "examples classes"]:
        """Return the logits."""
        hidden = self.stem(images)
        for stage in self.stages:
            hidden = stage(hidden)
        logits: Tensor = self.head(F.relu(self.norm(hidden)).mean((2, 3)))
        return logits


class ResNet20(nn.Module):
    """Three stages of three pre-activation blocks with leaky ReLUs, and shortcuts without parameters.

    A 3x3 convolution without a norm; the stages, of which the second and the third halve the image and double the
    filters; BatchNorm, leaky ReLU, mean over the image, linear head. A shortcut takes means over 2x2 pixels and puts
    half of the new, empty channels before and half behind the old ones. In the very first block it starts behind
    BatchNorm and leaky ReLU, so that the stem's output goes nowhere else. The margin points are the input and the
    three stages' outputs.

    With RGB images and 10 classes it has 269,722 parameters: 267,696 in convolutions without biases, 1,376 in 19
    BatchNorms and 650 in the head, as follows from 19 convolutions, a norm before each but the stem and one before
    the head, with no weight in any shortcut.

    Source: the published code of Huang et al. 2019 (arXiv 1906.03291), BatchNorm's constants, TensorFlow's SAME
    padding and the initialization included: kernels from He's normal distribution by fan-out, the head from Glorot's
    uniform one. Ours is what ``width`` does: it scales the stem too, which stays at 16 filters there.

    Args:
        num_classes: How many classes there are.
        in_channels: Channels of the images, whose size is free.
        width: Filters in units of the paper's 16, 16, 32 and 64.

    Raises:
        InvalidInputError: No filter is left.

    Example:
        >>> sum(parameter.numel() for parameter in ResNet20().parameters())
        269722
    """

    margin_layers = ("input", "stages.0", "stages.1", "stages.2")

    def __init__(self, num_classes: int = 10, in_channels: int = 3, *, width: float = 1.0) -> None:
        super().__init__()
        channels = _num_filters(width)
        make_norm = partial(nn.BatchNorm2d, eps=1e-3, momentum=0.1)
        make_block = partial(ResidualBlock, norm=make_norm, negative_slope=NEGATIVE_SLOPE)
        self.stem = SameConv2d(in_channels, channels, 3, bias=False)
        self.stages = nn.ModuleList()
        for filters, stride in zip((channels, 2 * channels, 4 * channels), (1, 2, 2), strict=True):
            if stride == 1:
                first = make_block(channels, filters, shortcut_is_activated=True)
            else:
                first = make_block(channels, filters, stride, shortcut=PooledShortcut(filters - channels, stride))
            self.stages.append(nn.Sequential(first, *(make_block(filters, filters) for _ in range(2))))
            channels = filters
        self.norm = make_norm(channels)
        self.head = nn.Linear(channels, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        _initialize_head(self.head)

    def forward(self, images: Float[Tensor, "examples channels height width"]) -> Float[Tensor, "examples classes"]:
        """Return the logits."""
        hidden = self.stem(images)
        for stage in self.stages:
            hidden = stage(hidden)
        logits: Tensor = self.head(F.leaky_relu(self.norm(hidden), NEGATIVE_SLOPE).mean((2, 3)))
        return logits


def _num_filters(width: float) -> int:
    """Return the filters of the first stage."""
    num_filters = int(PAPER_CHANNELS * width)
    if num_filters < 1:
        raise InvalidInputError(
            f"width must leave at least one filter, got {width} (16 x {width} rounds down to 0). "
            f"Use at least {1 / PAPER_CHANNELS}."
        )
    return num_filters


def _initialize_head(head: nn.Linear) -> None:
    nn.init.xavier_uniform_(head.weight)
    nn.init.zeros_(head.bias)
