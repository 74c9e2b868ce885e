"""Multilayer perceptron."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import pairwise
from math import prod
from typing import Any, Literal, TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor, nn

from widemargin.errors import InvalidInputError

__all__ = ["MLP", "SWISS_ROLL_HIDDEN", "Initialization"]

Initialization: TypeAlias = Literal["he", "glorot"]
INITIALIZATIONS: Mapping[str, Callable[[Tensor], Any]] = {
    "he": partial(nn.init.kaiming_normal_, nonlinearity="relu"),
    "glorot": nn.init.xavier_uniform_,
}

SWISS_ROLL_HIDDEN = (23, 16, 26, 32, 28, 31)
"""Hidden units of the network of Huang et al. 2019 for the swiss roll: 3,614 parameters with one logit."""


class MLP(nn.Module):
    """Linear layers with optional BatchNorm, a ReLU and dropout between them; inputs are flattened.

    Args:
        num_classes: How many classes there are.
        input_shape: Shape of one input.
        hidden: Units of each hidden layer.
        batch_norm: Whether each hidden layer is followed by BatchNorm.
        dropout: Share of hidden activations dropped while training.
        one_logit: Whether two classes are told apart by one logit, that of the second class.
        initialization: ``"he"`` draws weights from He's normal distribution, ``"glorot"`` from Glorot's uniform one.

    Raises:
        InvalidInputError: A layer without units, a dropout that is no share, one logit for other than two classes,
            or an unknown initialization.
    """

    def __init__(
        self,
        num_classes: int = 10,
        input_shape: Sequence[int] = (1, 28, 28),
        *,
        hidden: Sequence[int] = (128, 128, 128),
        batch_norm: bool = False,
        dropout: float = 0.0,
        one_logit: bool = False,
        initialization: Initialization = "he",
    ) -> None:
        super().__init__()
        if one_logit and num_classes != 2:
            raise InvalidInputError(f"one logit tells 2 classes apart, got {num_classes}. Use one_logit=False.")
        if initialization not in INITIALIZATIONS:
            raise InvalidInputError(
                f"initialization must be one of {', '.join(INITIALIZATIONS)}, got {initialization!r}."
            )
        if any(units < 1 for units in hidden):
            raise InvalidInputError(f"hidden layers must have at least one unit each, got {list(hidden)}.")
        if not 0 <= dropout < 1:
            raise InvalidInputError(f"dropout must be a share from 0 to below 1, got {dropout}.")
        self.layers = nn.ModuleList()
        for fan_in, fan_out in pairwise([prod(input_shape), *hidden]):
            linear = nn.Linear(fan_in, fan_out)
            INITIALIZATIONS[initialization](linear.weight)
            nn.init.zeros_(linear.bias)
            self.layers.append(nn.Sequential(linear, nn.BatchNorm1d(fan_out) if batch_norm else nn.Identity()))
        self.activation = nn.ReLU()
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear([prod(input_shape), *hidden][-1], 1 if one_logit else num_classes)
        if initialization == "glorot":
            nn.init.xavier_uniform_(self.head.weight)
            nn.init.zeros_(self.head.bias)
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

    @property
    def can_be_stacked(self) -> bool:
        """Whether :meth:`stacked_forward` does what the network does."""
        kinds = [type(part) for layer in self.layers for part in layer.children()]
        is_plain = kinds == [nn.Linear, nn.Identity] * len(self.layers) and type(self.head) is nn.Linear
        drops = not isinstance(self.dropout, nn.Dropout) or self.dropout.p > 0
        return is_plain and type(self.activation) is nn.ReLU and not drops

    def stacked_forward(
        self, parameters: Mapping[str, Tensor], inputs: Float[Tensor, "..."], *, are_shared: bool
    ) -> Float[Tensor, "networks examples classes"]:
        """Return the logits of many networks of this shape at once, in half the time that vectorizing takes.

        Only without BatchNorm, and without dropout as in evaluation.

        Args:
            parameters: Stacked tensors by name, the networks as their first dimension.
            inputs: Examples, one set for all networks or one for each.
            are_shared: Whether it is one set for all.
        """
        num_networks = len(parameters["head.bias"])
        hidden = inputs.flatten(1 if are_shared else 2).mT.expand(num_networks, -1, -1)  # features first: faster
        for index in range(len(self.layers)):
            name = f"layers.{index}.0"
            bias, weight = parameters[f"{name}.bias"].unsqueeze(2), parameters[f"{name}.weight"]
            hidden = torch.baddbmm(bias, weight, hidden).relu_()
        logits: Tensor = torch.baddbmm(parameters["head.bias"].unsqueeze(2), parameters["head.weight"], hidden).mT
        return logits
