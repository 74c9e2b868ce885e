"""Functions that tests have called in other processes; named here so that these can import them."""

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

Tell = Callable[[Any], None]


class StubbornError(Exception):
    """Cannot be unpickled."""

    def __init__(self, place: str, *, state: str) -> None:
        super().__init__(f"{state} at {place}")


def doubled(number: int, tell: Tell) -> tuple[int, int]:
    tell(0.5)
    tell(1.0)
    return os.getpid(), 2 * number


def threads(tell: Tell) -> tuple[int, str]:
    return torch.get_num_threads(), os.environ["OMP_NUM_THREADS"]


def variable(name: str, tell: Tell) -> str | None:
    return os.environ.get(name)


def imports_of_a_run(folder: Path, tell: Tell) -> int:
    """Return how many modules a run imports that its process did not have."""
    from widemargin.zoo import RunConfig, Zoo, carry_out

    before = set(sys.modules)
    config = {"data": {"name": "digits"}, "network": {"name": "nin", "width": 0.02}, "training": {"num_steps": 2}}
    carry_out(Zoo(folder), RunConfig.model_validate(config))
    return len(set(sys.modules) - before)


def raising(tell: Tell) -> None:
    raise ZeroDivisionError("of nothing")


def raising_stubbornly(tell: Tell) -> None:
    raise StubbornError("home", state="stuck")


def killed(tell: Tell) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def segfaulting(tell: Tell) -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def leaving(tell: Tell) -> None:
    os._exit(3)


def killed_with_guard(tell: Tell) -> None:
    os.kill(os.getppid(), signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)


def sleeping(tell: Tell) -> None:
    tell(os.getpid())
    time.sleep(60)
