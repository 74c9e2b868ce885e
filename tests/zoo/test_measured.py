"""Measures of a zoo's networks: kept beside the runs, gone on with, and in the table."""

import json
import math
from collections.abc import Callable

import pytest

from widemargin.errors import InvalidInputError, RunError
from widemargin.measures import measure_all
from widemargin.zoo import Study, Zoo, load_trained, measure_zoo, measured_values, read_table, train_zoo, write_table
from widemargin.zoo import zoo_table as table_of

MakeStudy = Callable[..., Study]
NAMES = ["stable_rank", "sam_sharpness", "steps_to_loss"]


@pytest.fixture
def zoo(small_study: MakeStudy, tmp_path) -> Zoo:
    return train_zoo(small_study(), tmp_path / "zoo", jobs=1)


def test_values_are_those_of_the_network_itself(zoo: Zoo) -> None:
    assert measure_zoo(zoo, NAMES, num_sampled=20, seed=3, jobs=1) == len(zoo.runs())
    run = zoo.runs()[0]
    frame = measure_all(load_trained(run), NAMES, history=run.history, num_sampled=20, seed=3)
    found = measured_values(zoo, run)
    assert [*found] == NAMES
    for name in NAMES:
        assert found[name] == pytest.approx(frame.loc[name, "value"], rel=1e-6, nan_ok=True)


def test_the_table_has_them_and_reads_them_back(zoo: Zoo, tmp_path) -> None:
    measure_zoo(zoo, NAMES, num_sampled=20, jobs=1)
    table = table_of(zoo)
    assert [column for column in table.columns if column.startswith("m.")] == [f"m.{name}" for name in NAMES]
    assert math.isfinite(table["m.stable_rank"].iloc[0])
    write_table(table, tmp_path / "table.csv")
    assert read_table(tmp_path / "table.csv").equals(table)


def test_goes_on_where_it_was(zoo: Zoo) -> None:
    measure_zoo(zoo, NAMES[:1], num_sampled=20, jobs=1)
    (zoo.folder / "measures" / f"{zoo.runs()[0].folder.name}.json").unlink()
    told: list[tuple[int, int]] = []
    assert measure_zoo(zoo, NAMES[:1], num_sampled=20, jobs=1, on_progress=lambda *done: told.append(done)) == 1
    assert told == [(1, 1)]
    assert measure_zoo(zoo, NAMES, num_sampled=20, jobs=1) == len(zoo.runs())
    assert [*measured_values(zoo, zoo.runs()[0])] == NAMES


def test_other_settings_are_measured_anew(zoo: Zoo) -> None:
    measure_zoo(zoo, NAMES, num_sampled=20, jobs=1)
    assert measure_zoo(zoo, ["sam_sharpness"], num_sampled=30, jobs=1) == len(zoo.runs())
    assert [*measured_values(zoo, zoo.runs()[0])] == ["sam_sharpness"]


def test_measures_of_other_weights_do_not_count(zoo: Zoo) -> None:
    measure_zoo(zoo, NAMES[:1], num_sampled=20, jobs=1)
    run = zoo.runs()[0]
    path = zoo.folder / "measures" / f"{run.folder.name}.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"weights": "those before"}))
    assert measured_values(zoo, run) == {}
    assert measure_zoo(zoo, NAMES[:1], num_sampled=20, jobs=1) == 1


def test_what_does_not_apply_is_no_number(zoo: Zoo) -> None:
    run = zoo.runs()[0]
    (run.folder / "history.jsonl").write_text("")
    measure_zoo(zoo, ["steps_to_loss"], num_sampled=20, jobs=1)
    assert math.isnan(measured_values(zoo, run)["steps_to_loss"])


def test_a_damaged_record_is_named(zoo: Zoo) -> None:
    path = zoo.folder / "measures" / f"{zoo.runs()[0].folder.name}.json"
    path.parent.mkdir()
    path.write_text("{")
    with pytest.raises(RunError, match=r"must be the record of a run's measures, but is not .* Delete it\."):
        measured_values(zoo, zoo.runs()[0])


def test_a_damaged_history_is_named(zoo: Zoo) -> None:
    (zoo.runs()[0].folder / "history.jsonl").write_text("{")
    with pytest.raises(RunError, match=r"must hold a record a line, but does not .* Train it again\."):
        _ = zoo.runs()[0].history


def test_an_unknown_measure_is_refused_before_anything_is_measured(zoo: Zoo) -> None:
    with pytest.raises(InvalidInputError, match="must be a measure of the catalogue"):
        measure_zoo(zoo, ["stable_rank", "stable_rnk"], jobs=1)
    assert not (zoo.folder / "measures").exists()
    with pytest.raises(InvalidInputError, match="must be a measure of the catalogue"):
        measure_zoo(Zoo(zoo.folder / "empty"), ["stable_rnk"], jobs=1)
