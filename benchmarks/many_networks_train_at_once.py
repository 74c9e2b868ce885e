"""Do 64 stacked networks train at least 8 times faster than one after another?

The swiss-roll network (3,614 parameters), full batches of 200 clean and 200 fresh poisoned points: ``train_stack``
against ``fit`` on each, and against a plain loop with torch's own fused Adam and poison drawn the same way. Times are
per network and step, taken in turns; every contender has the machine's threads.
"""

import argparse
import copy
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from record import record
from torch import nn

from widemargin.data import ClassificationData, swiss_roll
from widemargin.networks import SWISS_ROLL_HIDDEN, build
from widemargin.training import Poison, fit, poisoned_loss, train_stack
from widemargin.training.poison import PoisonStream

LR, CLIP = 0.0058, 8.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", type=int, default=64)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    data = swiss_roll()
    networks = [
        build(
            "mlp",
            num_classes=2,
            input_shape=(2,),
            seed=seed,
            hidden=SWISS_ROLL_HIDDEN,
            one_logit=True,
            initialization="glorot",
        )
        for seed in range(options.networks)
    ]
    poison = Poison.of(data, 0.5, num_examples=200)
    contenders: dict[str, tuple[Callable[[Sequence[nn.Module], ClassificationData, Poison, int], None], int]] = {
        "stacked": (stacked, options.networks),
        "one_after_another": (one_after_another, 2),
        "plain_loop": (plain_loop, 2),
    }
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(options.repeats):
        for name, (train, num) in contenders.items():
            some = [copy.deepcopy(network) for network in networks[:num]]
            begun = time.perf_counter()
            train(some, data, poison, options.steps)
            times[name].append((time.perf_counter() - begun) / num / options.steps)
    medians = {name: statistics.median(values) for name, values in times.items()}
    record(
        {
            "networks": options.networks,
            "threads": options.threads,
            "milliseconds_per_network_and_step": {name: 1000 * value for name, value in medians.items()},
            "one_after_another_over_stacked": medians["one_after_another"] / medians["stacked"],
            "plain_loop_over_stacked": medians["plain_loop"] / medians["stacked"],
        },
        options.out,
    )


def stacked(networks: Sequence[nn.Module], data: ClassificationData, poison: Poison, num_steps: int) -> None:
    train_stack(
        networks,
        data.train_inputs,
        data.train_labels,
        lr=LR,
        num_steps=num_steps,
        schedule="steps",
        gradient_clipping=CLIP,
        poison=poison,
        seed=list(range(len(networks))),
    )


def one_after_another(
    networks: Sequence[nn.Module], data: ClassificationData, poison: Poison, num_steps: int
) -> None:
    for seed, network in enumerate(networks):
        fit(
            network,
            data.train_inputs,
            data.train_labels,
            lr=LR,
            batch_size=None,
            num_steps=num_steps,
            schedule="steps",
            gradient_clipping=CLIP,
            poison=poison,
            seed=seed,
        )


def plain_loop(networks: Sequence[nn.Module], data: ClassificationData, poison: Poison, num_steps: int) -> None:
    for seed, network in enumerate(networks):
        optimizer = torch.optim.Adam(network.parameters(), lr=LR, fused=True)
        stream = PoisonStream(poison, seed)
        for _ in range(num_steps):
            inputs, labels = stream.next()
            logits = network(torch.cat([data.train_inputs, inputs]))
            num = len(data.train_labels)
            loss = poisoned_loss(logits[:num], data.train_labels, logits[num:], labels, poison_factor=poison.factor)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), CLIP)
            optimizer.step()


if __name__ == "__main__":
    main()
