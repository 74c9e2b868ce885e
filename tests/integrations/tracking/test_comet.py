import json
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest

from tracked_runs import finished, losses, write_into
from widemargin.integrations.tracking import send_pages, send_run, tracker_named
from widemargin.zoo import Zoo, hyperparameters

pytest.importorskip("comet_ml", reason="comet_ml is not installed: pip install 'widemargin[comet]'")
pytestmark = pytest.mark.filterwarnings("ignore")  # its own


def archives(zoo: Zoo) -> list[Path]:
    return sorted(Path(zoo.folder, "comet").iterdir())


def payloads(archive: Path, kind: str) -> list[dict[str, Any]]:
    """Read the messages of one kind that an archive holds for the server."""
    with ZipFile(archive) as file:
        messages = [json.loads(line) for line in file.read("messages.json").decode().splitlines()]
    return [message["payload"] for message in messages if message["type"] == kind]


def metrics(archive: Path) -> list[dict[str, Any]]:
    return [payload["metric"] for payload in payloads(archive, "metric_msg")]


def test_an_archive_holds_all_that_is_known(zoo: Zoo) -> None:
    run = finished(zoo)
    assert send_run(zoo, run, tracker_named("comet", zoo.folder))
    (archive,) = archives(zoo)
    with ZipFile(archive) as file:
        experiment = json.loads(file.read("experiment.json"))
    assert (experiment["project_name"], experiment["offline_id"]) == ("widemargin", archive.stem)
    assert {*experiment["tags"]} == {"tracked", "finished"}
    others = {payload["key"]: payload["value"] for payload in payloads(archive, "log_other")}
    assert (others["Name"], others["widemargin.key"]) == (run.folder.name, run.folder.name)
    params = {p["param"]["paramName"]: p["param"]["paramValue"] for p in payloads(archive, "parameter_msg")}
    assert params.items() >= hyperparameters(run.config).items()
    logged = [(m["step"], m["metricValue"]) for m in metrics(archive) if m["metricName"] == "training/loss"]
    assert logged == losses(run)
    numbers = {metric["metricName"]: metric["metricValue"] for metric in metrics(archive)}
    assert numbers["gap"] == run.result["gap"]
    assert numbers["signature/input/median"] == run.margins.signature()["input/median"]


def test_weights_and_figure_are_in_the_archive(zoo: Zoo) -> None:
    run = finished(zoo)
    send_run(zoo, run, tracker_named("comet", zoo.folder))
    (archive,) = archives(zoo)
    uploads = payloads(archive, "file_upload")
    assert [upload["upload_type"] for upload in uploads] == ["asset", "visualization"]
    with ZipFile(archive) as file:
        weights, figure = (file.read(upload["file_path"]) for upload in uploads)
    assert uploads[0]["additional_params"]["fileName"] == "weights.safetensors"
    assert weights == (run.folder / "weights.safetensors").read_bytes()
    assert uploads[1]["additional_params"]["figName"] == "margins"
    assert figure.startswith(b"\x89PNG")


@pytest.mark.parametrize("of", ["run", "zoo"])
def test_animations_are_images_and_the_report_is_an_asset(zoo: Zoo, shown: dict[str, bytes], of: str) -> None:
    run, tracker = finished(zoo), tracker_named("comet", zoo.folder)
    write_into(run.folder if of == "run" else zoo.folder, shown)
    assert send_run(zoo, run, tracker) if of == "run" else send_pages(zoo, tracker) == 3
    (archive,) = archives(zoo)
    uploads = {
        upload["additional_params"].get("figName") or upload["additional_params"]["fileName"]: upload
        for upload in payloads(archive, "file_upload")
    }
    kinds = {name: upload["upload_type"] for name, upload in uploads.items()}
    assert (
        kinds.items()
        >= {
            "boundary": "visualization",
            "boundary.gif": "visualization",
            "report.html": "asset",
        }.items()
    )
    with ZipFile(archive) as file:
        for name, content in (("boundary.gif", shown["boundary.gif"]), ("report.html", shown["report.html"])):
            assert file.read(uploads[name]["file_path"]) == content


def test_a_run_that_got_a_figure_since_replaces_its_archive(zoo: Zoo, shown: dict[str, bytes]) -> None:
    run, tracker = finished(zoo), tracker_named("comet", zoo.folder)
    send_run(zoo, run, tracker)
    write_into(run.folder, shown)
    assert send_run(zoo, run, tracker)
    (archive,) = archives(zoo)
    assert len(payloads(archive, "file_upload")) == 5
    assert len([m for m in metrics(archive) if m["metricName"] == "gap"]) == 1


def test_a_run_that_was_begun_and_never_ended_is_replaced(zoo: Zoo) -> None:
    run = finished(zoo)
    killed = tracker_named("comet", zoo.folder)
    killed.begin(run.folder.name, "tracked", {}, "finished")
    killed.log_step(10, {"training/loss": 77.0})
    killed.end()
    send_run(zoo, run, tracker_named("comet", zoo.folder))
    (archive,) = archives(zoo)
    assert 77.0 not in [metric["metricValue"] for metric in metrics(archive)]


def test_its_own_variables_say_where_to(zoo: Zoo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert tracker_named("comet", zoo.folder).destination == f"{zoo.folder}/comet"
    monkeypatch.setenv("COMET_OFFLINE_DIRECTORY", str(tmp_path / "own"))
    assert tracker_named("comet", zoo.folder).destination == f"{tmp_path}/own"
    monkeypatch.setenv("COMET_API_KEY", "0" * 25)
    monkeypatch.setenv("COMET_WORKSPACE", "us")
    monkeypatch.setenv("COMET_PROJECT_NAME", "ours")
    assert tracker_named("comet", zoo.folder).destination == "Comet/us/ours"
