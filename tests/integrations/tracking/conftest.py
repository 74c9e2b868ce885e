import shutil
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from tracked_runs import trained_zoo
from widemargin.zoo import Zoo
from widemargin.zoo.execution import one_torch_thread

VARIABLES = ("MLFLOW_", "WANDB_", "COMET_")


@pytest.fixture(scope="package", autouse=True)
def _one_torch_thread() -> Iterator[None]:
    with one_torch_thread():
        yield


@pytest.fixture(autouse=True)
def _no_settings_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    for name in [name for name in os.environ if name.startswith(VARIABLES)]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("NETRC", os.devnull)


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Zoo:
    """One network that ended well, one that diverged. Not to be changed."""
    return trained_zoo(tmp_path_factory.mktemp("tracked") / "zoo")


@pytest.fixture
def shown() -> dict[str, bytes]:
    """A figure, an animation and a page, by name."""
    frames = [Image.new("RGB", (6, 4), color) for color in ("black", "white", "red")]
    files = {"boundary.png": BytesIO(), "boundary.gif": BytesIO()}
    frames[0].save(files["boundary.png"], format="png")
    frames[0].save(files["boundary.gif"], format="gif", save_all=True, append_images=frames[1:])
    return {name: file.getvalue() for name, file in files.items()} | {"report.html": b"<p>As found</p>"}


@pytest.fixture
def zoo(trained: Zoo, tmp_path: Path) -> Zoo:
    """A copy, to be sent."""
    shutil.copytree(trained.folder, tmp_path / "zoo")
    return Zoo(tmp_path / "zoo")
