"""Training a zoo over the cores of one machine or the nodes of a cluster, stopped and continued at will."""

import errno
import hashlib
import os
import re
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from upath import UPath

from widemargin.errors import InvalidInputError, StudyError
from widemargin.zoo.cost import shares, training_flops
from widemargin.zoo.failures import Failure
from widemargin.zoo.nursery import child_traceback
from widemargin.zoo.resources import Resources, settled
from widemargin.zoo.store import Run, Zoo
from widemargin.zoo.study import RunConfig, Study
from widemargin.zoo.workers import Backend, LocalWorkers, RayWorkers, Results, Workers

__all__ = ["Progress", "one_torch_thread", "tasks_of", "train_zoo"]

PULSE_SECONDS, STORE_PULSE_SECONDS = 1.0, 15.0
"""How often progress is told; stores charge for being asked."""

LARGEST_STACK = 64
"""Runs that can be trained at once are, up to this many: larger stacks are no faster, and lost together if killed."""

REPEATED = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM}
"""What the system says where every other run would meet the same."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a driver is with its share of a zoo.

    Attributes:
        num_done: Runs that have ended.
        num_runs: Runs of the study, or of the share of it.
        num_diverged: Of those that have ended.
        seconds: What the run that just ended took; 0 if none did.
        num_under_way: Runs' worth of training done in runs that have not ended.
        num_failed: Runs that were given up.
        seconds_left: As far as can be told; None before a run has ended.
    """

    num_done: int
    num_runs: int
    num_diverged: int
    seconds: float = 0.0
    num_under_way: float = 0.0
    num_failed: int = 0
    seconds_left: float | None = None


def train_zoo(
    study: Study,
    folder: str | Path | UPath,
    *,
    jobs: int = -1,
    threads: int = 1,
    shard: tuple[int, int] = (1, 1),
    retry_failed: bool = False,
    backend: Backend = "local",
    address: str | None = None,
    gpus_per_run: float = 0.0,
    resources: Resources | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    on_run: Callable[[Run], None] | None = None,
) -> Zoo:
    """Train every run of a study that is not there yet, and return the zoo.

    However it was stopped before, it goes on where it was: finished runs are never trained again, half-written
    ones are swept away. Every run has a process of its own, the longest come first. One that raises or is killed is
    tried once more, alone, and then given up: see :meth:`Zoo.failures`. Runs of small networks that differ only in
    seed, learning rate, weight decay and poison factor are trained together, see
    :func:`widemargin.training.train_stack`.

    Args:
        study: The grid of runs.
        folder: Where the zoo is or shall be: a local path, or an address of any store that fsspec knows.
        jobs: Runs or stacks at once; -1 for as many as there are cores for.
        threads: Torch's threads for each.
        shard: Which share of how many to train, counted from 1; shares have equal cost, and may be trained at the
            same time by processes that do not know of each other.
        retry_failed: Whether runs that were given up are tried again.
        backend: ``"local"``, this machine; or ``"ray"``, a cluster, whose nodes must all see the folder.
        address: Of the Ray cluster; None for one that was joined already, or else one on this machine.
        gpus_per_run: Graphics processors that Ray gives to each run, or share of one.
        resources: Where the data is, and on which device to train.
        on_progress: Called at the start, as each run ends, and every second or so.
        on_run: Called in this process with each run that has ended, complete; other runs go on meanwhile.

    Raises:
        StudyError: The folder holds another study.
        ZooBusyError: Another process trains these runs.
        InvalidInputError: A shard, store or device that there is not, no Ray, or data that cannot be read.
        RunError: Finished runs were trained on other images or labels.
        OSError: The disk is full or may not be written.
    """
    index, num_shares = shard
    if not 1 <= index <= num_shares:
        raise InvalidInputError(f"shard must be i/n with i from 1 to n, got {index}/{num_shares}.")
    runs = study.runs()
    own = {config.key: config for config in shares(runs, num_shares)[index - 1]}
    plan = hashlib.sha256("".join(sorted(config.key for config in runs)).encode()).hexdigest()[:8]
    zoo = Zoo(folder, f"{plan}-{num_shares}-{index}")
    resources = settled(resources or Resources(), zoo, runs)
    workers: Workers
    if backend == "ray":
        workers = RayWorkers(address, jobs=jobs, threads=threads, gpus_per_run=gpus_per_run)
    else:
        workers = LocalWorkers(jobs, threads)
    with zoo.locked(num_workers=workers.num, host=socket.gethostname(), process=os.getpid()) as check_lock:
        zoo.adopt(study)
        for key, failure in zoo.failures().items():
            if key in own and failure.is_final and retry_failed:
                zoo.note_failure(key, None)
        _Driver(zoo, own, workers, resources, on_progress, on_run).train(check_lock)
    return zoo


class _Driver:
    """Whoever trains a share of a zoo's runs."""

    def __init__(
        self,
        zoo: Zoo,
        plan: Mapping[str, RunConfig],
        workers: Workers,
        resources: Resources,
        on_progress: Callable[[Progress], None] | None,
        on_run: Callable[[Run], None] | None,
    ) -> None:
        self._zoo, self._plan, self._workers, self._resources = zoo, plan, workers, resources
        self._tell, self._hand_over = on_progress or (lambda _: None), on_run or (lambda _: None)
        self._flops, self._seconds = 0.0, 0.0  # of the runs that have ended here

    def train(self, check_lock: Callable[[], None]) -> None:
        """Train until nothing is missing but what was given up."""
        while True:
            self._zoo.sweep({*self._plan})  # what an earlier driver left, or a node that was lost
            results = {run.folder.name: run.result for run in self._zoo.runs() if run.folder.name in self._plan}
            failures = {key: failure for key, failure in self._zoo.failures().items() if key in self._plan}
            for key in failures.keys() & results.keys():
                self._zoo.note_failure(key, None)
            given_up = {key for key, failure in failures.items() if failure.is_final} - results.keys()
            missing = {key: config for key, config in self._plan.items() if key not in results.keys() | given_up}
            num_diverged = sum(result["status"] == "diverged" for result in results.values())
            self._progress = Progress(len(results), len(self._plan), num_diverged, num_failed=len(given_up))
            self._left = sum(map(training_flops, missing.values()))
            self._tell(self._progress)
            if not missing:
                return
            self._round(missing, failures, check_lock)

    def _round(
        self, missing: Mapping[str, RunConfig], failures: Mapping[str, Failure], check_lock: Callable[[], None]
    ) -> None:
        tasks = tasks_of([*missing.values()], failures.keys(), self._workers.num)
        with ThreadPoolExecutor(self._workers.num) as pool, self._pulse():
            carry_out = self._workers.carry_out
            futures = {pool.submit(carry_out, self._zoo, task, self._resources): task for task in tasks}
            try:
                for future in as_completed(futures):
                    check_lock()
                    if (error := future.exception()) is None:
                        self._ended(futures[future], future)
                    elif (fault := _common_fault(error)) is not None:
                        raise fault
                    else:
                        self._failed(futures[future], error, failures)
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                self._workers.stop()
                raise

    def _ended(self, configs: Sequence[RunConfig], future: "Future[Results]") -> None:
        for config, result in zip(configs, future.result(), strict=True):
            seconds, flops = float(result["seconds"]), training_flops(config)
            self._left -= flops
            self._flops += flops * result["num_steps"] / config.training.num_steps
            self._seconds += seconds
            self._progress = replace(
                self._progress,
                num_done=self._progress.num_done + 1,
                num_diverged=self._progress.num_diverged + (result["status"] == "diverged"),
                seconds_left=self._seconds_left(0.0),
            )
            self._tell(replace(self._progress, seconds=seconds))
            self._hand_over(Run(self._zoo.runs_folder / config.key))

    def _failed(self, configs: Sequence[RunConfig], error: BaseException, before: Mapping[str, Failure]) -> None:
        reason, traceback = f"{type(error).__name__}: {error}", child_traceback(error)
        for config in configs:
            attempts = before[config.key].attempts + 1 if config.key in before else 1
            self._zoo.note_failure(config.key, Failure(attempts, reason, traceback))

    def _seconds_left(self, flops_under_way: float) -> float | None:
        if self._flops == 0:
            return None
        return (self._left - flops_under_way) * self._seconds / self._flops / self._workers.num

    @contextmanager
    def _pulse(self) -> Iterator[None]:
        """Tell how far the runs under way are, every second or so, besides each end of a run."""
        is_over = threading.Event()

        def watch() -> None:
            while not is_over.wait(PULSE_SECONDS if isinstance(self._zoo.folder, Path) else STORE_PULSE_SECONDS):
                shares = {key: share for key, share in self._zoo.under_way().items() if key in self._plan}
                flops = sum(share * training_flops(self._plan[key]) for key, share in shares.items())
                left = self._seconds_left(flops)
                self._tell(replace(self._progress, num_under_way=sum(shares.values()), seconds_left=left))

        thread = threading.Thread(target=watch, daemon=True)
        thread.start()
        try:
            yield
        finally:
            is_over.set()
            thread.join()


def tasks_of(configs: Sequence[RunConfig], failed: Set[str], num_workers: int) -> list[list[RunConfig]]:
    """Return what is trained together, the longest first: equal shares of what can be stacked, all else alone."""
    together: dict[str, list[RunConfig]] = {}
    for config in configs:
        is_alone = config.key in failed or config.stack_key is None
        together.setdefault(config.key if is_alone else str(config.stack_key), []).append(config)
    tasks = []
    for group in together.values():
        num_stacks = max(min(num_workers, len(group)), -(-len(group) // LARGEST_STACK))
        tasks += [group[first::num_stacks] for first in range(num_stacks)]
    return sorted(tasks, key=lambda task: -sum(map(training_flops, task)))


def _common_fault(error: BaseException) -> Exception | None:
    """Return the error if every other run would meet the same: a fault of study, data or disk."""
    if isinstance(error, StudyError | InvalidInputError):
        return error
    if isinstance(error, OSError):
        return error if error.errno in REPEATED else None
    said = re.search(r"\(os error (\d+)\)", str(error))  # how safetensors says it
    return OSError(int(said[1]), os.strerror(int(said[1]))) if said and int(said[1]) in REPEATED else None


@contextmanager
def one_torch_thread() -> Iterator[None]:
    """Have torch use one thread, as fits a worker beside others."""
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(num_threads)
