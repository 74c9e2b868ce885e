"""What every benchmark does with its figures: print them, and keep them with machine and commit."""

import json
import os
import platform
import subprocess
from collections.abc import Mapping
from pathlib import Path

import torch


def record(figures: Mapping[str, object], out: Path | None) -> None:
    """Print figures as JSON, and write them to a file if one is named."""
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    origin = {
        "torch": torch.__version__,
        "machine": f"{platform.machine()}, {platform.system()}, {os.cpu_count()} cores",
        "commit": commit.stdout.strip(),
    }
    text = json.dumps({**figures, **origin}, indent=2)
    print(text)
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(text + "\n")
