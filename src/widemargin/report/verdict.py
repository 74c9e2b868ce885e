"""What an explanation's numbers say, in sentences: also where they do not support the story."""

import numpy as np

from widemargin.report.explanation import FITS, Explanation

__all__ = ["shown_cutoff", "verdict"]

STRONG, WEAK = -0.9, -0.5
"""Rank correlations of volume with gap: up to the first the story holds, beyond the second it does not."""

WORSE = 0.1
"""A bad minimum worth the name is behind the good one by this much test accuracy."""


def shown_cutoff(explanation: Explanation) -> float:
    """Return the first cutoff below which both networks have a basin; else the first of all."""
    shared = [cutoff for cutoff in explanation.cutoffs if explanation.volume_ratio(cutoff) is not None]
    return (shared or list(explanation.cutoffs))[0]


def verdict(explanation: Explanation) -> tuple[str, ...]:
    """Return what came out: of the two networks, of their basins, and of all networks together."""
    return (_of_accuracies(explanation), _of_basins(explanation), _of_all(explanation))


def _of_accuracies(explanation: Explanation) -> str:
    good, bad = explanation.good, explanation.bad
    tested = f"on fresh examples the good one is right in {_percent(good.test_accuracy)}"
    tested += f" of the cases, the bad one in {_percent(bad.test_accuracy)}."
    if min(good.train_accuracy, bad.train_accuracy) >= FITS:
        sentence = f"Both networks classify every training example correctly; {tested}"
    else:
        sentence = (
            "Fewer than two networks classify every training example correctly, so the best of the others stand in "
            f"(training accuracy {_percent(good.train_accuracy)} and {_percent(bad.train_accuracy)}); {tested}"
        )
    if good.test_accuracy - bad.test_accuracy < WORSE:
        sentence += (
            " That is hardly worse: there is no truly bad minimum here, and what follows compares two networks that "
            "are much alike. More poison or longer training may find one."
        )
    return sentence


def _of_basins(explanation: Explanation) -> str:
    cutoff = shown_cutoff(explanation)
    ratio = explanation.volume_ratio(cutoff)
    if ratio is None:
        return "The two basins cannot be compared: below no cutoff do both networks have one."
    seen = f"seen along {explanation.num_directions} random directions, at a cutoff of {cutoff:g}"
    if round(abs(ratio)) == 0:
        return f"The two basins are of about the same size, {seen}."
    if ratio < 0:
        return (
            f"Against the expectation, the good basin is not the larger one: it is {-ratio:,.0f} orders of magnitude "
            f"smaller, {seen}."
        )
    return f"The good basin is larger by {ratio:,.0f} orders of magnitude, {seen}."


def _of_all(explanation: Explanation) -> str:
    found = {cutoff: explanation.volume_correlation(cutoff) for cutoff in explanation.cutoffs}
    known = {cutoff: value for cutoff, value in found.items() if np.isfinite(value)}
    if not known:
        return (
            "Whether larger basins go with smaller gaps cannot be told: too few networks fit their training set and "
            "have a basin, or they do not differ."
        )
    cutoff = min(known, key=lambda key: known[key])
    strongest, weakest = known[cutoff], max(known.values())
    sentence = (
        f"Over {len(explanation.basins(cutoff))} networks that fit, log volume and gap have a rank correlation "
    )
    sentence += f"of {_signed(strongest)} at a cutoff of {cutoff:g}"
    if len(known) > 1:
        sentence += f" ({_signed(weakest)} at the cutoff where it is weakest)"
    if strongest <= STRONG:
        return f"{sentence}: the larger the basin, the smaller the gap, almost without exception."
    if strongest <= WEAK:
        return f"{sentence}: larger basins tend to go with smaller gaps, but with many exceptions."
    return f"{sentence}: these networks do not show that larger basins go with smaller gaps."


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _signed(value: float) -> str:
    return f"{value:.2f}".replace("-", "−")
