"""Do two workers train a zoo's networks at least twice as fast as a plain loop, and 1.8 times as fast as one?

Network-in-Network on images of CIFAR-10's shape, as in the study nin-cifar10-small. The plain loop is what most
people write: a DataLoader over tensors in memory, float32, all of the machine's threads, one network after another.
Ours is ``fit`` as the zoo calls it: bfloat16 where the processor has it, channels-last, one torch thread in each of
two worker processes. With ``--augmentation`` both crop and flip, the plain loop example by example. Random pixels
stand in for images: the time does not depend on them. Medians over rounds in which the contenders take turns.
"""

import argparse
import os
import statistics
import time
from pathlib import Path

import torch
from joblib import Parallel, delayed, parallel_config
from record import record
from torch import nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

from widemargin.data import CropAndFlip, standardized_images
from widemargin.networks import NiN
from widemargin.training import fit, has_bfloat16

NUM_IMAGES, BATCH_SIZE, LR = 2000, 64, 0.05
GENERATOR = torch.Generator().manual_seed(0)
IMAGES = torch.randint(256, (NUM_IMAGES, 3, 32, 32), generator=GENERATOR).to(torch.uint8)
LABELS = torch.randint(10, (NUM_IMAGES,), generator=GENERATOR)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--filters", type=int, nargs="+", default=[24, 36, 48, 96, 192])
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--augmentation", action="store_true")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    rows = []
    with parallel_config(backend="loky", inner_max_num_threads=1):
        one, two = Parallel(n_jobs=1), Parallel(n_jobs=2)
        for filters in options.filters:
            for batch_norm in (True, False):
                wanted = (filters, batch_norm, options.augmentation, options.steps)
                times: dict[str, list[float]] = {"plain_loop": [], "one_worker": [], "two_workers": []}
                two(delayed(ours)(filters, batch_norm, options.augmentation, 2) for _ in range(2))  # start up
                for _ in range(options.repeats):
                    times["plain_loop"].append(plain_loop(*wanted))
                    for name, pool in (("one_worker", one), ("two_workers", two)):
                        begun = time.perf_counter()
                        pool(delayed(ours)(*wanted) for _ in range(2))
                        times[name].append((time.perf_counter() - begun) / 2)
                medians = {name: statistics.median(values) / options.steps for name, values in times.items()}
                rows.append(
                    {
                        "filters": filters,
                        "batch_norm": batch_norm,
                        "milliseconds_per_network_and_step": {k: 1000 * v for k, v in medians.items()},
                        "plain_loop_over_two_workers": medians["plain_loop"] / medians["two_workers"],
                        "one_worker_over_two_workers": medians["one_worker"] / medians["two_workers"],
                    }
                )
                print(rows[-1], flush=True)
    record(
        {
            "augmentation": options.augmentation,
            "bfloat16": has_bfloat16(torch.device("cpu")),
            "median_plain_loop_over_two_workers": statistics.median(r["plain_loop_over_two_workers"] for r in rows),
            "median_one_worker_over_two_workers": statistics.median(r["one_worker_over_two_workers"] for r in rows),
            "rows": rows,
        },
        options.out,
    )


class Cropped(Dataset):  # type: ignore[type-arg]
    """Crops and mirrors one example after another, as transforms on a data set do."""

    def __len__(self) -> int:
        return NUM_IMAGES

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        padded = nn.functional.pad(IMAGES[index], (4, 4, 4, 4))
        top, left = torch.randint(9, (2,)).tolist()
        image = padded[:, top : top + 32, left : left + 32]
        image = image.flip(2) if torch.rand(()) < 0.5 else image
        return standardized_images(image.unsqueeze(0))[0], LABELS[index]


def plain_loop(filters: int, batch_norm: bool, augmentation: bool, num_steps: int) -> float:
    """Return the seconds that one network takes."""
    torch.set_num_threads(os.cpu_count() or 1)
    network = NiN(width=(filters + 0.5) / 192, batch_norm=batch_norm).train()
    optimizer = torch.optim.SGD(network.parameters(), lr=LR, momentum=0.9)
    data = Cropped() if augmentation else TensorDataset(standardized_images(IMAGES), LABELS)
    loader = DataLoader(data, batch_size=BATCH_SIZE, shuffle=True)
    done = 0
    begun = time.perf_counter()
    while True:
        for inputs, labels in loader:
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(inputs), labels).backward()
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            done += 1
            if done == num_steps:
                return time.perf_counter() - begun


def ours(filters: int, batch_norm: bool, augmentation: bool, num_steps: int) -> None:
    torch.set_num_threads(1)
    network = NiN(width=(filters + 0.5) / 192, batch_norm=batch_norm)
    augment = CropAndFlip(standardized_images) if augmentation else None
    inputs = IMAGES if augmentation else standardized_images(IMAGES)
    fit(
        network, inputs, LABELS, optimizer="sgd", lr=LR, batch_size=BATCH_SIZE, num_steps=num_steps,
        gradient_clipping=1.0, augment=augment, precision="bfloat16",
    )  # fmt: skip


if __name__ == "__main__":
    main()
