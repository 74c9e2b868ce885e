from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from widemargin.errors import InvalidInputError, RunError
from widemargin.margins.signature import summarized
from widemargin.measures import spectrally_normalized_margins
from widemargin.zoo import Run, RunConfig, Zoo, carry_out, is_zoo_table, read_table, write_table, zoo_table
from widemargin.zoo.table import TableFormat

MakeConfig = Callable[..., RunConfig]
QUARTILES = ("lower_fence", "q1", "median", "q3", "upper_fence")
MOMENTS = ("mean", "moment_2", "moment_3", "moment_4", "moment_5")
LAYERS = ("input", "layers.0", "layers.1", "layers.2")


@pytest.fixture(scope="module")
def table(mixed_zoo: Zoo) -> pd.DataFrame:
    return zoo_table(mixed_zoo)


@pytest.fixture
def usable(table: pd.DataFrame) -> pd.DataFrame:
    return table[table["why_left_out"] == ""]


def test_has_one_row_a_network(table: pd.DataFrame, mixed_zoo: Zoo) -> None:
    assert table.index.name == "run"
    assert list(table.index) == [run.folder.name for run in mixed_zoo.runs()]
    assert len(table) == 4


def test_has_the_columns_that_it_promises(table: pd.DataFrame) -> None:
    hyperparameters = {
        "data": ("name", "num_train", "label_corruption", "seed", "labels", "standardization"),
        "network": ("name", "hidden", "batch_norm", "dropout", "one_logit", "initialization"),
        "training": (
            *("optimizer", "lr", "weight_decay", "momentum", "batch_size", "num_steps", "schedule"),
            *("gradient_clipping", "augmentation", "precision"),
            *(f"poison.{name}" for name in ("factor", "num_examples", "pool", "schedule")),
        ),
    }
    expected = [
        *("status", "why_left_out", "configuration", "data", "hp.seed"),
        *(f"hp.{part}.{name}" for part, names in hyperparameters.items() for name in names),
        *("train_accuracy", "test_accuracy", "gap", "train_loss", "test_loss"),
        *("num_train", "num_test", "num_parameters", "num_classes", "training_seconds", "seconds"),
        *(f"quartiles/{layer}/{name}" for layer in LAYERS for name in QUARTILES),
        *(f"moments/{layer}/{name}" for layer in LAYERS for name in MOMENTS),
        *(f"unnormalized_quartiles/{layer}/{name}" for layer in LAYERS for name in QUARTILES),
        *(f"spectral_margin/{name}" for name in QUARTILES),
    ]
    assert sorted(table.columns) == sorted(expected)


def test_columns_come_in_the_order_of_their_kinds_whatever_run_comes_first(table: pd.DataFrame) -> None:
    kinds = [("/" in name and 3) or name.startswith("hp.") or 2 for name in table.columns[4:]]
    assert list(table.columns[:4]) == ["status", "why_left_out", "configuration", "data"]
    assert kinds == sorted(kinds)
    assert set(table["num_classes"]) == {10}


def test_features_are_the_statistics_of_each_networks_margins(usable: pd.DataFrame, mixed_zoo: Zoo) -> None:
    assert len(usable) == 2
    for key, row in usable.iterrows():
        run = Run(mixed_zoo.runs_folder / str(key))
        margins, result = run.margins, run.result
        spectral = summarized(
            spectrally_normalized_margins(
                margins.output_margins, result["log_spectral_complexity"], result["input_frobenius_norm"]
            )
        )
        for kind, values in {
            "quartiles": margins.signature("quartiles"),
            "moments": margins.signature("moments"),
            "unnormalized_quartiles": margins.signature("quartiles", normalized=False),
            "spectral_margin": spectral,
        }.items():
            assert {name: row[f"{kind}/{name}"] for name in values} == values


def test_results_and_configuration_are_those_of_the_run(table: pd.DataFrame, mixed_zoo: Zoo) -> None:
    for run in mixed_zoo.runs():
        row = table.loc[run.folder.name]
        assert row["configuration"] == run.config.configuration_key
        assert row["status"] == run.result["status"]
        assert row["hp.training.lr"] == run.config.training.lr
        assert row["hp.network.hidden"] == "[12, 12, 12]"
        if row["status"] == "finished":
            assert row["gap"] == run.result["gap"]
            assert row["test_loss"] == run.result["test_loss"]


def test_a_diverged_network_is_left_out_with_its_reason(table: pd.DataFrame) -> None:
    row = table[table["status"] == "diverged"].iloc[0]
    assert row["why_left_out"] == "its training diverged"
    assert row["hp.training.lr"] == 1e6
    assert np.isnan(row["gap"])
    assert np.isnan(row["quartiles/input/q1"])


def test_a_network_with_too_few_right_answers_is_left_out_with_its_reason(table: pd.DataFrame) -> None:
    row = table[table["hp.training.lr"] == 1e-30].iloc[0]
    assert row["status"] == "finished"
    assert row["why_left_out"].startswith("quartiles of margins at input need at least 4 correctly classified")
    assert np.isfinite(row["gap"])
    assert np.isnan(row["quartiles/input/q1"])


def test_repeats_share_their_configuration(tmp_path: Path, small_config: MakeConfig) -> None:
    zoo = Zoo(tmp_path)
    for seed in (0, 1):
        carry_out(zoo, small_config(seed=seed))
    table = zoo_table(zoo)
    assert table["configuration"].nunique() == 1
    assert sorted(table["hp.seed"]) == [0, 1]


def test_a_network_without_spectral_complexity_keeps_its_other_features(
    tmp_path: Path, small_config: MakeConfig
) -> None:
    carry_out(Zoo(tmp_path), small_config(training__lr=1e-30))
    row = zoo_table(Zoo(tmp_path)).iloc[0]
    assert row["why_left_out"] == ""
    assert row["quartiles/input/q1"] > 0
    assert "spectral_margin/q1" not in row


def test_networks_of_two_kinds_stand_side_by_side(tmp_path: Path, small_config: MakeConfig) -> None:
    zoo = Zoo(tmp_path)
    carry_out(zoo, small_config())
    carry_out(zoo, small_config(network={"name": "nin", "width": 4 / 192}))
    table = zoo_table(zoo).set_index("hp.network.name")
    assert np.isnan(table.loc["mlp", "hp.network.width"])
    assert table.loc["nin", "quartiles/blocks.0.conv3/q1"] > 0
    assert np.isnan(table.loc["nin", "quartiles/layers.0/q1"])


def test_an_empty_zoo_gives_an_empty_table(tmp_path: Path) -> None:
    table = zoo_table(Zoo(tmp_path))
    assert len(table) == 0
    assert list(table.columns) == ["status", "why_left_out", "configuration", "data"]


def test_a_finished_run_without_its_margins_is_named(tmp_path: Path, small_config: MakeConfig) -> None:
    run = carry_out(Zoo(tmp_path), small_config())
    (run.folder / "margins.npz").unlink()
    with pytest.raises(RunError, match=rf"{run.folder}/margins\.npz must be a margin file"):
        zoo_table(Zoo(tmp_path))


def test_a_finished_run_without_its_gap_is_named(tmp_path: Path, small_config: MakeConfig) -> None:
    run = carry_out(Zoo(tmp_path), small_config())
    (run.folder / "result.json").write_text('{"status": "finished"}')
    with pytest.raises(RunError, match=rf"{run.folder}/result\.json must have train_accuracy, .* and has not"):
        zoo_table(Zoo(tmp_path))


# files


@pytest.mark.parametrize("table_format", ["csv", "parquet"])
def test_a_written_table_is_read_as_it_was(table: pd.DataFrame, tmp_path: Path, table_format: TableFormat) -> None:
    path = tmp_path / "deep" / "table"
    write_table(table, path, table_format)
    assert_frame_equal(read_table(path), table, check_exact=True)


@pytest.mark.parametrize("table_format", ["csv", "parquet"])
def test_values_of_many_kinds_are_read_as_they_were(
    tmp_path: Path, small_config: MakeConfig, table_format: TableFormat
) -> None:
    zoo = Zoo(tmp_path)
    carry_out(zoo, small_config(training__gradient_clipping=8.0, training__batch_size=None))
    carry_out(zoo, small_config(network={"name": "nin", "width": 4 / 192, "batch_norm": True}))
    table = zoo_table(zoo)
    assert table["hp.network.one_logit"].dtype == "boolean"
    assert table["hp.training.batch_size"].dtype == np.float64
    write_table(table, tmp_path / "table", table_format)
    assert_frame_equal(read_table(str(tmp_path / "table")), table, check_exact=True)


def test_what_looks_like_a_number_or_like_nothing_stays_text(tmp_path: Path, table: pd.DataFrame) -> None:
    tricky = table.assign(configuration=["12345678", "1e5", "0012", "abc"], **{"hp.network.norm": "null"})
    tricky.index = pd.Index(["0001", "0002", "3e4", "abc"], name="run")
    write_table(tricky, tmp_path / "table.csv")
    assert_frame_equal(read_table(tmp_path / "table.csv"), tricky, check_exact=True)


def test_a_table_of_no_runs_is_read_as_one(tmp_path: Path) -> None:
    write_table(zoo_table(Zoo(tmp_path)), tmp_path / "table.csv")
    table = read_table(tmp_path / "table.csv")
    assert len(table) == 0
    assert is_zoo_table(table)


def test_anybodys_table_is_read(tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text("gap,m.a,name\n0.1,inf,x\n0.30000000000000004,NA,y\n")
    table = read_table(tmp_path / "table.csv")
    assert not is_zoo_table(table)
    assert list(table["gap"]) == [0.1, 0.30000000000000004]
    assert np.isposinf(table["m.a"][0])
    assert np.isnan(table["m.a"][1])


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError) as caught:
        read_table(tmp_path / "no.csv")
    assert str(caught.value) == f"{tmp_path}/no.csv must be a CSV or Parquet file, and there is no such file."


@pytest.mark.parametrize("content", [b"", b"a,b\n1,2,3\n1,2,3,4\n", b"\xff\xfe\x00", b"PAR1 nonsense"])
def test_what_is_no_table_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "table.csv"
    path.write_bytes(content)
    with pytest.raises(
        InvalidInputError, match=f"^{path} must be a CSV file with a header, or Parquet, and is not: "
    ):
        read_table(path)
