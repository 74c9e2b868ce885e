"""Training a zoo over the cores of one machine, stopped and continued at will."""

import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import torch
from joblib import Parallel, delayed, effective_n_jobs, parallel_config
from joblib.externals.loky.process_executor import TerminatedWorkerError

from widemargin.errors import RunError
from widemargin.zoo.run import Resources, carry_out_together, settled
from widemargin.zoo.store import Run, Zoo
from widemargin.zoo.study import RunConfig, Study

__all__ = ["Progress", "one_torch_thread", "train_zoo"]

MAX_DEATHS_WITHOUT_PROGRESS = 3
PULSE_SECONDS = 1.0
LARGEST_STACK = 64
"""Runs that can be trained at once are, up to this many: larger stacks are no faster, and lost together if killed."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a zoo is.

    Attributes:
        num_done: Runs that have ended.
        num_runs: Runs of the study.
        num_diverged: Of those that have ended.
        seconds: What the run that just ended took; 0 if none did.
        num_under_way: Runs' worth of training done in runs that have not ended.
    """

    num_done: int
    num_runs: int
    num_diverged: int
    seconds: float = 0.0
    num_under_way: float = 0.0


def train_zoo(
    study: Study,
    folder: str | Path,
    *,
    jobs: int = -1,
    resources: Resources | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> Zoo:
    """Train every run of a study that is not there yet, and return the zoo.

    However it was stopped before, it goes on where it was: finished runs are never trained again, half-written
    ones are swept away. Each worker process uses one torch thread. Runs of small networks that differ only in seed,
    learning rate, weight decay and poison factor are trained together (:func:`widemargin.training.train_stack`).

    Args:
        study: The grid of runs.
        folder: Where the zoo is or shall be.
        jobs: Worker processes; -1 for as many as there are cores.
        resources: Where the data is, and on which device to train.
        on_progress: Called at the start and as each run ends.

    Raises:
        RunError: Workers keep dying without finishing a run.
        StudyError: The folder holds another study.
        ZooBusyError: Another process trains into the folder.
    """
    zoo = Zoo(Path(folder))
    plan = {config.key: config for config in study.runs()}
    resources = settled(resources or Resources(), zoo, list(plan.values()))
    with zoo.locked():
        zoo.adopt(study)
        zoo.sweep()
        num_deaths = 0
        while True:
            done = zoo.keys() & plan.keys()
            num_diverged = sum(Run(zoo.runs_folder / key).result["status"] == "diverged" for key in done)
            progress = Progress(len(done), len(plan), num_diverged)
            if on_progress is not None:
                on_progress(progress)
            missing = [config for key, config in plan.items() if key not in done]
            if not missing:
                return zoo
            try:
                with _Pulse(zoo, progress, on_progress) as pulse:
                    for seconds, has_diverged in _outcomes(zoo, missing, jobs, resources):
                        num_diverged += has_diverged
                        progress = Progress(progress.num_done + 1, len(plan), num_diverged, seconds)
                        num_deaths = 0
                        pulse.tell(progress)
            except TerminatedWorkerError:
                num_deaths += 1
                zoo.sweep()
                if num_deaths > MAX_DEATHS_WITHOUT_PROGRESS:
                    raise RunError(
                        f"worker processes died {num_deaths} times in a row without finishing a run, most likely for "
                        "want of memory. Use fewer with --jobs; finished runs are kept."
                    ) from None


class _Pulse:
    """Tell how far the runs under way are, every second or so, besides each end of a run."""

    def __init__(self, zoo: Zoo, progress: Progress, on_progress: Callable[[Progress], None] | None) -> None:
        self._zoo, self._progress, self._on_progress = zoo, progress, on_progress
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def tell(self, progress: Progress) -> None:
        self._progress = progress
        if self._on_progress is not None:
            self._on_progress(progress)

    def __enter__(self) -> "_Pulse":
        if self._on_progress is not None:
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        if self._thread.is_alive():
            self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(PULSE_SECONDS):
            if (under_way := self._zoo.num_under_way()) and self._on_progress is not None:
                self._on_progress(replace(self._progress, seconds=0.0, num_under_way=under_way))


def _outcomes(zoo: Zoo, configs: list[RunConfig], jobs: int, resources: Resources) -> Iterator[tuple[float, bool]]:
    # Costly and cheap runs mixed, so that time left can be told and no long run is left to the end by the grid.
    order = random.Random(0).sample(configs, len(configs))
    with parallel_config(backend="loky", n_jobs=jobs, inner_max_num_threads=1):
        parallel = Parallel(return_as="generator_unordered", batch_size=1, pre_dispatch="2*n_jobs")
        tasks = _stacks(order, effective_n_jobs(jobs))
        for outcomes in parallel(delayed(_work)(zoo, stack, resources, os.getpid()) for stack in tasks):
            yield from outcomes


def _stacks(configs: list[RunConfig], num_workers: int) -> list[list[RunConfig]]:
    """Return what is trained together: equal shares of those that can be stacked, everything else alone."""
    together: dict[str, list[RunConfig]] = {}
    for config in configs:
        together.setdefault(config.stack_key or config.key, []).append(config)
    tasks = []
    for group in together.values():
        num_stacks = max(min(num_workers, len(group)), -(-len(group) // LARGEST_STACK))
        tasks += [group[first::num_stacks] for first in range(num_stacks)]
    return tasks


def _work(zoo: Zoo, configs: list[RunConfig], resources: Resources, parent: int) -> list[tuple[float, bool]]:
    """Carry out one run, or the runs of one stack, in a worker."""
    if os.getpid() != parent:
        _end_with(parent)
    with one_torch_thread():
        results = [run.result for run in carry_out_together(zoo, configs, resources)]
    return [(float(result["seconds"]), result["status"] == "diverged") for result in results]


@cache  # one watch per worker process
def _end_with(parent: int) -> None:
    """End this worker once its parent was killed; it would wait for work for minutes, holding its memory."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


@contextmanager
def one_torch_thread() -> Iterator[None]:
    """Have torch use one thread, as fits a worker beside others."""
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(num_threads)
