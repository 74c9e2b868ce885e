"""Beyond a few milliseconds, top eigenvalues take no longer than with hessian-eigenthings at the same tolerance.

Two trained networks: the multilayer perceptron of the swiss roll (200 examples, one batch) and Network in Network on
the digits (1,000 examples, four batches). Timed in turn within one run; medians of the ratios round by round.
hessian-eigenthings has no stopping rule for Lanczos: it is timed as one would use it, doubling the steps until the
tolerance is met, and with the fewest steps that meet the tolerance known in advance, as nobody could. Its power
iteration has a stopping rule. Errors are relative to the eigenvalues in float64 at a tolerance of 1e-8.

    pip install --pre --no-deps hessian-eigenthings==1.0.0a5
    python benchmarks/top_eigenvalue_no_slower_than_hessian_eigenthings.py [--repeats 15]
        [--out benchmarks/results/top_eigenvalue_no_slower_than_hessian_eigenthings.json]
"""

import argparse
import copy
import math
import statistics
import time
from collections.abc import Callable, Iterable
from itertools import pairwise
from pathlib import Path
from typing import TypeAlias

import torch
from hessian_eigenthings.algorithms.lanczos import lanczos, lanczos_tridiagonal
from hessian_eigenthings.algorithms.power_iteration import deflated_power_iteration
from hessian_eigenthings.operators.hessian import HessianOperator
from record import record
from torch import nn

from widemargin import TrainedModel
from widemargin.curvature import top_eigenvalues
from widemargin.data import load
from widemargin.networks import build
from widemargin.training import fit

TOLERANCE = 1e-3
BATCH_SIZE = 250
LONG_ENOUGH = 40
UNITS = (2, 23, 16, 26, 32, 28, 31, 1)

Answer: TypeAlias = tuple[float, int, bool]
"""Relative error, number of products, whether it converged."""


def swiss_roll_network() -> TrainedModel:
    torch.manual_seed(0)
    radius = torch.sqrt(torch.rand(100)) * 600 * math.pi / 180
    arm = 1.5 * torch.stack([-radius * radius.cos(), radius * radius.sin()], dim=1)
    inputs = torch.cat([arm + torch.rand(100, 2) / 2, -arm - torch.rand(100, 2) / 2]) / 10
    labels = torch.arange(200) // 100
    layers = [layer for sizes in pairwise(UNITS) for layer in (nn.Linear(*sizes), nn.ReLU())]
    network = nn.Sequential(*layers[:-1])
    optimizer = torch.optim.Adam(network.parameters(), lr=0.003)
    for _ in range(1000):
        optimizer.zero_grad()
        nn.functional.binary_cross_entropy_with_logits(network(inputs).squeeze(1), labels.float()).backward()
        optimizer.step()
    return TrainedModel(network.eval(), (inputs, labels), batch_size=BATCH_SIZE)


def digits_network() -> TrainedModel:
    data = load("digits")
    network = build("nin", num_classes=10, input_shape=(1, 8, 8), seed=0, width=0.125, strides=(1, 2, 2))
    fit(network, data.train_inputs, data.train_labels, num_steps=100)
    return TrainedModel(network.eval(), (data.train_inputs, data.train_labels), batch_size=BATCH_SIZE)


def rival(trained: TrainedModel) -> HessianOperator:
    def loss(network: nn.Module, batch: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        logits = network(batch[0])
        if logits.shape[1] == 1:
            return nn.functional.binary_cross_entropy_with_logits(logits.squeeze(1), batch[1].float())
        return nn.functional.cross_entropy(logits, batch[1])

    inputs, labels = trained.train_data
    batches = list(zip(inputs.split(BATCH_SIZE), labels.split(BATCH_SIZE), strict=True))
    return HessianOperator(trained.model, batches, loss)


def fewest_steps(trained: TrainedModel, num_values: int, seed: int) -> int:
    """Return how many steps the rival's Lanczos needs from its start vector, found by one run that is long enough."""
    operator = rival(trained)
    start = torch.randn(operator.size, generator=torch.Generator().manual_seed(seed))
    run = lanczos_tridiagonal(operator, start, LONG_ENOUGH)
    for num in range(num_values, run.iterations):
        projected = run.alphas[:num].diag() + run.betas[: num - 1].diag(1) + run.betas[: num - 1].diag(-1)
        values, vectors = torch.linalg.eigh(projected)
        residuals = run.betas[num - 1] * vectors[-1].abs()
        if bool((residuals < TOLERANCE * values.abs())[-num_values:].all()):
            return num
    raise RuntimeError(f"{LONG_ENOUGH} steps are not enough")


def compared(trained: TrainedModel, num_values: int, repeats: int) -> dict[str, float]:
    inputs, labels = trained.train_data
    double = TrainedModel(
        copy.deepcopy(trained.model).double(),
        (inputs.double(), labels),
        loss=lambda logits, labels: nn.functional.cross_entropy(logits, labels, reduction="none"),
    )
    exact = top_eigenvalues(double, num=num_values, tolerance=1e-8).values

    def error(values: Iterable[float]) -> float:
        return max(abs(float(value) / float(right) - 1) for value, right in zip(values, exact, strict=True))

    def ours(seed: int) -> Answer:
        found = top_eigenvalues(trained, num=num_values, tolerance=TOLERANCE, seed=seed)
        return error(found.values), found.num_products, found.has_converged

    def steps(num: int, seed: int) -> Answer:
        found = lanczos(rival(trained), k=num_values, max_iter=num, tol=TOLERANCE, which="LA", seed=seed)
        return error(found.eigenvalues), num, bool(found.converged.all())

    def doubling(seed: int) -> Answer:
        num = spent = 2 * num_values  # its default
        while not (found := steps(num, seed))[2]:
            num *= 2
            spent += num
        return found[0], spent, found[2]

    def power(seed: int) -> Answer:
        found = deflated_power_iteration(rival(trained), k=num_values, max_iter=300, tol=TOLERANCE, seed=seed)
        return error(found.eigenvalues), int(found.iterations), bool(found.converged.all())

    fewest = [fewest_steps(trained, num_values, seed) for seed in range(repeats + 1)]
    contenders: dict[str, Callable[[int], Answer]] = {
        "widemargin": ours,
        "lanczos_with_steps_known": lambda seed: steps(fewest[seed], seed),
        "lanczos_doubling": doubling,
    }
    if num_values == 1:
        contenders["power_iteration"] = power
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    found: dict[str, list[Answer]] = {name: [] for name in contenders}
    for seed in range(repeats + 1):
        for name, contender in contenders.items():
            begun = time.perf_counter()
            answer = contender(seed)
            if seed:  # the first round warms up
                seconds[name].append(time.perf_counter() - begun)
                found[name].append(answer)
    figures: dict[str, float] = {"eigenvalues": num_values, "largest": float(exact[0])}
    for name in contenders:
        ratios = [spent / own for spent, own in zip(seconds[name], seconds["widemargin"], strict=True)]
        figures |= {
            f"{name}_milliseconds": 1e3 * statistics.median(seconds[name]),
            f"{name}_over_widemargin": statistics.median(ratios),
            f"{name}_products": statistics.median(num for _, num, _ in found[name]),
            f"{name}_largest_relative_error": max(wrong_by for wrong_by, _, _ in found[name]),
            f"{name}_share_converged": statistics.mean(converged for _, _, converged in found[name]),
        }
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    result = {
        "claim": __doc__.partition("\n")[0],
        "tolerance": TOLERANCE,
        "threads": 1,
        **{
            f"{name}_top_{num}": compared(
                trained, num, max(3, arguments.repeats // (1 if name == "swiss_roll" else 4))
            )
            for name, trained in {"swiss_roll": swiss_roll_network(), "digits": digits_network()}.items()
            for num in (1, 5)
        },
    }
    record(result, arguments.out)


if __name__ == "__main__":
    main()
