"""The page: sound HTML, nothing loaded from elsewhere, nothing unescaped, and what it says."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from plotly.offline import get_plotlyjs

from report.pages import HOSTILE, Page
from widemargin.report import Findings, write_report, zoo_findings
from widemargin.zoo import Study, Zoo


@pytest.fixture(scope="module")
def page(findings: Findings, tmp_path_factory: pytest.TempPathFactory) -> Page:
    return Page(write_report(findings, tmp_path_factory.mktemp("report") / "report.html").read_text("utf-8"))


def page_of(findings: Findings, folder: Path) -> Page:
    return Page(write_report(findings, folder / "report.html").read_text("utf-8"))


def test_is_html_with_every_tag_closed_and_every_id_unique(page: Page) -> None:
    assert page.content.startswith("<!DOCTYPE html>")
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(set(ids)) == len(ids)
    assert [tag for tag, _ in page.tags].count("h1") == 1


def test_labels_point_to_what_is_there(page: Page) -> None:
    ids = {attributes["id"] for _, attributes in page.tags if "id" in attributes}
    assert {attributes["aria-labelledby"] for _, attributes in page.tags if "aria-labelledby" in attributes} <= ids


def test_plotlys_script_is_embedded_exactly_once(page: Page) -> None:
    assert page.content.count(get_plotlyjs()) == 1
    assert len(page.scripts) == 3
    assert len(re.findall(r"plotly\.js v\d", page.content)) == 1


def test_nothing_is_loaded_from_elsewhere(page: Page) -> None:
    for _, attributes in page.tags:
        assert "src" not in attributes
        assert "srcset" not in attributes
        assert (attributes.get("href") or "data:").startswith(("data:", "#"))
    assert not any("@import" in style or "url(" in style for style in page.styles)
    assert "http" not in page.scripts[2]


def test_every_figure_has_its_place_and_its_data(page: Page) -> None:
    places = {attributes["id"] for _, attributes in page.tags if attributes.get("class") == "plot"}
    assert places == set(page.figures) == {"predicted-gap", "density-well", "density-badly", "order-statistics"}
    assert all(figure["data"] for figure in page.figures.values())


def test_figures_can_be_read_without_seeing_them(page: Page) -> None:
    for _, attributes in page.tags:
        if attributes.get("class") == "plot":
            assert attributes["role"] == "img"
            assert attributes["aria-label"]


def test_every_score_is_a_row(page: Page, findings: Findings) -> None:
    rows = [attributes for tag, attributes in page.tags if tag == "th" and attributes.get("scope") == "row"]
    assert len(rows) == len(findings.scores)
    baselines = [attributes for tag, attributes in page.tags if tag == "tr" and attributes.get("class") == "baseline"]
    assert len(baselines) == sum(score.is_baseline for score in findings.scores)
    for subset in findings.by_subset:
        num_networks = findings.score("medians only", subset).num_networks
        heading = "All networks" if subset == "all" else f"Networks with {subset}"
        assert f"{heading} ({num_networks})" in page.text


def test_scores_are_printed_to_three_digits_with_a_minus_sign(page: Page, findings: Findings) -> None:
    score = findings.score("medians only")
    assert score.grouped_kfold_r2 is not None
    assert f"{score.grouped_kfold_r2:.3f}".replace("-", "−") in page.text
    assert "nan" not in page.text.lower().split()


def test_intervals_stand_below_their_scores(page: Page, findings: Findings, tmp_path: Path) -> None:
    assert "its 95 % interval, not given here, as there are too few configurations to draw from." in page.text
    scores = tuple(replace(score, kfold_r2=0.5, kfold_r2_interval=(-0.125, 0.75)) for score in findings.scores)
    text = page_of(replace(findings, scores=scores), tmp_path).text
    assert "0.500−0.12…0.75" in text
    assert "from drawing configurations with replacement" in text


def test_says_between_which_training_accuracies_a_subset_lies(page: Page, findings: Findings) -> None:
    accuracies = findings.usable["train_accuracy"]
    percents = [f"{100 * accuracy:.1f}\N{NO-BREAK SPACE}%" for accuracy in (accuracies.min(), accuracies.max())]
    assert " ".join(f"Training accuracies from {' to '.join(percents)}.".split()) in page.text


def test_scores_that_do_not_exist_are_dashes(findings: Findings, tmp_path: Path) -> None:
    same = replace(findings, table=findings.table.assign(gap=0.1, configuration=range(8)))
    text = page_of(same, tmp_path).text
    assert "leaves at most R² ≈ – to any predictor" in text
    assert "nan" not in text.lower().split()


def test_repeats_are_spoken_of_only_where_there_are_any(page: Page, findings: Findings, tmp_path: Path) -> None:
    assert "Repeats of one configuration with other seeds differ too" in page.text
    single = replace(findings, table=findings.table.assign(configuration=range(8)))
    assert "Repeats of one configuration with other seeds differ too" not in page_of(single, tmp_path).text


def test_says_which_predictor_and_how_many_networks(page: Page, findings: Findings) -> None:
    assert "8 networks were trained." in page.text
    assert f"Its prediction ({findings.predictor}) comes from" in page.text
    assert "was measured at 4 layers" in page.text
    assert "8 runs: 8 with margins, none left out." in page.text
    assert "label_corruption : 0.0, 0.3" in page.text.replace("corruption:", "corruption :")


def test_warns_of_fewer_than_ten_networks_per_feature(page: Page) -> None:
    assert "8 networks for 20 features, 0.4 each. This is fewer than ten networks per feature:" in page.text


def test_praises_ten_networks_per_feature(findings: Findings, tmp_path: Path) -> None:
    enough = tuple(replace(score, num_networks=200, note="") for score in findings.scores)
    text = page_of(replace(findings, scores=enough), tmp_path).text
    assert "10.0 each. That is ten or more" in text
    assert "fewer than ten networks per feature" not in text


def test_says_that_labels_were_corrupted(page: Page) -> None:
    assert "the labels the network was trained on, corrupted ones included ; test labels are always clean" in (
        page.text.replace("included;", "included ;")
    )


def test_says_that_labels_were_corrupted_in_every_network_too(findings: Findings, tmp_path: Path) -> None:
    table = findings.table.assign(**{"hp.data.label_corruption": 0.3})
    found = replace(findings, table=table, varied=("hp.data.num_train",))
    assert "corrupted ones included" in page_of(found, tmp_path).text


def test_does_not_speak_of_corrupted_labels_where_there_are_none(findings: Findings, tmp_path: Path) -> None:
    table = findings.table.assign(**{"hp.data.label_corruption": 0.0})
    found = replace(findings, table=table, varied=("hp.data.num_train",))
    assert "corrupted" not in page_of(found, tmp_path).text


@pytest.mark.parametrize(("margins", "trivial"), [(0.7, 0.2), (0.2, 0.7)])
def test_says_whether_margins_beat_training_accuracy_and_loss(
    findings: Findings, tmp_path: Path, margins: float, trivial: float
) -> None:
    scores = tuple(
        replace(score, grouped_kfold_r2=trivial if score.is_baseline else margins) for score in findings.scores
    )
    text = page_of(replace(findings, scores=scores), tmp_path).text
    is_better = margins > trivial
    assert ("so the margins know something that the others do not" in text) is is_better
    assert ("here the margins alone do not beat them" in text) is not is_better
    assert ("here the margins add nothing to them" in text) is not is_better
    assert ("it predicts better than the margins do" in text) is not is_better


def test_says_that_margins_may_add_to_what_they_do_not_beat(findings: Findings, tmp_path: Path) -> None:
    values = {"trivial": 0.7, "trivial_and_logarithms": 0.7, "signature_and_trivial": 0.8}
    scores = tuple(replace(score, grouped_kfold_r2=values.get(score.features, 0.2)) for score in findings.scores)
    text = page_of(replace(findings, scores=scores), tmp_path).text
    assert "here the margins alone do not beat them" in text
    assert "loss together 0.800, so the margins know something that the others do not" in text


@pytest.mark.parametrize("accuracies", [(1.0, 0.995), (1.0, 0.5)])
def test_says_whether_the_portraits_fit_their_training_set(
    findings: Findings, tmp_path: Path, accuracies: tuple[float, float]
) -> None:
    well, badly = (
        replace(portrait, train_accuracy=accuracy)
        for portrait, accuracy in zip((findings.well, findings.badly), accuracies, strict=True)
    )
    text = page_of(replace(findings, well=well, badly=badly), tmp_path).text
    assert ("Both networks classify (nearly) all" in text) is (min(accuracies) > 0.9)
    assert ("Fewer than two networks fit their training set" in text) is (min(accuracies) < 0.9)


def test_runs_that_are_left_out_are_listed_with_their_reason(findings: Findings, zoo: Zoo, tmp_path: Path) -> None:
    reasons = ["its training diverged"] + [""] * 7
    found = zoo_findings(zoo, list(findings.scores), findings.table.assign(why_left_out=reasons))
    text = page_of(found, tmp_path).text
    assert "8 runs: 7 with margins, 1 left out of the regressions (listed below)." in text
    assert f"{findings.table.index[0]}: its training diverged" in text


def test_hostile_words_of_a_study_are_shown_and_not_obeyed(
    findings: Findings, zoo: Zoo, tmp_path: Path, page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    hostile = Study(name="tiny", description=HOSTILE)
    monkeypatch.setattr(Zoo, "study", property(lambda _: hostile))
    found = page_of(zoo_findings(zoo, list(findings.scores), findings.table), tmp_path)
    assert [tag for tag, _ in found.tags] == [tag for tag, _ in page.tags]
    assert HOSTILE in found.text


def test_hostile_names_and_values_are_shown_and_not_obeyed(findings: Findings, tmp_path: Path, page: Page) -> None:
    table = findings.table.assign(**{"hp.data.num_train": HOSTILE})
    table = table.assign(why_left_out=[HOSTILE] + [""] * 7)
    hostile = replace(
        findings,
        name=HOSTILE,
        table=table,
        predictor=findings.predictor,
        predictions=replace(
            findings.predictions,
            **{
                name: getattr(findings.predictions, name)[1:]
                for name in ("runs", "actual", "fitted", "left_out", "half_interval")
            },
        ),
        well=replace(findings.well, configuration=HOSTILE),
    )
    found = page_of(hostile, tmp_path)
    extra = ["ul", "li", "code"]  # the list of what was left out
    assert sorted(tag for tag, _ in found.tags) == sorted([tag for tag, _ in page.tags] + extra)
    assert found.text.count(HOSTILE) >= 3
    assert not any("onerror" in attributes for _, attributes in found.tags)


def test_a_hostile_layer_name_stays_inside_the_data(findings: Findings, tmp_path: Path, page: Page) -> None:
    densities = tuple(replace(density, layer=HOSTILE) for density in findings.well.densities)
    found = page_of(replace(findings, well=replace(findings.well, densities=densities)), tmp_path)
    assert [tag for tag, _ in found.tags] == [tag for tag, _ in page.tags]
    assert found.figures["density-well"]["layout"]["annotations"][0]["text"] == HOSTILE
    assert "</script" not in found.scripts[1]


def test_infinite_intervals_leave_the_data_readable(findings: Findings, tmp_path: Path) -> None:
    predictions = replace(findings.predictions, half_interval=np.full(8, np.inf))
    assert page_of(replace(findings, predictions=predictions), tmp_path).figures


def test_the_path_comes_back_and_its_folders_are_made(findings: Findings, tmp_path: Path) -> None:
    path = tmp_path / "some" / "where" / "report.html"
    assert write_report(findings, str(path)) == path
    assert [file.name for file in path.parent.iterdir()] == ["report.html"]


def test_an_older_report_is_replaced(findings: Findings, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text("old")
    write_report(findings, path)
    assert path.read_text("utf-8").startswith("<!DOCTYPE html>")


def test_a_report_that_cannot_be_put_in_place_leaves_nothing_behind(findings: Findings, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.mkdir()
    with pytest.raises(OSError, match="directory"):
        write_report(findings, path)
    assert [file.name for file in tmp_path.iterdir()] == ["report.html"]
