"""Scripts of the gallery run as their users run them, and what they claim at their end holds."""

import os
import re
import subprocess
import sys
import tempfile
import tomllib
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
WORKFLOW = ROOT / ".github" / "workflows" / "tests.yml"
GALLERY = ROOT / "docs" / "gallery"
QUIET = {"MPLBACKEND": "agg", "OMP_NUM_THREADS": "1"}
EXTRAS = {script.stem.removeprefix("with_"): script for script in sorted(GALLERY.glob("integrations/with_*.py"))}
PACKAGES = {"comet": ("comet_ml",), "transformers": ("transformers", "accelerate")}  # others are named as their extra


def said(script: Path, folder: Path, *options: str) -> str:
    """Return the last line that a script prints; it runs in one folder, and what is temporary is beside that."""
    folder.mkdir()
    done = subprocess.run(
        [sys.executable, *options, str(script)],
        cwd=folder,
        env=os.environ | QUIET | {"TMPDIR": str(folder.parent)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.rstrip().rpartition("\n")[2]


@pytest.mark.parametrize("script", sorted(GALLERY.glob("*.py")), ids=lambda script: script.stem)
def test_claims_of_the_gallery_hold(script, tmp_path):
    assert "\nassert " in script.read_text(encoding="utf-8")
    warnings = ("-W", "error", "-W", "ignore:FigureCanvasAgg is non-interactive")
    assert said(script, tmp_path / "here", *warnings).endswith(".")
    assert not [*(tmp_path / "here").iterdir()]


@pytest.mark.parametrize("extra", EXTRAS)
def test_what_integrations_write_can_be_read_back(extra):
    for package in PACKAGES.get(extra, (extra,)):
        if find_spec(package) is None:
            pytest.skip(f"{package} is not installed: pip install 'widemargin[{extra}]'")
    with tempfile.TemporaryDirectory() as folder:  # sockets in pytest's own would have names too long for Ray
        assert re.search(rf"read back from \S*{folder}/widemargin-", said(EXTRAS[extra], Path(folder, "here")))


@pytest.mark.skipif(not WORKFLOW.exists(), reason="source distributions have no workflows")
def test_every_extra_for_users_has_a_script_that_is_run_in_an_environment_of_its_own():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    jobs = yaml.safe_load(WORKFLOW.read_text(encoding="utf-8"))["jobs"]
    extras = {*project["optional-dependencies"]} - {"dev", "docs"}
    assert {*EXTRAS} == extras == {*jobs["integrations"]["strategy"]["matrix"]["extra"]}
