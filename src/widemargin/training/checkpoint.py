"""The state of an unfinished training in one file, from which it goes on as if it had never stopped."""

import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from widemargin.errors import InvalidInputError

__all__ = ["Checkpoint", "optimizer_tensors", "restore_optimizer"]


@dataclass
class Checkpoint:
    """A file that a training leaves its state in now and then, and takes it up from.

    Attributes:
        path: The file; a safetensors file, so that reading it runs no code.
        every_seconds: How much training time is lost at most, about [s].
    """

    path: Path
    every_seconds: float = 60.0
    _written: float = field(default_factory=time.monotonic)

    def is_due(self) -> bool:
        """Whether it is time to write."""
        return time.monotonic() - self._written >= self.every_seconds

    def write(self, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
        """Write the state, replacing an older one in one go."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        partial = self.path.with_name(f".{self.path.name}-{os.getpid()}")
        try:
            whole = {name: value.detach().contiguous() for name, value in tensors.items()}
            save_file(whole, partial, metadata={"facts": json.dumps(facts)})
            partial.replace(self.path)
        finally:
            partial.unlink(missing_ok=True)
        self._written = time.monotonic()

    def read(self, settings: Mapping[str, Any]) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """Return the state; None if there is none, or none that can be read.

        Raises:
            InvalidInputError: It was left by a training of other settings.
        """
        try:
            with safe_open(self.path, framework="pt") as file:
                facts = json.loads(file.metadata()["facts"])
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # no mapping
        except Exception:  # absent or damaged: what it held is trained again
            return None
        if facts["settings"] != json.loads(json.dumps(settings)):
            other = [name for name, value in settings.items() if facts["settings"].get(name) != value]
            raise InvalidInputError(
                f"{self.path} must be the checkpoint of this training, but was left by one with another "
                f"{', '.join(other)}. Delete it or name another file."
            )
        return tensors, facts


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return the optimizer's state, a name for each tensor."""
    state = optimizer.state_dict()["state"]
    return {
        f"optimizer/{index}/{name}": torch.as_tensor(value)
        for index, values in state.items()
        for name, value in values.items()
        if value is not None
    }


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Put back what :func:`optimizer_tensors` returned."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for place, value in tensors.items():
        kind, _, rest = place.partition("/")
        if kind == "optimizer":
            index, _, name = rest.partition("/")
            parameter = parameters[int(index)]
            if value.shape == parameter.shape:  # fused steps want both laid out alike in memory
                value = torch.empty_like(parameter).copy_(value)  # noqa: PLW2901
            state.setdefault(int(index), {})[name] = value
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
