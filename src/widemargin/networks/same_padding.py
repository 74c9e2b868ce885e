"""TensorFlow's SAME padding, which PyTorch has at stride 1 only."""

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  # the name everyone knows it by

__all__ = ["SameConv2d", "same_padding"]


def same_padding(size: int, kernel_size: int, stride: int) -> tuple[int, int]:
    """Return how many zeros stand before and behind an axis so that ⌈size / stride⌉ windows fit [pixels].

    An odd one goes behind: a kernel of 3 at stride 2 pads an even size at its end only.

    Source: TensorFlow's documentation of ``tf.nn``, "Notes on padding".

    Example:
        >>> same_padding(32, kernel_size=3, stride=2), same_padding(7, kernel_size=3, stride=2)
        ((0, 1), (1, 1))
    """
    total = max((-(-size // stride) - 1) * stride + kernel_size - size, 0)
    return total // 2, total - total // 2


class SameConv2d(nn.Conv2d):
    """A convolution with a square kernel of odd size and TensorFlow's SAME padding.

    Args:
        in_channels: Channels that come in.
        out_channels: Filters.
        kernel_size: Height and width of the kernel, odd [pixels].
        stride: Stride along both axes [pixels].
        bias: Whether filters have biases.

    Example:
        >>> import torch
        >>> SameConv2d(3, 5, 3, stride=2)(torch.zeros(1, 3, 7, 7)).shape
        torch.Size([1, 5, 4, 4])
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int, stride: int = 1, *, bias: bool = True
    ) -> None:
        padding = kernel_size // 2 if stride == 1 else 0  # by the convolution itself: no padded copy is made
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, bias=bias)

    def forward(
        self, images: Float[Tensor, "examples channels height width"]
    ) -> Float[Tensor, "examples filters rows columns"]:
        """Return the convolved images, ⌈height / stride⌉ by ⌈width / stride⌉."""
        kernel_size, stride = self.kernel_size[0], self.stride[0]
        if stride > 1:
            height, width = images.shape[2:]
            sides = (*same_padding(width, kernel_size, stride), *same_padding(height, kernel_size, stride))
            if any(sides):
                images = F.pad(images, sides)
        return super().forward(images)
