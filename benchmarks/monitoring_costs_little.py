"""Margins measured while training, at the monitor's defaults, take at most 5 % of the training time.

Trains a NiN on the digits images by hand three ways, in turns: alone, with a ``MarginMonitor`` called after each
epoch, and with one that has no budget, which shows what the budget saves. The claim is about what the monitor counts
itself: its own seconds over the time between its calls, from its construction to the end, what is drawn once and the
first measurement included. The medians of the whole times are beside it, for what the monitor cannot see of itself
(caches gone cold, memory); they scatter by some percent on a machine that others use.

    python benchmarks/monitoring_costs_little.py [--out benchmarks/results/….json]
"""

import argparse
import statistics
import time
from pathlib import Path

import torch
from record import record
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from widemargin.data import digits
from widemargin.integrations.monitor import MarginMonitor
from widemargin.networks import NiN

NUM_EPOCHS, BATCH_SIZE = 100, 64
BUDGETS = {"alone": None, "default": {}, "no budget": {"budget": None}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    seconds: dict[str, list[float]] = {name: [] for name in BUDGETS}
    monitors: dict[str, list[MarginMonitor]] = {name: [] for name in BUDGETS}
    weights = [train(None)[0]]  # warms up
    for _ in range(options.repeats):
        for name, watch in BUDGETS.items():
            begun = time.perf_counter()
            weight, monitor = train(watch)
            seconds[name].append(time.perf_counter() - begun)
            weights.append(weight)
            if monitor is not None:
                monitors[name].append(monitor)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    record(
        {
            "claim": __doc__.partition("\n")[0],
            "epochs": NUM_EPOCHS,
            "threads": options.threads,
            "seconds_alone": medians["alone"],
            "share_of_training_time": {
                name: [m.overhead for m in found] for name, found in monitors.items() if found
            },
            "measured_epochs": {
                name: [m.num_calls - m.num_skipped for m in found] for name, found in monitors.items() if found
            },
            "whole_time_over_alone": {name: value / medians["alone"] for name, value in medians.items()},
            "same_weights": all(torch.equal(weights[0], weight) for weight in weights),
        },
        options.out,
    )


def train(watch: dict[str, object] | None) -> tuple[torch.Tensor, MarginMonitor | None]:
    """Train one network and return its parameters, and the monitor if there was one."""
    torch.manual_seed(0)
    data = digits()
    network = NiN(10, 1, 8, width=48 / 192)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.02, momentum=0.9)
    loader = DataLoader(TensorDataset(data.train_inputs, data.train_labels), batch_size=BATCH_SIZE, shuffle=True)
    monitor = None if watch is None else MarginMonitor(loader, **watch)
    for _ in range(NUM_EPOCHS):
        for inputs, labels in loader:
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(inputs), labels).backward()
            optimizer.step()
        if monitor is not None:
            monitor(network)
    return nn.utils.parameters_to_vector(network.parameters()).detach(), monitor


if __name__ == "__main__":
    main()
