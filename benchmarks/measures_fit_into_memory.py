"""How many copies of a network of 100 million parameters does each measure hold? Three are wanted at most.

Takes each measure by itself, from scratch, of a multilayer perceptron in single precision on random data, then all of
them together, and tells the peak of resident memory beyond what the process held with the network and its data, in
copies of the network. A third of the network is in each of its largest layers, which is hard: what is made for a
layer at a time counts, too. The peak is the kernel's own (VmHWM), set back each time; Linux only. Measures that need
a history are left out.

    python benchmarks/measures_fit_into_memory.py [--measures NAME …] [--out benchmarks/results/….json]
"""

import argparse
import gc
import time
from functools import partial
from itertools import pairwise
from pathlib import Path

import torch
from record import record
from torch import nn

from widemargin.errors import MeasureNotApplicableError
from widemargin.measures import MEASURES, Quantities, measure_all
from widemargin.results import Estimate
from widemargin.trained_model import TrainedModel

TOGETHER = "all of them together"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--millions", type=float, default=100.0)
    parser.add_argument("--measures", nargs="*", default=list(MEASURES))
    parser.add_argument("--seconds", type=float, default=3600.0, help="Begin no measure after so long.")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    begun = time.perf_counter()
    trained = perceptron(options.millions)
    num_bytes = sum(parameter.numel() * parameter.element_size() for parameter in trained.network.parameters())
    copies, seconds, reasons = {}, {}, {}
    wanted = [name for name in options.measures if "history" not in MEASURES[name].needs]
    takes = {name: partial(one_by_itself, name, trained) for name in wanted}
    takes[TOGETHER] = partial(measure_all, trained, wanted, num_sampled=100)
    for name, take in takes.items():
        if time.perf_counter() - begun > options.seconds:
            continue
        gc.collect()
        Path("/proc/self/clear_refs").write_text("5")
        before, started = resident("VmRSS"), time.perf_counter()
        try:
            take()
        except MeasureNotApplicableError as error:
            reasons[name] = str(error)
        copies[name] = round((resident("VmHWM") - before) / num_bytes, 2)
        seconds[name] = round(time.perf_counter() - started, 1)
        print(f"{name:45} {copies[name]:6.2f} copies {seconds[name]:8.1f} s", flush=True)
    result = {
        "claim": __doc__.partition("\n")[0],
        "parameters": num_bytes // 4,
        "network_mib": round(num_bytes / 2**20),
        "copies_beyond_the_network": copies,
        "seconds": seconds,
        "without_value": reasons,
        "more_than_three_copies": sorted(name for name, num in copies.items() if num > 3),
    }
    record(result, options.out)


def one_by_itself(name: str, trained: TrainedModel) -> Estimate:
    return MEASURES[name].function(Quantities(trained, num_sampled=100))


def perceptron(millions: float) -> TrainedModel:
    """Return a classifier of about so many parameters whose three hidden layers are alike, with 200 examples."""
    generator = torch.Generator().manual_seed(0)
    width = round((1e6 * millions / 3) ** 0.5)
    sizes = [256, width, width, width, width, 10]
    layers = [part for pair in pairwise(sizes) for part in (nn.Linear(*pair), nn.ReLU())]
    network = nn.Sequential(*layers[:-1])
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim == 2:
                parameter.normal_(0, (2 / parameter.shape[1]) ** 0.5, generator=generator)
    inputs = torch.randn(200, 256, generator=generator)
    with torch.no_grad():
        labels = network(inputs).argmax(dim=1)
        while nn.functional.cross_entropy(network(inputs), labels) > 0.05:  # so that it lies in a basin
            network[-1].weight *= 2
            network[-1].bias *= 2
    initial = {name: torch.zeros(()).expand_as(value) for name, value in network.named_parameters()}
    return TrainedModel(network, (inputs, labels), initial_parameters=initial, batch_size=50)


def resident(kind: str) -> int:
    """Return the resident memory of this process, or its peak [bytes]."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith(kind)).split()[1])


if __name__ == "__main__":
    main()
