"""Total variation of activations, streamed over the training set."""

import torch
import torch.distributed as dist
from torch import Tensor

__all__ = ["TotalVariation"]

CHUNK_ELEMENTS = (2**26, 2**18)
"""How many numbers are taken to float64 at once on an accelerator, and on a processor."""


class TotalVariation:
    """Trace of the covariance of a layer's activations: Σ over units of the population variance.

    Holds one mean vector and one number however many examples pass by. Deviations are taken from a
    reference activation first and added up in float64, so that a large mean costs no digits.

    Source: Jiang et al. 2019 (arXiv 1810.00113), section 3.2.
    """

    def __init__(self) -> None:
        self.num_examples = 0
        self._reference: Tensor | None = None  # [units]
        self._sum = torch.zeros((), dtype=torch.float64)  # [units] of deviations from the reference
        self._sum_of_squares = torch.zeros((), dtype=torch.float64)

    def update(self, activations: Tensor) -> None:
        """Add the activations [examples, …] of one batch; the shape behind the examples stays the same."""
        flat = activations.detach().flatten(1)
        if self._reference is None:
            self._reference = flat.mean(dim=0, dtype=torch.float64)
            self._sum = torch.zeros_like(self._reference)
            self._sum_of_squares = self._sum.new_zeros(())
        # A few rows at a time: their float64 copy stays in the cache, so this costs one read of the batch.
        num_rows = max(1, CHUNK_ELEMENTS[flat.device.type == "cpu"] // flat.shape[1])
        for rows in torch.split(flat, num_rows):
            deviations = rows.to(torch.float64, copy=True).sub_(self._reference)
            self._sum += deviations.sum(dim=0)
            self._sum_of_squares += torch.dot(deviations.view(-1), deviations.view(-1))
        self.num_examples += len(flat)

    @property
    def value(self) -> float:
        """Total variation [squared activation units] of all examples so far."""
        mean = self._sum / self.num_examples
        return max(float(self._sum_of_squares / self.num_examples - mean @ mean), 0.0)

    def all_reduced(self, device: torch.device) -> float:
        """Return the total variation over the examples of all processes; every one of them must call this."""
        num_units = torch.tensor(0 if self._reference is None else len(self._reference), device=device)
        dist.all_reduce(num_units, dist.ReduceOp.MAX)  # a process may have seen no batch
        sums = torch.zeros(int(num_units) + 1, dtype=torch.float64, device=device)
        own_mean = torch.zeros(int(num_units), dtype=torch.float64, device=device)
        if self._reference is not None:
            own_mean = self._reference + self._sum / self.num_examples
            sums[:-1] = own_mean * self.num_examples
            sums[-1] = self.num_examples
        dist.all_reduce(sums)
        num_examples, mean = sums[-1], sums[:-1] / sums[-1]
        squares = torch.zeros((), dtype=torch.float64, device=device)
        if self._reference is not None:
            squares += self.num_examples * (self.value + ((own_mean - mean) ** 2).sum())
        dist.all_reduce(squares)
        return float(squares / num_examples)
