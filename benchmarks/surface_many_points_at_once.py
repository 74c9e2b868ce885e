"""A surface of a small perceptron comes four times faster than from loss-landscapes, of a convolution no slower.

Times, in turn within one run and as medians: 51×51 points of the swiss-roll network, and --points × --points of a
small convolutional network on digits, by ``loss_surface`` and by ``loss_landscapes.planar_interpolation`` (3.0.6 from
PyPI) over the same two filter-normalized directions. That package takes a step before its first point, and its odd
rows backwards: even rows are shifted by one point, odd ones are not, and both are compared. It returns the loss
alone, ours loss and accuracy.

The package is no dependency: install it with ``pip install --no-deps loss-landscapes``, best into an environment of
its own that sees this one.

    python benchmarks/surface_many_points_at_once.py [--repeats 5] [--points 51] [--threads 2]
        [--out benchmarks/results/surface_many_points_at_once.json]
"""

import argparse
import copy
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from loss_landscapes import planar_interpolation  # type: ignore[import-not-found]  # installed for this alone
from loss_landscapes.metrics import Loss  # type: ignore[import-not-found]  # installed for this alone
from record import record
from torch import nn

from widemargin import TrainedModel
from widemargin.data import load
from widemargin.landscape.slices import Slice
from widemargin.landscape.surface import Surface, loss_surface
from widemargin.networks import SWISS_ROLL_HIDDEN, build

SEED = 0


def swiss_roll() -> TrainedModel:
    """The network of the swiss roll on as many examples; their values do not matter to the time."""
    network = build("mlp", num_classes=2, input_shape=(2,), seed=0, hidden=SWISS_ROLL_HIDDEN, one_logit=True)
    generator = torch.Generator().manual_seed(0)
    return TrainedModel(network.eval(), (torch.randn(200, 2, generator=generator), torch.arange(200) % 2))


def digits() -> TrainedModel:
    data = load("digits")
    network = build("nin", num_classes=10, input_shape=(1, 8, 8), seed=0, width=0.125, strides=(1, 2, 2))
    return TrainedModel(network.eval(), (data.train_inputs, data.train_labels))


def theirs(trained: TrainedModel, num_points: int) -> np.ndarray:
    """The same grid by loss-landscapes, rows by the first direction."""
    plane = Slice.random(trained.network, 2, "filter", seed=SEED)
    first, second = plane.directions
    step = 2 / (num_points - 1)
    start, end_one, end_two = (copy.deepcopy(trained.network).eval() for _ in range(3))
    corner = plane.center - first - second
    for network, point in (
        (start, corner),
        (end_one, corner + num_points * step * first),
        (end_two, corner + num_points * step * second),
    ):
        nn.utils.vector_to_parameters(point, network.parameters())
    losses: np.ndarray = planar_interpolation(
        start, end_one, end_two, Loss(mean_loss, *trained.train_data), num_points
    )
    return losses


def mean_loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    if logits.shape[1] == 1:
        return nn.functional.binary_cross_entropy_with_logits(logits[:, 0], labels.float())
    return nn.functional.cross_entropy(logits, labels)


def largest_difference(ours: Surface, theirs: np.ndarray) -> float:
    """Relative, over the points that both have."""
    by_first = ours.losses.T
    even = np.abs(by_first[::2, 1:] / theirs[::2, :-1] - 1)
    odd = np.abs(by_first[1::2] / theirs[1::2] - 1)
    return float(max(even.max(), odd.max()))


def timed(trained: TrainedModel, num_points: int, repeats: int) -> dict[str, float]:
    contenders: Mapping[str, Callable[[], Surface | np.ndarray]] = {
        "loss_surface": lambda: loss_surface(trained, num_points=num_points, seed=SEED),
        "loss_landscapes": lambda: theirs(trained, num_points),
    }
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    results = {}
    for repeat in range(repeats + 1):
        for name, contender in contenders.items():
            begun = time.perf_counter()
            results[name] = contender()
            if repeat:  # the first round warms up
                seconds[name].append(time.perf_counter() - begun)
    ratios = [b / a for a, b in zip(seconds["loss_surface"], seconds["loss_landscapes"], strict=True)]
    return {
        "points": num_points**2,
        "parameters": sum(p.numel() for p in trained.network.parameters()),
        **{f"{name}_seconds": statistics.median(values) for name, values in seconds.items()},
        "times_faster": statistics.median(ratios),
        "largest_relative_difference": largest_difference(results["loss_surface"], results["loss_landscapes"]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--points", type=int, default=51, help="of the convolutional network, along each direction")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    result = {
        "claim": __doc__.partition("\n")[0],
        "threads": arguments.threads,
        "swiss_roll_mlp_200_examples": timed(swiss_roll(), 51, arguments.repeats),
        "digits_nin_1000_examples": timed(digits(), arguments.points, min(arguments.repeats, 2)),
    }
    record(result, arguments.out)


if __name__ == "__main__":
    main()
