"""Scripts of the gallery run as their users run them, and what they claim at their end holds."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

GALLERY = Path(__file__).parents[1] / "docs" / "gallery"
QUIET = {"MPLBACKEND": "agg", "OMP_NUM_THREADS": "1"}


def ran(script: Path, folder: Path, *options: str) -> str:
    """Return what a script prints that runs in an empty folder."""
    command = [sys.executable, *options, str(script)]
    done = subprocess.run(
        command, cwd=folder, env=os.environ | QUIET, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("script", sorted(GALLERY.glob("*.py")), ids=lambda script: script.stem)
def test_claims_of_the_gallery_hold(script, tmp_path):
    assert "\nassert " in script.read_text(encoding="utf-8")
    warnings = ("-W", "error", "-W", "ignore:FigureCanvasAgg is non-interactive")
    assert ran(script, tmp_path, *warnings).rstrip().endswith(".")
    assert not [*tmp_path.iterdir()]
