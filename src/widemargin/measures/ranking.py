"""Networks ranked by a predictor on measures, which are taken here."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from widemargin.errors import InvalidInputError, WidemarginError
from widemargin.measures.catalog import MEASURES
from widemargin.measures.measuring import measure_all, total_cost
from widemargin.prediction import GapPredictor, Ranking, measures_of, rank_measured
from widemargin.trained_model import TrainedModel

__all__ = ["CHEAP_MEASURES", "rank_by_measures"]

MOST_PASSES = 2.0

CHEAP_MEASURES: tuple[str, ...] = tuple(
    name
    for name, measure in MEASURES.items()
    if not measure.needs and max(total_cost(measure).train, total_cost(measure).sample) <= MOST_PASSES
)
"""Measures of at most two passes, by themselves, that need neither initial parameters nor history: about two training
epochs for all of them. docs/which-measure.md shows that together they predict as well as the whole catalogue."""


def rank_by_measures(
    models: Mapping[str, nn.Module | TrainedModel] | Sequence[nn.Module | TrainedModel],
    train_data: Any = None,
    *,
    predictor: GapPredictor,
    **options: Any,
) -> Ranking:
    """Return networks ordered by their expected test accuracy, without any example they were not trained on.

    Like :func:`widemargin.rank`, with a predictor on measures.

    Args:
        models: Networks by name, or in a sequence, then called ``network 1`` and so on; a :class:`TrainedModel`
            brings its own data.
        train_data: What the others were trained on, in any form that :class:`TrainedModel` takes.
        predictor: Fitted by :func:`widemargin.prediction.measures_predictor`, or loaded.
        **options: As for :class:`widemargin.measures.Quantities`: ``num_sampled`` and ``seed``, the same as those of
            the zoo that the predictor was fitted on.

    Raises:
        InvalidInputError: No network, none that can be ranked, or a predictor of other features.
        TooFewExamplesError: The predictor has no residuals to judge by.
    """
    names = measures_of(predictor)
    if names is None:
        raise InvalidInputError("the predictor must be fitted on measures, and takes signatures. Rank with rank.")
    if unknown := [name for name in names if name not in MEASURES]:
        raise InvalidInputError(
            f"the predictor must take measures of the catalogue, and takes {', '.join(unknown)}. Rank with "
            "rank_measured and values of your own."
        )
    named = models if isinstance(models, Mapping) else {f"network {i}": model for i, model in enumerate(models, 1)}
    values, left_out = {}, {}
    for name, model in named.items():
        trained = model if isinstance(model, TrainedModel) else TrainedModel(model, train_data)
        try:
            found = measure_all(trained, names, **options)["value"]
            values[name] = dict(zip(names, found.tolist(), strict=True))
        except WidemarginError as reason:
            left_out[name] = str(reason)
    return rank_measured(values, predictor, left_out=left_out)
