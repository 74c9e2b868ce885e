"""Curvature of the training loss as measures: the Hessian's largest eigenvalue and trace, the Fisher–Rao norm."""

import torch

from widemargin.measures.dominant_curvature import NUM_PROBES, DominantCurvature
from widemargin.measures.measure import Measure
from widemargin.measures.quantities import Cost, Quantities
from widemargin.results import Estimate

__all__ = [
    "CURVATURE_MEASURES",
    "filter_normalized_hessian_trace",
    "filter_normalized_top_hessian_eigenvalue",
    "fisher_rao_norm",
    "hessian_trace",
    "top_hessian_eigenvalue",
]


def top_hessian_eigenvalue(quantities: Quantities) -> Estimate:
    """Return the largest eigenvalue of the Hessian of the mean loss on the sample [loss / squared unit].

    Within a twentieth of an eigenvalue, in fact far closer, or after 15 products with what was found by then and a
    caveat. It is the largest nearly always; where the next one is close, it may be that.

    Raises:
        InvalidInputError: The loss has no finite second derivative.

    Source: Keskar et al. 2017 (arXiv 1609.04836), where sharpness stands for it.
    """
    return quantities.dominant_curvature.largest


def filter_normalized_top_hessian_eigenvalue(quantities: Quantities) -> Estimate:
    """Return the same of D H D, D the norm of the filter that each weight belongs to, 0 for biases [loss].

    Raises:
        MeasureNotApplicableError: The network has no filters.
        InvalidInputError: The loss has no finite second derivative.

    Source: Huang et al. 2019 (arXiv 1906.03291); filters as in Li et al. 2018 (arXiv 1712.09913), section 4.
    """
    return quantities.normalized_dominant_curvature.largest


def hessian_trace(quantities: Quantities) -> Estimate:
    """Return the trace of the Hessian of the mean loss on the sample [loss / squared unit].

    Exact in the space in which :func:`top_hessian_eigenvalue` is found, and from three random probes outside of it;
    the error, that of the probes, is a rough one. In a network of more than 2²³ parameters that space is not kept,
    and nine probes measure all of it.

    Raises:
        InvalidInputError: The loss has no finite second derivative.

    Source: Chen and Hallman 2022 (arXiv 2205.01736); Meyer, Musco, Musco and Woodruff 2021 (arXiv 2010.09649).
    """
    return _trace(quantities.dominant_curvature)


def filter_normalized_hessian_trace(quantities: Quantities) -> Estimate:
    """Return the same of D H D, D the norm of the filter that each weight belongs to, 0 for biases [loss].

    Raises:
        MeasureNotApplicableError: The network has no filters.
        InvalidInputError: The loss has no finite second derivative.

    Source: as for :func:`filter_normalized_top_hessian_eigenvalue` and :func:`hessian_trace`.
    """
    return _trace(quantities.normalized_dominant_curvature)


def fisher_rao_norm(quantities: Quantities) -> Estimate:
    """Return d² times the mean of ⟨∂loss/∂f, f⟩² over the training examples, f the logits [squared loss].

    d is the number of weights of two dimensions or more. In a chain of d linear layers with ReLUs between and without
    biases that is the mean of ⟨∂loss/∂w, w⟩², the squared Fisher–Rao norm of the parameters.

    Source: Liang et al. 2019 (arXiv 1711.01530).

    Example:
        >>> from widemargin import TrainedModel
        >>> net = torch.nn.Linear(2, 2, bias=False)
        >>> _ = net.weight.data.copy_(torch.eye(2))
        >>> trained = TrainedModel(
        ...     net, (torch.tensor([[3.0, 4.0]]), torch.tensor([0])), loss=lambda logits, labels: logits.sum(dim=1)
        ... )
        >>> fisher_rao_norm(Quantities(trained)).value
        49.0
    """
    outputs, shapes = quantities.outputs, quantities.space.shapes
    depth = sum(len(shape) >= 2 for shape in shapes)
    with torch.enable_grad():
        precision = torch.promote_types(quantities.space.dtypes[0], torch.float32)  # a loss may hold tensors of it
        logits = outputs.logits.to(precision).detach().requires_grad_()
        losses = quantities.trained.losses(logits, outputs.labels)
        (slopes,) = torch.autograd.grad(losses.sum(), logits)
    products = (slopes.double() * outputs.logits).sum(dim=1)
    caveats: tuple[str, ...] = ()
    if depth < len(shapes):
        caveats = ("Biases or norms break the homogeneity by which depth stands for the layers' own products.",)
    return Estimate(depth**2 * float((products**2).mean()), caveats=caveats)


def _trace(found: DominantCurvature) -> Estimate:
    with found.product.trained.borrowed(), torch.no_grad():
        return found.estimate_trace()


HIGH_LOSS = "Where a network fits every example, cross-entropy has hardly any curvature, however it generalizes."
TRACE = Cost(sample=3 * NUM_PROBES)
SCALED = "Scaling layers against each other changes it and not the network. "

CURVATURE_MEASURES: tuple[Measure, ...] = (
    Measure(
        name="top_hessian_eigenvalue",
        family="sharpness",
        function=top_hessian_eigenvalue,
        sign=1,
        unit="loss / squared unit of a parameter",
        formula="max vᵀHv over ‖v‖ = 1, H = ∇²L",
        idea="How steeply the loss curves upward in its sharpest direction. Training with large steps cannot stay "
        "where it is large, which is one account of why such training generalizes.",
        misleads=SCALED + HIGH_LOSS,
        reference="Keskar et al. 2017, arXiv 1609.04836, section 2.2",
        uses=("dominant_curvature",),
    ),
    Measure(
        name="filter_normalized_top_hessian_eigenvalue",
        family="sharpness",
        function=filter_normalized_top_hessian_eigenvalue,
        sign=1,
        unit="loss",
        formula="max vᵀDHDv over ‖v‖ = 1, D = norms of filters",
        idea="The sharpest curvature when every filter is measured by its own norm. Layers that are scaled against "
        "each other leave it as it is.",
        misleads="Biases and the parameters of norms count as fixed. " + HIGH_LOSS,
        reference="Huang et al. 2019, arXiv 1906.03291; Li et al. 2018, arXiv 1712.09913, section 4",
        uses=("normalized_dominant_curvature",),
        is_scale_invariant=True,
    ),
    Measure(
        name="hessian_trace",
        family="sharpness",
        function=hessian_trace,
        sign=1,
        unit="loss / squared unit of a parameter",
        formula="tr ∇²L",
        idea="The curvature of the loss summed over all directions, twice what small noise on the parameters adds to "
        "the loss per variance. Flat minima have a small one.",
        misleads=SCALED + HIGH_LOSS,
        reference="Chen and Hallman 2022, arXiv 2205.01736 (estimator)",
        uses=("dominant_curvature",),
        cost=TRACE,
    ),
    Measure(
        name="filter_normalized_hessian_trace",
        family="sharpness",
        function=filter_normalized_hessian_trace,
        sign=1,
        unit="loss",
        formula="tr D ∇²L D, D = norms of filters",
        idea="The summed curvature when every filter is measured by its own norm. Layers that are scaled against "
        "each other leave it as it is.",
        misleads="Biases and the parameters of norms count as fixed. " + HIGH_LOSS,
        reference="Li et al. 2018, arXiv 1712.09913, section 4; Chen and Hallman 2022, arXiv 2205.01736 (estimator)",
        uses=("normalized_dominant_curvature",),
        cost=TRACE,
        is_scale_invariant=True,
    ),
    Measure(
        name="fisher_rao_norm",
        family="sharpness",
        function=fisher_rao_norm,
        sign=1,
        unit="squared loss",
        formula="d² · mean ⟨∂loss/∂f, f⟩²",
        idea="The length of the parameters as the loss sees it: how much losses react when all parameters grow in "
        "proportion. It follows the function alone, whatever the layers' scales.",
        misleads="Its depth d is only right for a chain of layers without biases and norms. Where a network fits "
        "every example it is near 0, however it generalizes.",
        reference="Liang et al. 2019, arXiv 1711.01530, theorem 3.1",
        uses=("outputs", "space"),
        is_scale_invariant=True,
    ),
)
