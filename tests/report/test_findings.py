"""What is gathered from a zoo, against the zoo's own files."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from widemargin.errors import InvalidInputError
from widemargin.figures import margin_densities, order_statistics, predicted_gaps
from widemargin.prediction import ABLATIONS, SUBSETS, ablation_scores
from widemargin.report import Findings, zoo_findings
from widemargin.report.findings import configuration_text
from widemargin.zoo import Run, Zoo, zoo_table


def changed(findings: Findings, zoo: Zoo, **columns: Any) -> Findings:
    return zoo_findings(zoo, list(findings.scores), findings.table.assign(**columns))


def test_findings_hold_the_study_its_table_and_every_score(findings: Findings, zoo: Zoo) -> None:
    assert (findings.name, findings.description) == ("tiny", "Small multilayer perceptrons on few digits.")
    assert findings.table.equals(zoo_table(zoo))
    assert len(findings.usable) == 8
    medians = [ablation for ablation in ABLATIONS if ablation.name == "medians only"]
    of_medians = ablation_scores(findings.table, medians)
    assert [findings.score("medians only", score.subset) for score in of_medians] == of_medians
    assert len(findings.scores) == len(ABLATIONS) * len(of_medians)


def test_scores_are_gathered_by_subset_in_order(findings: Findings) -> None:
    found = findings.by_subset
    assert list(found) == [name for name in SUBSETS if name in found]
    assert next(iter(found)) == "all"
    assert [score for scores in found.values() for score in scores] == list(findings.scores)


def test_varied_columns_are_the_axes_of_the_grid(findings: Findings) -> None:
    assert sorted(findings.varied) == ["hp.data.label_corruption", "hp.data.num_train"]


def test_the_predictor_is_the_better_of_the_full_signatures_two(findings: Findings, zoo: Zoo) -> None:
    paper, ridge = (findings.score(ablation.name) for ablation in ABLATIONS[:2])
    assert paper.grouped_kfold_r2 is not None
    better = {False: [paper, replace(ridge, grouped_kfold_r2=paper.grouped_kfold_r2 - 1)]}
    better[True] = [paper, replace(ridge, grouped_kfold_r2=paper.grouped_kfold_r2 + 1)]
    for is_ridge, scores in better.items():
        found = zoo_findings(zoo, scores, findings.table)
        assert found.predictor == ABLATIONS[is_ridge].name
        expected = predicted_gaps(findings.table, ABLATIONS[is_ridge])
        np.testing.assert_array_equal(found.predictions.left_out, expected.left_out)


def test_portraits_are_the_networks_of_smallest_and_largest_gap(findings: Findings) -> None:
    gaps = findings.table["gap"]
    for portrait, key in ((findings.well, gaps.idxmin()), (findings.badly, gaps.idxmax())):
        row = findings.table.loc[key]
        assert portrait.run == key
        assert (portrait.train_accuracy, portrait.test_accuracy) == (row["train_accuracy"], row["test_accuracy"])
        assert portrait.num_train == row["num_train"]
    assert (findings.well.title, findings.badly.title) == ("generalizes well", "generalizes badly")


def test_portraits_are_of_networks_that_fit_their_training_set_where_there_are_two(
    findings: Findings, zoo: Zoo
) -> None:
    by_gap = findings.table["gap"].sort_values().index
    accuracy = [1.0 if key in by_gap[2:5] else 0.5 for key in findings.table.index]
    found = changed(findings, zoo, train_accuracy=accuracy)
    assert (found.well.run, found.badly.run) == (by_gap[2], by_gap[4])


def test_portraits_show_the_margins_in_the_runs_folder_over_a_common_range(findings: Findings, zoo: Zoo) -> None:
    for portrait in (findings.well, findings.badly):
        margins = Run(zoo.runs_folder / portrait.run).margins
        assert portrait.statistics == tuple(order_statistics(margins))
        ranges = {d.layer: (float(d.margins[0]), float(d.margins[-1])) for d in portrait.densities}
        assert list(ranges) == ["input", "layers.0", "layers.1", "layers.2"]
        for density, expected in zip(portrait.densities, margin_densities(margins, ranges), strict=True):
            np.testing.assert_array_equal(density.density, expected.density)
    for well, badly in zip(findings.well.densities, findings.badly.densities, strict=True):
        np.testing.assert_array_equal(well.margins, badly.margins)


def test_the_common_range_holds_the_range_of_either_network(findings: Findings, zoo: Zoo) -> None:
    for portrait in (findings.well, findings.badly):
        alone = margin_densities(Run(zoo.runs_folder / portrait.run).margins)
        for density, own in zip(portrait.densities, alone, strict=True):
            assert density.margins[0] <= own.margins[0]
            assert density.margins[-1] >= own.margins[-1]


def test_a_networks_configuration_is_told_by_what_varies(findings: Findings) -> None:
    row = findings.table.iloc[0]
    assert configuration_text(row, ("hp.data.num_train", "hp.data.label_corruption")) == (
        f"num_train {row['hp.data.num_train']}, label_corruption {row['hp.data.label_corruption']}, "
        f"seed {row['hp.seed']}"
    )


def test_scores_are_found_by_name_and_subset(findings: Findings) -> None:
    found = findings.score("medians only", "train accuracy ≥ 0.99")
    assert (found.name, found.subset) == ("medians only", "train accuracy ≥ 0.99")
    assert findings.score("medians only").subset == "all"


def test_best_baselines_predict_left_out_configurations_best(findings: Findings) -> None:
    def left_out(names: list[str]) -> float:
        return max(findings.score(name).grouped_kfold_r2 or -np.inf for name in names)

    assert findings.best_baseline.is_baseline
    assert findings.best_baseline.grouped_kfold_r2 == left_out([a.name for a in ABLATIONS if a.is_baseline])
    trivial = [ablation.name for ablation in ABLATIONS if ablation.features.startswith("trivial")]
    assert findings.best_trivial.name in trivial
    assert findings.best_trivial.grouped_kfold_r2 == left_out(trivial)


def test_the_best_trivial_score_is_that_of_its_subset(findings: Findings) -> None:
    for subset, scores in findings.by_subset.items():
        found = findings.best_trivial_on(subset)
        assert found in scores
        trivial = [score.grouped_kfold_r2 for score in scores if score.features.startswith("trivial")]
        known = [value for value in trivial if value is not None]
        assert found.grouped_kfold_r2 == max(known, default=None)


def test_baselines_without_a_score_are_never_the_best(findings: Findings) -> None:
    scores = tuple(
        replace(score, grouped_kfold_r2=-5.0 if score.features == "num_train" else None) for score in findings.scores
    )
    assert replace(findings, scores=scores).best_baseline.features == "num_train"


def test_test_noise_leaves_the_r2_of_binomial_errors(findings: Findings) -> None:
    accuracy = findings.table["test_accuracy"].to_numpy()
    gap = findings.table["gap"].to_numpy()
    noise = sum(p * (1 - p) / 797 for p in accuracy) / 8
    assert findings.test_noise_r2 == pytest.approx(1 - noise / gap.var())


def test_repeats_leave_the_r2_of_the_variance_within_configurations(findings: Findings) -> None:
    table = findings.table
    within = [group.var(ddof=1) for _, group in table.groupby("configuration")["gap"]]
    assert findings.repeat_r2 == pytest.approx(1 - np.mean(within) / table["gap"].var(ddof=1))


def test_without_repeats_or_differences_there_is_no_r2_to_reach(findings: Findings) -> None:
    single = replace(findings, table=findings.table.assign(configuration=range(8)))
    assert np.isnan(single.repeat_r2)
    same = replace(findings, table=findings.table.assign(gap=0.1))
    assert np.isnan(same.test_noise_r2)


def test_a_zoo_without_its_study_goes_by_its_folder(findings: Findings, zoo: Zoo, tmp_path: Path) -> None:
    folder = tmp_path / "orphaned"
    shutil.copytree(zoo.folder, folder)
    (folder / "study.json").unlink()
    found = zoo_findings(Zoo(folder), list(findings.scores), findings.table)
    assert (found.name, found.description) == ("orphaned", "")


def test_an_empty_zoo_is_refused(deserted_zoo: Zoo) -> None:
    with pytest.raises(InvalidInputError) as caught:
        zoo_findings(deserted_zoo)
    assert str(caught.value) == (
        f"a report needs finished runs, but {deserted_zoo.folder} holds none. Train a zoo there first."
    )


def test_one_configuration_is_refused(findings: Findings, zoo: Zoo) -> None:
    with pytest.raises(InvalidInputError) as caught:
        changed(findings, zoo, configuration="same")
    assert str(caught.value) == (
        "a report needs networks of at least 2 configurations with margins, got 1. Let the zoo finish, or widen its "
        "grid."
    )


def test_a_zoo_without_margins_is_refused(findings: Findings, zoo: Zoo) -> None:
    with pytest.raises(InvalidInputError, match=r"at least 2 configurations with margins, got 0\."):
        changed(findings, zoo, why_left_out="its training diverged")
