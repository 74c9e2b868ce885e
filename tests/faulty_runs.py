"""What goes wrong while runs are trained; named here so that other processes can import it."""

import errno
import os
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from widemargin.errors import InvalidInputError, StudyError
from widemargin.zoo import Resources, Run, RunConfig, Zoo
from widemargin.zoo.run import carry_out_together

Tell = Callable[[float], None]
FAULTY_SEED = 1


def marks(zoo: Zoo) -> Path:
    """Return a folder beside the zoo that outlives whatever happens."""
    folder = zoo.checkpoints_folder.parent.with_name("marks")
    folder.mkdir(exist_ok=True)
    return folder


def noted(zoo: Zoo, configs: Sequence[RunConfig]) -> int:
    """Note that runs are tried together; return for the how-manieth time any of them is."""
    for config in configs:
        with (marks(zoo) / config.key).open("a") as file:
            file.write(f"{len(configs)}\n")
    return max(len((marks(zoo) / config.key).read_text().splitlines()) for config in configs)


def killed(zoo: Zoo, configs: Sequence[RunConfig], resources: Resources, tell: Tell) -> list[Run]:
    """Be killed with every faulty run."""
    noted(zoo, configs)
    if any(config.seed == FAULTY_SEED for config in configs):
        os.kill(os.getpid(), signal.SIGKILL)
    return carry_out_together(zoo, configs, resources, tell)


def killed_once(zoo: Zoo, configs: Sequence[RunConfig], resources: Resources, tell: Tell) -> list[Run]:
    """Be killed the first time that a faulty run comes, in the midst of writing it."""
    first = noted(zoo, configs) == 1
    if first and any(config.seed == FAULTY_SEED for config in configs):
        with zoo.writing(configs[0]) as folder:
            (folder / "weights.safetensors").write_bytes(b"half")
            os.kill(os.getpid(), signal.SIGKILL)
    return carry_out_together(zoo, configs, resources, tell)


def raising(zoo: Zoo, configs: Sequence[RunConfig], resources: Resources, tell: Tell) -> list[Run]:
    """Raise with every faulty run."""
    noted(zoo, configs)
    if any(config.seed == FAULTY_SEED for config in configs):
        raise ZeroDivisionError("a loss of nothing")
    return carry_out_together(zoo, configs, resources, tell)


def disk_full(zoo: Zoo, configs: Sequence[RunConfig], resources: Resources, tell: Tell) -> list[Run]:
    """Find the disk full, as Python says it."""
    noted(zoo, configs)
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "weights.safetensors")


def disk_full_for_rust(zoo: Zoo, configs: Sequence[RunConfig], resources: Resources, tell: Tell) -> list[Run]:
    """Find the disk full, as safetensors says it."""
    noted(zoo, configs)
    raise RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)")


def data_missing(zoo: Zoo, configs: Sequence[RunConfig], resources: Resources, tell: Tell) -> list[Run]:
    """Find no data."""
    noted(zoo, configs)
    raise InvalidInputError("put the images there.")


def study_wrong(zoo: Zoo, configs: Sequence[RunConfig], resources: Resources, tell: Tell) -> list[Run]:
    """Find the study wrong."""
    noted(zoo, configs)
    raise StudyError("no such thing.")


def counting_threads(zoo: Zoo, configs: Sequence[RunConfig], resources: Resources, tell: Tell) -> list[Run]:
    """Note how many threads torch has."""
    (marks(zoo) / "threads").write_text(str(torch.get_num_threads()))
    return carry_out_together(zoo, configs, resources, tell)


def slow(zoo: Zoo, configs: Sequence[RunConfig], resources: Resources, tell: Tell) -> list[Run]:
    """Be half-way for as long as it is let."""
    (marks(zoo) / "process").write_text(str(os.getpid()))
    tell(0.5)
    time.sleep(60)
    return carry_out_together(zoo, configs, resources, tell)


def resuming(zoo: Zoo, configs: Sequence[RunConfig], resources: Resources, tell: Tell) -> list[Run]:
    """Be killed after leaving a checkpoint; if there is one, note what it says."""
    checkpoint = zoo.checkpoint(configs[0])
    if not checkpoint.exists():
        checkpoint.parent.mkdir(parents=True, exist_ok=True)
        checkpoint.write_text("half-way")
        os.kill(os.getpid(), signal.SIGKILL)
    (marks(zoo) / "resumed").write_text(checkpoint.read_text())
    checkpoint.unlink()
    return carry_out_together(zoo, configs, resources, tell)
