"""What a predictor of signatures knows, and what about a network it has never seen."""

import numpy as np
import pandas as pd

from widemargin.errors import InvalidInputError
from widemargin.prediction.gap_predictor import GapPredictor

__all__ = ["NUM_NAMED", "layers_of", "what_is_unseen"]

STATISTICS = ("lower_fence", "q1", "median", "q3", "upper_fence")

NUM_NAMED = 3
"""How many features a warning names before it counts the others."""


def layers_of(predictor: GapPredictor) -> tuple[str, ...]:
    """Return the layers whose five statistics a predictor takes.

    Raises:
        InvalidInputError: It takes other features.
    """
    names = list(getattr(predictor, "feature_names_in_", []))
    layers = tuple(dict.fromkeys(name.rpartition("/")[0] for name in names))
    if not names or names != [f"{layer}/{statistic}" for layer in layers for statistic in STATISTICS]:
        told = ", ".join(map(str, names[:NUM_NAMED])) + (" …" if len(names) > NUM_NAMED else "")
        raise InvalidInputError(
            f"a predictor that ranks must be fitted on signatures ({', '.join(STATISTICS)} of each layer, in this "
            f"order), got {told or 'features without names'}. Fit it with signature_predictor; one on measures "
            "ranks by rank_by_measures."
        )
    return layers


def what_is_unseen(predictor: GapPredictor, features: pd.DataFrame) -> list[tuple[str, ...]]:
    """Return for each network, in sentences, what about it is unlike those that the predictor was fitted on.

    Args:
        predictor: Fitted on signatures.
        features: Signatures, a row a network.
    """
    seen, transformed = predictor.seen_, predictor.transformed(features)
    as_logarithms = predictor.feature_transform == "log"
    low, high = (np.exp(end) if as_logarithms else end for end in (seen.minimum, seen.maximum))
    names, leverages = list(features.columns), seen.leverages(transformed)
    warnings = []
    for leverage, strange, values in zip(leverages, seen.strangers(transformed), features.to_numpy(), strict=True):
        told = [
            f"{names[i]} is {values[i]:.3g}, seen from {low[i]:.3g} to {high[i]:.3g}" for i in np.flatnonzero(strange)
        ]
        of_network = []
        if told:
            rest = f"; so are {len(told) - NUM_NAMED} more" if len(told) > NUM_NAMED else ""
            of_network.append(f"outside what the predictor has seen: {'; '.join(told[:NUM_NAMED])}{rest}.")
        if leverage > seen.greatest_leverage:
            of_network.append(
                f"its numbers together are unlike those of any network that the predictor has seen: leverage "
                f"{leverage:.3g}, at most {seen.greatest_leverage:.3g} among those."
            )
        warnings.append(tuple(of_network))
    return warnings
