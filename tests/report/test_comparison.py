"""What a comparison gathers, and what it says of it."""

import html
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from report.comparisons import CARDS, comparison, networks_of
from widemargin.errors import InvalidInputError
from widemargin.prediction import Score, evaluate
from widemargin.report import Comparison, comparison_of, zoo_comparison
from widemargin.report.comparison_figures import comparison_figures, pair_data
from widemargin.report.comparison_verdict import comparison_verdict
from widemargin.report.leaderboard_page import write_leaderboard_page
from widemargin.report.markdown_tables import score_cell
from widemargin.zoo import Zoo, measure_zoo, zoo_table


@pytest.fixture(scope="module")
def found() -> Comparison:
    return comparison()


@pytest.fixture(scope="module")
def measured_table(zoo: Zoo, tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    """The table of a copy of the zoo, three measures taken."""
    folder = tmp_path_factory.mktemp("measured") / "zoo"
    shutil.copytree(zoo.folder, folder)
    measure_zoo(Zoo(folder), ["parameter_norm", "input_margin", "num_parameters"], jobs=1)
    return zoo_table(Zoo(folder))


def regression(name: str, value: float | None) -> Score:
    return Score(name, "measures", "identity", "none", False, "ridge", "all", 48, 7, grouped_kfold_r2=value)


def test_correlations_are_kendalls(found: Comparison) -> None:
    table = networks_of()
    expected = stats.kendalltau(table["m.parameter_norm"], table["m.input_margin"]).statistic
    assert found.correlations.loc["m.parameter_norm", "m.input_margin"] == pytest.approx(expected)
    assert found.correlations.index.equals(found.correlations.columns)
    assert np.diagonal(found.correlations).tolist() == [1.0] * 4


def test_alike_measures_are_neighbors_whatever_their_direction() -> None:
    table = networks_of().assign(**{"m.minus": lambda networks: -networks["m.parameter_norm"]})
    names = comparison_of(table, {"all": evaluate(table)}, name="", cards={}).correlations.columns.tolist()
    assert abs(names.index("m.minus") - names.index("m.parameter_norm")) == 1


def test_two_measures_need_no_tree() -> None:
    table = networks_of()
    evaluation = evaluate(table, measures=["m.twice", "m.parameter_norm"])
    assert comparison_of(table, {"all": evaluation}, name="", cards={}).correlations.shape == (2, 2)


def test_a_measure_against_its_expected_direction_is_turned(found: Comparison) -> None:
    assert [score.name for score in found.turned] == ["m.input_margin"]  # expected to fall with the gap, and rises
    assert {score.name for score in found.significant} == {"m.twice", "m.parameter_norm", "m.input_margin"}


def test_the_verdict_names_the_best_and_the_turned(found: Comparison) -> None:
    values, order, beyond = comparison_verdict(found)
    assert values.startswith(
        "By themselves, these predict the gaps of left-out configurations best (R²): twice (1.000"
    )
    assert "3 of 4 measures order the gaps better than chance would, best parameter_norm (τ 0.963" in order
    assert "1 of them goes against the direction that its source expects: input_margin." in order
    assert beyond.startswith("Of what train accuracy and train loss leave open on left-out configurations")
    assert "twice (1.000" in beyond


def test_the_verdict_says_on_how_many_networks_a_measure_looks_good(found: Comparison) -> None:
    values, _, beyond = comparison_verdict(found)
    assert "twice (1.000, 1.00…1.00; on 47 of 48 networks)" in values
    assert "twice (1.000, 1.00…1.00; on 47 of 48 networks)" in beyond
    table = networks_of().assign(**{"m.twice": lambda networks: networks["m.twice"].replace(np.inf, np.nan)})
    evaluation = evaluate(table, measures=["m.twice"], num_resamples=20, num_permutations=99)
    (_, order) = comparison_verdict(comparison_of(table, {"all": evaluation}, name="", cards={}))
    assert order == (
        "1 of 1 measure orders the gaps better than chance would, best twice (τ 1.000, 1.00…1.00; on 47 of 48 "
        "networks)."
    )


def test_the_verdict_says_where_regressions_stand(found: Comparison) -> None:
    first, none, trivial = regression("signature", 0.9), regression("moments", None), regression("accuracy", 0.5)
    others = (regression("weak", 0.1), regression("strong", 0.95))
    sentences = comparison_verdict(replace(found, regressions={"all": (first, none, trivial, *others)}))
    assert sentences[1] == (
        "Regressions on several numbers reach an R² of 0.900 (“signature”, 7 numbers); 0.500 (“accuracy”, 7 numbers)"
        "; the best of all others, 0.950 (“strong”, 7 numbers); 0.100 (“weak”, 7 numbers)."
    )
    assert sentences[2] == "Single measures that predict better than “signature”: twice, parameter_norm."
    sentences = comparison_verdict(replace(found, regressions={"all": (regression("signature", 1.5),)}))
    assert sentences[1] == "Regressions on several numbers reach an R² of 1.500 (“signature”, 7 numbers)."
    assert sentences[2] == "No single measure predicts better than “signature”."


def test_the_verdict_does_not_find_order_in_noise() -> None:
    rng = np.random.default_rng(1)
    table = networks_of().assign(**{"m.noise": rng.normal(size=48), "m.more": rng.normal(size=48)})
    evaluation = evaluate(table, measures=["m.noise", "m.more"], num_permutations=999)
    sentences = comparison_verdict(comparison_of(table, {"all": evaluation}, name="", cards={}))
    assert sentences == [
        "No measure by itself predicts the gaps of left-out configurations better than the mean gap does.",
        "No measure orders the gaps better than chance would, tested all at once.",
    ]


def test_the_verdict_on_no_measure_is_one_sentence() -> None:
    table = networks_of().assign(**{"m.flat": 1.0})
    nothing = comparison_of(table, {"all": evaluate(table, measures=["m.flat"])}, name="", cards={})
    assert comparison_verdict(nothing) == ["No column could be scored; the reasons stand at the end."]


def test_pairs_hold_every_number_once(found: Comparison) -> None:
    data = pair_data(found)
    names = [column["name"] for column in data["columns"]]
    assert names[:2] == ["m.twice", "m.parameter_norm"]  # the best first
    assert names[-3:] == ["gap", "train_accuracy", "train_loss"]
    assert data["columns"][0]["values"][5] is None  # infinite
    assert data["columns"][-3]["values"] == [float(f"{gap:.4g}") for gap in networks_of()["gap"]]
    assert data["networks"][3][0] == "network net3"
    assert data["networks"][3][-1] == "seed 1"
    assert len(data["networks"][3]) == 4  # width, depth and seed, each once
    assert [coloring["name"] for coloring in data["colorings"]] == list(found.evaluation.hyperparameters)


def test_hyperparameters_of_many_values_color_nothing() -> None:
    table = networks_of().assign(**{"hp.lr": np.arange(48) // 2})
    data = pair_data(comparison_of(table, {"all": evaluate(table)}, name="", cards={}))
    assert "hp.lr" not in [coloring["name"] for coloring in data["colorings"]]


def test_the_matrix_is_drawn_in_its_order(found: Comparison) -> None:
    figure = comparison_figures(found)["measure-correlations"]["data"][0]
    assert len(figure["x"]) == len(figure["z"]) == 4
    assert figure["x"] == [html.escape(found.label(name)) for name in found.correlations.columns]


def test_long_names_are_shortened_beside_the_matrix() -> None:
    table = networks_of().assign(**{f"m.{'long_' * 40}": np.arange(48.0), f"m.{'long_' * 41}": np.arange(48.0) ** 2})
    layout = comparison_figures(comparison_of(table, {"all": evaluate(table)}, name="", cards={}))[
        "measure-correlations"
    ]["layout"]
    assert max(map(len, layout["xaxis"]["ticktext"])) <= 200  # escaped
    assert sum(text.endswith("…") for text in layout["xaxis"]["ticktext"]) >= 2
    assert len(set(layout["xaxis"]["tickvals"])) == 6


def test_networks_without_a_gap_are_left_out() -> None:
    table = networks_of()
    table.loc["net3", "gap"] = np.nan
    assert "net3" not in comparison_of(table, {"all": evaluate(table)}, name="", cards={}).table.index


def test_a_zoo_is_compared_on_all_and_on_those_alike_in_training_accuracy(measured_table: pd.DataFrame) -> None:
    table = measured_table
    found = zoo_comparison(table, name="tiny", num_resamples=50, num_permutations=99)
    usable = table[table["why_left_out"] == ""]
    assert next(iter(found.evaluations)) == "all"
    assert found.evaluation.num_networks == len(usable)
    assert set(found.cards) == set(CARDS)
    assert {score.name: score.sign_error.sign for score in found.evaluation.scores} == {
        "m.parameter_norm": 1,
        "m.input_margin": -1,
    }
    assert found.evaluation.given == ("train_accuracy", "train_loss")
    names = [score.name for score in found.regressions["all"]]
    assert names[0] == "full signature, ridge"
    assert "training accuracy" in names[1]
    assert "measures: all" in names


def test_what_is_known_of_a_zoo_is_not_computed_again(measured_table: pd.DataFrame) -> None:
    options = {"name": "tiny", "num_resamples": 50, "num_permutations": 99}
    first = zoo_comparison(measured_table, **options)
    scores = first.regressions["all"]
    again = zoo_comparison(measured_table, **options, scores=scores, evaluation=first.evaluation)
    assert again.evaluation is first.evaluation
    assert again.regressions["all"] == scores


def test_a_zoo_that_was_not_measured_cannot_be_compared(zoo: Zoo) -> None:
    with pytest.raises(InvalidInputError, match=r"'m\.\*' must name one of the table's columns"):
        zoo_comparison(zoo_table(zoo), name="tiny", num_resamples=50)


def test_the_leaderboard_is_a_page_of_markdown_too(found: Comparison, tmp_path: Path) -> None:
    named = replace(found, name="norms", evaluations={"all": found.evaluation, "alike": found.evaluation})
    page = write_leaderboard_page(named, tmp_path)
    assert page == tmp_path / "norms-measures.md"
    text = page.read_text("utf-8")
    assert [line for line in text.splitlines() if line.startswith("#")] == [
        "# norms: every measure on the same networks",
        "## All networks (48)",
        "## Networks with alike (48)",
    ]
    for sentence in comparison_verdict(found):
        assert f"- {sentence}\n" in text
    (row, _) = [line for line in text.splitlines() if line.startswith("| `input_margin` |")]
    score = next(score for score in found.evaluation.scores if score.name == "m.input_margin")
    cells = [cell.strip() for cell in row.strip("|").split(" | ")]
    assert cells[1] == score_cell(score.grouped_kfold_r2, score.grouped_kfold_r2_interval)
    assert cells[2] == f"{score_cell(score.kendall, score.kendall_interval)} (!)"
    assert cells[6] == score_cell(score.partial_r2.value, score.partial_r2.interval)
    assert cells[7] == f"{score.holm_p_value:.2g}"
