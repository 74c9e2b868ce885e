"""Training a classifier on data that is already in memory."""

import math
from collections.abc import Callable
from typing import Literal, TypeAlias

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from widemargin.errors import InvalidInputError
from widemargin.training.checks import check_examples, check_numbers
from widemargin.training.history import NUM_RECORDS, Fit, HistoryRecord, Records
from widemargin.training.poison import Poison, PoisonStream, step_losses
from widemargin.training.schedules import Schedule, lr_factor

__all__ = ["OptimizerName", "fit"]

OptimizerName: TypeAlias = Literal["adamw", "sgd"]


def fit(
    network: nn.Module,
    inputs: Float[Tensor, "examples ..."],
    labels: Int[Tensor, " examples"],
    *,
    optimizer: OptimizerName = "adamw",
    lr: float = 1e-3,
    weight_decay: float = 0.0,
    momentum: float = 0.9,
    batch_size: int | None = 64,
    num_steps: int = 1000,
    schedule: Schedule = "cosine",
    gradient_clipping: float | None = None,
    poison: Poison | None = None,
    seed: int = 0,
    num_records: int = NUM_RECORDS,
    on_record: Callable[[HistoryRecord], None] | None = None,
) -> Fit:
    """Train a network in place by cross-entropy, poisoned or not, and say how it went.

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
        batch_size: Examples per step; ``None`` for all of them.
        num_steps: How many steps to take.
        schedule: ``"cosine"`` lowers the learning rate to 0 along half a cosine; ``"constant"`` keeps it;
            ``"steps"`` divides it by ten after 50, 75 and 90 % of the steps.
        gradient_clipping: Largest norm of the whole gradient; ``None`` for no limit.
        poison: Examples whose correct classification is punished; clean and poisoned ones go through the network
            together.
        seed: Seed of the order, of dropout and of the poison; torch's own random state stays as it is.
        num_records: About how many records the history gets.
        on_record: Called with each record of the history as it is made; the network stands then as it was recorded.

    Raises:
        InvalidInputError: An unknown optimizer or schedule, a number out of range, no training examples, labels that
            do not belong to them, or a network that returns no logits.

    Source: the poisoned loss, the schedule ``"steps"`` and clipping are those of Huang et al. 2019 (the steps' places
    are ours).
    """
    check_numbers(num_steps, batch_size)
    check_examples(network, inputs, labels)
    if poison is not None and not callable(poison.source):
        check_examples(network, poison.source[0].to(inputs), poison.source[1], "the pool of poison")
    stepper = _optimizer(network, optimizer, lr, weight_decay, momentum)
    factor = lr_factor(schedule)
    batch_size = len(inputs) if batch_size is None else batch_size
    num_batches = math.ceil(len(inputs) / batch_size)
    records = Records(num_steps, num_batches, num_networks=1, num_records=num_records)
    stream = None if poison is None else PoisonStream(poison, seed)
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
            lr_now = lr * factor(step / num_steps)
            for group in stepper.param_groups:
                group["lr"] = lr_now
            batch, targets = inputs[chosen], labels[chosen]
            if poison is None or stream is None:
                loss, clean, num_correct = step_losses(network(batch), targets)
            else:
                poisoned, poison_labels = stream.next()
                logits = network(torch.cat([batch, poisoned.to(batch)]))
                loss, clean, num_correct = step_losses(
                    logits, targets, poison_labels.to(targets.device), poison.factor_at(step / num_steps)
                )
            stepper.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it bare
            if gradient_clipping is not None:
                nn.utils.clip_grad_norm_(network.parameters(), gradient_clipping)
            stepper.step()
            if records.add(step, clean.unsqueeze(0), num_correct.unsqueeze(0), len(chosen), [lr_now]):
                if on_record is not None:
                    on_record(records.histories[0][-1])
                if records.have_all_diverged:
                    break
    network.eval()
    if is_image:
        network.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]  # as above
    return records.fits([all(bool(torch.isfinite(parameter).all()) for parameter in network.parameters())])[0]


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
