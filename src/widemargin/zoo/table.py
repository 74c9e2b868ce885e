"""A zoo as one tidy table, a row a network; tables as files, and back."""

from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
import pandas as pd
from packaging.version import Version

from widemargin.data import DATASETS
from widemargin.errors import InvalidInputError, RunError, TooFewExamplesError
from widemargin.margins import MarginDistribution
from widemargin.margins.signature import summarized
from widemargin.measures import spectrally_normalized_margins
from widemargin.zoo.measured import measured_values
from widemargin.zoo.store import Run, Zoo
from widemargin.zoo.study import DataConfig, RunConfig

__all__ = ["RESULT_COLUMNS", "hyperparameters", "is_zoo_table", "read_table", "write_table", "zoo_table"]

TableFormat = Literal["csv", "parquet"]

TEXTS = ("status", "why_left_out", "configuration", "data")
"""Columns that lead the table; they stay text, whatever they look like."""

EXACT: dict[str, Any] = {} if Version(pd.__version__) >= Version("3.1") else {"float_precision": "round_trip"}
"""How numbers are read to the last digit, as pandas does of itself since then."""

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
    accuracies, losses, ``gap``, numbers of examples, parameters and classes; and the features
    ``quartiles/LAYER/STATISTIC`` and ``moments/…`` of normalized margins, ``unnormalized_quartiles/…``, and
    ``spectral_margin/STATISTIC``; and ``m.*``, what :func:`widemargin.zoo.measure_zoo` found. Every column
    holds numbers, truth values or texts alone.

    Raises:
        RunError: A run is damaged.
    """
    rows = {run.folder.name: _row(run) | _measures(zoo, run) for run in zoo.runs()}
    table = pd.DataFrame([*rows.values()], index=pd.Index(rows, name="run"), columns=None if rows else list(TEXTS))
    return _typed(table[sorted(table.columns, key=lambda column: _place(str(column)))])


def hyperparameters(config: RunConfig) -> dict[str, Any]:
    """Return a run's configuration flat: numbers, truth values, texts and None by dotted names."""
    return _flat(config.model_dump(mode="json"))


def write_table(table: pd.DataFrame, out: Path | IO[str], table_format: TableFormat = "csv") -> None:
    """Write a table so that :func:`read_table` returns the same frame.

    Args:
        table: A row a network, as :func:`zoo_table` makes it.
        out: A file, or for CSV anything that text can be written to; folders are made.
        table_format: ``csv`` (numbers to their last digit) or ``parquet``.
    """
    if isinstance(out, Path):
        out.parent.mkdir(parents=True, exist_ok=True)
    if table_format == "csv":
        table.to_csv(out)
    else:
        table.to_parquet(out)  # type: ignore[arg-type]  # only files come here


def read_table(path: str | Path) -> pd.DataFrame:
    """Return a table from a CSV or Parquet file; one that :func:`write_table` wrote comes back as it was.

    Args:
        path: A file; its content, not its name, tells the format.

    Raises:
        InvalidInputError: No such file, or neither CSV with a header nor Parquet.
    """
    path = Path(path)
    if not path.is_file():
        raise InvalidInputError(f"{path} must be a CSV or Parquet file, and there is no such file.")
    try:
        with path.open("rb") as file:
            is_parquet = file.read(4) == b"PAR1"
        table = pd.read_parquet(path) if is_parquet else _read_csv(path)
    except (ValueError, pd.errors.ParserError) as error:  # pyarrow's and pandas' own errors descend from these
        raise InvalidInputError(f"{path} must be a CSV file with a header, or Parquet, and is not: {error}") from None
    return _typed(table) if is_zoo_table(table) else table


def is_zoo_table(table: pd.DataFrame) -> bool:
    """Return whether a table is one of :func:`zoo_table`."""
    return set(TEXTS) <= set(table.columns)


def _read_csv(path: Path) -> pd.DataFrame:
    if not {"run", *TEXTS} <= set(pd.read_csv(path, nrows=0).columns):
        anybodys: pd.DataFrame = pd.read_csv(path, low_memory=False, **EXACT)
        return anybodys
    table: pd.DataFrame = pd.read_csv(
        path,
        index_col="run",
        dtype=dict.fromkeys(("run", *TEXTS), str),
        keep_default_na=False,  # the words null and nan may be values of hyperparameters
        na_values=[""],
        low_memory=False,
        **EXACT,
    )
    return table.fillna(dict.fromkeys(TEXTS, ""))


def _place(column: str) -> int:
    """Return where a column's kind stands in the table."""
    if column in TEXTS:
        return 0
    if column.startswith("hp."):
        return 1
    if column.startswith("m."):
        return 4
    return 3 if "/" in column else 2


def _typed(table: pd.DataFrame) -> pd.DataFrame:
    """Return the table with columns of numbers, truth values or texts alone, however it came about."""
    return table.apply(_typed_column) if len(table) else table


def _typed_column(column: "pd.Series[Any]") -> "pd.Series[Any]":
    if column.name in TEXTS or pd.api.types.is_numeric_dtype(column):  # truth values count as numbers here
        return column
    known = column.dropna()
    if known.empty:
        return column.astype(np.float64)
    if known.map(lambda value: isinstance(value, bool)).all():
        return column.astype("boolean")
    texts = [np.nan if missing else str(value) for value, missing in zip(column, column.isna(), strict=True)]
    return pd.Series(texts, index=column.index, name=column.name)


def _measures(zoo: Zoo, run: Run) -> dict[str, float]:
    return {f"m.{name}": value for name, value in measured_values(zoo, run).items()}


def _num_classes(config: DataConfig) -> int | None:
    known = DATASETS.get(config.name)
    return known.num_classes if known else None


def _row(run: Run) -> dict[str, Any]:
    config, result = run.config, run.result
    row: dict[str, Any] = {
        "status": result["status"],
        "why_left_out": "",
        "configuration": config.configuration_key,
        "data": config.data.model_dump_json(),
    }
    row |= {f"hp.{name}": value for name, value in hyperparameters(config).items()}
    row |= {name: result[name] for name in RESULT_COLUMNS if name in result}
    row["num_classes"] = result.get("num_classes") or _num_classes(config.data)
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
