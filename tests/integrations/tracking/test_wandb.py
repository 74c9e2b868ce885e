import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tracked_runs import diverged, finished, losses, write_into
from widemargin.integrations.tracking import send_run, tracker_named
from widemargin.zoo import Run, Zoo, hyperparameters

pytest.importorskip("wandb", reason="wandb is not installed: pip install 'widemargin[wandb]'")
pytestmark = pytest.mark.filterwarnings("ignore")  # its own

FILE_HEADER, BLOCK, HEADER = 7, 32768, struct.Struct("<IHB")
FULL, FIRST, MIDDLE, LAST = 1, 2, 3, 4


def records(file: Path) -> Iterator[Any]:
    """Read an offline run: protocol buffers in LevelDB's log format, behind seven bytes."""
    from wandb.proto.wandb_internal_pb2 import Record

    content, place, parts = file.read_bytes(), FILE_HEADER, b""
    while place + HEADER.size <= len(content):
        if BLOCK - place % BLOCK < HEADER.size:
            place += BLOCK - place % BLOCK
            continue
        _, length, kind = HEADER.unpack_from(content, place)
        place += HEADER.size
        parts += content[place : place + length]
        place += length
        if kind in (FULL, LAST):
            yield Record.FromString(parts)
            parts = b""


def offline_runs(zoo: Zoo, run: Run) -> list[Path]:
    return [*Path(zoo.folder).glob(f"wandb/offline-run-*/run-{run.folder.name}.wandb")]


def items(updates: Any) -> dict[str, Any]:
    return {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in updates}


def test_an_offline_run_holds_all_that_is_known(zoo: Zoo) -> None:
    run = finished(zoo)
    assert send_run(zoo, run, tracker_named("wandb", zoo.folder))
    (file,) = offline_runs(zoo, run)
    read = [*records(file)]
    (begun,) = [record.run for record in read if record.HasField("run")]
    assert (begun.run_id, begun.display_name, begun.run_group) == (run.folder.name, run.folder.name, "tracked")
    assert (begun.project, [*begun.tags]) == ("widemargin", ["finished"])
    assert items(begun.config.update).items() >= hyperparameters(run.config).items()
    rows = [items(record.history.item) for record in read if record.HasField("history")]
    assert [(row["_step"], row["training/loss"]) for row in rows if "training/loss" in row] == losses(run)
    summary: dict[str, Any] = {}
    for record in read:
        if record.HasField("summary"):
            summary |= items(record.summary.update)
    assert summary["gap"] == run.result["gap"]
    assert summary["signature/input/median"] == run.margins.signature()["input/median"]
    assert any(record.HasField("exit") for record in read)


def test_weights_and_figure_are_copies_that_stay(zoo: Zoo) -> None:
    run = finished(zoo)
    send_run(zoo, run, tracker_named("wandb", zoo.folder))
    folder = offline_runs(zoo, run)[0].parent / "files"
    assert (folder / "weights.safetensors").read_bytes() == (run.folder / "weights.safetensors").read_bytes()
    assert not (folder / "weights.safetensors").is_symlink()
    (figure,) = (folder / "media" / "images").iterdir()
    assert figure.read_bytes().startswith(b"\x89PNG")
    paths = [
        item.path
        for record in records(offline_runs(zoo, run)[0])
        if record.HasField("files")
        for item in record.files.files
    ]
    assert {"weights.safetensors", f"media/images/{figure.name}"} <= {*paths}


def test_animations_and_pages_are_media(zoo: Zoo, shown: dict[str, bytes]) -> None:
    run = finished(zoo)
    write_into(run.folder, shown)
    send_run(zoo, run, tracker_named("wandb", zoo.folder))
    (file,) = offline_runs(zoo, run)
    logged: dict[str, Any] = {}
    for record in records(file):
        logged |= items(record.history.item)
    kinds = {name: logged[f"{name}/_type"] for name in ("boundary", "boundary.gif", "report.html")}
    assert kinds == {"boundary": "image-file", "boundary.gif": "video-file", "report.html": "html-file"}
    for name in ("boundary.gif", "report.html"):
        assert (file.parent / "files" / logged[f"{name}/path"]).read_bytes() == shown[name]


def test_a_run_that_was_begun_and_never_ended_is_replaced(zoo: Zoo) -> None:
    run = finished(zoo)
    killed = tracker_named("wandb", zoo.folder)
    killed.begin(run.folder.name, "tracked", {}, "finished")
    killed.log_step(10, {"training/loss": 77.0})
    killed.end()
    send_run(zoo, run, tracker_named("wandb", zoo.folder))
    (file,) = offline_runs(zoo, run)
    rows = [items(record.history.item) for record in records(file) if record.HasField("history")]
    assert [row["training/loss"] for row in rows if "training/loss" in row] == [loss for _, loss in losses(run)]


def test_runs_beside_it_stay(zoo: Zoo) -> None:
    tracker = tracker_named("wandb", zoo.folder)
    for run in zoo.runs():
        send_run(zoo, run, tracker)
    assert len(offline_runs(zoo, finished(zoo))) == len(offline_runs(zoo, diverged(zoo))) == 1


def test_its_own_variables_say_where_to(zoo: Zoo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert tracker_named("wandb", zoo.folder).destination == f"{zoo.folder}/wandb (offline)"
    monkeypatch.setenv("WANDB_DIR", str(tmp_path / "own"))
    assert tracker_named("wandb", zoo.folder).destination == f"{tmp_path}/own/wandb (offline)"
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setenv("WANDB_ENTITY", "us")
    monkeypatch.setenv("WANDB_PROJECT", "ours")
    assert tracker_named("wandb", zoo.folder).destination == "https://api.wandb.ai/us/ours"
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert tracker_named("wandb", zoo.folder).destination == f"{tmp_path}/own/wandb (offline)"


def test_whoever_is_logged_in_goes_online(zoo: Zoo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    logins = tmp_path / "netrc"
    monkeypatch.setenv("NETRC", str(logins))
    offline, online = f"{zoo.folder}/wandb (offline)", "https://api.wandb.ai/widemargin"
    assert tracker_named("wandb", zoo.folder).destination == offline
    logins.write_text(f"machine example.org\n  login user\n  password {'0' * 40}\n")
    assert tracker_named("wandb", zoo.folder).destination == offline
    logins.write_text(f"machine api.wandb.ai\n  login user\n  password {'0' * 40}\n")
    assert tracker_named("wandb", zoo.folder).destination == online
    monkeypatch.setenv("WANDB_BASE_URL", "http://own.server:8080")
    assert tracker_named("wandb", zoo.folder).destination == offline
    logins.write_text("machine")
    assert tracker_named("wandb", zoo.folder).destination == offline


def test_a_login_is_looked_for_at_home(zoo: Zoo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NETRC")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert tracker_named("wandb", zoo.folder).destination.endswith("(offline)")
    (tmp_path / ".netrc").write_text(f"machine api.wandb.ai\n  login user\n  password {'0' * 40}\n")
    assert tracker_named("wandb", zoo.folder).destination == "https://api.wandb.ai/widemargin"
