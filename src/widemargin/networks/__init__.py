"""Networks by name."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from widemargin.errors import InvalidInputError
from widemargin.networks.mlp import MLP, SWISS_ROLL_HIDDEN, Initialization
from widemargin.networks.nin import NiN
from widemargin.networks.resnet import Norm, ResNet20, ResNet32
from widemargin.networks.stacking import has_stacked_forward, stacked_logits

__all__ = [
    "MLP",
    "NETWORKS",
    "SWISS_ROLL_HIDDEN",
    "Initialization",
    "NiN",
    "Norm",
    "ResNet20",
    "ResNet32",
    "build",
    "has_stacked_forward",
    "stacked_logits",
]

NETWORKS: Mapping[str, type[nn.Module]] = {
    "mlp": MLP,
    "nin": NiN,
    "resnet20": ResNet20,
    "resnet32": ResNet32,
}


def build(name: str, *, num_classes: int, input_shape: Sequence[int], seed: int, **options: Any) -> nn.Module:
    """Return a freshly initialized network.

    Args:
        name: A key of ``NETWORKS``.
        num_classes: How many classes there are.
        input_shape: Shape of one input; channels, height and width for an image.
        seed: Seed of the initial parameters; torch's own random state stays as it is.
        **options: The network's own keywords.

    Raises:
        InvalidInputError: No such network, or inputs that it cannot take.
    """
    if name not in NETWORKS:
        raise InvalidInputError(f"network must be one of {', '.join(NETWORKS)}, got {name!r}.")
    sizes: dict[str, Any] = {"input_shape": input_shape}
    if name != "mlp":
        if len(input_shape) != 3 or input_shape[1] != input_shape[2]:
            raise InvalidInputError(f"{name} needs square images [channels, size, size], got {list(input_shape)}.")
        sizes = {"in_channels": input_shape[0]}
        if name == "nin":  # the others take the mean over the image
            sizes["image_size"] = input_shape[1]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return NETWORKS[name](num_classes=num_classes, **sizes, **options)
