import numpy as np
import pytest

from widemargin.errors import InvalidInputError, TooFewExamplesError
from widemargin.margins.signature import summarized

VALUES = np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 30.0])


def test_quartiles_of_a_hand_worked_case():
    assert summarized(VALUES) == {"lower_fence": 1.0, "q1": 3.0, "median": 5.0, "q3": 7.0, "upper_fence": 8.0}


def test_raw_fences_are_the_limits_themselves():
    numbers = summarized(VALUES, fences="raw")
    assert (numbers["lower_fence"], numbers["upper_fence"]) == (-3.0, 13.0)


def test_moments_are_roots_of_central_moments_with_their_sign():
    numbers = summarized(-VALUES, statistics="moments", keep="all")
    deviations = -VALUES - np.mean(-VALUES)
    assert numbers["mean"] == pytest.approx(-VALUES.mean())
    assert numbers["moment_2"] == pytest.approx(VALUES.std())
    for k in (3, 4, 5):
        moment = sum(deviation**k for deviation in deviations) / len(VALUES)
        assert numbers[f"moment_{k}"] == pytest.approx(np.copysign(abs(moment) ** (1 / k), moment))
    assert numbers["moment_3"] < 0


def test_keeps_correct_examples_only_unless_told_otherwise():
    mixed = np.concatenate([VALUES, -VALUES, [0.0]])
    assert summarized(mixed) == summarized(VALUES)
    assert summarized(mixed, keep="all")["median"] == 0.0


def test_leaves_infinite_distances_out():
    assert summarized(np.append(VALUES, [np.inf, -np.inf]), keep="all") == summarized(VALUES)


@pytest.mark.parametrize("statistics", ["quartiles", "moments"])
def test_is_homogeneous(statistics):
    doubled = summarized(2 * VALUES, statistics=statistics)
    for name, value in summarized(VALUES, statistics=statistics).items():
        assert doubled[name] == pytest.approx(2 * value)


def test_needs_four_correct_examples():
    values = np.array([1.0, 2.0, 3.0, -1.0, -2.0])
    with pytest.raises(TooFewExamplesError, match=r"need at least 4 correctly classified examples .* got 3 of 5"):
        summarized(values)
    with pytest.raises(TooFewExamplesError, match="need at least 4 examples with a finite margin, got 3 of 3"):
        summarized(values[:3], keep="all")


@pytest.mark.parametrize("option", ["statistics", "fences", "keep"])
def test_names_unknown_options(option, monkeypatch):
    monkeypatch.setattr("jaxtyping.config.jaxtyping_disable", True)
    with pytest.raises(InvalidInputError, match=f"{option} must be '.*' or '.*', got 'deciles'"):
        summarized(VALUES, **{option: "deciles"})
