"""Training a classifier on data that is already in memory."""

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Literal, TypeAlias

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from widemargin.errors import InvalidInputError

__all__ = ["Fit", "HistoryRecord", "OptimizerName", "Schedule", "fit"]

OptimizerName: TypeAlias = Literal["adamw", "sgd"]
Schedule: TypeAlias = Literal["cosine", "constant"]

NUM_RECORDS = 20
"""How many records of the history a run leaves at most."""


@dataclass(frozen=True, slots=True)
class HistoryRecord:
    """Mean over the steps since the record before, as the network stood while it trained."""

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


def fit(
    network: nn.Module,
    inputs: Float[Tensor, "examples ..."],
    labels: Int[Tensor, " examples"],
    *,
    optimizer: OptimizerName = "adamw",
    lr: float = 1e-3,
    weight_decay: float = 0.0,
    momentum: float = 0.9,
    batch_size: int = 64,
    num_steps: int = 1000,
    schedule: Schedule = "cosine",
    seed: int = 0,
    on_record: Callable[[HistoryRecord], None] | None = None,
) -> Fit:
    """Train a network in place by cross-entropy and say how it went.

    The data is gathered batch by batch from memory, in a fresh order each epoch; the last, smaller batch of an
    epoch is used too. Weight decay acts on kernels (two dimensions or more), not on biases and norms: added to
    the gradient with SGD, decoupled with AdamW.

    Args:
        network: Trained in place, left in evaluation mode.
        inputs: Training inputs.
        labels: Training class indices.
        optimizer: ``"adamw"`` or ``"sgd"``.
        lr: Learning rate of the first step.
        weight_decay: Strength of weight decay.
        momentum: Momentum of SGD.
        batch_size: Examples per step.
        num_steps: How many steps to take.
        schedule: ``"cosine"`` lowers the learning rate to 0 along half a cosine; ``"constant"`` keeps it.
        seed: Seed of the order and of dropout; torch's own random state stays as it is.
        on_record: Called with each record of the history as it is made.

    Raises:
        InvalidInputError: An unknown optimizer or schedule, or no training examples.
    """
    if len(inputs) == 0:
        raise InvalidInputError("training needs at least one example, got none.")
    stepper = _optimizer(network, optimizer, lr, weight_decay, momentum)
    factor = SCHEDULES.get(schedule)
    if factor is None:
        raise InvalidInputError(f"schedule must be one of {', '.join(SCHEDULES)}, got {schedule!r}.")
    history: list[HistoryRecord] = []
    every = max(1, num_steps // NUM_RECORDS)
    loss_sum, num_correct, num_seen = torch.zeros(()), torch.zeros(()), 0
    num_batches = math.ceil(len(inputs) / batch_size)
    is_image = inputs.ndim == 4
    if is_image:  # a quarter to two fifths of a step's time on a processor
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch types it so
        inputs = inputs.contiguous(memory_format=torch.channels_last)
    network.train()
    with torch.random.fork_rng(devices=[inputs.device] if inputs.is_cuda else []), torch.enable_grad():
        torch.manual_seed(seed)
        for step in range(num_steps):
            if step % num_batches == 0:
                order = torch.randperm(len(inputs)).to(inputs.device)
            chosen = order[(step % num_batches) * batch_size :][:batch_size]
            for group in stepper.param_groups:
                group["lr"] = lr * factor(step / num_steps)
            logits = network(inputs[chosen])
            loss = nn.functional.cross_entropy(logits, labels[chosen])
            stepper.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it bare
            stepper.step()
            loss_sum = loss_sum + loss.detach() * len(chosen)
            num_correct = num_correct + (logits.detach().argmax(dim=1) == labels[chosen]).sum()
            num_seen += len(chosen)
            if (step + 1) % every == 0 or step + 1 == num_steps:
                record = HistoryRecord(
                    step=step + 1,
                    epoch=(step + 1) / num_batches,
                    loss=float(loss_sum) / num_seen,
                    accuracy=float(num_correct) / num_seen,
                    lr=lr * factor(step / num_steps),
                )
                history.append(record)
                if on_record is not None:
                    on_record(record)
                loss_sum, num_correct, num_seen = torch.zeros(()), torch.zeros(()), 0
                if not math.isfinite(record.loss):
                    break
    network.eval()
    if is_image:
        network.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]  # as above
    has_diverged = bool(history) and not math.isfinite(history[-1].loss)
    has_diverged |= not all(bool(torch.isfinite(parameter).all()) for parameter in network.parameters())
    return Fit(tuple(history), has_diverged, history[-1].step if history else 0)


SCHEDULES: Mapping[str, Callable[[float], float]] = {
    "cosine": lambda progress: 0.5 * (1 + math.cos(math.pi * progress)),
    "constant": lambda _: 1.0,
}


def _optimizer(
    network: nn.Module, name: str, lr: float, weight_decay: float, momentum: float
) -> torch.optim.Optimizer:
    kernels = [parameter for parameter in network.parameters() if parameter.ndim >= 2]
    others = [parameter for parameter in network.parameters() if parameter.ndim < 2]
    groups = [{"params": kernels, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]
    if name == "adamw":
        return torch.optim.AdamW(groups, lr=lr, fused=True)
    if name == "sgd":
        return torch.optim.SGD(groups, lr=lr, momentum=momentum, fused=True)
    raise InvalidInputError(f"optimizer must be adamw or sgd, got {name!r}.")
