"""How far a zoo is, told from its folder alone, whoever trains it."""

from dataclasses import dataclass
from typing import Any

from widemargin.zoo.cost import training_flops
from widemargin.zoo.failures import Failure
from widemargin.zoo.store import Zoo

__all__ = ["ZooStatus", "zoo_status"]


@dataclass(frozen=True, slots=True)
class ZooStatus:
    """How far a zoo is.

    Attributes:
        study: Name of its study, if it has one.
        planned: Runs of the study.
        finished: Runs that ended well.
        diverged: Runs whose loss or outputs became infinite.
        failed: Runs that were given up, see :attr:`failures`.
        running: Runs being trained.
        missing: All others.
        num_workers: Runs or stacks that can be trained at once by those who train here now.
        seconds_left: As far as can be told from the runs that have ended: with those who train here now, or if
            nobody does, with one worker. None where no run has ended.
        failures: How runs failed that were given up, by key.
    """

    study: str | None
    planned: int
    finished: int
    diverged: int
    failed: int
    running: int
    missing: int
    num_workers: int
    seconds_left: float | None
    failures: dict[str, Failure]

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON can hold it."""
        counts = ("study", "planned", "finished", "diverged", "failed", "running", "missing", "num_workers")
        answer = {name: getattr(self, name) for name in (*counts, "seconds_left")}
        return answer | {"failures": {key: failure.reason for key, failure in self.failures.items()}}


def zoo_status(zoo: Zoo) -> ZooStatus:
    """Return how far a zoo is.

    Raises:
        RunError: A run, the study or the record of a failure is damaged.
    """
    results = {run.folder.name: run.result for run in zoo.runs()}
    study = zoo.study
    plan = {config.key: config for config in study.runs()} if study else {}
    ended = results.keys()
    failures = {key: failure for key, failure in zoo.failures().items() if failure.is_final and key not in ended}
    running = {key: share for key, share in zoo.under_way().items() if key in plan.keys() - ended}
    to_train = plan.keys() - ended - failures.keys()
    flops = seconds = 0.0
    for key in plan.keys() & ended:
        share = results[key]["num_steps"] / plan[key].training.num_steps  # less than 1 where it diverged
        flops += share * training_flops(plan[key])
        seconds += results[key]["seconds"]
    left = sum(training_flops(plan[key]) * (1 - running.get(key, 0.0)) for key in to_train)
    num_workers = sum(note.get("num_workers", 0) for note in zoo.drivers().values())
    statuses = [result["status"] for result in results.values()]
    return ZooStatus(
        study=study.name if study else None,
        planned=len(plan) if study else len(results),
        finished=statuses.count("finished"),
        diverged=statuses.count("diverged"),
        failed=len(failures),
        running=len(running),
        missing=len(to_train - running.keys()),
        num_workers=num_workers,
        seconds_left=left * seconds / flops / max(num_workers, 1) if flops else None,
        failures=failures,
    )
