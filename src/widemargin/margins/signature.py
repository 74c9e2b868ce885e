"""The few numbers that stand for a margin distribution."""

from collections.abc import Callable, Mapping
from typing import Literal, TypeAlias

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from widemargin.errors import InvalidInputError, TooFewExamplesError

__all__ = ["Fences", "Keep", "Statistics", "summarized"]

Statistics: TypeAlias = Literal["quartiles", "moments"]
Fences: TypeAlias = Literal["whiskers", "raw"]
Keep: TypeAlias = Literal["correct", "all"]
Values: TypeAlias = Float[NDArray[np.floating], " examples"]

MIN_EXAMPLES = 4
"""One example to each quarter."""


def quartiles(values: Values, fences: Fences = "whiskers") -> dict[str, float]:
    """Return lower fence, quartiles and upper fence.

    ``"whiskers"``: the fences are the outermost values within 1.5 interquartile ranges of the quartiles.
    ``"raw"``: they are those limits themselves; the lower one may be negative.

    Source: Jiang et al. 2019 (arXiv 1810.00113), section 3.3; the whisker rule is one of two in use.
    """
    q1, median, q3 = np.quantile(values, [0.25, 0.5, 0.75])
    lowest, highest = q1 - 1.5 * (q3 - q1), q3 + 1.5 * (q3 - q1)
    if fences == "whiskers":
        lowest, highest = values[values >= lowest].min(), values[values <= highest].max()
    return {
        "lower_fence": float(lowest),
        "q1": float(q1),
        "median": float(median),
        "q3": float(q3),
        "upper_fence": float(highest),
    }


def moments(values: Values) -> dict[str, float]:
    """Return the mean and the second to fifth central moments, the k-th to the power 1/k with its sign.

    Source: Jiang et al. 2019, section 3.3; odd central moments may be negative.
    """
    deviations = values - values.mean()
    central = {f"moment_{k}": float(np.mean(deviations**k)) for k in range(2, 6)}
    roots = {
        name: float(np.sign(moment) * abs(moment) ** (1 / k))
        for k, (name, moment) in enumerate(central.items(), start=2)
    }
    return {"mean": float(values.mean()), **roots}


STATISTICS: Mapping[str, Callable[[Values, Fences], dict[str, float]]] = {
    "quartiles": quartiles,
    "moments": lambda values, _: moments(values),
}


def summarized(
    values: Values,
    *,
    statistics: Statistics = "quartiles",
    fences: Fences = "whiskers",
    keep: Keep = "correct",
    of: str = "margins",
) -> dict[str, float]:
    """Return the statistics of one distribution by name.

    Args:
        values: Signed margins, one per example; infinite ones (a vanishing gradient) are left out.
        statistics: ``"quartiles"`` or ``"moments"``.
        fences: Rule for the fences of ``"quartiles"``.
        keep: ``"correct"`` keeps positive margins, as the paper does; ``"all"`` keeps every one.
        of: What the values are, for messages.

    Raises:
        InvalidInputError: An option is none of those named here.
        TooFewExamplesError: Fewer than four values are left.
    """
    options = {"statistics": statistics, "fences": fences, "keep": keep}
    allowed = {
        "statistics": ("quartiles", "moments"),
        "fences": ("whiskers", "raw"),
        "keep": ("correct", "all"),
    }
    for name, value in options.items():
        if value not in allowed[name]:
            raise InvalidInputError(f"{name} must be {' or '.join(map(repr, allowed[name]))}, got {value!r}.")
    kept = values[np.isfinite(values) & ((values > 0) | (keep == "all"))]
    if len(kept) < MIN_EXAMPLES:
        kind = "correctly classified examples" if keep == "correct" else "examples"
        others = 'MarginDistribution.signature(keep="all") uses the misclassified ones too.'
        advice = others if keep == "correct" else "Measure on more data."
        raise TooFewExamplesError(
            f"{statistics} of {of} need at least {MIN_EXAMPLES} {kind} with a finite margin, got {len(kept)} of "
            f"{len(values)}. {advice}"
        )
    return STATISTICS[statistics](kept, fences)
