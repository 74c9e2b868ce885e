"""The page of a comparison: sound HTML, nothing unescaped, everything in it that was promised."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from report.comparisons import comparison, networks_of
from report.pages import HOSTILE, Page
from widemargin.prediction import Score, evaluate
from widemargin.report import Comparison, Findings, comparison_of, write_comparison, write_report


@pytest.fixture(scope="module")
def found() -> Comparison:
    return comparison()


@pytest.fixture(scope="module")
def page(found: Comparison, tmp_path_factory: pytest.TempPathFactory) -> Page:
    return Page(write_comparison(found, tmp_path_factory.mktemp("page") / "page.html").read_text("utf-8"))


def test_is_html_with_every_tag_closed_and_every_id_unique(page: Page) -> None:
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(set(ids)) == len(ids)
    assert [tag for tag, _ in page.tags].count("h1") == 1
    assert {attributes["aria-labelledby"] for _, attributes in page.tags if "aria-labelledby" in attributes} <= set(
        ids
    )


def test_nothing_is_loaded_from_elsewhere(page: Page) -> None:
    for _, attributes in page.tags:
        assert "src" not in attributes
        assert (attributes.get("href") or "data:").startswith(("data:", "#"))


def test_what_came_from_a_table_is_escaped(page: Page) -> None:
    assert page.content.count(HOSTILE) == 0
    assert HOSTILE in page.text
    assert "<img" not in page.content
    assert HOSTILE in [column["label"] for column in json.loads(page.scripts[2])["columns"]]


def test_every_measure_is_a_row_with_its_scores(page: Page, found: Comparison) -> None:
    for score in found.evaluation.scores:
        assert f"{score.kendall:.2f}".replace("-", "−") in page.text
    headings = [attributes for tag, attributes in page.tags if tag == "th" and attributes.get("aria-sort")]
    assert len(headings) == 9
    assert sum(tag == "button" for tag, _ in page.tags) == 9


def test_places_of_figures_have_figures(page: Page) -> None:
    places = {attributes["id"] for _, attributes in page.tags if attributes.get("class") == "plot"}
    assert places == set(page.figures) == {"pair", "measure-correlations"}


def test_choices_have_labels(page: Page) -> None:
    assert page.content.count("<select") == 3
    assert page.content.count("<label") == 3


def test_every_measure_of_the_catalogue_has_a_card_that_its_row_leads_to(page: Page, found: Comparison) -> None:
    ids = {attributes["id"] for _, attributes in page.tags if "id" in attributes}
    for card in found.cards.values():
        assert f"measure-{card.name}" in ids
        assert f'href="#measure-{card.name}"' in page.content
        assert card.idea in page.text
    assert "turned" in page.text


def test_each_hyperparameter_is_a_column_of_the_breakdown(page: Page) -> None:
    assert "Where each measure fails" in page.text
    psi = comparison().evaluation.scores[0].granulated_kendall.per_hyperparameter["hp.width"].value
    assert psi is not None
    assert f"{psi:.2f}" in page.text


def test_regressions_in_the_leaderboard_are_explained(found: Comparison, page: Page, tmp_path: Path) -> None:
    ridge = Score(
        "full signature, ridge", "signature", "log", "all", True, "ridge", "all", 48, 20, grouped_kfold_r2=0.5
    )
    beside = replace(found, regressions={"all": (ridge,)})
    assert "<dt>Regression on …</dt>" in write_comparison(beside, tmp_path / "page.html").read_text("utf-8")
    assert "<dt>Regression on …</dt>" not in page.content


def test_no_worst_pair_is_named_where_a_measure_never_errs(page: Page, tmp_path: Path) -> None:
    table = networks_of().assign(**{"m.twice": lambda networks: 2 * networks["gap"]})
    right = evaluate(table, measures=["m.twice"], num_resamples=20, num_permutations=99)
    assert right.scores[0].sign_error.worst == 0
    path = write_comparison(comparison_of(table, {"all": right}, name="", cards={}), tmp_path / "page.html")
    (listed,) = path.read_text("utf-8").split("judges worst</summary>")[1:]
    assert "<dt>" not in listed.partition("</dl>")[0]
    assert "<dt>" in page.content.partition("judges worst</summary>")[2].partition("</dl>")[0]


def test_a_zoos_report_holds_it_too(findings: Findings, found: Comparison, tmp_path: Path) -> None:
    page = Page(write_report(findings, tmp_path / "report.html", comparison=found).read_text("utf-8"))
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(set(ids)) == len(ids)
    assert {"pair", "measure-correlations", "predicted-gap"} <= set(page.figures)
    assert "measures on the same networks" in page.text
