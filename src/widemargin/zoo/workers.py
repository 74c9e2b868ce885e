"""Where runs are trained: in children of this process, or on the nodes of a Ray cluster."""

import atexit
import contextlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib import import_module
from typing import Any, Literal, TypeAlias

import torch
from joblib import cpu_count

from widemargin.errors import InvalidInputError
from widemargin.zoo.nursery import ChildDiedError, Nursery, TracebackError
from widemargin.zoo.resources import Resources
from widemargin.zoo.run import carry_out_together
from widemargin.zoo.store import Run, Zoo
from widemargin.zoo.study import RunConfig

__all__ = ["Backend", "LocalWorkers", "RayWorkers", "Workers"]

Backend: TypeAlias = Literal["local", "ray"]
Results: TypeAlias = list[Mapping[str, Any]]


class Workers(ABC):
    """Places where so many tasks can be carried out at once.

    Attributes:
        num: How many.
    """

    num: int

    @abstractmethod
    def carry_out(self, zoo: Zoo, configs: Sequence[RunConfig], resources: Resources) -> Results:
        """Train one run, or the runs of one stack, and return their results; called from many threads.

        Raises:
            ChildDiedError: The process that trained them is gone.
            Exception: What training them raised; its cause carries the traceback.
        """

    @abstractmethod
    def stop(self) -> None:
        """End whatever is being carried out."""


@cache
def _nursery(threads: int) -> Nursery:
    """Return the one of this process, which waits for the next zoo: starting it takes seconds."""
    nursery = Nursery(threads)
    atexit.register(nursery.close)
    return nursery


class LocalWorkers(Workers):
    """Children of this process, one a task.

    Args:
        jobs: How many; -1 for as many as there are cores for.
        threads: Threads of each.
    """

    def __init__(self, jobs: int = -1, threads: int = 1) -> None:
        self.num = jobs if jobs > 0 else max(1, cpu_count() // threads)
        self._nursery = _nursery(threads)

    def carry_out(self, zoo: Zoo, configs: Sequence[RunConfig], resources: Resources) -> Results:
        """See :meth:`Workers.carry_out`."""
        return _carry_out(zoo, configs, resources, self._nursery.call)

    def stop(self) -> None:
        """See :meth:`Workers.stop`."""
        self._nursery.end_children()


class RayWorkers(Workers):
    """The nodes of a Ray cluster.

    Tasks are Ray's own rather than those of its joblib backend, which hands tasks to actors at random and gives up
    all of them where one is lost.

    Args:
        address: Of the cluster; None for one that was joined already, or else one on this machine.
        jobs: How many runs at once; -1 for as many as the cluster has room for.
        threads: Cores of each.
        gpus_per_run: Graphics processors of each, or share of one.

    Raises:
        InvalidInputError: Ray is not installed, or the cluster has no room for a run.
    """

    def __init__(
        self, address: str | None = None, *, jobs: int = -1, threads: int = 1, gpus_per_run: float = 0.0
    ) -> None:
        try:
            ray = import_module("ray")
        except ImportError:
            raise InvalidInputError(
                "the backend ray needs Ray, which is not installed. Install it with: pip install 'widemargin[ray]'"
            ) from None
        if not ray.is_initialized():
            ray.init(address=address, log_to_driver=False, logging_level="error")
        room = ray.cluster_resources()
        fits = int(room.get("CPU", 0) // threads)
        if gpus_per_run > 0:
            fits = min(fits, int(room.get("GPU", 0) / gpus_per_run + 1e-9))
        if fits == 0:
            raise InvalidInputError(
                f"a run needs {threads} cores and {gpus_per_run:g} GPUs, but the cluster has "
                f"{room.get('CPU', 0):g} and {room.get('GPU', 0):g}. Lower --threads or --gpus-per-run."
            )
        self.num = jobs if jobs > 0 else fits
        self._ray, self._threads, self._tasks = ray, threads, set[Any]()
        # Tried again by the zoo, which counts how often; a process a run, so that what it took of memory goes back.
        options = {"num_cpus": threads, "num_gpus": gpus_per_run, "max_retries": 0, "max_calls": 1}
        self._remote = ray.remote(**options)(_carry_out_on_node)

    def carry_out(self, zoo: Zoo, configs: Sequence[RunConfig], resources: Resources) -> Results:
        """See :meth:`Workers.carry_out`."""
        task = self._remote.remote(zoo, configs, resources, self._threads)
        self._tasks.add(task)
        try:
            results: Results = self._ray.get(task)
        except self._ray.exceptions.RayTaskError as error:
            raise error.cause from TracebackError(str(error))
        except self._ray.exceptions.RayError as error:
            raise ChildDiedError(f"its process or node was lost ({type(error).__name__})") from None
        finally:
            self._tasks.discard(task)
        return results

    def stop(self) -> None:
        """See :meth:`Workers.stop`."""
        for task in [*self._tasks]:
            with contextlib.suppress(self._ray.exceptions.RayError):
                self._ray.cancel(task, force=True)


def _carry_out_on_node(zoo: Zoo, configs: Sequence[RunConfig], resources: Resources, threads: int) -> Results:
    torch.set_num_threads(threads)
    return _carry_out(zoo, configs, resources, lambda function, *given, on_told: function(*given, on_told))


def _carry_out(zoo: Zoo, configs: Sequence[RunConfig], resources: Resources, call: Callable[..., Any]) -> Results:
    """Train runs in a workplace, publish them, and return their results."""
    with zoo.workplace([config.key for config in configs]) as place:
        local = Zoo(place.folder, checkpoints=zoo.checkpoints_folder)
        call(carry_out_together, local, configs, resources, on_told=place.tell)
        for config in configs:
            zoo.publish(place.folder / "runs" / config.key)
    return [Run(zoo.runs_folder / config.key).result for config in configs]
