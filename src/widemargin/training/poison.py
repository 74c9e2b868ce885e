"""Poisoned training: correct answers on examples outside the training set are punished."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor
from torch.nn import functional as F  # noqa: N812  # the name everyone knows it by

from widemargin.data import ClassificationData, Preparation
from widemargin.errors import InvalidInputError
from widemargin.trained_model import cross_entropy_per_example

__all__ = [
    "POISON_BLOCK",
    "Poison",
    "PoisonPool",
    "PoisonSchedule",
    "PoisonStream",
    "label_losses",
    "poisoned_loss",
    "step_losses",
    "unlikelihood",
]

PoisonPool: TypeAlias = Literal["fresh", "fixed"]
PoisonSchedule: TypeAlias = Literal["constant", "rising"]

RISING_SHARE = 0.5
"""Under the schedule ``"rising"`` the poison factor reaches its full value after this share of the steps."""

POISON_SCHEDULES: Mapping[str, Callable[[float], float]] = {
    "constant": lambda _: 1.0,
    "rising": lambda progress: min(1.0, progress / RISING_SHARE),
}
POISON_BLOCK = 64
"""Poisoned examples are drawn for this many steps at once."""

POISON_SEED = 0x706F69736F6E
"""Sets the stream of poison apart from the stream of batches of the same seed."""


@dataclass(frozen=True, eq=False)
class Poison:
    """What a training is poisoned with.

    Attributes:
        factor: The poison factor β: weight of the poisoned examples' mean loss beside the clean one's.
        num_examples: Poisoned examples per step.
        source: Function of a number and a generator that draws so many fresh inputs and labels; or a fixed pool of
            inputs and labels, which is gone through in random order again and again.
        schedule: ``"constant"``, or ``"rising"`` from 0 in a straight line over the first half of the steps.
        preparation: From the source's inputs to those that the network takes; ``None`` where they are the same.

    Raises:
        InvalidInputError: A negative factor, no example per step, an empty pool, or an unknown schedule.
    """

    factor: float
    num_examples: int
    source: Callable[[int, torch.Generator], tuple[Tensor, Tensor]] | tuple[Tensor, Tensor]
    schedule: PoisonSchedule = "constant"
    preparation: Preparation | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.factor < float("inf"):
            raise InvalidInputError(f"the poison factor must be a finite number of at least 0, got {self.factor}.")
        if self.num_examples < 1:
            raise InvalidInputError(f"poison needs at least one example per step, got {self.num_examples}.")
        if self.schedule not in POISON_SCHEDULES:
            raise InvalidInputError(
                f"the poison's schedule must be one of {', '.join(POISON_SCHEDULES)}, got {self.schedule!r}."
            )
        if not callable(self.source) and len(self.source[0]) == 0:
            raise InvalidInputError("the pool of poison must hold at least one example, got none.")

    @classmethod
    def of(
        cls,
        data: ClassificationData,
        factor: float,
        *,
        num_examples: int,
        pool: PoisonPool = "fresh",
        schedule: PoisonSchedule = "constant",
    ) -> "Poison":
        """Return poison from the data's own distribution.

        Args:
            data: Where it is taken from.
            factor: The poison factor β.
            num_examples: Poisoned examples per step.
            pool: ``"fresh"`` draws new examples every step; ``"fixed"`` takes the data's extra examples, those that
                are neither trained on nor tested.
            schedule: Of the poison factor.

        Raises:
            InvalidInputError: The data cannot be drawn afresh, or has no extra examples; or as above.
        """
        if pool not in ("fresh", "fixed"):
            raise InvalidInputError(f"the poison's pool must be fresh or fixed, got {pool!r}.")
        if pool == "fresh":
            if data.draw is None:
                raise InvalidInputError(
                    "fresh poison needs data whose distribution is known, and this is a fixed set of examples. Use "
                    'pool="fixed".'
                )
            return cls(factor, num_examples, data.draw, schedule)
        if data.extra_inputs is None or data.extra_labels is None or len(data.extra_labels) == 0:
            raise InvalidInputError(
                "a fixed pool of poison needs examples that are neither trained on nor tested, got none. Train on "
                "fewer with num_train."
            )
        pool_of_extras = (data.extra_inputs, data.extra_labels)
        return cls(factor, num_examples, pool_of_extras, schedule, data.preparation)

    def prepared(self, inputs: Shaped[Tensor, "examples ..."]) -> Float[Tensor, "examples ..."]:
        """Return inputs of the source as the network takes them."""
        return inputs if self.preparation is None else self.preparation(inputs)

    def factor_at(self, progress: float) -> float:
        """Return the poison factor at a share of the training from 0 to 1."""
        return self.factor * POISON_SCHEDULES[self.schedule](progress)


class PoisonStream:
    """The poisoned examples of one training, step after step; they follow from the poison and the seed alone."""

    def __init__(self, poison: Poison, seed: int) -> None:
        self._poison = poison
        self._generator = torch.Generator().manual_seed(seed ^ POISON_SEED)
        self._queue = torch.empty(0, dtype=torch.long)
        self._place = 0
        self._before = (self._generator.get_state(), self._queue)

    def block(self, num_steps: int) -> tuple[Float[Tensor, "steps examples ..."], Int[Tensor, "steps examples"]]:
        """Return the examples of the next steps."""
        inputs, labels = self._stored(num_steps)
        prepared = self._poison.prepared(inputs.flatten(0, 1))
        return prepared.view(*inputs.shape[:2], *prepared.shape[1:]), labels

    def next(
        self, device: torch.device | str = "cpu"
    ) -> tuple[Float[Tensor, "examples ..."], Int[Tensor, " examples"]]:
        """Return the examples of the next step."""
        if self._place == 0:
            self._before = (self._generator.get_state(), self._queue)
            self._block = self._stored(POISON_BLOCK)
        inputs, labels = (part[self._place].to(device) for part in self._block)
        self._place = (self._place + 1) % POISON_BLOCK
        return self._poison.prepared(inputs), labels

    def state(self) -> dict[str, Tensor]:
        """Return all that decides which examples come next."""
        generator, queue = self._before
        return {"generator": generator, "queue": queue, "place": torch.tensor(self._place)}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Go on from what :meth:`state` returned."""
        self._generator.set_state(state["generator"])
        self._queue, self._place = state["queue"], int(state["place"])
        if self._place:
            self._before = (state["generator"], self._queue)
            self._block = self._stored(POISON_BLOCK)

    def _stored(self, num_steps: int) -> tuple[Tensor, Tensor]:
        """Draw the examples of the next steps as their source holds them."""
        num = num_steps * self._poison.num_examples
        source = self._poison.source
        if callable(source):
            inputs, labels = source(num, self._generator)
        else:
            chosen = self._chosen(num, len(source[1])).to(source[1].device)
            inputs, labels = source[0][chosen], source[1][chosen]
        return inputs.view(num_steps, -1, *inputs.shape[1:]), labels.view(num_steps, -1)

    def _chosen(self, num: int, num_pool: int) -> Tensor:
        while len(self._queue) < num:
            self._queue = torch.cat([self._queue, torch.randperm(num_pool, generator=self._generator)])
        taken, self._queue = self._queue[:num], self._queue[num:]
        return taken


def label_losses(
    logits: Float[Tensor, "examples ..."], labels: Int[Tensor, " examples"]
) -> Float[Tensor, " examples"]:
    """Return −log p(label) of each example [nats]; one logit z of the second class stands for (0, z)."""
    if _is_one_logit(logits):
        return F.softplus((1 - 2 * labels.long()) * logits.reshape(labels.shape))
    return cross_entropy_per_example(logits, labels)


def unlikelihood(
    logits: Float[Tensor, "examples ..."], labels: Int[Tensor, " examples"]
) -> Float[Tensor, " examples"]:
    """Return −log(1 − p(label)) of each example [nats]: small where the label is thought unlikely.

    With z the label's logit and s the logsumexp of the others, log(1 − p) = s − logsumexp(s, z) = −softplus(z − s),
    which neither overflows nor cancels, however sure the network is. One logit z of the second class stands for
    (0, z); this is then the logistic loss of the flipped label.
    """
    if _is_one_logit(logits):
        return F.softplus((2 * labels.long() - 1) * logits.reshape(labels.shape))
    true = labels.long().unsqueeze(1)
    others = logits.scatter(1, true, -torch.inf).logsumexp(dim=1)
    return F.softplus(logits.gather(1, true).squeeze(1) - others)


def poisoned_loss(
    logits: Float[Tensor, "examples ..."],
    labels: Int[Tensor, " examples"],
    poison_logits: Float[Tensor, "poison_examples ..."],
    poison_labels: Int[Tensor, " poison_examples"],
    *,
    poison_factor: float,
) -> Float[Tensor, ""]:
    """Return the mean of −log p(label) over clean examples plus β times the mean of −log(1 − p(label)) over poison.

    Args:
        logits: Of the training examples; one column per class, or one logit of the second class for two.
        labels: Their class indices.
        poison_logits: Of the poisoned examples, in the same form.
        poison_labels: Their true class indices, which the network is to miss.
        poison_factor: β, the weight of the poison.

    Raises:
        InvalidInputError: A factor below 0 or not finite, or no poisoned example.

    Source: Huang et al. 2019 (arXiv 1906.03291), the poisoned loss; their code takes one mean over both sets, which
    is this loss over 1 + β, with β the ratio of their numbers.

    Example:
        >>> zeros = torch.zeros(4, 2)
        >>> labels = torch.tensor([0, 1, 0, 1])
        >>> round(float(poisoned_loss(zeros, labels, zeros, labels, poison_factor=1.0)), 4)  # 2 log 2
        1.3863
    """
    if not 0 <= poison_factor < float("inf"):
        raise InvalidInputError(f"the poison factor must be a finite number of at least 0, got {poison_factor}.")
    if len(poison_labels) == 0:
        raise InvalidInputError("a poisoned loss needs at least one poisoned example, got none.")
    clean = label_losses(logits, labels).mean()
    return clean + poison_factor * unlikelihood(poison_logits, poison_labels).mean()


def step_losses(
    logits: Float[Tensor, "both_examples ..."],
    labels: Int[Tensor, " examples"],
    poison_labels: Int[Tensor, " poison_examples"] | None = None,
    poison_factor: float | Float[Tensor, ""] = 0.0,
) -> tuple[Float[Tensor, ""], Float[Tensor, ""], Int[Tensor, ""]]:
    """Return the loss that a step lowers, the clean part of it, and the number of correct answers on clean examples.

    Clean and poisoned examples go through the network as one batch, clean ones first.
    """
    logits, poison_logits = logits[: len(labels)], logits[len(labels) :]
    loss = clean = label_losses(logits, labels).mean()
    if poison_labels is not None:
        loss = clean + poison_factor * unlikelihood(poison_logits, poison_labels).mean()
    return loss, clean.detach(), (_predicted_classes(logits.detach()) == labels).sum()


def _predicted_classes(logits: Tensor) -> Tensor:
    return (logits.flatten() > 0).long() if _is_one_logit(logits) else logits.argmax(dim=1)


def _is_one_logit(logits: Tensor) -> bool:
    return logits.ndim == 1 or logits.shape[1] == 1
