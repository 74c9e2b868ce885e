"""How the training went: what its history tells."""

import math
from collections.abc import Mapping
from itertools import pairwise

from widemargin.errors import MeasureNotApplicableError
from widemargin.measures.measure import Measure
from widemargin.measures.quantities import Quantities
from widemargin.results import Estimate

__all__ = ["HISTORY_MEASURES"]

TARGET_LOSS = 0.1
COARSE = "Losses are means between two records of the history, so this is as fine as these are."


def _number(record: Mapping[str, float | None], name: str) -> float:
    value = record.get(name)
    if value is None or not math.isfinite(value):
        raise MeasureNotApplicableError(f"the history must give a finite {name} for every record, got {value}.")
    return float(value)


def _steps_to_loss(quantities: Quantities) -> Estimate:
    for record in quantities.history:
        if _number(record, "loss") <= TARGET_LOSS:
            return Estimate(_number(record, "step"), caveats=(COARSE,))
    raise MeasureNotApplicableError(f"the loss never fell to {TARGET_LOSS} while it trained.")


def _loss_after_one_epoch(quantities: Quantities) -> Estimate:
    for record in quantities.history:
        if _number(record, "epoch") >= 1:
            return Estimate(_number(record, "loss"), caveats=(COARSE,))
    raise MeasureNotApplicableError("the training ended before one epoch.")


def _mean_loss_while_training(quantities: Quantities) -> Estimate:
    steps = [0.0, *(_number(record, "step") for record in quantities.history)]
    losses = [_number(record, "loss") for record in quantities.history]
    lengths = [after - before for before, after in pairwise(steps)]
    return Estimate(sum(map(math.prod, zip(lengths, losses, strict=True))) / steps[-1])


HISTORY_MEASURES: tuple[Measure, ...] = (
    Measure(
        name="steps_to_loss",
        family="optimization",
        function=_steps_to_loss,
        sign=1,
        unit="steps",
        formula=f"first step at which the running training loss is at most {TARGET_LOSS}",
        idea="How long training takes to fit. Quick fitting is said to go with good generalization.",
        misleads="Compares only networks that were trained with one learning rate and batch size.",
        reference="Jiang et al. 2020 (arXiv 1912.02178), appendix C",
        uses=("history",),
        needs=("history",),
        is_scale_invariant=True,
    ),
    Measure(
        name="loss_after_one_epoch",
        family="optimization",
        function=_loss_after_one_epoch,
        sign=1,
        unit="nats",
        formula="running training loss when each example was seen once",
        idea="How much the first sight of every example teaches. Until then training loss is loss on fresh data.",
        misleads="Measures the start of training only: what comes later can still overfit.",
        reference="Jiang et al. 2020 (arXiv 1912.02178), appendix C",
        uses=("history",),
        needs=("history",),
        is_scale_invariant=True,
    ),
    Measure(
        name="mean_loss_while_training",
        family="optimization",
        function=_mean_loss_while_training,
        sign=1,
        unit="nats",
        formula="mean over steps of the running training loss",
        idea="The area under the training curve. Examples that help each other are learned quickly, and generalize.",
        misleads="Compares only networks that were trained for equally long.",
        reference="Ru et al. 2021 (arXiv 2006.04492), section 3",
        uses=("history",),
        needs=("history",),
        is_scale_invariant=True,
    ),
)
