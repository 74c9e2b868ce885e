"""Training a classifier on data that is already in memory."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, TypeAlias

import torch
from jaxtyping import Int, Shaped
from torch import Tensor, nn

from widemargin.errors import InvalidInputError
from widemargin.training.checkpoint import Checkpoint, optimizer_tensors, restore_optimizer
from widemargin.training.checks import check_examples, check_numbers, check_poison
from widemargin.training.history import NUM_RECORDS, Fit, HistoryRecord, Records
from widemargin.training.poison import Poison, PoisonStream, step_losses
from widemargin.training.schedules import Schedule, lr_factor

__all__ = ["OptimizerName", "Precision", "fit", "has_bfloat16"]

OptimizerName: TypeAlias = Literal["adamw", "sgd"]
Precision: TypeAlias = Literal["float32", "bfloat16"]


def fit(
    network: nn.Module,
    inputs: Shaped[Tensor, "examples ..."],
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
    augment: Callable[[Tensor], Tensor] | None = None,
    precision: Precision = "float32",
    seed: int = 0,
    num_records: int = NUM_RECORDS,
    on_record: Callable[[HistoryRecord], None] | None = None,
    checkpoint: str | Path | None = None,
    checkpoint_seconds: float = 60.0,
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
        augment: Makes network inputs of each batch of ``inputs``, on their device, with torch's random numbers;
            ``None`` where they are taken as they are.
        precision: ``"bfloat16"`` computes products in it, where the hardware has it (:func:`has_bfloat16`), and keeps
            parameters, sums and the loss in float32.
        seed: Seed of the order, of dropout, augmentation and the poison; torch's own random state stays as it is.
        num_records: About how many records the history gets.
        on_record: Called with each record of the history as it is made; the network stands then as it was recorded.
        checkpoint: File that the state of the training is kept in; where there is one, the training goes on from it,
            to the same end bit by bit. It is deleted at the end.
        checkpoint_seconds: How often it is written [s].

    Raises:
        InvalidInputError: An unknown optimizer, schedule or precision, a number out of range, no training examples,
            labels that do not belong to them, a network that returns no logits, or a checkpoint of another training.

    Source: the poisoned loss, the schedule ``"steps"`` and clipping are those of Huang et al. 2019 (the steps' places
    are ours).
    """
    check_numbers(num_steps, batch_size)
    check_examples(network, inputs, labels, prepared=augment)
    if poison is not None:
        check_poison(network, poison, inputs.device)
    if precision not in ("float32", "bfloat16"):
        raise InvalidInputError(f"precision must be float32 or bfloat16, got {precision!r}.")
    factor = lr_factor(schedule)
    is_image = inputs.ndim == 4
    if is_image:  # a quarter to two fifths of a step's time on a processor
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch types it so
        inputs = inputs.contiguous(memory_format=torch.channels_last)
    stepper = _optimizer(network, optimizer, lr, weight_decay, momentum)
    stream = None if poison is None else PoisonStream(poison, seed)
    examples = _Examples(inputs, labels, batch_size or len(inputs), augment, stream)
    records = Records(num_steps, examples.num_batches, num_networks=1, num_records=num_records)
    state = _State(network, stepper, records, examples)
    file = None if checkpoint is None else Checkpoint(Path(checkpoint), checkpoint_seconds)
    settings = {
        "optimizer": optimizer, "lr": lr, "weight_decay": weight_decay, "momentum": momentum, "schedule": schedule,
        "batch_size": batch_size, "num_steps": num_steps, "gradient_clipping": gradient_clipping, "seed": seed,
        "precision": precision, "num_examples": len(inputs), "poison": None if poison is None else poison.factor,
    }  # fmt: skip
    narrow = precision == "bfloat16" and has_bfloat16(inputs.device)
    network.train()
    with torch.random.fork_rng(devices=[inputs.device] if inputs.is_cuda else []), torch.enable_grad():
        torch.manual_seed(seed)
        first = 0 if file is None else state.restored(file, settings)
        for step in range(first, num_steps):
            lr_now = lr * factor(step / num_steps)
            for group in stepper.param_groups:
                group["lr"] = lr_now
            batch, targets, poison_labels = examples.take(step)
            with torch.autocast(inputs.device.type, torch.bfloat16, enabled=narrow):
                logits = network(batch)
            poison_factor = 0.0 if poison is None else poison.factor_at(step / num_steps)
            logits = logits.float() if narrow else logits
            loss, clean, num_correct = step_losses(logits, targets, poison_labels, poison_factor)
            stepper.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it bare
            if gradient_clipping is not None:
                nn.utils.clip_grad_norm_(network.parameters(), gradient_clipping)
            stepper.step()
            if records.add(step, clean.unsqueeze(0), num_correct.unsqueeze(0), len(targets), [lr_now]):
                if on_record is not None:
                    on_record(records.histories[0][-1])
                if records.have_all_diverged:
                    break
            if file is not None and file.is_due():
                state.save(file, step + 1, settings)
    network.eval()
    if is_image:
        network.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]  # as above
    if file is not None:
        file.path.unlink(missing_ok=True)
    return records.fits([all(bool(torch.isfinite(parameter).all()) for parameter in network.parameters())])[0]


def has_bfloat16(device: torch.device) -> bool:
    """Return whether the device multiplies in bfloat16 itself, so that it is faster than float32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    return device.type == "cpu" and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


class _Examples:
    """What the network sees at a step: clean examples in a fresh order each epoch, and poison behind them."""

    def __init__(
        self,
        inputs: Tensor,
        labels: Tensor,
        batch_size: int,
        augment: Callable[[Tensor], Tensor] | None,
        stream: PoisonStream | None,
    ) -> None:
        self.inputs, self.labels, self.batch_size = inputs, labels, batch_size
        self.augment, self.stream = augment, stream
        self.num_batches = math.ceil(len(inputs) / batch_size)
        self.order: Int[Tensor, " examples"] = torch.empty(0, dtype=torch.long)

    def take(self, step: int) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return inputs, labels of the clean ones, and those of the poisoned ones if there are any."""
        place = step % self.num_batches
        device = self.inputs.device
        if place == 0:
            self.order = torch.randperm(len(self.inputs))
        chosen = self.order[place * self.batch_size :][: self.batch_size].to(device)
        inputs, labels = self.inputs[chosen], self.labels[chosen]
        if self.augment is not None:
            inputs = self.augment(inputs)
        if self.stream is None:
            return inputs, labels, None
        poisoned, poison_labels = self.stream.next(device)
        return torch.cat([inputs, poisoned.to(inputs)]), labels, poison_labels


class _State:
    """All that one training has become, and what decides how it goes on."""

    def __init__(
        self, network: nn.Module, stepper: torch.optim.Optimizer, records: Records, examples: _Examples
    ) -> None:
        self.network, self.stepper, self.records, self.examples = network, stepper, records, examples
        self.device = examples.inputs.device

    def save(self, file: Checkpoint, step: int, settings: dict[str, Any]) -> None:
        sums, facts = self.records.state()
        tensors = {f"network/{name}": value for name, value in self.network.state_dict().items()}
        tensors |= optimizer_tensors(self.stepper)
        tensors |= {"sums": sums, "order": self.examples.order, "rng": torch.get_rng_state()}
        if self.device.type == "cuda":
            tensors["cuda_rng"] = torch.cuda.get_rng_state(self.device)
        if self.examples.stream is not None:
            tensors |= {f"poison/{name}": value for name, value in self.examples.stream.state().items()}
        file.write(tensors, {"step": step, "settings": settings, **facts})

    def restored(self, file: Checkpoint, settings: dict[str, Any]) -> int:
        """Take up what a file holds; return the step to go on with, 0 where there is none."""
        found = file.read(settings)
        if found is None:
            return 0
        tensors, facts = found
        self.network.load_state_dict(_under("network/", tensors))
        restore_optimizer(self.stepper, tensors)
        self.records.restore(tensors["sums"].to(self.device), facts)
        self.examples.order = tensors["order"]
        if self.examples.stream is not None:
            self.examples.stream.restore(_under("poison/", tensors))
        torch.set_rng_state(tensors["rng"])
        if self.device.type == "cuda":
            torch.cuda.set_rng_state(tensors["cuda_rng"], self.device)
        return int(facts["step"])


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


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
