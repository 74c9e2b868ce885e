"""What the layers of a network make of a sample: how far examples lie apart, and where other classes begin."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from widemargin.errors import LayerNotFoundError, MeasureNotApplicableError
from widemargin.layers import INPUT, choose_layers, tapped
from widemargin.margins import output_margins
from widemargin.trained_model import TrainedModel, checked_logits

__all__ = ["Features", "sampled_features", "squared_distances"]

CHUNK_UNITS = 2**14
"""How many units of a layer are taken to double precision at once."""


@dataclass(frozen=True, eq=False)
class Features:
    """A sample as the layers of a network see it.

    Attributes:
        labels: Label of each example.
        output_margins: f_y − max_{k≠y} f_k of each example [logits].
        squared_distances: ‖x_i − x_j‖² at each hidden layer, in the order of the forward pass.
        inputs: The examples themselves; ``None`` where they are no floating-point numbers.
        input_gradients: Gradient of the output margin by the input; ``None`` likewise.
    """

    labels: Int[Tensor, " examples"]
    output_margins: Float[Tensor, " examples"]
    squared_distances: Mapping[str, Float[Tensor, "examples examples"]]
    inputs: Float[Tensor, "examples inputs"] | None
    input_gradients: Float[Tensor, "examples inputs"] | None


def sampled_features(sample: TrainedModel) -> Features:
    """Return what the layers that margins are taken at make of the training data, in one pass.

    Args:
        sample: The network with few enough examples to compare each with every other.

    Raises:
        MeasureNotApplicableError: The network has no layers that margins can be taken at, or ones whose size depends
            on the batch.

    Example:
        >>> net = torch.nn.Sequential(torch.nn.Linear(2, 5), torch.nn.ReLU(), torch.nn.Linear(5, 3))
        >>> features = sampled_features(TrainedModel(net, (torch.randn(6, 2), torch.arange(6) % 3)))
        >>> {layer: tuple(squared.shape) for layer, squared in features.squared_distances.items()}
        {'1': (6, 6)}
    """
    try:
        names = choose_layers(sample).names
    except LayerNotFoundError as error:
        raise MeasureNotApplicableError(str(error)) from error
    found: dict[str, list[Tensor]] = defaultdict(list)
    labels, margins, gradients = [], [], []
    with sample.borrowed() as network, tapped(network, names) as activations, torch.enable_grad():
        for batch, given in sample.batches("train"):
            score = output_margins(checked_logits(sample.logits(batch), given), given)
            if INPUT in names:
                (gradient,) = torch.autograd.grad(score.sum(), activations[INPUT])
                gradients.append(gradient.flatten(1))
            for name in names:
                found[name].append(activations[name].detach().flatten(1))
            labels.append(given)
            margins.append(score.detach().double())
    for name, parts in found.items():
        if len({part.shape[1] for part in parts}) > 1:
            raise MeasureNotApplicableError(
                f"features of different examples cannot be compared, because {name} has another size in each batch."
            )
    return Features(
        labels=torch.cat(labels),
        output_margins=torch.cat(margins),
        squared_distances={name: squared_distances(torch.cat(found[name])) for name in names if name != INPUT},
        inputs=torch.cat(found[INPUT]) if INPUT in names else None,
        input_gradients=torch.cat(gradients) if INPUT in names else None,
    )


def squared_distances(features: Float[Tensor, "examples units"]) -> Float[Tensor, "examples examples"]:
    """Return ‖x_i − x_j‖² of all pairs in double precision; a large common mean costs no digits."""
    products = torch.zeros(len(features), len(features), dtype=torch.float64, device=features.device)
    for units in torch.split(features, CHUNK_UNITS, dim=1):
        deviations = units.double() - units.double().mean(dim=0)
        products += deviations @ deviations.T
    squares = products.diagonal()
    return (squares.unsqueeze(1) + squares - 2 * products).clamp_(min=0).fill_diagonal_(0)
