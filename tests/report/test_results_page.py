"""A study's page of results: its files, and that every number on it is the zoo's."""

import re
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from pandas.testing import assert_frame_equal
from PIL import Image

from report.pages import HOSTILE
from widemargin.errors import InvalidInputError
from widemargin.report import Findings, write_results_page, zoo_findings
from widemargin.zoo import Zoo, read_table

FIGURES = ("predicted", "scores", "signature", "hyperparameters")


@pytest.fixture(scope="module")
def page(findings: Findings, zoo: Zoo, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page") / "results"
    return write_results_page(findings, zoo, folder, machine="a small laptop", workers=2)


@pytest.fixture
def text(page: Path) -> str:
    return page.read_text("utf-8")


def text_of(findings: Findings, zoo: Zoo, folder: Path, **options: object) -> str:
    return write_results_page(findings, zoo, folder, **options).read_text("utf-8")


def row(text: str, name: str) -> list[str]:
    (line,) = (line for line in text.splitlines() if line.startswith(f"| {name} |"))
    return [cell.strip() for cell in line.strip("|").split("|")][1:]


def test_writes_a_page_a_table_and_figures(page: Path) -> None:
    expected = {"tiny.md", "tiny.csv", *(f"tiny-{name}.png" for name in FIGURES)}
    assert {path.name for path in page.parent.iterdir()} == expected
    assert page.name == "tiny.md"


def test_the_table_is_the_zoos(page: Path, findings: Findings) -> None:
    assert_frame_equal(read_table(page.with_suffix(".csv")), findings.table)


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_is_a_picture_that_the_page_shows(page: Path, text: str, name: str) -> None:
    assert re.search(rf"^!\[\w.*\]\(tiny-{name}\.png\)$", text, re.MULTILINE)
    with Image.open(page.parent / f"tiny-{name}.png") as image:
        assert len(set(image.convert("L").tobytes())) > 20


def test_says_how_the_networks_were_made(text: str, findings: Findings, zoo: Zoo) -> None:
    seconds = sum(run.result["seconds"] for run in zoo.runs())
    assert row(text, "trained by") == [f"`widemargin zoo train tiny.yaml --out {zoo.folder.name}`"]
    assert row(text, "machine") == ["a small laptop"]
    assert row(text, "time") == [
        f"{seconds / 60:.1f} min of training and measuring, summed over networks; 2 workers need "
        f"{seconds / 120:.1f} min"
    ]
    assert row(text, "networks") == ["8 planned: 8 finished, 0 missing; 8 with margins"]
    assert re.fullmatch(r"torch \S+, widemargin \S+", row(text, "versions")[0])
    assert row(text, "`data.num_train`") == ["40, 80"]


def test_says_how_far_gaps_spread(text: str, findings: Findings) -> None:
    gap = findings.table["gap"]
    assert row(text, "gaps")[0].startswith(
        f"{gap.min():.3f} to {gap.max():.3f}, quartiles {gap.quantile(0.25):.3f} /"
    )
    assert row(text, "gaps")[0].endswith(f"standard deviation {gap.std():.3f}")


def test_hours_are_hours_and_what_is_not_known_is_said(findings: Findings, zoo: Zoo, tmp_path: Path) -> None:
    long = replace(findings, table=findings.table.assign(seconds=3600.0))
    found = text_of(long, zoo, tmp_path)
    assert row(found, "time") == ["8.0 h of training and measuring, summed over networks"]
    assert row(found, "machine") == ["not told"]


def test_every_score_is_a_row_of_its_subset_with_its_interval(findings: Findings, zoo: Zoo, tmp_path: Path) -> None:
    scores = tuple(
        replace(score, kfold_r2=0.5, kfold_r2_interval=(-0.004, 0.756), note="") for score in findings.scores
    )
    found = text_of(replace(findings, scores=scores), zoo, tmp_path)
    assert found.count("\n### ") == len(findings.by_subset)
    assert found.count("| 0.500 (0.00…0.76) |") == len(scores)
    assert row(found.split("### ")[1], "medians only")[0] == "4"


def test_scores_that_do_not_exist_are_dashes_with_their_reason(text: str) -> None:
    assert row(text.split("### ")[1], "moments")[1:] == ["–"] * 4
    assert "- moments: some values are not positive and have no logarithm" in text
    assert "full signature, least squares †" in text


@pytest.mark.parametrize(("margins", "others", "words"), [(0.8, 0.3, "predicts better than every"), (0.3, 0.8, "**")])
def test_says_whether_the_signature_is_worth_it(
    findings: Findings, zoo: Zoo, tmp_path: Path, margins: float, others: float, words: str
) -> None:
    scores = tuple(
        replace(score, grouped_kfold_r2=others if score.is_baseline else margins) for score in findings.scores
    )
    found = text_of(replace(findings, scores=scores), zoo, tmp_path)
    assert words in found.partition("## Every regression")[0]
    assert ("**The signature does not predict better than that baseline.**" in found) is (margins < others)


@pytest.mark.parametrize(
    ("network", "data", "words"),
    [
        ("nin", '{"name":"uoft-cs/cifar10"}', "an adjusted R² of 0.94 for its own 216 networks of this kind"),
        ("resnet32", '{"name":"../data/CIFAR100"}', "an adjusted R² of 0.97 for its own 324 networks of this kind"),
        ("nin", '{"name":"cifar100"}', None),
        ("mlp", '{"name":"cifar10"}', None),
    ],
)
def test_the_papers_figure_stands_beside_studies_of_its_kind(
    findings: Findings, zoo: Zoo, tmp_path: Path, network: str, data: str, words: str | None
) -> None:
    table = findings.table.assign(data=data, **{"hp.network.name": network})
    found = text_of(replace(findings, table=table), zoo, tmp_path)
    assert ("The paper reports" in found) is (words is not None)
    assert (words or "") in found


def test_what_was_left_out_is_counted_by_reason(text: str, findings: Findings, zoo: Zoo, tmp_path: Path) -> None:
    assert "Nothing: every network that was trained is in the table and in the scores." in text
    reasons = ["its training diverged"] * 2 + ["too few | right"] + [""] * 5
    table = findings.table.assign(why_left_out=reasons)
    found = text_of(zoo_findings(zoo, list(findings.scores), table), zoo, tmp_path)
    assert "- 2 networks: its training diverged\n- 1 network: too few \\| right\n" in found


def test_hostile_words_are_shown_and_not_obeyed(findings: Findings, zoo: Zoo, tmp_path: Path) -> None:
    found = text_of(replace(findings, description=HOSTILE), zoo, tmp_path, machine=f"{HOSTILE} | `x` [a](b)")
    assert "<script" not in found
    assert "&lt;script&gt;" in found
    assert "\\| 'x' \\[a](b)" in found


def test_tables_are_whole(text: str) -> None:
    for block in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        widths = {len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}
        assert len(widths) == 1


def test_no_workers_are_refused(findings: Findings, zoo: Zoo, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError) as caught:
        write_results_page(findings, zoo, tmp_path, workers=0)
    assert str(caught.value) == "the number of workers must be at least 1, got 0."


def test_missing_values_of_hyperparameters_are_none(findings: Findings, zoo: Zoo, tmp_path: Path) -> None:
    column = pd.Series([1.5, None] * 4, index=findings.table.index)
    table = findings.table.assign(**{"hp.training.gradient_clipping": column})
    found = text_of(replace(findings, table=table, varied=("hp.training.gradient_clipping",)), zoo, tmp_path)
    assert row(found, "`training.gradient_clipping`") == ["1.5, none"]
