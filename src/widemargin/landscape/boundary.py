"""Which class a network gives to each place of a two-dimensional input."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray
from torch import Tensor

from widemargin.batches import Batch, label_key
from widemargin.errors import InvalidInputError
from widemargin.landscape.grid import Extent, extent_around, grid_over
from widemargin.margins import output_margins
from widemargin.parameters import ParameterSpace
from widemargin.trained_model import TrainedModel, checked_logits

__all__ = ["DecisionRegions", "decision_regions"]

Doubles: TypeAlias = NDArray[np.float64]

ROWS_AT_ONCE = 2**14


@dataclass(frozen=True, eq=False)
class DecisionRegions:
    """Class and margin on a grid of inputs, beside the training examples; for one network or for several frames.

    Attributes:
        x: Values of the first input feature.
        y: Values of the second.
        classes: The class with the largest logit; −1 where the logits are not finite.
        margins: By how much that logit is ahead of the second largest [logits]; 0 is the boundary, NaN where the
            logits are not finite.
        inputs: The training inputs.
        labels: The classes they were trained to.
        is_correct: Which of them each network classifies correctly (a tie is wrong).
        caveats: Sentences on when not to believe the numbers.
    """

    x: Float[Doubles, " columns"]
    y: Float[Doubles, " rows"]
    classes: Int[NDArray[np.int64], "*frames rows columns"]
    margins: Float[Doubles, "*frames rows columns"]
    inputs: Float[Doubles, "examples 2"]
    labels: Int[NDArray[np.int64], " examples"]
    is_correct: Bool[NDArray[np.bool_], "*frames examples"]
    caveats: tuple[str, ...]


def decision_regions(
    trained: TrainedModel,
    *,
    extent: Extent | None = None,
    num_points: int = 100,
    at: Float[Tensor, "*frames parameters"] | None = None,
) -> DecisionRegions:
    """Return class and margin on a grid of inputs of a network that takes two features.

    Args:
        trained: The network with its training data.
        extent: x low, x high, y low, y high; by default the training inputs with a tenth of room around.
        num_points: How many values of each feature.
        at: Flat parameters in place of the network's own, or several for as many frames, as
            :func:`~widemargin.landscape.walk.points_along` makes them.

    Raises:
        InvalidInputError: Inputs that are not two numbers an example, lows that are not below their highs, fewer than
            two points, or parameters of another length.
        EmptyDataError: There is no example.
        InvalidLogitsError: The network's own output is no finite table of logits.
        InvalidLabelsError: Labels are out of range or not integers.

    Source: the decision boundaries of Huang et al. 2019 (arXiv 1906.03291).

    Example:
        >>> net = torch.nn.Linear(2, 1)
        >>> _ = net.weight.data.copy_(torch.tensor([[1.0, 0.0]])), net.bias.data.zero_()
        >>> trained = TrainedModel(net, (torch.tensor([[2.0, 1.0], [-2.0, -1.0]]), torch.tensor([1, 1])))
        >>> regions = decision_regions(trained, extent=(-1.0, 2.0, 0.0, 1.0), num_points=2)
        >>> regions.classes.tolist(), regions.margins.tolist(), regions.is_correct.tolist()
        ([[0, 1], [0, 1]], [[1.0, 2.0], [1.0, 2.0]], [True, False])
    """
    with trained.borrowed() as network, torch.no_grad():
        space = ParameterSpace.of(network)
        points = space.flat(network) if at is None else at.detach()
        if points.shape[-1:] != (space.num_parameters,):
            raise InvalidInputError(
                f"at must hold the network's {space.num_parameters} parameters in a row, got the shape "
                f"{list(points.shape)}."
            )
        batches, parts = [], []
        for batch, some_labels in trained.batches("train"):
            parts.append((_inputs(batch), some_labels.long()))
            checked_logits(trained.logits(batch), some_labels)
            batches.append(batch)
        inputs, labels = (torch.cat(part) for part in zip(*parts, strict=True))
        examples = inputs.double().cpu().numpy()
        x, y, grid = grid_over(extent_around(examples) if extent is None else extent, num_points)
        rows = torch.from_numpy(grid).to(inputs)
        tiles = [_with_inputs(batches[0], some) for some in torch.split(rows, ROWS_AT_ONCE)]
        frames = [
            (
                *_class_and_margin(torch.cat([trained.logits_at(space.named(point), tile) for tile in tiles])),
                output_margins(torch.cat([trained.logits_at(space.named(point), b) for b in batches]), labels) > 0,
            )
            for point in points.reshape(-1, space.num_parameters)
        ]
    classes, margins, is_correct = (torch.stack(part).cpu().numpy() for part in zip(*frames, strict=True))
    num_bad = int((classes < 0).any(axis=1).sum())
    shape = (*points.shape[:-1], num_points, num_points)
    return DecisionRegions(
        x,
        y,
        classes.reshape(shape),
        margins.reshape(shape),
        examples,
        labels.cpu().numpy(),
        is_correct.reshape(*points.shape[:-1], len(labels)),
        (f"{num_bad} of {len(frames)} frames have logits that are NaN or infinite: class −1.",) if num_bad else (),
    )


def _class_and_margin(logits: Float[Tensor, "examples classes"]) -> tuple[Tensor, Tensor]:
    first, second = logits.double().topk(2, dim=1).values.T
    is_finite = logits.isfinite().all(dim=1)
    return torch.where(is_finite, logits.argmax(dim=1), -1), torch.where(is_finite, first - second, torch.nan)


def _inputs(batch: Batch) -> Tensor:
    found = batch[_input_key(batch)]
    if not isinstance(found, Tensor) or not found.is_floating_point() or found.shape[1:] != (2,):
        got = f"the shape {list(found.shape)}" if isinstance(found, Tensor) else type(found).__name__
        raise InvalidInputError(
            f"decision regions are drawn for inputs of two floating numbers an example, shape [examples, 2], got "
            f"{got} ({getattr(found, 'dtype', 'no tensor')}). For more features use loss_surface."
        )
    return found


def _with_inputs(batch: Batch, inputs: Tensor) -> Batch:
    """Return a batch in the form of another, with other inputs and labels of no meaning."""
    key = _input_key(batch)
    pairs = batch.items() if isinstance(batch, Mapping) else enumerate(batch[:2])
    filled = {
        k: inputs if k == key else torch.zeros(len(inputs), dtype=torch.long, device=inputs.device) for k, _ in pairs
    }
    return filled if isinstance(batch, Mapping) else list(filled.values())


def _input_key(batch: Batch) -> Any:
    if not isinstance(batch, Mapping):
        return 0
    keys = [key for key in batch if key != label_key(batch)]
    if len(keys) != 1:
        raise InvalidInputError(
            f"decision regions take batches with one entry beside the labels, got {sorted(map(str, keys))}. Hand "
            "over data with the two features alone."
        )
    return keys[0]
