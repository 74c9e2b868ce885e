"""The zoo's harness (hashing, files, processes) adds little to the bare training time.

Trains the same networks of a shipped study twice, each time on two processes with one thread each: by two plain
scripts that only build and fit them, and by ``widemargin zoo train``. The zoo also measures margins; what that
takes is told apart.

    python benchmarks/zoo_adds_little_to_training.py [--networks 48] [--out benchmarks/results/….json]
"""

import argparse
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from record import record

from widemargin import data, networks
from widemargin.training import fit
from widemargin.zoo import RunConfig, Zoo, load_study

STUDY = "digits-demo"
JOBS = 2


def sample(num_networks: int) -> list[RunConfig]:
    runs = load_study(STUDY).runs()
    return random.Random(0).sample(runs, min(num_networks, len(runs)))


def bare(share: int, num_networks: int) -> None:
    """Build and fit one share of the networks, and nothing else; for use in a process of its own."""
    torch.set_num_threads(1)
    for config in sample(num_networks)[share::JOBS]:
        examples = data.load(**config.data.model_dump())
        network = networks.build(
            num_classes=examples.num_classes,
            input_shape=examples.input_shape,
            seed=config.seed,
            **config.network.model_dump(),
        )
        fit(
            network,
            examples.train_inputs,
            examples.train_labels,
            seed=config.seed,
            **config.training.model_dump(exclude={"augmentation", "poison"}),
        )


def bare_seconds(num_networks: int) -> float:
    begun = time.perf_counter()
    commands = [
        [sys.executable, __file__, "--bare", str(share), "--networks", str(num_networks)] for share in range(JOBS)
    ]
    for process in [subprocess.Popen(command) for command in commands]:
        if process.wait():
            raise RuntimeError("a bare process failed")
    return time.perf_counter() - begun


def zoo_seconds(num_networks: int) -> tuple[float, float]:
    """Return wall time, and what measuring took of it."""
    study = load_study(STUDY)
    runs = sample(num_networks)
    with tempfile.TemporaryDirectory() as folder:
        # A study of exactly these runs: train_zoo is given their configurations through a study that yields them.
        script = (
            "import sys, pickle\n"
            "from unittest.mock import patch\n"
            "from widemargin.zoo import Study, load_study, train_zoo\n"
            f"from {Path(__file__).stem} import sample\n"
            f"runs = sample({num_networks})\n"
            "with patch.object(Study, 'runs', lambda self: runs):\n"
            f"    train_zoo(load_study({study.name!r}), {folder!r}, jobs={JOBS})\n"
        )
        begun = time.perf_counter()
        subprocess.run([sys.executable, "-c", script], check=True, cwd=Path(__file__).parent)
        wall = time.perf_counter() - begun
        results = [run.result for run in Zoo(Path(folder)).runs()]
        if len(results) != len(runs):
            raise RuntimeError(f"{len(results)} of {len(runs)} runs finished")
        return wall, sum(result["measuring_seconds"] for result in results) / JOBS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--networks", type=int, default=48)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--bare", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.bare is not None:
        bare(arguments.bare, arguments.networks)
        return
    bare_before = bare_seconds(arguments.networks)
    wall, measuring = zoo_seconds(arguments.networks)
    bare_after = bare_seconds(arguments.networks)
    plain = (bare_before + bare_after) / 2
    result = {
        "claim": __doc__.partition("\n")[0],
        "study": STUDY,
        "networks": arguments.networks,
        "processes": JOBS,
        "bare_seconds": [bare_before, bare_after],
        "zoo_seconds": wall,
        "measuring_seconds": measuring,
        "harness_share": (wall - measuring) / plain - 1,
        "measuring_share": measuring / plain,
    }
    record(result, arguments.out)


if __name__ == "__main__":
    main()
