"""3,000 radii of the swiss-roll network take a twentieth of the time that a loop over rays and points takes.

The loop is what one writes first: for each ray 100 equally spaced points up to the cap, the loss at each by
``functional_call`` or by ``vector_to_parameters`` (the faster of the two here), and the first point above the cutoff,
between which and the point before the radius is interpolated. It is timed on some of the rays, in turn with the whole
of the other within one run. Accuracy is against 10,000 points a ray.

    python benchmarks/many_radii_at_once.py [--repeats 5] [--out benchmarks/results/many_radii_at_once.json]
"""

import argparse
import math
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from record import record
from torch import nn
from torch.func import functional_call

from widemargin import TrainedModel
from widemargin.landscape.basins import basin_radii
from widemargin.landscape.directions import Directions
from widemargin.landscape.evaluation import Evaluation
from widemargin.networks import MLP

CUTOFF = 0.1
CAP = 1.0
POINTS = 100
FINE = 10_000
LOOP_RAYS = 30
FINE_RAYS = 20

Losses = Callable[[nn.Module, torch.Tensor, torch.Tensor, torch.Tensor], float]


def swiss_roll(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """200 training points as in Huang et al. 2019, coordinates divided by 10."""
    generator = torch.Generator().manual_seed(seed)
    angle = torch.rand(200, generator=generator).sqrt() * 600 * math.pi / 180
    arm = 1.5 * angle[:, None] * torch.stack([-angle.cos(), angle.sin()], dim=1)
    arm += 0.5 * torch.randn(200, 2, generator=generator)
    chosen = torch.randperm(400, generator=generator)[:200]
    return (torch.cat([arm, -arm]) / 10)[chosen], (torch.arange(400) // 200)[chosen]


def fitted(inputs: torch.Tensor, labels: torch.Tensor, steps: int) -> MLP:
    torch.manual_seed(0)
    model = MLP(2, (2,), hidden=(23, 16, 26, 32, 28, 31), one_logit=True, initialization="glorot")
    optimizer = torch.optim.Adam(model.parameters(), lr=0.0125)
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, [steps * part // 10 for part in (6, 8, 9)])
    for _ in range(steps):
        optimizer.zero_grad()
        nn.functional.binary_cross_entropy_with_logits(model(inputs).flatten(), labels.float()).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 8)
        optimizer.step()
        schedule.step()
    return model.eval()


def by_functional_call(model: nn.Module, point: torch.Tensor, inputs: torch.Tensor, targets: torch.Tensor) -> float:
    parts = point.split([parameter.numel() for parameter in model.parameters()])
    named = {
        name: part.view_as(parameter) for (name, parameter), part in zip(model.named_parameters(), parts, strict=True)
    }
    logits = functional_call(model, named, (inputs,)).flatten()
    return float(nn.functional.binary_cross_entropy_with_logits(logits, targets))


def by_editing(model: nn.Module, point: torch.Tensor, inputs: torch.Tensor, targets: torch.Tensor) -> float:
    nn.utils.vector_to_parameters(point, model.parameters())
    return float(nn.functional.binary_cross_entropy_with_logits(model(inputs).flatten(), targets))


def looped(
    model: nn.Module, inputs: torch.Tensor, labels: torch.Tensor, directions: torch.Tensor, losses: Losses
) -> list[float]:
    """Radii along directions and their opposites, one point after another, the network put back at the end."""
    center = nn.utils.parameters_to_vector(model.parameters()).detach().clone()
    targets = labels.float()
    distances = np.linspace(0, CAP, POINTS + 1)[1:]
    radii = []
    with torch.no_grad():
        for direction in directions:
            for sign in (1, -1):
                values = np.array([losses(model, center + t * sign * direction, inputs, targets) for t in distances])
                radii.append(_interpolated(distances, values))
        nn.utils.vector_to_parameters(center, model.parameters())
    return radii


def _interpolated(distances: np.ndarray, values: np.ndarray) -> float:
    above = np.flatnonzero(~(values <= CUTOFF))
    if not len(above):
        return CAP
    last = above[0]
    if last == 0:
        return float(distances[0])
    low, high = values[last - 1], values[last]
    return float(distances[last - 1] + (CUTOFF - low) / (high - low) * (distances[last] - distances[last - 1]))


def fine(trained: TrainedModel, directions: torch.Tensor) -> np.ndarray:
    """Radii along directions and their opposites from very many points."""
    distances = np.linspace(0, CAP, FINE + 1)[1:]
    radii = []
    with trained.borrowed():
        evaluation = Evaluation(trained)
        for direction in directions:
            for sign in (1, -1):
                steps = torch.tensor(distances, dtype=torch.float32)[:, None] * sign * direction
                values = np.concatenate(
                    [evaluation.at(evaluation.center + part).losses for part in steps.split(1000)]
                )
                radii.append(_interpolated(distances, values))
    return np.array(radii)


def timed(call: Callable[[], object]) -> float:
    begun = time.perf_counter()
    call()
    return time.perf_counter() - begun


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rays", type=int, default=3000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    inputs, labels = swiss_roll(seed=0)
    model = fitted(inputs, labels, arguments.steps)
    trained = TrainedModel(model, (inputs, labels))
    directions = Directions.around(model, seed=0).stacked(range(LOOP_RAYS // 2))

    def radii(**options):
        return basin_radii(trained, cutoffs=(CUTOFF,), num_directions=arguments.rays // 2, cap=CAP, **options)

    contenders = {
        "radii": radii,
        "loop_functional_call": lambda: looped(model, inputs, labels, directions, by_functional_call),
        "loop_editing": lambda: looped(model, inputs, labels, directions, by_editing),
    }
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for repeat in range(arguments.repeats + 1):
        for name, contender in contenders.items():
            taken = timed(contender)
            if repeat:  # the first round warms up
                seconds[name].append(taken)
    loops = {name: statistics.median(seconds[name]) / LOOP_RAYS for name in seconds if name != "radii"}
    faster = min(loops, key=loops.__getitem__)
    ratios = [
        loop / LOOP_RAYS * arguments.rays / ours for loop, ours in zip(seconds[faster], seconds["radii"], strict=True)
    ]
    found = radii()
    exact = fine(trained, directions[: FINE_RAYS // 2])
    coarse = np.array(looped(model, inputs, labels, directions[: FINE_RAYS // 2], by_editing))
    several = basin_radii(trained, cutoffs=(0.05, 0.1, 0.5), num_directions=arguments.rays // 2)
    record(
        {
            "claim": __doc__.partition("\n")[0],
            "network": "MLP 2-23-16-26-32-28-31-1, 3,614 parameters, 200 examples of the swiss roll",
            "training_loss": found.loss,
            "threads": arguments.threads,
            "rays": arguments.rays,
            "points_a_ray_of_the_loop": POINTS,
            "radii_seconds": statistics.median(seconds["radii"]),
            "loop_seconds_a_ray": loops,
            "loop_over_radii": statistics.median(ratios),
            "evaluations_per_radius": found.evaluations_per_radius,
            "evaluations_per_radius_at_three_cutoffs": several.evaluations_per_radius,
            "share_censored": float(found.is_censored.mean()),
            "max_relative_error": float(np.abs(found.radii[:FINE_RAYS, 0] / exact - 1).max()),
            "max_relative_error_of_the_loop": float(np.abs(coarse / exact - 1).max()),
        },
        arguments.out,
    )


if __name__ == "__main__":
    main()
