from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tracked_runs import diverged, finished, losses, write_into
from widemargin.integrations.tracking import send_run, tracker_named
from widemargin.zoo import Run, Zoo

pytest.importorskip("tensorboard", reason="tensorboard is not installed: pip install 'widemargin[tensorboard]'")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of protobuf


@pytest.fixture
def events(zoo: Zoo) -> Callable[[Run], Any]:
    """Read a run's event files as TensorBoard does."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    def read(run: Run) -> Any:
        return EventAccumulator(str(zoo.folder / "tensorboard" / run.folder.name)).Reload()

    return read


def test_the_curves_are_the_history(zoo: Zoo, events: Callable[[Run], Any]) -> None:
    run = finished(zoo)
    send_run(zoo, run, tracker_named("tensorboard", zoo.folder))
    read = events(run)
    logged = [(event.step, event.value) for event in read.Scalars("training/loss")]
    assert logged == [(step, pytest.approx(loss)) for step, loss in losses(run)]
    assert {"training/accuracy", "training/lr", "gap", "signature/input/median"} <= {*read.Tags()["scalars"]}
    assert read.Scalars("gap")[0].value == pytest.approx(run.result["gap"])


def test_the_margins_are_a_picture(zoo: Zoo, events: Callable[[Run], Any]) -> None:
    run = finished(zoo)
    send_run(zoo, run, tracker_named("tensorboard", zoo.folder))
    (image,) = events(run).Images("margins")
    assert (image.width, image.height) == (360 * len(run.margins.layers), 300)


def test_an_animation_is_a_picture_that_plays(
    zoo: Zoo, shown: dict[str, bytes], events: Callable[[Run], Any]
) -> None:
    run = finished(zoo)
    write_into(run.folder, shown)
    send_run(zoo, run, tracker_named("tensorboard", zoo.folder))
    (image,) = events(run).Images("boundary.gif")
    assert image.encoded_image_string == shown["boundary.gif"]
    assert (image.width, image.height) == (6, 4)
    assert {*events(run).Tags()["images"]} == {"margins", "boundary", "boundary.gif"}


def test_the_configuration_is_in_the_table_of_hyperparameters(zoo: Zoo, events: Callable[[Run], Any]) -> None:
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    run = diverged(zoo)
    send_run(zoo, run, tracker_named("tensorboard", zoo.folder))
    content = events(run).summary_metadata["_hparams_/session_start_info"].plugin_data.content
    values = HParamsPluginData.FromString(content).session_start_info.hparams
    assert values["training.lr"].number_value == 1e6
    assert values["data.labels"].string_value == "none"
    assert (values["status"].string_value, values["study"].string_value) == ("diverged", "tracked")


def test_a_run_that_was_begun_and_never_ended_is_replaced(zoo: Zoo, events: Callable[[Run], Any]) -> None:
    run = finished(zoo)
    killed = tracker_named("tensorboard", zoo.folder)
    killed.begin(run.folder.name, "tracked", {}, "finished")
    killed.log_step(10, {"training/loss": 77.0})
    killed.end()
    send_run(zoo, run, tracker_named("tensorboard", zoo.folder))
    assert 77.0 not in [event.value for event in events(run).Scalars("training/loss")]
    assert len(events(run).Scalars("training/loss")) == len(run.history)


def test_files_that_are_no_pictures_stay_where_they_are(zoo: Zoo) -> None:
    send_run(zoo, finished(zoo), tracker_named("tensorboard", zoo.folder))
    files = [path.name for path in Path(zoo.folder, "tensorboard").rglob("*") if path.is_file()]
    assert files
    assert all(name.startswith("events.out.tfevents.") for name in files)
