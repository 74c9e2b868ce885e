"""Many small networks of one shape trained at once."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias, TypeVar

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import vmap
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from widemargin.errors import InvalidInputError
from widemargin.networks import stacked_logits
from widemargin.parameters import ParameterSpace
from widemargin.training.checks import check_examples, check_numbers, check_poison
from widemargin.training.fit import OptimizerName, fit
from widemargin.training.history import Fit, Records
from widemargin.training.poison import POISON_BLOCK, Poison, PoisonStream, step_losses
from widemargin.training.schedules import Schedule, lr_factor

__all__ = ["StackFit", "train_stack"]

T = TypeVar("T")
Each: TypeAlias = T | Sequence[T] | NDArray[Any] | Tensor
"""One value for all networks, or one for each."""

NETWORKS_AT_ONCE = 32
"""Larger stacks are taken in parts of this many networks: more would not fit a processor's cache."""


@dataclass(frozen=True)
class StackFit:
    """How the trainings of a stack ended.

    Attributes:
        fits: How each network's training went.
        why_one_by_one: Why the networks were trained one after the other; empty where they were stacked.
    """

    fits: tuple[Fit, ...]
    why_one_by_one: str


def train_stack(
    networks: Sequence[nn.Module],
    inputs: Float[Tensor, "examples ..."],
    labels: Int[Tensor, " examples"],
    *,
    optimizer: OptimizerName = "adamw",
    lr: Each[float] = 1e-3,
    weight_decay: Each[float] = 0.0,
    momentum: float = 0.9,
    batch_size: int | None = None,
    num_steps: int = 1000,
    schedule: Schedule = "cosine",
    gradient_clipping: float | None = None,
    poison: Each[Poison | None] = None,
    seed: Each[int] = 0,
    on_step: Callable[[int], None] | None = None,
) -> StackFit:
    """Train many networks of one shape on the same data, all in one computation; what :func:`fit` does to each.

    Parameters are stacked and every step is taken by all networks together, so that small networks no longer wait for
    Python. What becomes of a network does not depend on what else is in the stack, up to the rounding of sums.
    Networks with dropout, BatchNorm, other buffers, hooks, frozen parameters or anything else that cannot be
    vectorized are trained one by one.

    Args:
        networks: Trained in place, left in evaluation mode.
        inputs: Training inputs, shared by all.
        labels: Training class indices.
        optimizer: As for :func:`fit`, like all that follows.
        lr: Learning rate of the first step, one for all or one for each.
        weight_decay: Strength of weight decay, one for all or one for each.
        momentum: Momentum of SGD.
        batch_size: Examples per step; ``None`` for all of them.
        num_steps: How many steps to take.
        schedule: Of the learning rate.
        gradient_clipping: Largest norm of each network's gradient.
        poison: One for all or one for each; poison factors and sources may differ, the number of examples may not.
        seed: Of order and poison, one for all or one for each.
        on_step: Called with the number of steps taken, now and then.

    Raises:
        InvalidInputError: No network, networks of different shapes, as many values as neither one nor the networks,
            or as for :func:`fit`.

    Example:
        >>> from widemargin.data import swiss_roll
        >>> from widemargin.networks import build
        >>> data = swiss_roll()
        >>> networks = [build("mlp", num_classes=2, input_shape=(2,), seed=seed, hidden=(8,)) for seed in range(3)]
        >>> stack = train_stack(networks, data.train_inputs, data.train_labels, lr=0.01, num_steps=20, seed=range(3))
        >>> [fit.num_steps for fit in stack.fits]
        [20, 20, 20]
    """
    num = len(networks)
    factor = lr_factor(schedule)
    if optimizer not in UPDATES:
        raise InvalidInputError(f"optimizer must be adamw or sgd, got {optimizer!r}.")
    check_numbers(num_steps, batch_size)
    space = _common_space(networks)
    lrs, decays, seeds = _each("lr", lr, num), _each("weight_decay", weight_decay, num), _each("seed", seed, num)
    poisons = _together(_each("poison", poison, num))
    _check_examples(networks[0], inputs, labels, poisons)
    if why := _why_not_stacked(networks, inputs):
        shared: dict[str, Any] = {
            "optimizer": optimizer,
            "momentum": momentum,
            "batch_size": batch_size,
            "num_steps": num_steps,
            "schedule": schedule,
            "gradient_clipping": gradient_clipping,
        }
        fits = []
        for index, network in enumerate(networks):
            own: dict[str, Any] = {"lr": lrs[index], "weight_decay": decays[index], "seed": seeds[index]}
            own["poison"] = poisons[index] if poisons else None
            fits.append(fit(network, inputs, labels, **shared, **own))
            if on_step is not None:
                on_step((index + 1) * num_steps // num)
        return StackFit(tuple(fits), why)
    stack = torch.stack([space.flat(network) for network in networks])
    update = UPDATES[optimizer](stack, space.kernels().to(stack) * stack.new_tensor(decays).unsqueeze(1), momentum)
    examples = _Examples(inputs, labels, batch_size, seeds, poisons, num_steps)
    records = Records(num_steps, examples.num_batches, num)
    template = networks[0].train()
    for step in range(num_steps):
        gradient, losses, num_correct = _gradient(template, space, stack, *examples.take(step))
        if gradient_clipping is not None:
            gradient *= (gradient_clipping / (gradient.norm(dim=1, keepdim=True) + 1e-6)).clamp(max=1)
        lrs_now = [each * factor(step / num_steps) for each in lrs]
        update(stack, gradient, stack.new_tensor(lrs_now).unsqueeze(1), step + 1)
        ended = records.add(step, losses, num_correct, examples.num_taken(step), lrs_now)
        if ended and on_step is not None:
            on_step(step + 1)
        if ended and records.have_all_diverged:
            break
    for network, flat in zip(networks, stack, strict=True):
        for name, value in space.named(flat).items():
            network.get_parameter(name).data.copy_(value)
        network.eval()
    return StackFit(records.fits(torch.isfinite(stack).all(dim=1).tolist()), "")


def _why_not_stacked(networks: Sequence[nn.Module], inputs: Float[Tensor, "examples ..."]) -> str:
    """Return why such networks are trained one by one, found by trying two at once; empty where they stack."""
    network = networks[0]
    modules = [module for other in networks for module in other.modules()]
    parameters = [parameter for other in networks for parameter in other.parameters()]
    reasons = {
        "BatchNorm keeps running statistics, which are not stacked": any(isinstance(m, _BatchNorm) for m in modules),
        "dropout would draw from one random stream for all networks": any(
            isinstance(module, _DropoutNd) and module.p > 0 for module in modules
        ),
        "buffers may differ between networks, and are not stacked": any(module._buffers for module in modules),
        "the networks are built of different parts": len({(type(other), repr(other)) for other in networks}) > 1,
        "hooks may differ between networks": any(m._forward_hooks or m._forward_pre_hooks for m in modules),
        "some parameters are frozen": not all(parameter.requires_grad for parameter in parameters),
    }
    if found := [reason for reason, holds in reasons.items() if holds]:
        return found[0]
    space = ParameterSpace.of(network)
    was_training = network.training
    try:
        stacked_logits(network.train(), space, space.flat(network).repeat(2, 1), inputs[:2], are_shared=True)
    except Exception as error:  # whatever in the user's network vmap cannot do
        said = str(error).splitlines()
        return f"its forward cannot be vectorized ({type(error).__name__}: {said[0] if said else ''})"
    finally:
        network.train(was_training)
    return ""


def _check_examples(network: nn.Module, inputs: Tensor, labels: Tensor, poisons: Sequence[Poison]) -> None:
    check_examples(network, inputs, labels)
    for poison in {id(poison.source): poison for poison in poisons}.values():
        check_poison(network, poison, inputs.device)


def _common_space(networks: Sequence[nn.Module]) -> ParameterSpace:
    if len(networks) == 0:
        raise InvalidInputError("a stack must hold at least one network, got none.")
    if len({id(network) for network in networks}) < len(networks):
        raise InvalidInputError("the networks of a stack must be different objects, got one of them twice.")
    space = ParameterSpace.of(networks[0])
    for index, network in enumerate(networks):
        if ParameterSpace.of(network) != space:
            raise InvalidInputError(
                f"the networks of a stack must have the same parameters, but those of network {index} differ from "
                "those of network 0 in names, shapes or precision."
            )
    return space


def _each(name: str, value: Each[T], num: int) -> list[T]:
    if isinstance(value, np.ndarray | Tensor):
        value = value.tolist()
    if not isinstance(value, Sequence):
        return [value] * num
    if len(value) != num:
        raise InvalidInputError(f"{name} must be one value, or one for each of {num} networks, got {len(value)}.")
    return list(value)


def _together(poisons: list[Poison | None]) -> list[Poison]:
    """Return poison of equal size for all networks, those without at a factor of 0; none if no network has any."""
    given = [poison for poison in poisons if poison is not None]
    if len({poison.num_examples for poison in given}) > 1:
        raise InvalidInputError(
            "all networks of a stack must have the same number of poisoned examples per step, got "
            f"{sorted({poison.num_examples for poison in given})}."
        )
    return [poison or replace(given[0], factor=0.0) for poison in poisons] if given else []


class _Examples:
    """What each network of a stack sees at a step: clean examples in its own order, and its own poison."""

    def __init__(
        self,
        inputs: Tensor,
        labels: Tensor,
        batch_size: int | None,
        seeds: Sequence[int],
        poisons: Sequence[Poison],
        num_steps: int,
    ) -> None:
        self.inputs, self.labels = inputs, labels
        self.batch_size = min(batch_size or len(inputs), len(inputs))
        self.num_batches = math.ceil(len(inputs) / self.batch_size)
        self.num_steps = num_steps
        self.poisons = poisons
        self.streams = [PoisonStream(poison, seed) for poison, seed in zip(poisons, seeds, strict=False)]
        self.orders = [torch.Generator().manual_seed(seed) for seed in seeds]

    def num_taken(self, step: int) -> int:
        """Return how many clean examples each network sees at this step."""
        return min(self.batch_size, len(self.inputs) - (step % self.num_batches) * self.batch_size)

    def take(self, step: int) -> tuple[Tensor, Tensor, Tensor, tuple[Tensor, ...]]:
        """Return clean inputs and labels (of all networks, or one set for all), poison factors, and poison if any."""
        inputs, labels = self.inputs, self.labels
        if self.num_batches > 1:
            place = step % self.num_batches
            if place == 0:
                orders = [torch.randperm(len(inputs), generator=generator) for generator in self.orders]
                self.order = torch.stack(orders).to(inputs.device)
            chosen = self.order[:, place * self.batch_size :][:, : self.batch_size]
            inputs, labels = inputs[chosen], labels[chosen]
        if not self.streams:
            return inputs, labels, inputs.new_zeros(len(self.orders)), ()
        if step % POISON_BLOCK == 0:
            blocks = [stream.block(POISON_BLOCK) for stream in self.streams]
            self.blocks = [torch.stack(parts, dim=1) for parts in zip(*blocks, strict=True)]
        factors = [poison.factor_at(step / self.num_steps) for poison in self.poisons]
        return inputs, labels, inputs.new_tensor(factors), tuple(part[step % POISON_BLOCK] for part in self.blocks)


def _gradient(
    template: nn.Module,
    space: ParameterSpace,
    stack: Tensor,
    inputs: Tensor,
    labels: Tensor,
    factors: Tensor,
    poison: Sequence[Tensor],
) -> tuple[Tensor, Tensor, Tensor]:
    """Return every network's gradient, clean loss and number of correct answers."""
    shared = None if labels.ndim == 1 else 0
    parts = []
    for start in range(0, len(stack), NETWORKS_AT_ONCE):
        some = slice(start, start + NETWORKS_AT_ONCE)
        flat = stack[some].detach().requires_grad_()
        examples, targets = (inputs, labels) if shared is None else (inputs[some], labels[some])
        if poison:
            clean = examples.expand(len(flat), *inputs.shape) if shared is None else examples
            examples = torch.cat([clean, poison[0][some].to(clean)], dim=1)
        with torch.enable_grad():
            logits = stacked_logits(template, space, flat, examples, are_shared=shared is None and not poison)
            if poison:
                losses, clean_losses, num_correct = vmap(step_losses, (0, shared, 0, 0))(
                    logits, targets, poison[1][some].to(targets.device), factors[some]
                )
            else:
                losses, clean_losses, num_correct = vmap(step_losses, (0, shared))(logits, targets)
            (gradient,) = torch.autograd.grad(losses.sum(), flat)
        parts.append((gradient, clean_losses, num_correct))
    gradients, all_losses, all_correct = (torch.cat(part) for part in zip(*parts, strict=True))
    return gradients, all_losses, all_correct


class _AdamW:
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019) on a stack, one learning rate a row."""

    def __init__(self, stack: Tensor, decay: Tensor, momentum: float) -> None:
        self.mean, self.square = torch.zeros_like(stack), torch.zeros_like(stack)
        self.decay = decay

    def __call__(self, stack: Tensor, gradient: Tensor, lr: Tensor, step: int) -> None:
        beta1, beta2, epsilon = 0.9, 0.999, 1e-8
        self.mean.lerp_(gradient, 1 - beta1)
        self.square.mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
        scale = (self.square / (1 - beta2**step)).sqrt_().add_(epsilon)
        stack.mul_(1 - lr * self.decay)
        stack.sub_(lr / (1 - beta1**step) * self.mean / scale)


class _SGD:
    """Stochastic gradient descent with momentum on a stack, one learning rate a row."""

    def __init__(self, stack: Tensor, decay: Tensor, momentum: float) -> None:
        self.velocity = torch.zeros_like(stack)
        self.decay, self.momentum = decay, momentum

    def __call__(self, stack: Tensor, gradient: Tensor, lr: Tensor, step: int) -> None:
        self.velocity.mul_(self.momentum).add_(gradient + self.decay * stack)
        stack.sub_(lr * self.velocity)


UPDATES: Mapping[str, Callable[[Tensor, Tensor, float], Callable[[Tensor, Tensor, Tensor, int], None]]] = {
    "adamw": _AdamW,
    "sgd": _SGD,
}
