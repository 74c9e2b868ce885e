"""What is gathered from a zoo with poison, what is said of it, and the page that shows it."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from plotly.offline import get_plotlyjs
from scipy.stats import spearmanr

from report.explanations import with_basins, without_basins
from report.pages import HOSTILE, Page
from widemargin.errors import InvalidInputError
from widemargin.landscape import decision_regions, loss_along
from widemargin.report import Explanation, Findings, explain, write_explanation, write_report
from widemargin.report.verdict import shown_cutoff, verdict
from widemargin.zoo import Run, Study, Zoo, basin_table, load_trained, train_zoo

NUM_PARAMETERS = 2 * 32 + 32 + 32 * 32 + 32 + 32 + 1


def test_holds_the_study_and_its_basins(explanation: Explanation, poisoned_zoo: Zoo) -> None:
    assert (explanation.name, explanation.data) == ("tiny-poison", "swiss-roll")
    assert explanation.description == "Good and bad minima on two arms."
    assert explanation.table.equals(basin_table(poisoned_zoo, num_directions=4, seed=3, jobs=1))
    assert (len(explanation.networks), explanation.num_directions) == (4, 4)


def test_good_and_bad_are_the_extremes_among_those_that_fit(explanation: Explanation) -> None:
    networks = explanation.networks
    assert (networks["train_accuracy"] == 1).all()
    assert explanation.good.test_accuracy == networks["test_accuracy"].max()
    assert explanation.bad.test_accuracy == networks["test_accuracy"].min()


def test_minima_are_seen_as_their_networks_are(explanation: Explanation, poisoned_zoo: Zoo) -> None:
    minimum = explanation.bad
    trained = load_trained(Run(poisoned_zoo.runs_folder / minimum.run))
    assert minimum.num_parameters == NUM_PARAMETERS
    walk = loss_along(trained, coefficients=minimum.walk.coefficients, seed=3)
    np.testing.assert_array_equal(minimum.walk.losses, walk.losses)
    assert minimum.regions is not None
    np.testing.assert_array_equal(minimum.regions.classes, decision_regions(trained, num_points=160).classes)
    assert minimum.walk_regions is not None
    assert minimum.walk_regions.is_correct.mean(axis=1) == pytest.approx(minimum.walk.accuracies)


def test_the_walk_passes_the_minimum_in_its_middle(explanation: Explanation) -> None:
    walk = explanation.good.walk
    assert walk.coefficients[len(walk.coefficients) // 2] == 0
    assert (np.diff(walk.coefficients) > 0).all()


def test_boundaries_are_at_rising_factors(explanation: Explanation) -> None:
    assert [boundary.poison_factor for boundary in explanation.boundaries] == [0.0, 0.1]


def test_images_have_no_regions(digits_explanation: Explanation) -> None:
    assert digits_explanation.boundaries == ()
    for minimum in (digits_explanation.good, digits_explanation.bad):
        assert minimum.regions is minimum.walk_regions is None


def test_a_map_is_made_only_if_asked_for(explanation: Explanation, digits_explanation: Explanation) -> None:
    assert explanation.field is not None
    assert (~explanation.field.is_path).sum() == 4
    assert digits_explanation.field is None


def test_volumes_of_good_and_bad_are_compared_by_cutoff(explanation: Explanation) -> None:
    for cutoff in explanation.cutoffs:
        found = [[v for v in m.volumes if v.cutoff == cutoff] for m in (explanation.good, explanation.bad)]
        ratio = explanation.volume_ratio(cutoff)
        if all(found):
            assert ratio == pytest.approx(found[0][0].log10_volume - found[1][0].log10_volume)
        else:
            assert ratio is None


def test_correlations_are_spearmans_over_networks_that_fit(explanation: Explanation) -> None:
    one = with_basins(explanation, [0.1, 0.3, 0.2, 0.4], [-10.0, -20.0, -40.0, -30.0])
    expected = spearmanr([0.1, 0.3, 0.2, 0.4], [-10.0, -20.0, -40.0, -30.0]).statistic
    assert one.volume_correlation(0.1) == pytest.approx(expected)
    run = one.table["run"].iloc[0]
    table = one.table.copy()
    table.loc[table["run"] == run, "train_accuracy"] = 0.9
    assert len(replace(one, table=table).basins(0.1)) == 3


def test_figures_for_machines_are_json_without_nan(explanation: Explanation, digits_explanation: Explanation) -> None:
    for one in (explanation, digits_explanation, without_basins(explanation)):
        figures = json.loads(json.dumps(one.as_dict(), allow_nan=False))
        assert figures["good"]["test_accuracy"] == one.good.test_accuracy
        assert figures["networks"] == len(one.networks)


def test_says_what_it_is_doing(poisoned_zoo: Zoo) -> None:
    told: list[tuple[str, float]] = []
    explain(
        poisoned_zoo,
        num_directions=2,
        num_surface_points=3,
        jobs=1,
        on_progress=lambda what, share: told.append((what, share)),
    )
    assert list(dict.fromkeys(what for what, _ in told)) == [
        "measuring basins",
        "looking at a good and a bad minimum",
    ]
    assert all(0 <= share <= 1 for _, share in told)


@pytest.mark.parametrize(("factors", "num"), [([0, 0], 0), ([0], 1)])
def test_a_zoo_without_networks_or_poison_is_refused(tmp_path: Path, factors: list[float], num: int) -> None:
    zoo = Zoo(tmp_path / "zoo")
    if num:
        base = {
            "data": {"name": "rings"},
            "network": {"name": "mlp", "hidden": [4]},
            "training": {"num_steps": 3},
        }
        zoo = train_zoo(Study.model_validate({"name": "plain", "base": base}), tmp_path / "zoo", jobs=1)
    with pytest.raises(InvalidInputError) as caught:
        explain(zoo, num_directions=2, jobs=1)
    assert str(caught.value) == (
        f"an explanation needs two finished networks or more, some of them poisoned, but {zoo.folder} holds {num}, "
        "or none with poison. Train a study with training.poison.factor on its grid."
    )


@pytest.fixture(scope="module")
def page(explanation: Explanation, tmp_path_factory: pytest.TempPathFactory) -> Page:
    return page_of(explanation, tmp_path_factory.mktemp("why"))


def page_of(explanation: Explanation, folder: Path) -> Page:
    return Page(write_explanation(explanation, folder / "why.html").read_text("utf-8"))


def places(page: Page) -> set[str | None]:
    return {attributes["id"] for _, attributes in page.tags if attributes.get("class") == "plot"}


def test_is_html_with_every_id_once_and_every_label_in_place(page: Page) -> None:
    assert page.content.startswith("<!DOCTYPE html>")
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(set(ids)) == len(ids)
    assert [tag for tag, _ in page.tags].count("h1") == 1
    for name in ("for", "aria-labelledby"):
        assert {attributes[name] for _, attributes in page.tags if name in attributes} <= set(ids)


def test_needs_nothing_else(page: Page) -> None:
    assert page.content.count(get_plotlyjs()) == 1
    assert len(page.scripts) == 4
    assert "http" not in page.scripts[3]
    assert not any("src" in attributes for _, attributes in page.tags)


@pytest.mark.parametrize("change", [lambda one: one, without_basins])
def test_every_figure_has_its_place(
    explanation: Explanation,
    digits_explanation: Explanation,
    tmp_path: Path,
    change: Callable[[Explanation], Explanation],
) -> None:
    for one in (explanation, digits_explanation):
        found = page_of(change(one), tmp_path)
        assert places(found) == set(found.figures)


def test_every_picture_of_regions_has_its_data(page: Page) -> None:
    assert set(json.loads(page.scripts[2])) == {
        name for name in page.figures if "regions" in name or "walk" in name or "boundary" in name
    }


def test_figures_can_be_read_without_seeing_them(page: Page) -> None:
    for _, attributes in page.tags:
        if attributes.get("class") == "plot":
            assert attributes["role"] == "img"
            assert attributes["aria-label"]


def test_the_slider_is_labeled_and_begins_at_the_minimum(page: Page) -> None:
    (slider,) = [attributes for _, attributes in page.tags if attributes.get("type") == "range"]
    assert (slider["min"], slider["max"], slider["value"]) == ("0", "50", "25")
    assert any(attributes.get("for") == slider["id"] for tag, attributes in page.tags if tag == "label")


def test_the_cutoff_that_is_seen_is_the_one_that_is_checked(page: Page, explanation: Explanation) -> None:
    choices = [attributes for _, attributes in page.tags if attributes.get("type") == "radio"]
    assert [float(choice["value"] or "") for choice in choices] == list(explanation.cutoffs)
    (checked,) = [choice for choice in choices if "checked" in choice]
    assert checked["value"] == str(shown_cutoff(explanation))


def test_says_the_verdict_and_the_study(page: Page, explanation: Explanation) -> None:
    for sentence in verdict(explanation):
        assert sentence in page.text
    assert "4 networks of the study tiny-poison on the swiss-roll data, with 2 different factors" in page.text
    assert explanation.description in page.text
    assert "nan" not in page.text.lower().split()


def test_every_model_is_a_row(page: Page) -> None:
    for name in ("network, good minimum", "network, bad minimum", "support vector machine"):
        assert name in page.text
    assert f"{NUM_PARAMETERS:,}" in page.text


def test_every_cutoff_is_a_row(page: Page, explanation: Explanation) -> None:
    rows = [attributes for tag, attributes in page.tags if tag == "th" and attributes.get("scope") == "row"]
    assert len(rows) == len(explanation.cutoffs) + 4


def test_images_leave_out_what_needs_a_plane(page: Page, digits_explanation: Explanation, tmp_path: Path) -> None:
    text = page_of(digits_explanation, tmp_path).text
    for words in ("Where the two networks draw the line", "What the poison does to the decision regions"):
        assert words in page.text
        assert words not in text
    assert "Walk away from the minimum" in text
    assert "nan" not in text.lower().split()


def test_without_a_map_there_is_no_word_of_it(page: Page, digits_explanation: Explanation, tmp_path: Path) -> None:
    words = "Only neighborhoods can be read from it"
    assert words in page.text
    assert words not in page_of(digits_explanation, tmp_path).text


def test_says_that_there_is_no_basin(explanation: Explanation, tmp_path: Path) -> None:
    text = page_of(without_basins(explanation), tmp_path).text
    assert "Neither network has a basin" in text
    assert "has a basin below these cutoffs, so there is nothing to compare" in text
    one = replace(explanation, bad=replace(explanation.bad, radii=None, volumes=()))
    assert "The bad network’s own loss leaves it no basin" in page_of(one, tmp_path).text


def test_says_how_many_rays_the_cap_cut_off(page: Page, explanation: Explanation, tmp_path: Path) -> None:
    radii = explanation.good.radii
    assert radii is not None
    is_censored = np.zeros_like(radii.is_censored)
    is_censored[:3, -1] = True
    one = replace(explanation, good=replace(explanation.good, radii=replace(radii, is_censored=is_censored)))
    assert "3 rays of the good network stay below a cutoff" in page_of(one, tmp_path).text
    assert "No ray was cut off by the cap" in page.text


def test_caveats_of_the_measurements_are_told_once(explanation: Explanation, tmp_path: Path) -> None:
    good, bad = (
        replace(minimum, walk=replace(minimum.walk, caveats=("Beware of the walk.",)))
        for minimum in (explanation.good, explanation.bad)
    )
    assert page_of(replace(explanation, good=good, bad=bad), tmp_path).text.count("Beware of the walk.") == 1


def test_caveats_of_decision_regions_are_told(explanation: Explanation, tmp_path: Path) -> None:
    assert explanation.bad.regions is not None
    bad = replace(explanation.bad, regions=replace(explanation.bad.regions, caveats=("Beware of the regions.",)))
    assert "Beware of the regions." in page_of(replace(explanation, bad=bad), tmp_path).text


def test_hostile_words_are_shown_and_not_obeyed(explanation: Explanation, page: Page, tmp_path: Path) -> None:
    hostile: dict[str, Any] = {"name": HOSTILE, "description": HOSTILE, "data": HOSTILE}
    baselines = (replace(explanation.baselines[0], name=HOSTILE), *explanation.baselines[1:])
    good = replace(explanation.good, run=HOSTILE)
    table = explanation.table.replace({"run": {explanation.good.run: HOSTILE}})
    found = page_of(replace(explanation, **hostile, baselines=baselines, good=good, table=table), tmp_path)
    assert [tag for tag, _ in found.tags] == [tag for tag, _ in page.tags]
    assert found.text.count(HOSTILE) >= 5
    assert "</script" not in found.scripts[1]


def test_is_small_beside_plotlys_script(page: Page) -> None:
    assert len(page.content.encode()) - len(get_plotlyjs().encode()) < 1_500_000


def test_the_path_comes_back_and_its_folders_are_made(explanation: Explanation, tmp_path: Path) -> None:
    path = tmp_path / "some" / "where.html"
    assert write_explanation(explanation, str(path)) == path
    assert [file.name for file in path.parent.iterdir()] == ["where.html"]


def test_the_report_of_a_zoo_takes_the_section_in(
    findings: Findings, explanation: Explanation, page: Page, tmp_path: Path
) -> None:
    path = write_report(findings, tmp_path / "report.html", explanation)
    both = Page(path.read_text("utf-8"))
    alone = Page(write_report(findings, path).read_text("utf-8"))
    assert set(both.figures) == set(alone.figures) | set(page.figures) == places(both)
    assert "See why: good and bad minima of one network" in both.text
    assert all(sentence in both.text for sentence in verdict(explanation))
    ids = [attributes["id"] for _, attributes in both.tags if "id" in attributes]
    assert len(set(ids)) == len(ids)
    assert [tag for tag, _ in both.tags].count("h1") == 1


def test_the_report_of_a_zoo_has_no_word_of_it_otherwise(findings: Findings, tmp_path: Path) -> None:
    alone = Page(write_report(findings, tmp_path / "report.html").read_text("utf-8"))
    assert "See why" not in alone.text
    assert "walk-step" not in alone.content


def test_a_correlation_that_does_not_exist_is_not_printed(
    page: Page, digits_explanation: Explanation, tmp_path: Path
) -> None:
    words = "The rank correlation of poison factor and gap is"
    assert words in page.text
    assert words not in page_of(digits_explanation, tmp_path).text


def test_a_minefield_of_too_few_points_is_refused_before_anything_is_measured(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="num_starts must be 0 or at least 4, got 3"):
        explain(Zoo(tmp_path), num_starts=3)
