"""What the outputs on the training set tell by themselves: loss, accuracy, entropy, calibration."""

import torch

from widemargin.measures.measure import Measure
from widemargin.measures.quantities import Quantities
from widemargin.results import Estimate

__all__ = ["OUTPUT_MEASURES"]

NUM_BINS = 15


def _training_loss(quantities: Quantities) -> Estimate:
    return Estimate(float(quantities.outputs.losses.mean()))


def _training_accuracy(quantities: Quantities) -> Estimate:
    return Estimate(float((quantities.outputs.margins > 0).double().mean()))


def _output_entropy(quantities: Quantities) -> Estimate:
    logs = quantities.outputs.logits.log_softmax(dim=1)
    return Estimate(float(-(logs.exp() * logs).nansum(dim=1).mean()))


def _calibration_error(quantities: Quantities) -> Estimate:
    """Mean over examples of |accuracy − confidence| of their bin of confidences."""
    outputs = quantities.outputs
    confidences, predicted = outputs.logits.softmax(dim=1).max(dim=1)
    bins = (confidences * NUM_BINS).ceil().long().clamp(1, NUM_BINS) - 1
    differences = (predicted == outputs.labels).double() - confidences
    sums = torch.zeros(NUM_BINS, dtype=differences.dtype, device=differences.device).index_add(0, bins, differences)
    return Estimate(float(sums.abs().sum() / len(differences)))


OUTPUT_MEASURES: tuple[Measure, ...] = (
    Measure(
        name="training_loss",
        family="outputs",
        function=_training_loss,
        sign=-1,
        unit="nats",
        formula="mean of −log p(y)",
        idea="How well the training set is fitted. A network that fits it better than fresh data can be has "
        "memorized.",
        misleads="A baseline, not a theory: says nothing among networks that all fit to the last example.",
        reference="Jiang et al. 2020 (arXiv 1912.02178), appendix C",
        uses=("outputs",),
        is_scale_invariant=True,
    ),
    Measure(
        name="training_accuracy",
        family="outputs",
        function=_training_accuracy,
        sign=1,
        unit="share",
        formula="share of training examples that are classified correctly",
        idea="How much of the training set is fitted. The gap cannot exceed it less what chance reaches.",
        misleads="A baseline, not a theory: says nothing among networks that all fit to the last example.",
        reference="the trivial baseline; in no paper",
        uses=("outputs",),
        is_scale_invariant=True,
    ),
    Measure(
        name="output_entropy",
        family="outputs",
        function=_output_entropy,
        sign=-1,
        unit="nats",
        formula="mean of −Σ_k p_k log p_k",
        idea="How undecided the network is on its training examples. Low entropy everywhere is a sign of "
        "overconfidence.",
        misleads="Follows the training loss closely.",
        reference="Pereyra et al. 2017 (arXiv 1701.06548), section 3; "
        + "Jiang et al. 2020 (arXiv 1912.02178), appendix C",
        uses=("outputs",),
        is_scale_invariant=True,
    ),
    Measure(
        name="calibration_error",
        family="outputs",
        function=_calibration_error,
        sign=1,
        unit="share",
        formula=f"Σ_b (n_b/n) |accuracy_b − confidence_b| over {NUM_BINS} bins of confidence",
        idea="How far confidence and accuracy differ on the training set. Who errs there will err elsewhere.",
        misleads="Tends to 0 with the training loss, whatever happens on fresh data. Depends on the number of bins.",
        reference="Guo et al. 2017 (arXiv 1706.04599), equation 3",
        uses=("outputs",),
        is_scale_invariant=True,
    ),
)
