"""How much the gradients of single examples differ."""

from dataclasses import dataclass

import torch
from torch.nn.modules.batchnorm import _BatchNorm

from widemargin.errors import MeasureNotApplicableError
from widemargin.measures.sample import rows
from widemargin.parameters import ParameterSpace
from widemargin.trained_model import TrainedModel, checked_logits

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

    Examples go through the network one by one, which takes some four passes and works for any network.

    Raises:
        MeasureNotApplicableError: There is but one example, or a BatchNorm ties the examples of a batch together.
        InvalidLogitsError: The network's output is no finite table of logits.
    """
    with trained.borrowed() as network:
        if any(isinstance(module, _BatchNorm) and module.running_mean is None for module in network.modules()):
            raise MeasureNotApplicableError("a BatchNorm without running statistics leaves examples no own gradient.")
        space = ParameterSpace.of(network)
        leaves = {
            name: parameter.detach().clone().requires_grad_()
            for name, parameter in network.named_parameters()
            if name in space.names
        }
        total = torch.zeros(space.num_parameters, dtype=torch.float64, device=trained.device)
        squares, num_examples = 0.0, 0
        for batch, labels in trained.batches("train"):
            for index in range(len(labels)):
                one, label = (
                    rows(batch, torch.tensor([index], device=labels.device), len(labels)),
                    labels[index : index + 1],
                )
                with torch.enable_grad():
                    loss = trained.losses(checked_logits(trained.logits_at(leaves, one), label), label).sum()
                    parts = torch.autograd.grad(
                        loss, list(leaves.values()), allow_unused=True, materialize_grads=True
                    )
                gradient = space.flat(dict(zip(space.names, parts, strict=True))).double()
                total += gradient
                squares += float(gradient @ gradient)
            num_examples += len(labels)
    if num_examples < 2:
        raise MeasureNotApplicableError("the gradients of two examples or more are needed, and there is one.")
    squared_mean = float(total @ total) / num_examples**2
    return GradientNoise(max(0.0, squares - num_examples * squared_mean) / (num_examples - 1), squared_mean)
