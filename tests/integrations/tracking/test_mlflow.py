import shutil
from pathlib import Path
from typing import Any

import pytest

from tracked_runs import diverged, finished, losses, write_into
from widemargin.integrations.tracking import send_pages, send_run, tracker_named
from widemargin.zoo import Zoo, hyperparameters

mlflow = pytest.importorskip("mlflow", reason="mlflow is not installed: pip install 'widemargin[mlflow]'")
pytest.importorskip("sqlalchemy", reason="MLflow's SQLite store needs sqlalchemy: pip install 'widemargin[mlflow]'")
pytest.importorskip("alembic", reason="MLflow's SQLite store needs alembic: pip install 'widemargin[mlflow]'")
pytestmark = pytest.mark.filterwarnings("ignore")  # MLflow's own


@pytest.fixture(scope="module")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MLflow's tables, which take it seconds to make, and one experiment of no concern."""
    folder = tmp_path_factory.mktemp("mlflow")
    tracker_named("mlflow", folder).begin("key", "of no concern", {}, "finished")
    return folder / "mlflow.db"


@pytest.fixture
def zoo(zoo: Zoo, empty_store: Path) -> Zoo:
    """A zoo whose store is there already."""
    shutil.copyfile(empty_store, zoo.folder / "mlflow.db")
    return zoo


def client(zoo: Zoo) -> Any:
    return mlflow.MlflowClient(f"sqlite:///{zoo.folder}/mlflow.db")


def logged_runs(zoo: Zoo, experiment: str = "tracked") -> list[Any]:
    found = client(zoo).get_experiment_by_name(experiment)
    return [*client(zoo).search_runs([found.experiment_id])] if found else []


def test_a_run_is_in_the_store_with_all_that_is_known_of_it(zoo: Zoo) -> None:
    run = finished(zoo)
    assert send_run(zoo, run, tracker_named("mlflow", zoo.folder))
    (logged,) = logged_runs(zoo)
    assert (logged.info.run_name, logged.info.status) == (run.folder.name, "FINISHED")
    assert logged.data.params == {name: str(value) for name, value in hyperparameters(run.config).items()}
    history = client(zoo).get_metric_history(logged.info.run_id, "training/loss")
    assert [(metric.step, metric.value) for metric in history] == losses(run)
    metrics = logged.data.metrics
    assert metrics["gap"] == run.result["gap"]
    assert metrics["signature/input/median"] == run.margins.signature()["input/median"]
    assert metrics["total_variation/input"] == run.margins.total_variation[0]
    folder = client(zoo).download_artifacts(logged.info.run_id, "")
    assert {path.name for path in Path(folder).iterdir()} == {"weights.safetensors", "margins.png"}
    assert Path(folder, "weights.safetensors").read_bytes() == (run.folder / "weights.safetensors").read_bytes()


def test_the_store_and_its_files_lie_in_the_zoo(zoo: Zoo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    send_run(zoo, finished(zoo), tracker_named("mlflow", zoo.folder))
    assert [*elsewhere.iterdir()] == []
    assert {"mlflow.db", "mlflow-files"} <= {path.name for path in zoo.folder.iterdir()}


def test_its_own_variables_say_where_to(zoo: Zoo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/own.db")
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "mine")
    monkeypatch.chdir(tmp_path)
    tracker = tracker_named("mlflow", zoo.folder)
    assert tracker.destination == f"sqlite:///{tmp_path}/own.db"
    send_run(zoo, finished(zoo), tracker)
    assert logged_runs(Zoo(zoo.folder)) == []
    own = mlflow.MlflowClient(f"sqlite:///{tmp_path}/own.db")
    assert len(own.search_runs([own.get_experiment_by_name("mine").experiment_id])) == 1


def test_a_servers_links_are_kept_from_the_output_of_commands(zoo: Zoo) -> None:
    tracker_named("mlflow", zoo.folder)
    assert mlflow.environment_variables.MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT.get()


def test_a_run_that_was_begun_and_never_ended_is_replaced(zoo: Zoo) -> None:
    run = finished(zoo)
    killed = tracker_named("mlflow", zoo.folder)
    assert killed.begin(run.folder.name, "tracked", {"a": 1}, "finished")
    (before,) = logged_runs(zoo)
    send_run(zoo, run, tracker_named("mlflow", zoo.folder))
    (logged,) = logged_runs(zoo)
    assert logged.info.run_id != before.info.run_id
    assert logged.info.status == "FINISHED"


def test_a_store_is_there_at_once_or_not_at_all(zoo: Zoo, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(_: Any) -> None:
        raise KeyboardInterrupt

    (zoo.folder / "mlflow.db").unlink()
    monkeypatch.setattr(mlflow.MlflowClient, "search_experiments", killed)
    tracker = tracker_named("mlflow", zoo.folder)
    with pytest.raises(KeyboardInterrupt):
        send_run(zoo, finished(zoo), tracker)
    assert not (zoo.folder / "mlflow.db").exists()
    monkeypatch.undo()
    assert send_run(zoo, finished(zoo), tracker)
    assert len(logged_runs(zoo)) == 1


def test_a_run_that_is_complete_there_but_not_written_down_is_not_sent_again(zoo: Zoo) -> None:
    run = finished(zoo)
    send_run(zoo, run, tracker_named("mlflow", zoo.folder))
    for note in (zoo.folder / "tracked").iterdir():
        note.unlink()
    assert not send_run(zoo, run, tracker_named("mlflow", zoo.folder))
    assert len(logged_runs(zoo)) == 1


def test_a_run_that_got_figures_since_is_replaced(zoo: Zoo, shown: dict[str, bytes]) -> None:
    run, tracker = finished(zoo), tracker_named("mlflow", zoo.folder)
    send_run(zoo, run, tracker)
    write_into(run.folder, shown)
    assert send_run(zoo, run, tracker)
    for note in (zoo.folder / "tracked").iterdir():
        note.unlink()
    assert not send_run(zoo, run, tracker)
    (logged,) = logged_runs(zoo)
    folder = Path(client(zoo).download_artifacts(logged.info.run_id, ""))
    assert {name: (folder / name).read_bytes() for name in shown} == shown


def test_the_zoos_own_report_is_a_run(zoo: Zoo, shown: dict[str, bytes]) -> None:
    write_into(zoo.folder, shown)
    assert send_pages(zoo, tracker_named("mlflow", zoo.folder)) == 3
    (logged,) = logged_runs(zoo)
    assert (logged.data.tags["status"], logged.info.status) == ("zoo", "FINISHED")
    folder = Path(client(zoo).download_artifacts(logged.info.run_id, ""))
    assert {path.name for path in folder.iterdir()} == {*shown}


def test_two_runs_are_two(zoo: Zoo) -> None:
    tracker = tracker_named("mlflow", zoo.folder)
    for run in zoo.runs():
        send_run(zoo, run, tracker)
    assert {run.data.tags["status"]: run.info.run_name for run in logged_runs(zoo)} == {
        "finished": finished(zoo).folder.name,
        "diverged": diverged(zoo).folder.name,
    }


def test_layers_that_are_called_twice_have_names_that_mlflow_takes(zoo: Zoo) -> None:
    tracker = tracker_named("mlflow", zoo.folder)
    tracker.begin("key", "tracked", {}, "finished")
    tracker.log_numbers({"total_variation/relu@2": 3.0})
    tracker.end()
    assert logged_runs(zoo)[0].data.metrics == {"total_variation/relu-2": 3.0}
