"""What is said of an explanation, where it supports the story and where it does not."""

from dataclasses import replace

import pytest

from report.explanations import with_basins, without_basins
from widemargin.report import Explanation
from widemargin.report.verdict import shown_cutoff, verdict


def test_tells_the_accuracies(explanation: Explanation) -> None:
    good, bad = replace(explanation.good, test_accuracy=0.985), replace(explanation.bad, test_accuracy=0.07)
    assert verdict(replace(explanation, good=good, bad=bad))[0] == (
        "Both networks classify every training example correctly; on fresh examples the good one is right in "
        "98.5 % of the cases, the bad one in 7.0 %."
    )


def test_says_that_a_bad_minimum_is_not_bad(explanation: Explanation) -> None:
    bad = replace(explanation.bad, test_accuracy=explanation.good.test_accuracy - 0.05)
    assert "there is no truly bad minimum here" in verdict(replace(explanation, bad=bad))[0]


def test_says_that_networks_do_not_fit(explanation: Explanation) -> None:
    bad = replace(explanation.bad, train_accuracy=0.985)
    assert verdict(replace(explanation, bad=bad))[0].startswith(
        "Fewer than two networks classify every training example correctly, so the best of the others stand in "
        "(training accuracy 100.0 % and 98.5 %)"
    )


@pytest.mark.parametrize(
    ("shift", "expected"),
    [
        (1234.0, "The good basin is larger by 1,234 orders of magnitude"),
        (0.4, "The two basins are of about the same size"),
        (-20.0, "Against the expectation, the good basin is not the larger one: it is 20 orders of magnitude"),
    ],
)
def test_compares_the_basins(explanation: Explanation, shift: float, expected: str) -> None:
    cutoff = shown_cutoff(explanation)
    volumes = {v.cutoff: v for v in explanation.bad.volumes}
    higher = replace(volumes[cutoff], log10_volume=volumes[cutoff].log10_volume + shift)
    good = replace(explanation.good, volumes=(higher,))
    sentence = verdict(replace(explanation, good=good))[1]
    assert sentence.startswith(expected)
    assert f"seen along 4 random directions, at a cutoff of {cutoff:g}" in sentence


def test_says_that_basins_cannot_be_compared(explanation: Explanation) -> None:
    assert "below no cutoff do both networks have one" in verdict(without_basins(explanation))[1]


@pytest.mark.parametrize(
    ("volumes", "expected"),
    [
        ([-10.0, -20.0, -30.0, -40.0], "−1.00 at a cutoff of 0.1 (−1.00 at the cutoff where it is weakest): the "
         "larger the basin, the smaller the gap, almost without exception."),
        ([-10.0, -30.0, -20.0, -40.0], "larger basins tend to go with smaller gaps, but with many exceptions."),
        ([-20.0, -10.0, -40.0, -30.0], "larger basins tend to go with smaller gaps, but with many exceptions."),
        ([-40.0, -30.0, -20.0, -10.0], "these networks do not show that larger basins go with smaller gaps."),
    ],
)  # fmt: skip
def test_weighs_the_correlation(explanation: Explanation, volumes: list[float], expected: str) -> None:
    sentence = verdict(with_basins(explanation, [0.1, 0.2, 0.3, 0.4], volumes))[2]
    assert sentence.startswith("Over 4 networks that fit, log volume and gap have a rank correlation of ")
    assert sentence.endswith(expected)


def test_tells_the_weakest_correlation_beside_the_strongest(explanation: Explanation) -> None:
    one = with_basins(explanation, [0.1, 0.2, 0.3, 0.4], [-10.0, -20.0, -30.0, -40.0])
    table = one.table.copy()
    table.loc[table["cutoff"] == 0.4, "log10_volume"] *= -1
    assert (
        "−1.00 at a cutoff of 0.1 (1.00 at the cutoff where it is weakest)" in (verdict(replace(one, table=table))[2])
    )


def test_says_that_networks_are_too_few(digits_explanation: Explanation) -> None:
    assert "cannot be told: too few networks" in verdict(digits_explanation)[2]


def test_the_cutoff_shown_is_the_first_that_both_have(digits_explanation: Explanation) -> None:
    shared = [c for c in digits_explanation.cutoffs if digits_explanation.volume_ratio(c) is not None]
    assert shown_cutoff(digits_explanation) == shared[0]
    assert shown_cutoff(without_basins(digits_explanation)) == 0.1
