"""Network in Network with the block structure of the margin-distribution paper."""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  # the name everyone knows it by

from widemargin.errors import InvalidInputError
from widemargin.networks.same_padding import SameConv2d

__all__ = ["NiN"]

PAPER_CHANNELS = 192


class NiN(nn.Module):
    """Three blocks of a 3x3 and two 1x1 convolutions, then one convolution over what is left.

    Each convolution has a bias, optional BatchNorm and a ReLU; dropout follows each block. Padding is
    TensorFlow's SAME: at stride 2 on an even size it pads right and bottom only.

    Source: the paper's published code (Jiang et al. 2019). Ours are the kernels, drawn from He's normal distribution
    where the code leaves TensorFlow's Glorot uniform one, and BatchNorm's epsilon of 1e-5 and momentum of .1, where
    it leaves 1e-3 and TensorFlow's .99.

    Args:
        num_classes: How many classes there are.
        in_channels: Channels of the images.
        image_size: Height and width of the images [pixels].
        width: Filters per convolution in units of the paper's 192.
        batch_norm: Whether each convolution is followed by BatchNorm.
        dropout: Share of activations dropped behind each block while training.
        strides: Stride of each block's 3x3 convolution.

    Raises:
        InvalidInputError: No filter is left, or the dropout is no share.
    """

    margin_layers = ("input", "blocks.0.conv3", "blocks.1.conv3", "blocks.2.conv3")

    def __init__(
        self,
        num_classes: int = 10,
        in_channels: int = 3,
        image_size: int = 32,
        *,
        width: float = 1.0,
        batch_norm: bool = True,
        dropout: float = 0.0,
        strides: Sequence[int] = (2, 2, 2),
    ) -> None:
        super().__init__()
        num_filters = int(PAPER_CHANNELS * width)
        if num_filters < 1:
            raise InvalidInputError(
                f"width must leave at least one filter, got {width} (192 x {width} rounds down to 0). "
                f"Use at least {1 / PAPER_CHANNELS:.4f}."
            )
        if not 0 <= dropout < 1:
            raise InvalidInputError(f"dropout must be a share from 0 to below 1, got {dropout}.")
        self.blocks = nn.ModuleList()
        channels, size = in_channels, image_size
        for stride in strides:
            self.blocks.append(NiNBlock(channels, num_filters, stride, batch_norm=batch_norm, dropout=dropout))
            channels, size = num_filters, -(-size // stride)
        self.head = nn.Conv2d(num_filters, num_classes, size)
        nn.init.kaiming_normal_(self.head.weight, nonlinearity="linear")
        nn.init.zeros_(self.head.bias)  # type: ignore[arg-type]  # Conv2d has a bias here

    def forward(self, images: Float[Tensor, "examples channels height width"]) -> Float[Tensor, "examples classes"]:
        """Return the logits."""
        for block in self.blocks:
            images = block(images)
        logits: Tensor = self.head(images)
        return logits.flatten(1)


class NiNBlock(nn.Module):
    """A 3x3 convolution and two 1x1 convolutions; ``conv3`` is the margin point, in front of its ReLU."""

    def __init__(self, in_channels: int, num_filters: int, stride: int, *, batch_norm: bool, dropout: float) -> None:
        super().__init__()
        self.conv1 = _convolution(in_channels, num_filters, 3, stride, batch_norm=batch_norm)
        self.conv2 = _convolution(num_filters, num_filters, 1, 1, batch_norm=batch_norm)
        self.conv3 = _convolution(num_filters, num_filters, 1, 1, batch_norm=batch_norm)
        self.dropout = nn.Dropout(dropout)

    def forward(self, images: Tensor) -> Tensor:
        """Return the block's activations."""
        hidden = F.relu(self.conv2(F.relu(self.conv1(images))))
        activations: Tensor = self.dropout(F.relu(self.conv3(hidden)))
        return activations


def _convolution(in_channels: int, num_filters: int, size: int, stride: int, *, batch_norm: bool) -> nn.Sequential:
    convolution = SameConv2d(in_channels, num_filters, size, stride)
    nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
    nn.init.zeros_(convolution.bias)  # type: ignore[arg-type]  # Conv2d has a bias here
    return nn.Sequential(convolution, nn.BatchNorm2d(num_filters) if batch_norm else nn.Identity())
