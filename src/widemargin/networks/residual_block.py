"""The pre-activation residual block that both residual networks are made of."""

from collections.abc import Callable
from functools import partial

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  # the name everyone knows it by

from widemargin.networks.same_padding import SameConv2d

__all__ = ["PooledShortcut", "ResidualBlock"]


class ResidualBlock(nn.Module):
    """Twice a norm, a ReLU and a 3x3 convolution without bias; the shortcut is added behind them.

    Args:
        in_channels: Channels that come in.
        out_channels: Filters of both convolutions.
        stride: Stride of the first one [pixels].
        norm: Makes the norm of so many channels.
        pads_evenly: Whether one pixel is padded on every side at stride 2 too, instead of TensorFlow's SAME.
        negative_slope: Slope of the ReLU below 0.
        shortcut: What is done to that which is added.
        shortcut_is_activated: Whether the shortcut starts behind the first norm and ReLU, not before them.

    Source: He et al. 2016 (arXiv 1603.05027), figure 4 (e).
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        stride: int = 1,
        *,
        norm: Callable[[int], nn.Module],
        pads_evenly: bool = False,
        negative_slope: float = 0.0,
        shortcut: nn.Module | None = None,
        shortcut_is_activated: bool = False,
    ) -> None:
        super().__init__()
        self.norm1 = norm(in_channels)
        convolution = partial(nn.Conv2d, padding=1) if pads_evenly else SameConv2d
        self.conv1 = convolution(in_channels, out_channels, 3, stride, bias=False)
        self.norm2 = norm(out_channels)
        self.conv2 = SameConv2d(out_channels, out_channels, 3, bias=False)
        self.shortcut = nn.Identity() if shortcut is None else shortcut
        self.negative_slope = negative_slope
        self.shortcut_is_activated = shortcut_is_activated

    def forward(
        self, images: Float[Tensor, "examples channels height width"]
    ) -> Float[Tensor, "examples filters rows columns"]:
        """Return the sum of the residual and the shortcut."""
        activated = F.leaky_relu(self.norm1(images), self.negative_slope)
        shortcut: Tensor = self.shortcut(activated if self.shortcut_is_activated else images)
        hidden = F.leaky_relu(self.norm2(self.conv1(activated)), self.negative_slope)
        residual: Tensor = self.conv2(hidden)
        return residual + shortcut


class PooledShortcut(nn.Module):
    """A shortcut without parameters: means over squares of pixels, empty channels around those that came in.

    Args:
        num_added: How many channels to add; an odd one goes behind.
        stride: Height and width of a square; at the edge, what is left of it [pixels].
    """

    def __init__(self, num_added: int, stride: int) -> None:
        super().__init__()
        self.num_added, self.stride = num_added, stride

    def forward(
        self, images: Float[Tensor, "examples channels height width"]
    ) -> Float[Tensor, "examples filters rows columns"]:
        """Return the smaller images."""
        before = self.num_added // 2
        pooled = F.avg_pool2d(images, self.stride, ceil_mode=True)
        return F.pad(pooled, (0, 0, 0, 0, before, self.num_added - before))
