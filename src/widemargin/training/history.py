"""What a training leaves behind beside the network: its loss and accuracy along the way."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

__all__ = ["NUM_RECORDS", "Fit", "HistoryRecord", "Records"]

NUM_RECORDS = 20
"""How many records of the history a training leaves, about."""


@dataclass(frozen=True, slots=True)
class HistoryRecord:
    """Mean over the steps since the record before, on clean examples, as the network stood while it trained."""

    step: int
    epoch: float
    loss: float
    accuracy: float
    lr: float

    def as_dict(self) -> dict[str, float]:
        """Return the record by name."""
        return asdict(self)


@dataclass(frozen=True)
class Fit:
    """How a training ended.

    Attributes:
        history: Loss and accuracy along the way.
        has_diverged: Whether the loss became NaN or infinite; training stopped there.
        num_steps: Steps that were taken.
    """

    history: tuple[HistoryRecord, ...]
    has_diverged: bool
    num_steps: int


class Records:
    """The histories of networks that train side by side."""

    def __init__(self, num_steps: int, num_batches: int, num_networks: int, num_records: int = NUM_RECORDS) -> None:
        self.num_steps, self.num_batches = num_steps, num_batches
        self.every = max(1, num_steps // num_records)
        self.histories: list[list[HistoryRecord]] = [[] for _ in range(num_networks)]
        self._sums: Tensor | float = 0.0
        self._num_seen = 0

    def add(
        self,
        step: int,
        losses: Float[Tensor, " networks"],
        num_correct: Int[Tensor, " networks"],
        num_taken: int,
        lrs: Sequence[float],
    ) -> bool:
        """Take in one step's mean clean losses and correct answers; return whether it ended a record."""
        self._sums = self._sums + torch.stack([losses * num_taken, num_correct.to(losses)])
        self._num_seen += num_taken
        if (step + 1) % self.every and step + 1 != self.num_steps:
            return False
        means, accuracies = (self._sums / self._num_seen).tolist()
        for history, lr, loss, accuracy in zip(self.histories, lrs, means, accuracies, strict=True):
            if not history or math.isfinite(history[-1].loss):
                history.append(HistoryRecord(step + 1, (step + 1) / self.num_batches, loss, accuracy, lr))
        self._sums, self._num_seen = 0.0, 0
        return True

    def state(self) -> tuple[Tensor, dict[str, Any]]:
        """Return sums and facts from which :meth:`restore` goes on."""
        histories = [[record.as_dict() for record in history] for history in self.histories]
        return torch.as_tensor(self._sums), {"histories": histories, "num_seen": self._num_seen}

    def restore(self, sums: Tensor, facts: Mapping[str, Any]) -> None:
        """Go on from what :meth:`state` returned."""
        self._sums, self._num_seen = sums, facts["num_seen"]
        self.histories = [[HistoryRecord(**record) for record in history] for history in facts["histories"]]

    @property
    def have_all_diverged(self) -> bool:
        """Whether no network has a finite loss any more."""
        return all(history and not math.isfinite(history[-1].loss) for history in self.histories)

    def fits(self, are_finite: Sequence[bool]) -> tuple[Fit, ...]:
        """Return how each training ended, given which networks' parameters are finite."""
        return tuple(
            Fit(
                tuple(history),
                bool(history) and not (math.isfinite(history[-1].loss) and is_finite),
                history[-1].step if history else 0,
            )
            for history, is_finite in zip(self.histories, are_finite, strict=True)
        )
