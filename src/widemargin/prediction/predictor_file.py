"""A fitted predictor as plain JSON, written, and read without running any code."""

import json
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError
from sklearn.utils.validation import check_is_fitted

from widemargin.errors import InvalidInputError
from widemargin.prediction.gap_predictor import GapPredictor
from widemargin.prediction.scores import number_or_none
from widemargin.prediction.seen_features import SeenFeatures

__all__ = ["load_predictor", "save_predictor"]

FORMAT = "widemargin gap predictor"
VERSION = 1

Finite = Annotated[float, Field(allow_inf_nan=False)]


class _Seen(BaseModel):
    """What it was fitted on: transformed features."""

    model_config = ConfigDict(extra="forbid")

    num_networks: Annotated[int, Field(ge=2)]
    mean: list[Finite]
    std: list[Annotated[Finite, Field(ge=0)]]
    minimum: list[Finite]
    maximum: list[Finite]
    correlation: list[list[Finite]]
    greatest_leverage: Finite | None


class _File(BaseModel):
    """Everything that is in the file."""

    model_config = ConfigDict(extra="forbid")

    format: Literal["widemargin gap predictor"]
    version: Literal[1]
    predicts: str
    origin: dict[str, JsonValue]
    feature_transform: Literal["log", "identity"]
    regularization: Literal["ridge"] | None
    alphas: list[Finite]
    features: Annotated[list[str], Field(min_length=1)]
    coefficients: list[Finite]
    intercept: Finite
    alpha: Finite
    num_parameters: Finite
    degrees_of_freedom: Finite
    residual_std: Finite | None
    slope_covariance: list[list[Finite]]
    seen: _Seen


def save_predictor(predictor: GapPredictor, path: str | Path) -> None:
    """Write a fitted predictor as JSON that :func:`load_predictor` reads to the last digit.

    Args:
        predictor: Fitted on a DataFrame, whose columns name the features.
        path: The file.

    Raises:
        InvalidInputError: The features have no names.

    Example:
        >>> import tempfile, pandas as pd
        >>> table = pd.DataFrame({"input/median": [0.1, 0.2, 0.4, 0.8]})
        >>> predictor = GapPredictor().fit(table, [0.4, 0.31, 0.2, 0.1])
        >>> path = Path(tempfile.mkdtemp()) / "predictor.json"
        >>> save_predictor(predictor, path)
        >>> bool((load_predictor(path).predict(table) == predictor.predict(table)).all())
        True
    """
    check_is_fitted(predictor)
    if not hasattr(predictor, "feature_names_in_"):
        raise InvalidInputError(
            "a predictor must know the names of its features to be saved, and was fitted on an array. Fit it on a "
            "DataFrame whose columns are named."
        )
    seen = predictor.seen_
    file = _File(
        format=FORMAT,
        version=VERSION,
        predicts="generalization gap: training accuracy less test accuracy",
        origin=dict(predictor.origin_),
        feature_transform=predictor.feature_transform,
        regularization=predictor.regularization,
        alphas=list(predictor.alphas),
        features=list(predictor.feature_names_in_),
        coefficients=predictor.coef_.tolist(),
        intercept=predictor.intercept_,
        alpha=predictor.alpha_,
        num_parameters=predictor.num_parameters_,
        degrees_of_freedom=predictor.degrees_of_freedom_,
        residual_std=number_or_none(predictor.residual_std_),
        slope_covariance=predictor.slope_covariance_.tolist(),
        seen=_Seen(
            num_networks=seen.num_networks,
            mean=seen.mean.tolist(),
            std=seen.std.tolist(),
            minimum=seen.minimum.tolist(),
            maximum=seen.maximum.tolist(),
            correlation=seen.correlation.tolist(),
            greatest_leverage=number_or_none(seen.greatest_leverage),
        ),
    )
    Path(path).write_text(file.model_dump_json(indent=1) + "\n", encoding="utf-8")


def load_predictor(path: str | Path) -> GapPredictor:
    """Return the predictor that :func:`save_predictor` wrote; no code of the file's runs.

    Raises:
        InvalidInputError: No such file, not one of these, of a newer version, or damaged.
    """
    file = _checked(Path(path))
    predictor = GapPredictor(file.feature_transform, file.regularization, tuple(file.alphas))
    predictor.feature_names_in_ = np.array(file.features, dtype=object)
    predictor.n_features_in_ = len(file.features)
    predictor.coef_, predictor.intercept_ = np.array(file.coefficients), file.intercept
    predictor.alpha_, predictor.num_parameters_ = file.alpha, file.num_parameters
    predictor.degrees_of_freedom_ = file.degrees_of_freedom
    predictor.residual_std_ = np.nan if file.residual_std is None else file.residual_std
    predictor.slope_covariance_ = np.array(file.slope_covariance)
    seen = file.seen
    predictor.seen_ = SeenFeatures(
        seen.num_networks,
        np.array(seen.mean),
        np.array(seen.std),
        np.array(seen.minimum),
        np.array(seen.maximum),
        np.array(seen.correlation),
        np.inf if seen.greatest_leverage is None else seen.greatest_leverage,
    )
    predictor.origin_ = file.origin
    return predictor


def _checked(path: Path) -> _File:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InvalidInputError(f"{path} must be a predictor's file, and there is no such file.") from None
    except (OSError, ValueError) as error:  # bytes that are no text, text that is no JSON
        raise InvalidInputError(f"{path} must be a predictor's file, and is no readable JSON ({error}).") from None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise InvalidInputError(
            f"{path} must be a predictor's file, and is JSON of something else. Write one with: widemargin predictor "
            "ZOO --out FILE"
        )
    version = content.get("version")
    if isinstance(version, int) and version > VERSION:
        raise InvalidInputError(
            f"{path} must be of version {VERSION} or older, got {version}, written by a newer widemargin. Update "
            "widemargin, or write the file again with this one."
        )
    try:
        file = _File.model_validate(content)
    except ValidationError as error:
        fault = error.errors()[0]
        where = ".".join(map(str, fault["loc"]))
        raise InvalidInputError(
            f"{path} is a damaged predictor's file: {where}: {fault['msg']}. Write it again."
        ) from None
    vectors: list[Any] = [file.coefficients, *(getattr(file.seen, n) for n in ("mean", "std", "minimum", "maximum"))]
    if any(len(vector) != len(file.features) for vector in vectors) or not all(
        _is_square(matrix, len(file.features)) for matrix in (file.slope_covariance, file.seen.correlation)
    ):
        raise InvalidInputError(
            f"{path} is a damaged predictor's file: not every part of it has {len(file.features)} features. Write it "
            "again."
        )
    return file


def _is_square(matrix: list[list[float]], num: int) -> bool:
    return len(matrix) == num and all(len(row) == num for row in matrix)
