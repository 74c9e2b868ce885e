"""All measures of one network, with what they share computed once, within a budget."""

import time
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from itertools import islice
from typing import Any

import pandas as pd
import torch

from widemargin.errors import (
    EmptyDataError,
    InvalidInputError,
    InvalidLabelsError,
    InvalidLogitsError,
    WidemarginError,
)
from widemargin.measures.catalog import MEASURES
from widemargin.measures.measure import Measure
from widemargin.measures.quantities import Cost, Quantities, Quantity
from widemargin.trained_model import TrainedModel

__all__ = ["cost_in_passes", "cost_in_words", "measure_all", "records", "total_cost"]

NUM_TIMED = 4
"""Batches that tell how long a pass takes."""

DATA = "the training data"

COLUMNS = ("value", "standard_error", "status", "reason", "caveats", "per_layer", "family", "unit", "sign", "seconds")


def measure_all(
    trained: TrainedModel,
    measures: Iterable[str | Measure] | None = None,
    *,
    budget: float | None = None,
    **options: Any,
) -> pd.DataFrame:
    """Return every measure of one network, a row each.

    Columns: ``value``; ``standard_error``, NaN where it was computed exactly; ``status``: measured, not applicable,
    or over budget; ``reason`` for the latter two; ``caveats``; ``per_layer``, by layer where there are such parts;
    ``family``, ``unit``, expected ``sign``; ``seconds`` that it took by itself. ``frame.attrs["shared_seconds"]``
    holds what the quantities took that measures share.

    Args:
        trained: The network with its training data.
        measures: Names in the catalogue, or records of your own; default: all of the catalogue.
        budget: Seconds to stay within; cheap measures come first, and those that do not fit are left out.
        **options: As for :class:`Quantities`: ``history``, ``num_sampled``, ``seed``.

    Raises:
        InvalidInputError: No such measure, one named twice, or a budget that is no number above 0; labels or outputs
            that nothing can be measured with.

    Example:
        >>> trained = TrainedModel(torch.nn.Linear(2, 3), (torch.randn(8, 2), torch.arange(8) % 3))
        >>> float(measure_all(trained, ["num_parameters"]).loc["num_parameters", "value"])
        9.0
    """
    if budget is not None and not budget > 0:
        raise InvalidInputError(f"budget must be a number of seconds above 0, got {budget}.")
    wanted = records(measures)
    begun = time.perf_counter()
    quantities = Quantities(trained, **options)
    rows: dict[str, dict[str, Any]] = {}
    seconds_per_pass = _seconds_per_pass(quantities) if budget is not None else 0.0
    left = list(wanted)
    while left:
        measure = left[0] if budget is None else min(left, key=lambda each: cost_in_passes(each, quantities))
        left.remove(measure)
        rest = float("inf") if budget is None else budget - (time.perf_counter() - begun)
        needed = cost_in_passes(measure, quantities) * seconds_per_pass
        rows[measure.name] = _measured(measure, quantities) if needed <= rest else _over_budget(needed, rest)
    frame = pd.DataFrame.from_dict(
        {each.name: _facts(each) | rows[each.name] for each in wanted}, orient="index", columns=COLUMNS
    ).astype({"value": float, "standard_error": float, "seconds": float})
    frame.index.name = "measure"
    frame.attrs["shared_seconds"] = dict(quantities.seconds)
    return frame


def cost_in_passes(measure: Measure, quantities: Quantities) -> float:
    """Return what a measure still costs, with quantities not known yet [passes over the training data]."""
    costs = [measure.cost, *(_quantity(name).cost for name in _all_uses(measure) if not quantities.is_known(name))]
    return sum(cost.passes(quantities.sampled_share) for cost in costs)


def total_cost(measure: Measure) -> Cost:
    """Return what a measure costs by itself, with all quantities that it is computed from."""
    costs = [measure.cost, *(_quantity(name).cost for name in _all_uses(measure))]
    return Cost(sum(cost.train for cost in costs), sum(cost.sample for cost in costs))


def cost_in_words(measure: Measure) -> str:
    """Return what a measure costs by itself.

    Example:
        >>> cost_in_words(MEASURES["num_parameters"])
        'no pass over the data'
    """
    cost = total_cost(measure)
    parts = [
        f"{value:.2g} {'pass' if value == 1 else 'passes'} over {what}"
        for value, what in ((cost.train, DATA), (cost.sample, f"a sample of {'it' if cost.train else DATA}"))
        if value
    ]
    return " and ".join(parts) or "no pass over the data"


def _all_uses(measure: Measure) -> set[str]:
    """Return the quantities that a measure uses, and those that they use."""
    found: set[str] = set()
    names = list(measure.uses)
    while names:
        if (name := names.pop()) not in found:
            found.add(name)
            names += _quantity(name).uses
    return found


def _quantity(name: str) -> Quantity[Any]:
    found = getattr(Quantities, name, None)
    if not isinstance(found, Quantity):
        raise InvalidInputError(f"a measure's uses must be quantities, got {name!r}.")
    return found


def records(measures: Iterable[str | Measure] | None) -> list[Measure]:
    """Return what the catalogue says of measures that are named; None names all.

    Raises:
        InvalidInputError: No such measure, or one named twice.
    """
    found = [_record(each) for each in (MEASURES.values() if measures is None else measures)]
    names = [each.name for each in found]
    if doubled := sorted({name for name in names if names.count(name) > 1}):
        raise InvalidInputError(f"each measure must be asked for once, got {', '.join(doubled)} twice.")
    return found


def _record(measure: str | Measure) -> Measure:
    if isinstance(measure, Measure):
        return measure
    if measure not in MEASURES:
        close = get_close_matches(measure, MEASURES, cutoff=0.4) or list(MEASURES)[:5]
        raise InvalidInputError(f"{measure!r} must be a measure of the catalogue. Like it: {', '.join(close)}.")
    return MEASURES[measure]


def _seconds_per_pass(quantities: Quantities) -> float:
    """Return about how long a pass over the training data takes, from the first batches."""
    trained = quantities.trained
    timings: list[tuple[float, int]] = []
    with trained.borrowed() as network:
        parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
        for batch, labels in islice(trained.batches("train"), NUM_TIMED):
            begun = time.perf_counter()
            loss = trained.losses(trained.logits(batch), labels).mean()
            if loss.requires_grad:
                torch.autograd.grad(loss, parameters, allow_unused=True)
            timings.append((time.perf_counter() - begun, len(labels)))
    counted = timings[1:] or timings  # the first one warms up
    return quantities.num_examples * sum(took for took, _ in counted) / sum(num for _, num in counted)


def _facts(measure: Measure) -> dict[str, Any]:
    return {"family": measure.family, "unit": measure.unit, "sign": measure.sign}


def _measured(measure: Measure, quantities: Quantities) -> dict[str, Any]:
    before = sum(quantities.seconds.values())
    begun = time.perf_counter()
    try:
        found = measure.function(quantities)
    except (EmptyDataError, InvalidLabelsError, InvalidLogitsError):
        raise  # no measure will do
    except WidemarginError as error:
        return _row("not applicable", reason=str(error))
    except Exception as error:  # whatever the user's network raises when it is differentiated
        return _row("not applicable", reason=_in_words(error))
    shared = sum(quantities.seconds.values()) - before
    return _row(
        "measured",
        value=found.value,
        standard_error=found.standard_error,
        caveats=found.caveats,
        per_layer=dict(found.per_layer),
        seconds=time.perf_counter() - begun - shared,
    )


def _in_words(error: Exception) -> str:
    said = str(error).strip().partition("\n")[0].rstrip(".")
    return (
        f"the network must compute as this measure asks it to, and fails with {type(error).__name__}: {said}. Look "
        "for operations that edit their input, or that cannot be differentiated; other measures are not concerned."
    )


def _over_budget(needed: float, rest: float) -> dict[str, Any]:
    return _row("over budget", reason=f"takes about {needed:.2g} s, and {max(rest, 0):.2g} s are left of the budget.")


def _row(status: str, reason: str = "", caveats: Sequence[str] = (), **values: Any) -> dict[str, Any]:
    return {"status": status, "reason": reason, "caveats": tuple(caveats), "per_layer": {}, **values}
