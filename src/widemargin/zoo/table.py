"""A zoo as one tidy table: a row a network."""

from typing import Any

import pandas as pd

from widemargin.errors import InvalidInputError, RunError, TooFewExamplesError
from widemargin.margins import MarginDistribution
from widemargin.margins.signature import summarized
from widemargin.measures import spectrally_normalized_margins
from widemargin.zoo.store import Run, Zoo

__all__ = ["zoo_table"]

RESULT_COLUMNS = (
    "train_accuracy",
    "test_accuracy",
    "gap",
    "train_loss",
    "test_loss",
    "num_train",
    "num_test",
    "num_parameters",
    "training_seconds",
    "seconds",
)


def zoo_table(zoo: Zoo) -> pd.DataFrame:
    """Return one row per finished run, indexed by its key.

    Columns: ``status``; ``why_left_out`` (empty where margins have statistics); ``configuration`` (the same
    for all repeats); ``data`` (the same for all networks trained on the same data); ``hp.*``, the configuration;
    accuracies, losses and ``gap``; and the features ``quartiles/LAYER/STATISTIC`` and ``moments/…`` of normalized
    margins, ``unnormalized_quartiles/…``, and ``spectral_margin/STATISTIC``.

    Raises:
        RunError: A run is damaged.
    """
    rows = {run.folder.name: _row(run) for run in zoo.runs()}
    columns = None if rows else ["status", "why_left_out", "configuration", "data"]
    return pd.DataFrame([*rows.values()], index=pd.Index(rows, name="run"), columns=columns)


def _row(run: Run) -> dict[str, Any]:
    config, result = run.config, run.result
    row: dict[str, Any] = {
        "status": result["status"],
        "why_left_out": "",
        "configuration": config.configuration_key,
        "data": config.data.model_dump_json(),
    }
    row |= {f"hp.{name}": value for name, value in _flat(config.model_dump(mode="json")).items()}
    row |= {name: result[name] for name in RESULT_COLUMNS if name in result}
    if result["status"] != "finished":
        return row | {"why_left_out": f"its training {result['status']}"}
    if missing := [name for name in RESULT_COLUMNS if name not in result]:
        raise RunError(f"{run.folder}/result.json must have {', '.join(missing)}, and has not. Train it again.")
    try:
        return row | _features(run.margins, result)
    except (InvalidInputError, TooFewExamplesError) as reason:
        return row | {"why_left_out": str(reason)}


def _features(margins: MarginDistribution, result: Any) -> dict[str, float]:
    features = {f"quartiles/{name}": value for name, value in margins.signature("quartiles").items()}
    features |= {f"moments/{name}": value for name, value in margins.signature("moments").items()}
    unnormalized = margins.signature("quartiles", normalized=False)
    features |= {f"unnormalized_quartiles/{name}": value for name, value in unnormalized.items()}
    if "log_spectral_complexity" in result and "input_frobenius_norm" in result:
        values = spectrally_normalized_margins(
            margins.output_margins, result["log_spectral_complexity"], result["input_frobenius_norm"]
        )
        features |= {f"spectral_margin/{name}": value for name, value in summarized(values).items()}
    return features


def _flat(nested: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in nested.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = str(value) if isinstance(value, list) else value
    return flat
