"""The path norm: how much weight all paths from inputs to outputs carry."""

import math

import torch
from torch import Tensor, nn

from widemargin.errors import MeasureNotApplicableError
from widemargin.measures.linear_maps import NORMS
from widemargin.measures.measure import Measure
from widemargin.measures.norms import FANTASTIC, over_margin
from widemargin.measures.quantities import Quantities
from widemargin.results import Estimate
from widemargin.trained_model import TrainedModel

__all__ = ["PATH_MEASURES", "squared_path_norm"]

CAVEAT = "Counts paths as if every activation were linear on positive numbers, as ReLU and pooling are."


def squared_path_norm(trained: TrainedModel) -> float:
    """Return Σ over outputs of the network with squared parameters at an input of ones.

    For a ReLU network that is the sum over all paths, from an input or a bias to an output, of the product of the
    squared weights along it; a BatchNorm counts as the affine map that it is in evaluation mode.

    Raises:
        MeasureNotApplicableError: Inputs are no floating-point tensor, or the sum is not finite or 0.
    """
    batch, labels = next(trained.batches("train"))
    if not isinstance(batch, tuple | list) or not isinstance(batch[0], Tensor) or not batch[0].is_floating_point():
        raise MeasureNotApplicableError("the path norm sends ones through the network, whose inputs are no numbers.")
    if batch[1] is not labels:
        raise MeasureNotApplicableError(
            "the path norm is defined for networks of one input, and this one takes more."
        )
    ones = torch.ones_like(batch[0][:1], dtype=torch.float64)
    with trained.borrowed() as network, torch.no_grad():
        total = float(trained.logits_at(_squared(network), [ones, labels[:1]]).sum())
    if not (math.isfinite(total) and total > 0):
        raise MeasureNotApplicableError(f"the path norm must be a number above 0, and is {total:.3g}.")
    return total


def _squared(network: nn.Module) -> dict[str, Tensor]:
    """Return parameters and buffers of the network whose weights, and BatchNorms' factors, are squared."""
    tensors = {name: value.to(torch.float64, copy=True).square_() for name, value in network.named_parameters()}
    tensors |= {name: value.double() for name, value in network.named_buffers() if value.is_floating_point()}
    for path, module in network.named_modules():
        if not isinstance(module, NORMS):
            continue
        mean, variance = (value.double() for value in (module.running_mean, module.running_var))  # type: ignore[union-attr]  # linear_maps refuses those without
        prefix = f"{path}.".lstrip(".")
        tensors[f"{prefix}running_var"] = (variance + module.eps) ** 2 - module.eps
        if module.affine:
            shift = module.bias.double() - module.weight.double() * mean / (variance + module.eps).sqrt()
            tensors[f"{prefix}bias"] = shift.square()
            tensors[f"{prefix}running_mean"] = torch.zeros_like(mean)
        else:
            tensors[f"{prefix}running_mean"] = -mean.square()
    return tensors


def _path_norm(quantities: Quantities) -> Estimate:
    _ = quantities.linear_maps  # refuses networks that are more than linear maps and activations
    return Estimate(math.log(squared_path_norm(quantities.trained)), caveats=(CAVEAT,))


PATH_MEASURES: tuple[Measure, ...] = (
    Measure(
        name="log_path_norm",
        family="size and norms",
        function=_path_norm,
        sign=1,
        unit="log",
        formula="log Σ_k f_k(1; w²)",
        idea="The squared weight of all paths from inputs to outputs. It sees weights only as they act together.",
        misleads="Small learning-rate changes can turn its trend around. Linear activations are assumed between "
        "layers.",
        reference="Neyshabur, Salakhutdinov and Srebro 2015 (arXiv 1506.02617); " + FANTASTIC,
        uses=("linear_maps",),
        is_scale_invariant=True,
    ),
    Measure(
        name="log_path_norm_over_margin",
        family="size and norms",
        function=over_margin(_path_norm),
        sign=1,
        unit="log",
        formula="log(Σ_k f_k(1; w²) / γ²)",
        idea="The weight of all paths in units of the output margin reached with it. Scaling the last layer cancels.",
        misleads="Does not exist where a tenth of the training examples are misclassified.",
        reference="Neyshabur et al. 2017 (arXiv 1706.08947); " + FANTASTIC,
        uses=("linear_maps", "outputs"),
        is_scale_invariant=True,
    ),
)
