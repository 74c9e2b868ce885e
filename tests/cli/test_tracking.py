import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tracked_runs import STUDY, finished, trained_zoo
from widemargin.integrations.tracking.tensorboard import TensorBoardTracker
from widemargin.zoo import Zoo

pytest.importorskip("tensorboard", reason="tensorboard is not installed: pip install 'widemargin[tensorboard]'")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of protobuf

CommandLine = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Zoo:
    """Two networks. Not to be changed."""
    return trained_zoo(tmp_path_factory.mktemp("tracked") / "zoo")


@pytest.fixture
def zoo(trained: Zoo, tmp_path: Path) -> Zoo:
    """A copy, to be sent."""
    shutil.copytree(trained.folder, tmp_path / "zoo")
    return Zoo(tmp_path / "zoo")


def sent(zoo: Zoo) -> set[str]:
    folder = Path(zoo.folder, "tensorboard")
    return {path.name for path in folder.iterdir()} if folder.is_dir() else set()


def test_sends_a_zoo_once(widemargin: CommandLine, zoo: Zoo) -> None:
    code, out, _ = widemargin("track", "zoo", "--to", "tensorboard")
    assert (code, out) == (0, f"2 runs sent to {zoo.folder}/tensorboard.\n")
    assert sent(zoo) == zoo.keys()
    code, out, _ = widemargin("track", "zoo", "--to", "tensorboard")
    assert code == 0
    assert out == (
        f"0 runs sent to {zoo.folder}/tensorboard.\n"
        "2 were left out: they are there, or another process is sending them.\n"
    )


def test_sends_single_runs(widemargin: CommandLine, zoo: Zoo) -> None:
    run = finished(zoo)
    code, out, _ = widemargin("track", run.folder, run.folder, "--to", "tensorboard", "--json")
    assert code == 0
    assert json.loads(out) == {"runs": 1, "sent": 1, "pages": 0, "destinations": [f"{zoo.folder}/tensorboard"]}
    assert sent(zoo) == {run.folder.name}
    assert json.loads(widemargin("track", "zoo", run.folder, "--to", "tensorboard", "--json")[1])["sent"] == 1
    assert sent(zoo) == zoo.keys()


def test_the_zoos_own_report_goes_with_all_of_it_only(widemargin: CommandLine, zoo: Zoo) -> None:
    (zoo.folder / "report.html").write_text("<p>As found</p>")
    assert json.loads(widemargin("track", finished(zoo).folder, "--to", "tensorboard", "--json")[1])["pages"] == 0
    code, out, _ = widemargin("track", "zoo", "--to", "tensorboard")
    assert code == 0
    assert "With them went 1 figures and pages of the zoo itself.\n" in out
    assert json.loads(widemargin("track", "zoo", "--to", "tensorboard", "--json")[1])["pages"] == 0


def test_what_fails_is_one_sentence_and_goes_on_later(
    widemargin: CommandLine, zoo: Zoo, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends = iter([None, ConnectionError("no line")])

    def end(tracker: TensorBoardTracker) -> None:
        tracker._writer.close()
        if (error := next(ends)) is not None:
            raise error

    monkeypatch.setattr(TensorBoardTracker, "end", end)
    code, _, err = widemargin("track", "zoo", "--to", "tensorboard")
    assert code == 1
    assert err.endswith(
        f"error: {zoo.folder}/tensorboard failed after 1 runs: ConnectionError: no line. The runs are as they were; "
        "the same command goes on where this one was.\n"
    )
    monkeypatch.undo()
    monkeypatch.chdir(Path(zoo.folder).parent)
    assert widemargin("track", "zoo", "--to", "tensorboard")[1].startswith("1 runs sent")


def test_what_is_no_zoo_is_refused(widemargin: CommandLine, tmp_path: Path) -> None:
    code, _, err = widemargin("track", "nothing", "--to", "tensorboard")
    assert code == 1
    assert "nothing must be a zoo's folder with runs in it, and is not." in err


def write_study() -> None:
    Path("study.yaml").write_text(STUDY.model_dump_json())


def test_runs_are_logged_as_they_end(widemargin: CommandLine, tmp_path: Path) -> None:
    write_study()
    code, out, _ = widemargin("zoo", "train", "study.yaml", "--out", "new", "--jobs", 1, "--track", "tensorboard")
    assert code == 0
    assert out == "tracked: 2 networks, 1 finished, 1 diverged, 0 failed, 0 running, 0 missing\n"
    assert sent(Zoo("new")) == Zoo("new").keys()
    assert widemargin("track", "new", "--to", "tensorboard")[1].startswith("0 runs sent")


def test_runs_that_ended_before_and_were_not_sent_are_told(widemargin: CommandLine, tmp_path: Path) -> None:
    write_study()
    words = ("zoo", "train", "study.yaml", "--out", "new", "--jobs", 1)
    widemargin(*words)
    code, _, err = widemargin(*words, "--track", "tensorboard")
    assert code == 0
    assert err.count(f"note: 2 runs that ended before were not sent to {Zoo('new').folder}/tensorboard;") == 1
    assert "send them with: widemargin track new --to tensorboard\n" in err
    assert not sent(Zoo("new"))
    assert widemargin("track", "new", "--to", "tensorboard")[1].startswith("2 runs sent")
    assert "not sent" not in widemargin(*words, "--track", "tensorboard")[2]


def test_a_tracker_that_fails_costs_no_run_and_is_told_once(
    widemargin: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def begin(*_: object) -> bool:
        raise ConnectionError("no line")

    write_study()
    monkeypatch.setattr(TensorBoardTracker, "begin", begin)
    words = ("zoo", "train", "study.yaml", "--out", "new", "--jobs", 1, "--track", "tensorboard")
    code, out, err = widemargin(*words)
    assert code == 0
    assert out == "tracked: 2 networks, 1 finished, 1 diverged, 0 failed, 0 running, 0 missing\n"
    assert err.count("note: tensorboard failed: ConnectionError: no line. Runs are no longer logged") == 1
    assert "later, send them with: widemargin track new --to tensorboard" in err
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    assert widemargin("track", "new", "--to", "tensorboard")[1].startswith("2 runs sent")


def test_a_missing_package_is_said_before_anything_is_trained(
    widemargin: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_study()
    monkeypatch.setitem(sys.modules, "mlflow", None)
    code, _, err = widemargin("zoo", "train", "study.yaml", "--out", "new", "--track", "mlflow")
    assert code == 1
    assert "pip install 'widemargin[mlflow]'" in err
    assert not Path("new").exists()
