"""How much the gradients of single examples differ."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from widemargin.batches import Batch
from widemargin.errors import MeasureNotApplicableError
from widemargin.measures.ascent import slope
from widemargin.measures.sample import rows
from widemargin.parameters import squared_norm
from widemargin.trained_model import TrainedModel

__all__ = ["GradientNoise", "gradient_noise"]


@dataclass(frozen=True, slots=True)
class GradientNoise:
    """Mean and spread of the gradients of single examples.

    Attributes:
        variance: Trace of their covariance [squared loss per squared unit of a parameter].
        squared_mean: Squared norm of their mean.
    """

    variance: float
    squared_mean: float


def gradient_noise(trained: TrainedModel) -> GradientNoise:
    """Return how much the loss gradients of the training examples differ.

    Examples go through the network one by one, which takes some five passes and works for any network.

    Raises:
        MeasureNotApplicableError: There is but one example, or a BatchNorm ties the examples of a batch together.
        InvalidLogitsError: The network's output is no finite table of logits.
        InvalidInputError: A loss or its gradient is not finite.

    Example:
        >>> trained = TrainedModel(
        ...     torch.nn.Linear(1, 2, bias=False), (torch.tensor([[1.0], [3.0]]), torch.tensor([0, 0])),
        ...     loss=lambda logits, labels: logits[:, 0],
        ... )
        >>> gradient_noise(trained)
        GradientNoise(variance=2.0, squared_mean=4.0)
    """
    if any(isinstance(module, _BatchNorm) and module.running_mean is None for module in trained.network.modules()):
        raise MeasureNotApplicableError("a BatchNorm without running statistics leaves examples no own gradient.")
    total: Tensor | None = None
    squares, num_examples = 0.0, 0
    with trained.borrowed():
        for one in _examples(trained):
            gradient = slope(replace(trained, train_data=[one])).gradient
            squares += squared_norm(gradient)
            total = gradient if total is None else total.add_(gradient)
            num_examples += 1
            del gradient  # before the next one is made
    if total is None or num_examples < 2:
        raise MeasureNotApplicableError("the gradients of two examples or more are needed, and there is one.")
    squared_mean = squared_norm(total) / num_examples**2
    return GradientNoise(max(0.0, squares - num_examples * squared_mean) / (num_examples - 1), squared_mean)


def _examples(trained: TrainedModel) -> Iterator[Batch]:
    """Yield batches of one training example each."""
    for batch, labels in trained.batches("train"):
        for index in range(len(labels)):
            yield rows(batch, torch.tensor([index], device=labels.device), len(labels))
