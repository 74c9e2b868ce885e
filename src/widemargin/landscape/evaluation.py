"""Loss and accuracy of one network at many points of its parameter space."""

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import vmap
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.modules.batchnorm import _BatchNorm

from widemargin.batches import Batch
from widemargin.errors import InvalidInputError, WidemarginError
from widemargin.margins import output_margins
from widemargin.networks import has_stacked_forward, stacked_logits
from widemargin.parameters import ParameterSpace
from widemargin.trained_model import (
    TrainedModel,
    checked_logits,
    cross_entropy_per_example,
    two_logits,
)

__all__ = ["BatchNormStatistics", "Evaluation", "Losses", "PointValues"]

Doubles: TypeAlias = NDArray[np.float64]
BatchNormStatistics: TypeAlias = Literal["kept", "re-estimated"]

HELD_BYTES = 2**28
"""Data up to this size is read once and held; larger data is read again for every pass."""

FLOATS_AT_ONCE = 2**20
"""Points are taken at once until their largest activations reach this, or their parameters eight times as much."""

WORTH_VECTORIZING = 4
"""Fewer points are quicker one by one."""


class Losses:
    """What holds losses, some of which may not be finite."""

    losses: Float[Doubles, "..."]

    @property
    def num_not_finite(self) -> int:
        """How many losses are NaN or infinite."""
        return int((~np.isfinite(self.losses)).sum())


@dataclass(frozen=True, eq=False)
class PointValues(Losses):
    """Mean loss and accuracy [share] at points of parameter space, over one split of the data."""

    losses: Float[Doubles, " points"]
    accuracies: Float[Doubles, " points"]


class Evaluation:
    """The mean loss and the accuracy as functions of all parameters; use it while the network is borrowed.

    Small networks are evaluated at many points at once (``torch.func.vmap``), others point by point; the values are
    the same. Loss and accuracy that are not finite are returned as they are.

    Args:
        trained: The network and its data.
        split: ``"train"`` or ``"test"``.
        batch_norm: ``"kept"`` uses the BatchNorm statistics of the trained network everywhere; ``"re-estimated"``
            takes fresh ones over the training data at each point, one more pass each.

    Attributes:
        space: The parameters.
        num_evaluations: Points evaluated so far, each one pass over the data.
        why_one_by_one: Why points are not taken at once, where vectorizing them was tried and failed; else empty.

    Raises:
        InvalidInputError: An unknown option, or a loss that is not one number per example.
        InvalidLogitsError: The network's own output is no finite table of logits.
        InvalidLabelsError: Labels are out of range or not integers.
    """

    def __init__(
        self, trained: TrainedModel, *, split: str = "train", batch_norm: BatchNormStatistics = "kept"
    ) -> None:
        if split not in ("train", "test"):
            raise InvalidInputError(f"split must be train or test, got {split!r}.")
        if batch_norm not in ("kept", "re-estimated"):
            raise InvalidInputError(f"batch_norm must be kept or re-estimated, got {batch_norm!r}.")
        self.trained = trained
        self.space = ParameterSpace.of(trained.network)
        self.num_evaluations = 0
        self.why_one_by_one = ""
        self._split = split
        self._held: list[tuple[Batch, Tensor]] | None = None
        self._norms = [module for module in trained.network.modules() if _has_statistics(module)]
        self._fresh_statistics = batch_norm == "re-estimated" and bool(self._norms)
        self._statistics_of: Tensor | None = None
        self._buffers: dict[str, Tensor] = {}
        largest = self._look()
        self.points_at_once = 1 if self._fresh_statistics else _points_at_once(self.space.num_parameters, largest)

    @property
    def center(self) -> Float[Tensor, " parameters"]:
        """The network's own parameters, as a new flat vector."""
        return self.space.flat(self.trained.network)

    def around(self, steps: Float[Tensor, "points parameters"]) -> Float[Tensor, "points parameters"]:
        """Return the points that steps lead to from the network's own parameters; the steps become the points."""
        named = dict(self.trained.network.named_parameters())
        for name, part in zip(self.space.names, steps.split_with_sizes(self.space.sizes, dim=1), strict=True):
            part.add_(named[name].detach().flatten())
        return steps

    def at(self, points: Float[Tensor, "points parameters"]) -> PointValues:
        """Return loss and accuracy at each point, one row of parameters a point."""
        losses, accuracies = [np.empty(0)], [np.empty(0)]
        with torch.no_grad():
            for some in points.split_with_sizes(_chunks(len(points), self.points_at_once)):
                chunk = self._together(some)
                losses.append(chunk.losses)
                accuracies.append(chunk.accuracies)
        self.num_evaluations += len(points)
        return PointValues(np.concatenate(losses), np.concatenate(accuracies))

    def _together(self, points: Tensor) -> PointValues:
        if len(points) > 1 and not self.why_one_by_one:
            try:
                return self._means(points, self._logits_at_once)
            except WidemarginError:
                raise
            except Exception as error:  # whatever in the user's network vmap cannot do
                self.why_one_by_one = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
                self.points_at_once = 1
        parts = [self._means(point.unsqueeze(0), self._logits_of_one) for point in points]
        return PointValues(
            np.concatenate([part.losses for part in parts]), np.concatenate([part.accuracies for part in parts])
        )

    def _means(self, points: Tensor, logits_of: Callable[[Tensor, Batch], Tensor]) -> PointValues:
        totals = torch.zeros(2, len(points), dtype=torch.float64, device=points.device)
        num_examples = 0
        for batch, labels in self._batches():
            logits = logits_of(points, batch)
            logits = logits if logits.dtype == torch.float64 else logits.float()
            margins = output_margins(logits.flatten(0, 1), labels.repeat(len(points))).view(logits.shape[:2])
            totals[0] += self._losses(logits, labels, margins).sum(dim=1, dtype=torch.float64)
            totals[1] += (margins > 0).sum(dim=1)
            num_examples += len(labels)
        means = (totals / num_examples).cpu().numpy()
        return PointValues(means[0], means[1])

    def _losses(self, logits: Tensor, labels: Tensor, margins: Tensor) -> Tensor:
        """Return each example's loss at each point; a loss of the user's sees one point's batch at a time."""
        if self.trained.loss is cross_entropy_per_example:
            if logits.shape[2] == 2:
                return -nn.functional.logsigmoid(margins)
            return cross_entropy_per_example(logits.flatten(0, 1), labels.repeat(len(logits))).view(logits.shape[:2])
        if len(logits) == 1:
            return self.trained.losses(logits[0], labels).unsqueeze(0)
        losses: Tensor = vmap(lambda some: self.trained.losses(some, labels))(logits)
        return losses

    def _logits_at_once(self, points: Tensor, batch: Batch) -> Tensor:
        network = self.trained.network
        if self.trained.forward is None and has_stacked_forward(network) and isinstance(batch, tuple | list):
            found = stacked_logits(network, self.space, points, batch[0], are_shared=True)
            return two_logits(found.flatten(0, 1)).view(*found.shape[:2], 2) if found.shape[2] == 1 else found
        with sdpa_kernel(SDPBackend.MATH), warnings.catch_warnings():  # attention's other kernels are not vectorized
            warnings.filterwarnings("error", "There is a performance drop", UserWarning)  # by a loop inside vmap
            logits: Tensor = vmap(lambda point: self.trained.logits_at(self.space.named(point), batch))(points)
        return logits

    def _logits_of_one(self, points: Tensor, batch: Batch) -> Tensor:
        if self._fresh_statistics and self._statistics_of is not points:
            self._statistics_of, self._buffers = points, self._statistics(points[0])
        return self.trained.logits_at({**self.space.named(points[0]), **self._buffers}, batch).unsqueeze(0)

    def _statistics(self, point: Tensor) -> dict[str, Tensor]:
        """Return BatchNorm's buffers as the mean over the training batches at this point."""
        fresh = {
            name: torch.ones_like(buffer) if name.endswith("running_var") else torch.zeros_like(buffer)
            for prefix, module in self.trained.network.named_modules()
            if module in self._norms
            for name, buffer in ((f"{prefix}.{key}".removeprefix("."), b) for key, b in module.named_buffers())
        }
        with _estimating(self._norms):
            for batch, _ in self.trained.batches("train"):
                self.trained.logits_at({**self.space.named(point), **fresh}, batch)
        return fresh

    def _batches(self) -> Iterable[tuple[Batch, Tensor]]:
        return self.trained.batches(self._split) if self._held is None else self._held

    def _look(self) -> int:
        """Check the first outputs, hold data that is small, and return the size of the largest activation."""
        sizes = [0]

        def look(module: nn.Module, inputs: object, output: object) -> None:
            if isinstance(output, Tensor):
                sizes.append(output.numel())

        hooks = [module.register_forward_hook(look) for module in self.trained.network.modules()]
        held: list[tuple[Batch, Tensor]] | None = []
        num_bytes = 0
        try:
            with torch.no_grad():
                for index, (batch, labels) in enumerate(self.trained.batches(self._split)):
                    if index == 0:
                        checked_logits(self.trained.logits(batch), labels)
                        for hook in hooks:
                            hook.remove()
                    num_bytes += _num_bytes(batch)
                    if num_bytes > HELD_BYTES:
                        held = None
                        break
                    if held is not None:
                        held.append((batch, labels))
        finally:
            for hook in hooks:
                hook.remove()
        self._held = held
        return max(sizes)


def _points_at_once(num_parameters: int, largest_activation: int) -> int:
    num = min(FLOATS_AT_ONCE // max(largest_activation, 1), 8 * FLOATS_AT_ONCE // num_parameters)
    return num if num >= WORTH_VECTORIZING else 1


def _chunks(num: int, size: int) -> list[int]:
    return [min(size, num - start) for start in range(0, num, size)]


def _has_statistics(module: nn.Module) -> bool:
    return isinstance(module, _BatchNorm) and module.running_mean is not None


def _num_bytes(batch: Batch) -> int:
    if isinstance(batch, Tensor):
        return batch.nbytes
    parts = batch.values() if isinstance(batch, Mapping) else batch if isinstance(batch, tuple | list) else ()
    return sum(map(_num_bytes, parts))


@contextmanager
def _estimating(norms: list[nn.Module]) -> Iterator[None]:
    """Have BatchNorm take the plain mean of its batches' statistics."""
    momenta = [module.momentum for module in norms]
    try:
        for module in norms:
            module.training, module.momentum = True, None  # type: ignore[assignment]  # torch: cumulative average
        yield
    finally:
        for module, momentum in zip(norms, momenta, strict=True):
            module.training, module.momentum = False, momentum
