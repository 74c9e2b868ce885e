"""Margins of a network while it trains: for loops written by hand, and under the trainers' callbacks."""

import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch
import torch.distributed as dist
from torch import nn

from widemargin.batches import Batch
from widemargin.errors import InvalidInputError, InvalidLogitsError, WidemarginError
from widemargin.integrations.subset import drawn_batches
from widemargin.margins import margin_distribution
from widemargin.measures import Measure, measure_all
from widemargin.measures.measuring import records
from widemargin.prediction import GapPredictor
from widemargin.prediction.familiarity import layers_of
from widemargin.prediction.margin_score import train_accuracy
from widemargin.prediction.measured_ranking import gap_by_measures, measures_of
from widemargin.processes import gathered, place
from widemargin.trained_model import TrainedModel

__all__ = ["MarginMonitor", "MonitorRecord"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class MonitorRecord:
    """What was measured of a network in training.

    Attributes:
        values: Numbers by name: ``train_accuracy`` [share], ``margin/LAYER`` (the median of the normalized margins of
            correctly classified examples), ``predicted_gap`` [accuracy] and measures by their names, if asked for.
        left_out: Of what could not be measured, the reason.
        seconds: How long it took, without the draw of the examples.
    """

    values: Mapping[str, float]
    left_out: Mapping[str, str]
    seconds: float

    @property
    def metrics(self) -> dict[str, float]:
        """The values by the names under which trainers log them, which begin with ``widemargin/``."""
        return {f"widemargin/{name}": value for name, value in self.values.items()}


class MarginMonitor:
    """Measures margins of a network on a fixed part of its training data, once an epoch say.

    The network is borrowed: a training goes on as if it had not been measured, to the bit. With a budget, calls that
    would exceed it, were they as slow as the slowest so far, are skipped; the first one never, because only it tells
    what a call costs: one pass, forward and backward, over ``num_examples`` examples, and what the measures cost that
    are asked for.

    Under ``torch.distributed`` every process calls the monitor and gets the same record; margins are shared out among
    them, and the first process's running statistics (BatchNorm) count. Parameters must be whole on each process.

    Args:
        train_data: What the network is trained on, with the labels it is trained on, in any form that
            :class:`~widemargin.TrainedModel` takes; better not augmented.
        every: Measure at every such call only.
        num_examples: Size of the part that is measured on.
        budget: Largest share of the time between calls that measuring may take; None for no limit.
        predictor: Fitted on signatures or on measures, for ``predicted_gap``. Its features should come from as many
            examples; of measures, those that cannot be taken count as the mean of what it has seen.
        measures: Names in the catalogue or records of your own, such as ``"sam_sharpness"`` (2 passes) or
            ``"top_hessian_eigenvalue"`` (some 20).
        layers: As for :func:`widemargin.margin_distribution`.
        seed: Seed of the draw, and of what is random in measures.
        **options: As for :class:`~widemargin.TrainedModel`: ``forward``, ``loss``, ``batch_size``, ….

    Attributes:
        num_calls: How often it was called.
        num_skipped: How many calls were skipped to stay within the budget.
        seconds: How long it took all in all.

    Raises:
        InvalidInputError: An option out of range, an unknown measure, or a predictor of other features.

    Example:
        >>> inputs = torch.randn(100, 4, generator=torch.Generator().manual_seed(0))
        >>> net = torch.nn.Linear(4, 2, bias=False)
        >>> _ = net.weight.data.copy_(torch.tensor([[1.0, 0, 0, 0], [-1.0, 0, 0, 0]]))
        >>> monitor = MarginMonitor((inputs, (inputs[:, 0] < 0).long()), num_examples=50)
        >>> record = monitor(net)
        >>> sorted(record.values), record.values["train_accuracy"]
        (['margin/input', 'train_accuracy'], 1.0)
    """

    def __init__(
        self,
        train_data: Any,
        *,
        every: int = 1,
        num_examples: int = 500,
        budget: float | None = 0.05,
        predictor: GapPredictor | None = None,
        measures: Iterable[str | Measure] = (),
        layers: str | Sequence[str] = "auto",
        seed: int = 0,
        **options: Any,
    ) -> None:
        if every < 1:
            raise InvalidInputError(f"every must be at least 1, got {every}. 1 measures at every call.")
        if num_examples < 2:
            raise InvalidInputError(f"num_examples must be at least 2, got {num_examples}. A few hundred do well.")
        if budget is not None and not budget > 0:
            raise InvalidInputError(f"budget must be a share above 0, got {budget}. None sets no limit.")
        taken = None if predictor is None else measures_of(predictor)
        if predictor is not None and taken is None:
            layers_of(predictor)  # raises where it takes other features
        self.train_data, self.options = train_data, options
        self.every, self.num_examples, self.budget = every, num_examples, budget
        self.predictor, self.measures, self.layers, self.seed = predictor, records(measures), layers, seed
        self._predicts_by = records(taken or ())
        self.num_calls = self.num_skipped = 0
        self.seconds = self._between = 0.0
        self._slowest: float | None = None  # seconds that a measurement took at most
        self._batches: list[Batch] | None = None
        self._told: set[str] = set()
        self._left = time.perf_counter()

    @property
    def overhead(self) -> float:
        """How long it took so far, as a share of the time between calls."""
        return self.seconds / self._between if self._between else 0.0

    def __call__(self, model: nn.Module) -> MonitorRecord | None:
        """Return what was measured of the network as it stands now, None where this call is not for measuring.

        A network that has diverged or learned nothing yet is no error: the record says what could not be measured,
        and so does, once, the log.

        Args:
            model: The network in training, compiled or wrapped for several processes too.

        Raises:
            WidemarginError: The network cannot be measured on this data, whatever it learns: what
                :func:`widemargin.margin_distribution` raises of labels, layers and batches.
        """
        if torch.accelerator.is_available():
            torch.accelerator.synchronize()  # steps of the training that are still under way count as training
        entered = time.perf_counter()
        self._between += entered - self._left
        self.num_calls += 1
        try:
            if self.num_calls % self.every:
                return None
            if not self._is_affordable():
                self.num_skipped += 1
                return None
            if self._batches is None:
                self._batches = self._drawn(TrainedModel(model, self.train_data, **self.options))
            begun = time.perf_counter()
            values, left_out = self._measured(TrainedModel(model, self._batches, **self.options))
            took = time.perf_counter() - begun
            self._slowest = max(took, self._slowest or 0.0)
            self._tell(left_out)
            return MonitorRecord(values, left_out, took)
        finally:
            self._left = time.perf_counter()
            self.seconds += self._left - entered

    def _is_affordable(self) -> bool:
        """Return whether one more measurement stays within the budget; all processes follow the first."""
        is_affordable = (
            self.budget is None
            or self._slowest is None
            or self.seconds + self._slowest <= self.budget * self._between
        )
        return gathered(is_affordable, None, "asking whether to measure")[0]

    def _tell(self, left_out: Mapping[str, str]) -> None:
        """Log, once and for all, why something cannot be measured."""
        for name in left_out.keys() - self._told:
            if place()[0] == 0:
                logger.warning("%s cannot be measured: %s", name, left_out[name].rstrip("."))
        self._told |= left_out.keys()

    def _drawn(self, trained: TrainedModel) -> list[Batch]:
        with trained.borrowed():
            return drawn_batches(trained, self.num_examples, seed=self.seed)

    def _measured(self, trained: TrainedModel) -> tuple[dict[str, float], dict[str, str]]:
        with trained.borrowed() as network:
            if dist.is_initialized():
                for buffer in network.buffers():  # as the wrapper does before each forward pass
                    dist.broadcast(buffer, 0)
            try:
                distribution = margin_distribution(trained, self.layers)
            except InvalidLogitsError as reason:
                return {}, {"margins": str(reason)}
            values, left_out = {"train_accuracy": train_accuracy(distribution)}, dict(distribution.skipped)
            try:
                signature = distribution.signature()
                values |= {f"margin/{layer}": signature[f"{layer}/median"] for layer in distribution.layers}
            except WidemarginError as reason:
                left_out["margins"] = str(reason)
            else:
                if self.predictor is not None and not self._predicts_by:
                    try:
                        values["predicted_gap"] = _predicted_gap(self.predictor, signature)
                    except WidemarginError as reason:
                        left_out["predicted_gap"] = str(reason)
            wanted = {measure.name: measure for measure in (*self.measures, *self._predicts_by)}
            if wanted:
                frame = measure_all(trained, wanted.values(), num_sampled=self.num_examples, seed=self.seed)
                taken = {name: float(frame["value"][name]) for name in wanted if not frame["reason"][name]}
                left_out |= {name: str(frame["reason"][name]) for name in wanted.keys() - taken.keys()}
                values |= {each.name: taken[each.name] for each in self.measures if each.name in taken}
                if self.predictor is not None and self._predicts_by:
                    values["predicted_gap"] = gap_by_measures(taken, self.predictor)
        return values, left_out


def _predicted_gap(predictor: GapPredictor, signature: Mapping[str, float]) -> float:
    names = list(predictor.feature_names_in_)
    if len(names) != len(signature):
        raise InvalidInputError(
            f"the predictor takes {len(names)} numbers, and the signature has {len(signature)}. Name as many "
            f"layers as it was fitted on ({len(layers_of(predictor))}) with layers=[…]."
        )
    return float(predictor.predict(pd.DataFrame([list(signature.values())], columns=names))[0])
