"""Which of two networks generalizes better, told from training accuracy and margins alone, and how surely."""

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from widemargin.margins import MarginDistribution

__all__ = ["SCORE_CAVEAT", "margin_score", "probability_of_order", "train_accuracy"]

Doubles = NDArray[np.float64]

ACCURACY_PER_LOG_MARGIN = 0.2
"""What a margin e times as wide is worth [test accuracy]."""

MOST_BEYOND_EVEN = 0.13
"""How far the share of pairs in the right order exceeds one half on zoos that had no part in choosing the score."""

SCORE_SCALE = 0.025
"""Difference of scores [accuracy] at which that share has gone 46 % of the way."""

SCORE_CAVEAT = (
    "Without a predictor the order is a rough guess: on zoos that had no part in choosing the score, 50 to 66 of 100 "
    "pairs were in the right order, and no probability says more. For better ones fit a predictor on networks of "
    "this kind: widemargin predictor ZOO --out FILE."
)


def train_accuracy(distribution: MarginDistribution) -> float:
    """Return the share of training examples that are classified correctly; a tie is a mistake."""
    return 1 - distribution.num_misclassified / distribution.num_examples


def margin_score(distribution: MarginDistribution) -> float:
    """Return training accuracy + 0.2·log Q3 of the normalized margins at the first layer [accuracy].

    The first layer is the input, unless that has no gradient (tokens) or others were named; normalized input margins
    of networks on the same data can be compared whatever their architecture. Only differences mean anything.

    Raises:
        InvalidInputError: A layer is constant.
        TooFewExamplesError: Fewer than four correctly classified examples.

    Source: chosen by ``benchmarks/margins_alone_order_networks.py`` among some fifty of the kind on three small zoos,
    where it orders 61, 78 and 66 of 100 pairs right, and training accuracy alone 68, 38 and 44.
    """
    upper_quartile = distribution.signature()[f"{distribution.layers[0]}/q3"]
    return train_accuracy(distribution) + ACCURACY_PER_LOG_MARGIN * float(np.log(upper_quartile))


def probability_of_order(differences: Float[Doubles, "..."]) -> Float[Doubles, "..."]:
    """Return the probability that the first of two networks has the greater test accuracy: ½ + 0.13·tanh(d / 0.05).

    Args:
        differences: Its score less the other's.

    Source: ``benchmarks/margins_alone_order_networks.py``: the most likely such curve over three zoos, on each for
    the score that was chosen on the others.

    Example:
        >>> probability_of_order(np.array([0.0, 0.02, 0.5])).round(2).tolist()
        [0.5, 0.55, 0.63]
    """
    return np.asarray(0.5 + MOST_BEYOND_EVEN * np.tanh(differences / (2 * SCORE_SCALE)))
