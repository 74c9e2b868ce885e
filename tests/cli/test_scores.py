"""Tables and scores on the command line."""

import io
import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from widemargin.prediction import evaluate
from widemargin.zoo import Study, Zoo, measure_zoo, read_table, train_zoo, zoo_table

CommandLine = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Zoo:
    """Six networks of three configurations. Not to be changed."""
    base = {
        "data": {"name": "digits", "num_train": 60},
        "network": {"name": "mlp", "hidden": [12, 12, 12]},
        "training": {"num_steps": 40, "batch_size": 20},
    }
    study = Study(name="tiny", base=base, grid={"training.lr": [0.005, 0.01, 0.02]}, repeats=2)
    return train_zoo(study, tmp_path_factory.mktemp("scores") / "zoo", jobs=1)


@pytest.fixture
def foreign(tmp_path: Path) -> pd.DataFrame:
    """Somebody's table, also as ``table.csv`` in the current folder."""
    rng = np.random.default_rng(0)
    number = np.repeat(np.arange(12), 2)
    table = pd.DataFrame(
        {
            "id": [f"run {i}" for i in range(24)],
            "hp.lr": number,
            "hp.same": 1,
            "gen_gap": 0.02 * number + 0.01 * rng.normal(size=24),
            "m.norm": number + rng.normal(size=24),
            "m.flat": 2.0,
            "m.word": "high",
        }
    )
    table.loc[3, "m.norm"] = np.inf
    table.to_csv(tmp_path / "table.csv", index=False)
    return table


def test_a_zoos_table_goes_to_standard_output(widemargin: CommandLine, zoo: Zoo) -> None:
    code, out, _ = widemargin("zoo", "table", zoo.folder)
    assert code == 0
    found = pd.read_csv(io.StringIO(out), index_col="run")
    assert list(found.index) == list(zoo_table(zoo).index)
    assert list(found.columns) == list(zoo_table(zoo).columns)


@pytest.mark.parametrize(
    ("options", "start"),
    [([], b"run,"), (["--format", "csv"], b"run,"), (["--format", "parquet"], b"PAR1")],
)
def test_a_zoos_table_goes_to_a_file(widemargin: CommandLine, zoo: Zoo, options: list[str], start: bytes) -> None:
    code, out, _ = widemargin("zoo", "table", zoo.folder, *options, "--out", "deep/table")
    assert (code, out) == (0, "")
    assert Path("deep/table").read_bytes().startswith(start)
    assert_frame_equal(read_table(Path("deep/table")), zoo_table(zoo))


def test_a_files_name_tells_its_format(widemargin: CommandLine, zoo: Zoo) -> None:
    assert widemargin("zoo", "table", zoo.folder, "--out", "table.parquet")[0] == 0
    assert Path("table.parquet").read_bytes().startswith(b"PAR1")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--format", "xlsx"], "--format must be csv or parquet, got 'xlsx'."),
        (["--format", "parquet"], "--format parquet must go to a file, got none. Name it with --out."),
    ],
)
def test_a_table_that_cannot_be_written_is_one_sentence(
    widemargin: CommandLine, zoo: Zoo, options: list[str], message: str
) -> None:
    assert widemargin("zoo", "table", zoo.folder, *options) == (1, "", f"error: {message}\n")


@pytest.mark.parametrize("name", ["table.csv", "table.parquet"])
def test_a_written_table_has_the_scores_of_its_zoo(widemargin: CommandLine, zoo: Zoo, name: str) -> None:
    widemargin("zoo", "table", zoo.folder, "--out", name)
    of_folder, of_table = (widemargin("evaluate", target, "--json")[1] for target in (zoo.folder, name))
    assert json.loads(of_table) == json.loads(of_folder)


def test_scores_each_measure_of_any_table(widemargin: CommandLine, foreign: pd.DataFrame) -> None:
    code, out, _ = widemargin("evaluate", "table.csv", "--gap", "gen_gap", "--json")
    assert code == 0
    assert json.loads(out) == json.loads(json.dumps(evaluate(foreign, gap="gen_gap").as_dict()))


def test_prints_scores_with_intervals_and_what_was_left_out(widemargin: CommandLine, foreign: pd.DataFrame) -> None:
    code, out, _ = widemargin("evaluate", "table.csv", "--gap", "gen_gap")
    assert code == 0
    score = evaluate(foreign, gap="gen_gap").scores[0]
    assert f"{score.kendall:.3f}" in out
    assert score.kendall_interval is not None
    assert "{:.2f}…{:.2f}".format(*score.kendall_interval) in out
    assert "gen_gap: 1 measures on 24 networks of 12 configurations" in out
    assert "infinite for 1 of 24 networks: m.norm\n" in out
    assert "left out (the same for all networks): m.flat\n" in out
    assert "left out (not a number: 'high'): m.word\n" in out


@pytest.fixture
def crossed(tmp_path: Path) -> pd.DataFrame:
    """Somebody's grid of two hyperparameters, also as ``crossed.csv``."""
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"hp.lr": np.arange(24) % 4, "hp.depth": np.arange(24) // 8})
    table["gap"] = 0.05 * table["hp.lr"] + 0.02 * rng.normal(size=24)
    table["m.norm"], table["m.margin"] = table["gap"] + 0.05 * rng.normal(size=24), -table["gap"]
    table.to_csv(tmp_path / "crossed.csv", index=False)
    return table


def test_the_leaderboard_is_readable_at_80_columns(
    widemargin: CommandLine, crossed: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    code, out, _ = widemargin("evaluate", "crossed.csv", "--all", "--by-hyperparameter")
    assert code == 0
    printed = out[: out.index("worst at ")]
    assert max(map(len, printed.splitlines())) <= 80
    assert "…\n" not in printed  # nothing is cut off


def test_the_leaderboard_shows_what_a_measure_knows_how_surely_and_where_it_breaks(
    widemargin: CommandLine, crossed: pd.DataFrame
) -> None:
    out = widemargin("evaluate", "crossed.csv")[1]
    score = evaluate(crossed).scores[1]
    line = next(line.split() for line in out.splitlines() if line.strip().startswith("m.norm"))
    assert line == [
        "m.norm",
        f"{score.grouped_kfold_r2:.3f}",
        f"{score.kendall:.3f}",
        f"{score.conditional_mutual_information.value:.2f}",
        f"{score.sign_error.mean:.3f}",
        f"{score.holm_p_value:.2g}",
    ]
    assert "number of test examples not known: in sign errors every difference of gaps counts\n" in out


def test_the_other_scores_follow_where_all_are_asked_for(widemargin: CommandLine, crossed: pd.DataFrame) -> None:
    out = widemargin("evaluate", "crossed.csv", "--all")[1]
    score = evaluate(crossed).scores[1]
    rows = [line.split() for line in out.splitlines() if line.strip().startswith("m.norm")]
    numbers = (score.adjusted_r2, score.kfold_r2, score.pearson)
    assert rows[1] == ["m.norm", "24", *(f"{number:.3f}" for number in numbers)]
    numbers = (score.spearman, score.granulated_kendall.value, score.sign_error.percentile_90, score.sign_error.worst)
    assert rows[2] == [
        "m.norm",
        *(f"{number:.3f}" for number in numbers),
        f"{score.p_value:.2g}",
        f"{score.false_discovery_rate:.2g}",
    ]


def test_the_breakdown_has_a_row_for_every_hyperparameter_that_changes_alone(
    widemargin: CommandLine, crossed: pd.DataFrame
) -> None:
    out = widemargin("evaluate", "crossed.csv", "--by-hyperparameter", "--num-test", "5000")[1]
    score = evaluate(crossed, num_test=5000).scores[1]
    for name in ("hp.lr", "hp.depth"):
        psi, error = score.granulated_kendall.per_hyperparameter[name], score.sign_error.per_hyperparameter[name]
        numbers = (psi.value, error.mean, error.percentile_90, error.worst)
        assert [name, *(f"{number:.3f}" for number in numbers)] in [line.split()[-5:] for line in out.splitlines()]
    assert f"worst at {score.sign_error.worst_environment}: m.norm\n" in out
    assert "number of test examples not known" not in out


def test_a_zoo_without_single_measures_says_how_to_take_them(widemargin: CommandLine, zoo: Zoo) -> None:
    code, out, _ = widemargin("evaluate", zoo.folder, "--resamples", 20)
    assert code == 0
    assert out.endswith(f"To take all of them: widemargin zoo measure {zoo.folder}\n")


def test_a_zoo_is_scored_by_its_single_measures_too(widemargin: CommandLine, zoo: Zoo, tmp_path: Path) -> None:
    shutil.copytree(zoo.folder, tmp_path / "measured")
    measure_zoo(Zoo(tmp_path / "measured"), ["stable_rank", "training_loss"], jobs=1)
    words = ("evaluate", tmp_path / "measured", "--resamples", 20, "--permutations", 20)
    code, out, _ = widemargin(*words, "--by-hyperparameter")
    assert code == 0
    assert "full signature, ridge" in out
    assert "2 measures on" in out
    told = json.loads(widemargin(*words, "--json")[1])
    assert {score["name"] for score in told["measures"]["scores"]} == {"m.stable_rank", "m.training_loss"}
    signs = {score["name"]: score["sign_error"]["sign"] for score in told["measures"]["scores"]}
    assert signs == {"m.stable_rank": 1, "m.training_loss": -1}


def test_a_measured_zoo_has_its_measures_in_a_page_of_their_own_and_in_the_report(
    widemargin: CommandLine, zoo: Zoo, tmp_path: Path
) -> None:
    shutil.copytree(zoo.folder, tmp_path / "measured")
    measure_zoo(Zoo(tmp_path / "measured"), ["stable_rank", "training_loss"], jobs=1)
    page = tmp_path / "page.html"
    words = ("evaluate", tmp_path / "measured", "--resamples", 20, "--permutations", 20, "--report", page)
    code, out, _ = widemargin(*words)
    assert code == 0
    assert out.endswith(f"Report: {page}\n")
    assert 'id="measure-stable_rank"' in page.read_text("utf-8")
    assert "full signature, ridge" in page.read_text("utf-8")
    assert "measures: all" in out
    code, out, _ = widemargin("report", tmp_path / "measured")
    assert code == 0
    assert 'id="measure-stable_rank"' in Path(out.strip()).read_text("utf-8")


def test_any_table_has_a_page(widemargin: CommandLine, foreign: pd.DataFrame, tmp_path: Path) -> None:
    page = tmp_path / "pages" / "page.html"
    code, _, _ = widemargin("evaluate", "table.csv", "--gap", "gen_gap", "--report", page)
    assert code == 0
    assert "m.norm" in page.read_text("utf-8")


def test_a_page_of_measures_needs_measures(widemargin: CommandLine, zoo: Zoo, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    code, _, err = widemargin("evaluate", zoo.folder, "--resamples", 20, "--report", page)
    assert code == 1
    assert err.endswith(f"First: widemargin zoo measure {zoo.folder}\n")
    assert not page.exists()


def test_a_page_goes_to_a_file(widemargin: CommandLine, foreign: pd.DataFrame) -> None:
    code, out, err = widemargin("evaluate", "table.csv", "--gap", "gen_gap", "--report", ".")
    assert (code, out) == (1, "")
    assert err == "error: --report must name the HTML file to write, got the folder '.'.\n"


def test_columns_that_are_known_anyhow_can_be_given(widemargin: CommandLine, foreign: pd.DataFrame) -> None:
    words = ("evaluate", "table.csv", "--gap", "gen_gap", "--given", "hp.lr")
    answer = json.loads(widemargin(*words, "--json")[1])
    assert answer["given"] == ["hp.lr"]
    assert all(score["partial_r2"]["value"] is not None for score in answer["scores"])
    assert "partial: R² of what hp.lr leave open" in " ".join(widemargin(*words, "--all")[1].split())


def test_columns_can_be_chosen_again_and_again(widemargin: CommandLine, foreign: pd.DataFrame) -> None:
    options = ("--gap", "gen_gap", "--hyperparameters", "hp.l*", "--measures", "m.n*", "--measures", "m.flat")
    answer = json.loads(widemargin("evaluate", "table.csv", *options, "--json")[1])
    assert answer["hyperparameters"] == ["hp.lr"]
    assert [score["name"] for score in answer["scores"]] == ["m.norm"]
    assert answer["left_out"] == {"m.flat": "the same for all networks"}


def test_seed_and_number_of_resamples_move_intervals_alone(widemargin: CommandLine, foreign: pd.DataFrame) -> None:
    def score(*options: str) -> dict[str, object]:
        answer = json.loads(widemargin("evaluate", "table.csv", "--gap", "gen_gap", "--json", *options)[1])
        return dict(answer["scores"][0])

    first, again, other, fewer = score(), score("--seed", "0"), score("--seed", "1"), score("--resamples", "50")
    assert first == again
    for changed in (other, fewer):
        assert changed["kendall_interval"] != first["kendall_interval"]
        assert changed["kendall"] == first["kendall"]
    assert score("--permutations", "9")["p_value"] == 0.1


def test_single_features_of_a_zoo_are_measures_too(widemargin: CommandLine, zoo: Zoo) -> None:
    answer = json.loads(widemargin("evaluate", zoo.folder, "--measures", "quartiles/input/*", "--json")[1])
    assert answer["num_configurations"] == 3
    assert {score["name"] for score in answer["scores"]} == {
        f"quartiles/input/{name}" for name in ("lower_fence", "q1", "median", "q3", "upper_fence")
    }
    assert all(math.isfinite(score["kendall"]) for score in answer["scores"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["table.csv"], "the gap's column must be one of the table's, got 'gap'. Columns like it: gen_gap."),
        (["none.csv"], "none.csv must be a CSV or Parquet file, and there is no such file."),
        (
            ["table.csv", "--gap", "gen_gap", "--measures", "m.nrm"],
            "'m.nrm' must name one of the table's columns or match some, and does not. Columns like it: m.norm, "
            "m.word.",
        ),
    ],
)
def test_what_cannot_be_scored_is_one_sentence(
    widemargin: CommandLine, foreign: pd.DataFrame, words: list[str], message: str
) -> None:
    assert widemargin("evaluate", *words) == (1, "", f"error: {message}\n")


def test_a_results_page_is_written_beside_the_report(widemargin: CommandLine, zoo: Zoo) -> None:
    options = ("--out", "report.html", "--page", "results", "--machine", "a toaster", "--workers", "3")
    code, out, _ = widemargin("report", zoo.folder, *options)
    assert (code, out) == (0, "report.html\nresults/tiny.md\n")
    text = Path("results/tiny.md").read_text("utf-8")
    assert "| machine | a toaster |" in text
    assert "3 workers need" in text


@pytest.mark.parametrize("options", [("--machine", "a toaster"), ("--workers", "2")])
def test_words_for_a_page_that_is_not_written_are_refused(
    widemargin: CommandLine, zoo: Zoo, options: tuple[str, str]
) -> None:
    assert widemargin("report", zoo.folder, *options) == (
        1,
        "",
        "error: --machine and --workers are told on the results page: name its folder with --page.\n",
    )
