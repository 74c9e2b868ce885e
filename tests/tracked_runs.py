"""Runs to send to trackers, and what is known of them from their folders."""

from pathlib import Path

from widemargin.zoo import Run, Study, Zoo, carry_out

WELL = {"num_steps": 40, "batch_size": 20}
STUDY = Study(
    name="tracked",
    base={"data": {"name": "digits", "num_train": 60}, "network": {"name": "mlp", "hidden": [12, 12, 12]}},
    grid={"training": [WELL, WELL | {"optimizer": "sgd", "lr": 1e6}]},
)


def trained_zoo(folder: Path) -> Zoo:
    """Train one network that ends well and one that diverges."""
    zoo = Zoo(folder)
    zoo.adopt(STUDY)
    for config in STUDY.runs():
        carry_out(zoo, config)
    return zoo


def finished(zoo: Zoo) -> Run:
    """Return the run that ended well."""
    return next(run for run in zoo.runs() if run.result["status"] == "finished")


def diverged(zoo: Zoo) -> Run:
    """Return the other one."""
    return next(run for run in zoo.runs() if run.result["status"] == "diverged")


def losses(run: Run) -> list[tuple[int, float]]:
    """Return the finite losses of a run's training with their steps."""
    return [(int(r["step"] or 0), r["loss"]) for r in run.history if r["loss"] is not None]


def write_into(folder: Path, files: dict[str, bytes]) -> None:
    """Write files into a folder."""
    for name, content in files.items():
        (folder / name).write_bytes(content)
