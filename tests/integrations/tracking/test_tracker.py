import sys
from pathlib import Path

import pytest

from widemargin.errors import InvalidInputError
from widemargin.integrations.tracking import TRACKERS, tracker_named

PACKAGES = {"comet": "comet_ml", "mlflow": "mlflow", "tensorboard": "tensorboard", "wandb": "wandb"}


def test_there_are_four() -> None:
    assert TRACKERS.keys() == PACKAGES.keys()


def test_an_unknown_one_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        InvalidInputError, match=r"^a tracker must be one of comet, mlflow, tensorboard, wandb, got 'x'\.$"
    ):
        tracker_named("x", tmp_path)


@pytest.mark.parametrize("name", TRACKERS)
def test_a_missing_package_names_the_extra(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, PACKAGES[name], None)
    pattern = (
        rf"^tracking with {name} needs a package that is not installed \(.*{PACKAGES[name]}.*\)\. Install it with: "
        rf"pip install 'widemargin\[{name}\]'$"
    )
    with pytest.raises(InvalidInputError, match=pattern):
        tracker_named(name, tmp_path)
