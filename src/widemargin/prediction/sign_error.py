"""How often a measure misjudges which of two networks that differ in one hyperparameter has the larger gap."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd
from jaxtyping import Float, Int, Shaped
from numpy.typing import NDArray

from widemargin.errors import InvalidInputError
from widemargin.prediction.columns import compared, test_sizes
from widemargin.prediction.grid import Grid, signs_of_differences
from widemargin.prediction.intervals import Interval, Resamples, ratio, resamples_of

__all__ = ["SignError", "robust_sign_error", "sign_errors"]

Doubles = NDArray[np.float64]

HIGH = 0.9


@dataclass(frozen=True, slots=True)
class SignError:
    """Share of pairs that a measure puts in the wrong order, over environments; None where there are none.

    Attributes:
        sign: The order expected: 1 if the measure should rise with the gap, −1 if it should fall.
        mean: Over environments, from 0 (always right) through 0.5 (chance) to 1.
        mean_interval: At 95 %, over configurations; None for fewer than ten of them.
        percentile_90: Nine of ten environments do better.
        percentile_90_interval: As ``mean_interval``.
        worst: In the environment where the measure does worst.
        worst_environment: That one in words: what changes, and what stays; of several the one known best.
        num_environments: Over how many environments.
        per_hyperparameter: The same over the environments in which this hyperparameter changes.
    """

    sign: int = 1
    mean: float | None = None
    mean_interval: Interval | None = None
    percentile_90: float | None = None
    percentile_90_interval: Interval | None = None
    worst: float | None = None
    worst_environment: str = ""
    num_environments: int = 0
    per_hyperparameter: "Mapping[str, SignError]" = field(default_factory=dict)


def robust_sign_error(
    table: pd.DataFrame,
    measure: str,
    *,
    sign: int = 1,
    gap: str = "gap",
    hyperparameters: Sequence[str] | None = None,
    num_test: int | None = None,
    num_resamples: int = 1000,
    seed: int = 0,
) -> SignError:
    """Return how often a measure misjudges the order of two gaps where one hyperparameter changes.

    An environment is a pair of configurations that differ in exactly one hyperparameter. Its error is the mean of
    (1 − sgn(Δmeasure)·sgn(Δgap))/2 over its pairs of networks, one of either configuration: an equal measure
    counts ½. Each pair weighs ``max(0, 1 − 2·exp(−2n(|Δgap|/2)²))²``, which is 0 where n test examples cannot
    tell the two gaps apart; environments of such pairs alone are left out. A low mean with a high worst
    environment is a measure that works until somebody changes the wrong hyperparameter.

    The published code takes 0.5 off each weight, too, and leaves out environments of fewer than twelve effective
    pairs, which would be all of them for three repeats or fewer.

    Args:
        table: One row a network; those without a finite gap or with a missing measure are left out.
        measure: Its column; infinities are its greatest and least values.
        sign: 1 for a measure that should rise with the gap, −1 for one that should fall.
        gap: Column of the generalization gap, in units of accuracy.
        hyperparameters: Columns or glob patterns; default: ``hp.*``. Seeds tell no networks apart.
        num_test: How many test examples each gap rests on; default: the column ``num_test``, and without it
            infinitely many, so that every pair of different gaps weighs 1.
        num_resamples: How often configurations are drawn for the intervals.
        seed: Seed of these draws.

    Raises:
        InvalidInputError: A column that is not there or holds no numbers, fewer than three networks, a sign that is
            neither 1 nor −1, or less than one test example.

    Source: Dziugaite et al. 2020, In Search of Robust Measures of Generalization (arXiv 2010.11924).

    Example:
        >>> import pandas as pd
        >>> table = pd.DataFrame({"hp.lr": [1, 1, 2, 2], "hp.depth": [1, 2, 1, 2], "gap": [0.1, 0.2, 0.3, 0.4]})
        >>> found = robust_sign_error(table.assign(norm=[1.0, 2.0, 0.5, 3.0]), "norm", num_test=10_000)
        >>> round(found.mean, 6), found.worst_environment
        (0.25, 'hp.lr 1 → 2 at hp.depth 1')
    """
    networks = compared(table, measure, gap, hyperparameters)
    resamples = resamples_of(networks.grid.which, num_resamples=num_resamples, seed=seed)
    sizes = test_sizes(networks.table, num_test)
    return sign_errors(networks.measure[None], [sign], networks.gap, sizes, networks.grid, resamples)[0]


def sign_errors(
    measures: Float[Doubles, "measures networks"],
    signs: Sequence[int],
    gap: Float[Doubles, " networks"],
    num_test: Float[Doubles, " networks"],
    grid: Grid,
    resamples: Resamples,
) -> list[SignError]:
    """Return the sign error of each measure.

    Args:
        measures: One value a network, none missing.
        signs: Of each measure, as it is expected.
        gap: The gaps.
        num_test: Test examples behind each gap; may be infinite.
        grid: The networks' hyperparameters.
        resamples: Draws of the grid's configurations.

    Raises:
        InvalidInputError: A sign that is neither 1 nor −1.
    """
    for sign in signs:
        if sign not in (-1, 1):
            raise InvalidInputError(
                f"the sign of a measure must be 1, if it should rise with the gap, or -1, if it should fall, got "
                f"{sign!r}."
            )
    weights = _hoeffding_weights(gap, num_test)
    everywhere = _environments(grid.between(weights), grid, resamples)
    parts = {name: everywhere.of(name) for name in dict.fromkeys(everywhere.changed)}
    gap_signs = signs_of_differences(gap)
    found = []
    for measure, sign in zip(measures, signs, strict=True):
        wrong = grid.between(weights * (1 - sign * signs_of_differences(measure) * gap_signs) / 2)
        each = {name: _summary(sign, wrong, part, grid, resamples) for name, part in parts.items()}
        found.append(replace(_summary(sign, wrong, everywhere, grid, resamples), per_hyperparameter=each))
    return found


@dataclass(frozen=True, eq=False)
class _Environments:
    """Pairs of configurations that differ in one hyperparameter, and in gaps that can be told apart.

    Attributes:
        changed: That hyperparameter.
        first: Configurations with the lesser of its values.
        second: Those with the greater.
        weight: Of all pairs of their networks.
        drawn: How often the pair is in each resample.
    """

    changed: Shaped[NDArray[np.object_], " environments"]
    first: Int[NDArray[np.int64], " environments"]
    second: Int[NDArray[np.int64], " environments"]
    weight: Float[Doubles, " environments"]
    drawn: Float[Doubles, "resamples environments"]

    def of(self, hyperparameter: str) -> "_Environments":
        here = self.changed == hyperparameter
        return _Environments(
            self.changed[here], self.first[here], self.second[here], self.weight[here], self.drawn[:, here]
        )


def _environments(
    weights: Float[Doubles, "configurations configurations"], grid: Grid, resamples: Resamples
) -> _Environments:
    pairs = [
        (neighbors.hyperparameter, first, second)
        for neighbors in grid.neighbors()
        for first, second in zip(neighbors.first, neighbors.second, strict=True)
        if weights[first, second] > 0
    ]
    changed = np.array([name for name, _, _ in pairs], dtype=np.object_)
    first, second = (np.array([pair[side] for pair in pairs], dtype=np.int64) for side in (1, 2))
    counts = resamples.all_and_drawn
    return _Environments(changed, first, second, weights[first, second], counts[:, first] * counts[:, second])


def _summary(
    sign: int,
    wrong: Float[Doubles, "configurations configurations"],
    environments: _Environments,
    grid: Grid,
    resamples: Resamples,
) -> SignError:
    if not len(environments.first):
        return SignError(sign)
    errors = wrong[environments.first, environments.second] / environments.weight
    mean, mean_interval = resamples.value_and_interval(
        ratio(environments.drawn @ errors, environments.drawn.sum(axis=1))
    )
    high, high_interval = resamples.value_and_interval(_percentile(errors, environments.drawn))
    worst = np.lexsort((environments.weight, errors))[-1]
    return SignError(
        sign=sign,
        mean=mean,
        mean_interval=mean_interval,
        percentile_90=high,
        percentile_90_interval=high_interval,
        worst=float(errors[worst]),
        worst_environment=grid.difference(
            environments.changed[worst], int(environments.first[worst]), int(environments.second[worst])
        ),
        num_environments=len(errors),
    )


def _hoeffding_weights(
    gap: Float[Doubles, " networks"], num_test: Float[Doubles, " networks"]
) -> Float[Doubles, "networks networks"]:
    """Return how surely the gaps of each pair differ; the fewer test examples of the two decide."""
    half = np.abs(np.subtract.outer(gap, gap)) / 2
    exponent = np.multiply(
        2 * np.minimum.outer(num_test, num_test), half**2, out=np.zeros_like(half), where=half > 0
    )  # infinitely many examples do not tell equal gaps apart
    return np.asarray(np.maximum(0, 1 - 2 * np.exp(-exponent)) ** 2)


def _percentile(
    errors: Float[Doubles, " environments"], drawn: Float[Doubles, "resamples environments"]
) -> Float[Doubles, " resamples"]:
    """Return the 90th percentile of the errors, each copied as often as drawn, interpolated as numpy does."""
    order = np.argsort(errors)
    ordered, cumulative = errors[order], np.cumsum(drawn[:, order], axis=1)
    position = HIGH * (cumulative[:, -1] - 1)
    low = np.floor(position)
    below, above = (
        ordered[np.minimum((cumulative <= rank[:, None]).sum(axis=1), len(ordered) - 1)] for rank in (low, low + 1)
    )
    return np.asarray(np.where(position < 0, np.nan, below + (position - low) * (above - below)))
