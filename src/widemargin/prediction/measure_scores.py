"""Every score of measures of any table: of their values, of their order, and of what chance would do."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from jaxtyping import Bool, Float
from numpy.typing import NDArray

from widemargin.prediction.correlations import kendall, pearson, spearman
from widemargin.prediction.gap_predictor import GapPredictor
from widemargin.prediction.granulated_kendall import GranulatedKendall, granulated_kendalls
from widemargin.prediction.grid import Grid
from widemargin.prediction.intervals import Interval, Resamples, resamples_of
from widemargin.prediction.mutual_information import ConditionalMutualInformation, conditional_mutual_informations
from widemargin.prediction.partial_r2 import PartialR2, partial_r2s
from widemargin.prediction.permutation_test import benjamini_hochberg, holm, permutation_p_values
from widemargin.prediction.regression import regression_scores
from widemargin.prediction.sign_error import SignError, sign_errors

__all__ = ["MeasureScore", "Setting", "measure_scores", "share_tied"]

Doubles = NDArray[np.float64]

NOTABLE = 0.01


@dataclass(frozen=True, slots=True)
class MeasureScore:
    """How far one measure tracks the gap; intervals are over configurations, at 95 %, None where there is none.

    Attributes:
        name: The measure's column.
        num_networks: How many networks the scores of values rest on: R², the squared error, Pearson's r.
        num_ranked: How many the scores of order rest on: those with infinite values, too.
        r2: Of the line fitted through all networks.
        adjusted_r2: … less what one feature explains by chance.
        adjusted_r2_interval: As :func:`widemargin.prediction.r2_interval` draws it.
        mse: Mean squared error of that line [squared gap].
        kfold_r2: Of lines fitted to other networks.
        kfold_r2_error: Its standard error over the choice of folds.
        kfold_r2_interval: As ``adjusted_r2_interval``.
        grouped_kfold_r2: Of lines fitted to networks of other configurations.
        grouped_kfold_r2_error: Its standard error over the choice of folds.
        grouped_kfold_r2_interval: As ``adjusted_r2_interval``.
        partial_r2: What it explains, on left-out configurations, of what the given columns leave open.
        pearson: Correlation r with the gap.
        pearson_interval: Its interval.
        spearman: Rank correlation ρ with the gap.
        spearman_interval: Its interval.
        kendall: Rank correlation τ-b with the gap.
        kendall_interval: Its interval.
        granulated_kendall: τ one hyperparameter at a time: Ψ, and ψ of each.
        conditional_mutual_information: What the measure tells that no two hyperparameters do [percent]; of its
            negative, if the sign of the sign error is −1.
        sign_error: Share of wrong orders where one hyperparameter changes, and for each; in the direction of τ,
            unless another was expected.
        p_value: Of |τ| with gaps permuted over configurations.
        holm_p_value: … corrected so that one false finding among all measures is as improbable as it says.
        false_discovery_rate: … corrected so that it is the share of false findings.
        note: Which networks are missing, and why scores are.
    """

    name: str
    num_networks: int
    num_ranked: int
    r2: float | None = None
    adjusted_r2: float | None = None
    adjusted_r2_interval: Interval | None = None
    mse: float | None = None
    kfold_r2: float | None = None
    kfold_r2_error: float | None = None
    kfold_r2_interval: Interval | None = None
    grouped_kfold_r2: float | None = None
    grouped_kfold_r2_error: float | None = None
    grouped_kfold_r2_interval: Interval | None = None
    partial_r2: PartialR2 = field(default_factory=PartialR2)
    pearson: float | None = None
    pearson_interval: Interval | None = None
    spearman: float | None = None
    spearman_interval: Interval | None = None
    kendall: float | None = None
    kendall_interval: Interval | None = None
    granulated_kendall: GranulatedKendall = field(default_factory=GranulatedKendall)
    conditional_mutual_information: ConditionalMutualInformation = field(default_factory=ConditionalMutualInformation)
    sign_error: SignError = field(default_factory=SignError)
    p_value: float | None = None
    holm_p_value: float | None = None
    false_discovery_rate: float | None = None
    note: str = ""


@dataclass(frozen=True, eq=False)
class Setting:
    """What all measures are scored against.

    Attributes:
        gap: The gaps.
        grid: The networks' hyperparameters.
        num_test: Test examples behind each gap; may be infinite.
        given: Columns that partial R² takes as known; none: no such score.
        num_resamples: How often configurations are drawn for the intervals.
        num_permutations: How often gaps are permuted for the p-values.
        seed: Seed of these draws.
    """

    gap: Float[Doubles, " networks"]
    grid: Grid
    num_test: Float[Doubles, " networks"]
    given: Float[Doubles, "networks columns"]
    num_resamples: int
    num_permutations: int
    seed: int

    def of(self, known: Bool[NDArray[np.bool_], " networks"]) -> "Setting":
        """Return the setting of some of the networks."""
        return replace(
            self,
            gap=self.gap[known],
            grid=self.grid.of(known),
            num_test=self.num_test[known],
            given=self.given[known],
        )

    def resamples(self) -> Resamples:
        """Return draws of the configurations."""
        return resamples_of(self.grid.which, num_resamples=self.num_resamples, seed=self.seed)


def measure_scores(
    names: Sequence[str],
    measures: Float[Doubles, "measures networks"],
    setting: Setting,
    signs: Mapping[str, int],
) -> list[MeasureScore]:
    """Return every score of every measure.

    Args:
        names: Of the measures.
        measures: One value a network; NaN where it is missing, at least three finite and not all of them equal.
        setting: What they are scored against.
        signs: By name, whether a measure should rise (1) or fall (−1) with the gap; default: as τ has it.

    Raises:
        InvalidInputError: A number or sign out of range.
    """
    p_values = permutation_p_values(
        measures, setting.gap, setting.grid.which, num_permutations=setting.num_permutations, seed=setting.seed
    )
    tests = np.stack([p_values, holm(p_values), benjamini_hochberg(p_values)], axis=1).tolist()
    scores: dict[int, dict[str, Any]] = {index: {} for index in range(len(names))}
    for known, alike in _alike(~np.isnan(measures)):
        expected = [signs.get(names[index]) for index in alike]
        for index, found in zip(
            alike, _order_scores(measures[alike][:, known], setting.of(known), expected), strict=True
        ):
            scores[index] |= found
    for finite, alike in _alike(np.isfinite(measures)):
        some = setting.of(finite)
        partial = partial_r2s(measures[alike][:, finite], some.given, some.gap, some.resamples())
        for index, explained in zip(alike, partial, strict=True):
            scores[index]["partial_r2"] = explained
    return [
        MeasureScore(
            name=name,
            **scores[index],
            **_value_scores(values, setting),
            **dict(zip(("p_value", "holm_p_value", "false_discovery_rate"), tests[index], strict=True)),
        )
        for index, (name, values) in enumerate(zip(names, measures, strict=True))
    ]


def _alike(
    known: Bool[NDArray[np.bool_], "measures networks"],
) -> Iterator[tuple[Bool[NDArray[np.bool_], " networks"], list[int]]]:
    """Return which networks are known, for each set of measures that are known for the same ones."""
    patterns, which = np.unique(known, axis=0, return_inverse=True)
    for number, pattern in enumerate(patterns):
        yield pattern, np.flatnonzero(which.reshape(-1) == number).tolist()


def _order_scores(
    measures: Float[Doubles, "measures networks"], setting: Setting, signs: Sequence[int | None]
) -> list[dict[str, Any]]:
    """Return the scores that only order decides, of measures that have a value for every network."""
    gap, grid, resamples = setting.gap, setting.grid, setting.resamples()
    rho, tau = ([correlation(values, gap, resamples) for values in measures] for correlation in (spearman, kendall))
    directions = [sign or (-1 if (found.value or 0) < 0 else 1) for sign, found in zip(signs, tau, strict=True)]
    granulated = granulated_kendalls(measures, gap, grid, resamples)
    told = conditional_mutual_informations(measures * np.array(directions)[:, None], gap, grid, resamples)
    errors = sign_errors(measures, directions, gap, setting.num_test, grid, resamples)
    return [
        {
            "num_ranked": len(gap),
            "spearman": rho[index].value,
            "spearman_interval": rho[index].interval,
            "kendall": tau[index].value,
            "kendall_interval": tau[index].interval,
            "granulated_kendall": granulated[index],
            "conditional_mutual_information": told[index],
            "sign_error": errors[index],
        }
        for index in range(len(measures))
    ]


def _value_scores(values: Float[Doubles, " networks"], setting: Setting) -> dict[str, Any]:
    """Return the scores that rest on the values themselves, over the networks for which they are finite."""
    finite = np.isfinite(values)
    known = setting.of(finite)
    resamples = known.resamples()
    scaled = values[finite] / np.abs(values[finite]).max()  # squares of large numbers overflow
    predictor = GapPredictor("identity")
    scores = regression_scores(predictor, scaled[:, None], known.gap, known.grid.which, resamples)
    found = pearson(scaled, known.gap, resamples)
    return scores | {
        "num_networks": int(finite.sum()),
        "pearson": found.value,
        "pearson_interval": found.interval,
        "note": "; ".join([*_notes(values), *filter(None, [scores["note"]])]),
    }


def _notes(values: Float[Doubles, " networks"]) -> list[str]:
    """Return how many values are infinite, missing or equal."""
    counted = {"infinite": np.isinf(values), "missing": np.isnan(values)}
    notes = [f"{what} for {which.sum()} of {len(values)} networks" for what, which in counted.items() if which.any()]
    tied = share_tied(values[~np.isnan(values)])
    return [*notes, f"equal for {tied:.0%} of all pairs of networks"] if tied >= NOTABLE else notes


def share_tied(values: Float[Doubles, " networks"]) -> float:
    """Return the share of pairs of networks with equal values."""
    counts = np.unique(values, return_counts=True)[1]
    return float((counts * (counts - 1)).sum() / (len(values) * (len(values) - 1)))
