"""All margins cost hardly more than one forward and one backward pass to the input.

Times, in turn within one run and as medians: the floor (a forward and a backward pass to the input of a frozen
network), the margin distribution at four layers, and one pass per layer with parameter gradients left on.
Memory: the peak of a fresh process at two sizes of the training set, less that of the plain forward pass.

    python benchmarks/margins_cost_one_pass.py [--repeats 9] [--out benchmarks/results/margins_cost_one_pass.json]
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import torch
from record import record
from torch.utils.data import Dataset

from widemargin import TrainedModel, margin_distribution
from widemargin.margins import output_margins
from widemargin.networks import NiN

BATCH_SIZE = 125
LAYERS = NiN.margin_layers
MIB = 2**20
SLOW_REPEATS = 3


def floor(model: NiN, inputs: torch.Tensor, labels: torch.Tensor) -> None:
    """A forward and a backward pass to the input with frozen parameters: nobody can do with less."""
    model.requires_grad_(False)
    for start in range(0, len(inputs), BATCH_SIZE):
        batch = inputs[start : start + BATCH_SIZE].clone().requires_grad_(True)
        score = output_margins(model(batch), labels[start : start + BATCH_SIZE])
        torch.autograd.grad(score.sum(), batch)
    model.requires_grad_(True)


def margins(model: NiN, inputs: torch.Tensor, labels: torch.Tensor) -> None:
    margin_distribution(TrainedModel(model, (inputs, labels), batch_size=BATCH_SIZE))


def one_pass_per_layer(model: NiN, inputs: torch.Tensor, labels: torch.Tensor) -> None:
    """What one writes first: a pass for every layer, backward() as in training, norms and variances."""
    for layer in LAYERS:
        held: list[torch.Tensor] = []
        handle = None
        if layer != "input":
            handle = model.get_submodule(layer).register_forward_hook(lambda m, i, out, held=held: held.append(out))
        activations = []
        for start in range(0, len(inputs), BATCH_SIZE):
            held.clear()
            batch = inputs[start : start + BATCH_SIZE].clone().requires_grad_(True)
            score = output_margins(model(batch), labels[start : start + BATCH_SIZE])
            point = batch if layer == "input" else held[0]
            point.retain_grad()
            score.sum().backward()
            _ = score.detach() / point.grad.flatten(1).norm(dim=1)
            activations.append(point.detach().flatten(1))
        torch.cat(activations).var(dim=0, correction=0).sum()
        model.zero_grad()
        if handle is not None:
            handle.remove()


def timed(num_examples: int, repeats: int, threads: int) -> dict[str, float]:
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    model = NiN(width=1.0).eval()
    inputs, labels = torch.randn(num_examples, 3, 32, 32), torch.arange(num_examples) % 10
    contenders = {"floor": floor, "margins": margins, "one_pass_per_layer": one_pass_per_layer}
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for repeat in range(repeats + 1):
        for name, contender in contenders.items():
            if name == "one_pass_per_layer" and repeat > SLOW_REPEATS:
                continue
            begun = time.perf_counter()
            contender(model, inputs, labels)
            if repeat:  # the first round warms up
                seconds[name].append(time.perf_counter() - begun)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    ratios = [m / f for m, f in zip(seconds["margins"], seconds["floor"], strict=True)]
    naive = [p / m for p, m in zip(seconds["one_pass_per_layer"], seconds["margins"], strict=False)]
    return {
        "threads": threads,
        **{f"{name}_seconds": value for name, value in medians.items()},
        "margins_over_floor": statistics.median(ratios),
        "one_pass_per_layer_over_margins": statistics.median(naive),
    }


class Images(Dataset[tuple[torch.Tensor, int]]):
    """Images drawn as they are asked for, so that the data itself takes no memory."""

    def __init__(self, num_examples: int) -> None:
        self.num_examples = num_examples

    def __len__(self) -> int:
        return self.num_examples

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        if index >= self.num_examples:
            raise IndexError(index)
        return torch.full((3, 32, 32), (index % 97) / 97) + torch.arange(32) / 32 * (index % 7), index % 10


def peak_memory(num_examples: int, what: str) -> int:
    """Peak resident memory [bytes] of this process; for use in a fresh one."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = NiN(width=0.25).eval()  # small, so that 50,000 examples take minutes; memory per example is the same
    trained = TrainedModel(model, Images(num_examples), batch_size=BATCH_SIZE)
    if what == "margins":
        margin_distribution(trained)
    else:
        with trained.borrowed():
            for batch, labels in trained.batches():
                batch[0].requires_grad_(True)
                torch.autograd.grad(output_margins(trained.logits(batch), labels).sum(), batch[0])
    status = Path("/proc/self/status").read_text()  # getrusage would give the parent's peak where that is higher
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def memory(sizes: tuple[int, ...]) -> dict[str, float]:
    peaks = {}
    for what in ("margins", "passes"):
        for size in sizes:
            command = [sys.executable, __file__, "--peak", str(size), what]
            # Freed blocks go back at once, so that the peak is that of what is held, not of how the heap is cut up.
            environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_ARENA_MAX": "1"}
            found = subprocess.run(command, check=True, capture_output=True, env=environment)
            peaks[f"{what}_{size}"] = int(found.stdout)
    small, large = sizes
    added = {size: peaks[f"margins_{size}"] - peaks[f"passes_{size}"] for size in sizes}  # beyond plain passes
    growth = (added[large] - added[small]) / (large - small)
    return {
        **{f"peak_mib_{name}": value / MIB for name, value in peaks.items()},
        "bytes_per_example_beyond_plain_passes": growth,
        "bytes_per_example_and_column": growth / (len(LAYERS) + 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--peak", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.peak:
        print(peak_memory(int(arguments.peak[0]), arguments.peak[1]))
        return
    result = {
        "claim": __doc__.partition("\n")[0],
        "network": "NiN, width 192, 3x32x32, BatchNorm",
        "examples": 1000,
        "one_thread": timed(1000, arguments.repeats, threads=1),
        "two_threads": timed(1000, arguments.repeats, threads=2),
        "memory": memory((2_000, 50_000)),
    }
    record(result, arguments.out)


if __name__ == "__main__":
    main()
