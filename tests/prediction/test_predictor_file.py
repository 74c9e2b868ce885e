"""Predictors as files: what is read predicts what was written, and what cannot be read says why."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.base import clone

from prediction.signature_tables import features, zoo
from widemargin.errors import InvalidInputError
from widemargin.prediction import GapPredictor, load_predictor, save_predictor, signature_predictor


@pytest.fixture
def path(tmp_path: Path) -> Path:
    save_predictor(signature_predictor(zoo(), "little"), tmp_path / "predictor.json")
    return tmp_path / "predictor.json"


def edited(path: Path, **changes: Any) -> Path:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    return path


@pytest.mark.parametrize("regularization", [None, "ridge"])
@pytest.mark.parametrize("transform", ["log", "identity"])
def test_what_is_read_predicts_what_was_written_bit_by_bit(
    tmp_path: Path, transform: Any, regularization: Any
) -> None:
    table = zoo()
    table["quartiles/input/q1"] = 2.0
    predictor = GapPredictor(transform, regularization).fit(features(table), table["gap"])
    save_predictor(predictor, tmp_path / "file")
    twin = load_predictor(tmp_path / "file")
    new = features(zoo(7)) * 3
    for ours, theirs in zip(twin.predict_jointly(new), predictor.predict_jointly(new), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_array_equal(twin.predict_interval(new), predictor.predict_interval(new))
    transformed = predictor.transformed(new)
    np.testing.assert_array_equal(twin.seen_.leverages(transformed), predictor.seen_.leverages(transformed))
    np.testing.assert_array_equal(twin.seen_.strangers(transformed), predictor.seen_.strangers(transformed))
    assert twin.seen_.greatest_leverage == predictor.seen_.greatest_leverage


def test_a_perfect_fit_to_few_networks_keeps_that_it_has_no_residuals(tmp_path: Path) -> None:
    table = zoo().iloc[:6]
    predictor = GapPredictor().fit(features(table), table["gap"])
    save_predictor(predictor, tmp_path / "file")
    twin = load_predictor(tmp_path / "file")
    assert np.isnan(predictor.residual_std_)
    assert np.isnan(twin.residual_std_)
    assert predictor.seen_.greatest_leverage == twin.seen_.greatest_leverage == np.inf


def test_a_predictor_that_was_read_keeps_the_conventions_of_scikit_learn(path: Path) -> None:
    twin = load_predictor(path)
    assert twin.get_params() == signature_predictor(zoo(), "little").get_params()
    assert not hasattr(clone(twin), "coef_")
    assert list(twin.feature_names_in_) == list(features(zoo()).columns)
    assert twin.score(features(zoo()), zoo()["gap"]) > 0.9
    with pytest.raises(ValueError, match="feature names should match"):
        twin.predict(features(zoo())[["conv/q1"]])


def test_is_plain_json(path: Path) -> None:
    content = json.loads(path.read_text(), parse_constant=pytest.fail)
    assert content["format"] == "widemargin gap predictor"
    assert content["version"] == 1
    assert content["features"] == list(features(zoo()).columns)


def test_features_without_names_are_refused(tmp_path: Path) -> None:
    predictor = GapPredictor().fit(features(zoo()).to_numpy(), zoo()["gap"])
    with pytest.raises(InvalidInputError, match=r"must know the names of its features to be saved, and was"):
        save_predictor(predictor, tmp_path / "file")


def test_a_file_that_is_none_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"none must be a predictor's file, and there is no such file\."):
        load_predictor(tmp_path / "none")


@pytest.mark.parametrize("content", [b"no json", b"\xff\xfe\x00", b"", b"[1, 2"])
def test_a_file_that_is_no_json_is_one_sentence(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(InvalidInputError, match=r"must be a predictor's file, and is no readable JSON \("):
        load_predictor(tmp_path / "file")


@pytest.mark.parametrize("content", ["[]", "3", '{"format": "other"}', "null"])
def test_json_of_something_else_is_one_sentence(tmp_path: Path, content: str) -> None:
    (tmp_path / "file").write_text(content)
    with pytest.raises(InvalidInputError, match=r"is JSON of something else\. Write one with: widemargin"):
        load_predictor(tmp_path / "file")


def test_a_newer_version_is_one_sentence(path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"of version 1 or older, got 2, written by a newer widemargin"):
        load_predictor(edited(path, version=2, more=True))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"intercept": "much"}, "damaged predictor's file: intercept: Input should be a valid number"),
        ({"intercept": np.nan}, "damaged predictor's file: intercept: Input should be a finite number"),
        ({"version": "one"}, "damaged predictor's file: version: Input should be 1"),
        ({"code": "import os"}, "damaged predictor's file: code: Extra inputs are not permitted"),
        ({"coefficients": [1.0]}, "damaged predictor's file: not every part of it has 10 features. Write it again."),
        ({"slope_covariance": [[1.0] * 10] * 9}, "not every part of it has 10 features"),
        ({"slope_covariance": [[1.0] * 9] * 10}, "not every part of it has 10 features"),
        ({"features": ["a"]}, "not every part of it has 1 features"),
    ],
)
def test_a_damaged_file_is_one_sentence(path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        load_predictor(edited(path, **changes))
