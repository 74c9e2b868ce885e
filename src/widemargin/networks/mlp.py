"""Multilayer perceptron."""

from collections.abc import Sequence
from itertools import pairwise
from math import prod

from jaxtyping import Float
from torch import Tensor, nn

from widemargin.errors import InvalidInputError

__all__ = ["MLP"]


class MLP(nn.Module):
    """Linear layers with optional BatchNorm, a ReLU and dropout between them; inputs are flattened.

    Args:
        num_classes: How many classes there are.
        input_shape: Shape of one input.
        hidden: Units of each hidden layer.
        batch_norm: Whether each hidden layer is followed by BatchNorm.
        dropout: Share of hidden activations dropped while training.

    Raises:
        InvalidInputError: A layer without units, or a dropout that is no share.
    """

    def __init__(
        self,
        num_classes: int = 10,
        input_shape: Sequence[int] = (1, 28, 28),
        *,
        hidden: Sequence[int] = (128, 128, 128),
        batch_norm: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if any(units < 1 for units in hidden):
            raise InvalidInputError(f"hidden layers must have at least one unit each, got {list(hidden)}.")
        if not 0 <= dropout < 1:
            raise InvalidInputError(f"dropout must be a share from 0 to below 1, got {dropout}.")
        self.layers = nn.ModuleList()
        for fan_in, fan_out in pairwise([prod(input_shape), *hidden]):
            linear = nn.Linear(fan_in, fan_out)
            nn.init.kaiming_normal_(linear.weight, nonlinearity="relu")
            nn.init.zeros_(linear.bias)
            self.layers.append(nn.Sequential(linear, nn.BatchNorm1d(fan_out) if batch_norm else nn.Identity()))
        self.activation = nn.ReLU()
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear([prod(input_shape), *hidden][-1], num_classes)
        num_points = min(3, len(hidden))
        points = sorted({round((len(hidden) + 1) * k / (num_points + 1)) for k in range(1, num_points + 1)})
        self.margin_layers = ("input", *(f"layers.{point - 1}" for point in points))

    def forward(self, inputs: Float[Tensor, "examples ..."]) -> Float[Tensor, "examples classes"]:
        """Return the logits."""
        hidden = inputs.flatten(1)
        for layer in self.layers:
            hidden = self.dropout(self.activation(layer(hidden)))
        logits: Tensor = self.head(hidden)
        return logits
