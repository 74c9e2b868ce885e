"""PAC-Bayes bounds against loops over parameters, and worked by hand for a noise that is given."""

import math

import pytest
import torch

from measures.sharpness_cases import classifier, linear
from widemargin.errors import MeasureNotApplicableError
from widemargin.measures.noise_tolerance import NoiseTolerance
from widemargin.measures.pac_bayes import (
    PAC_BAYES_MEASURES,
    magnitude_pac_bayes_flatness,
    magnitude_pac_bayes_from_initialization,
    magnitude_pac_bayes_from_origin,
    pac_bayes_flatness,
    pac_bayes_from_initialization,
    pac_bayes_from_origin,
)
from widemargin.measures.quantities import Quantities, quantity
from widemargin.trained_model import TrainedModel


class Tolerant(Quantities):
    """Bears noise of 0.5 with an error of a tenth, and relative noise of 0.2."""

    noise_tolerance = quantity()(lambda self: NoiseTolerance(0.5, 0.1))
    relative_noise_tolerance = quantity()(lambda self: NoiseTolerance(0.2, math.inf))


def two_parameters() -> TrainedModel:
    trained = linear([2.0], [[1.0], [2.0], [3.0]])
    initial = {"weight": torch.tensor([[1.5], [1.0]], dtype=torch.float64)}  # w − w₀ = (0.5, −1)
    return TrainedModel(trained.network, trained.train_data, loss=trained.loss, initial_parameters=initial)


def test_bounds_are_as_worked_by_hand():
    quantities = Tolerant(two_parameters())  # m = 3 examples, ω = 2 parameters (2, 0)
    assert pac_bayes_flatness(quantities).value == pytest.approx(4)
    assert pac_bayes_from_initialization(quantities).value == pytest.approx(1.25 + math.log(6) + 10)
    assert pac_bayes_from_origin(quantities).value == pytest.approx(4 + math.log(6) + 10)
    assert magnitude_pac_bayes_flatness(quantities).value == pytest.approx(25)
    posteriors = (1e-6 + 0.04 * 0.25) * (1e-6 + 0.04 * 1)
    near = math.log((1e-6 + 1.04 * 0.625) ** 2 / posteriors) / 4
    assert magnitude_pac_bayes_from_initialization(quantities).value == pytest.approx(near + math.log(15) + 10)
    far = math.log((1e-6 + 1.04 * 2) ** 2 / posteriors) / 4
    assert magnitude_pac_bayes_from_origin(quantities).value == pytest.approx(far + math.log(15) + 10)


def test_errors_follow_from_that_of_the_noise():
    quantities = Tolerant(two_parameters())
    assert pac_bayes_flatness(quantities).standard_error == pytest.approx(4 * math.sinh(0.2))
    low, high = (1.25 * math.exp(2 * shift) + shift for shift in (-0.1, 0.1))
    assert pac_bayes_from_initialization(quantities).standard_error == pytest.approx((high - low) / 2)
    assert magnitude_pac_bayes_flatness(quantities).standard_error == math.inf


def test_a_classifier_has_the_bounds_of_a_loop_over_its_parameters():
    trained = classifier(num_wrong=2)
    quantities = Quantities(trained)
    sigma, relative = quantities.noise_tolerance.deviation, quantities.relative_noise_tolerance.deviation
    pairs = [
        (w.item(), w0.item())
        for name, parameter in trained.network.named_parameters()
        for w, w0 in zip(parameter.flatten(), trained.initial_parameters[name].flatten(), strict=True)
    ]
    from_initialization, from_origin = sum((w - w0) ** 2 for w, w0 in pairs), sum(w**2 for w, _ in pairs)

    def naive(squared: float) -> float:
        return squared / (4 * sigma**2) + math.log(39 / sigma) + 10

    def naive_magnitude(squared: float) -> float:
        total = 0.0
        for w, w0 in pairs:
            total += math.log(
                (1e-3**2 + (relative**2 + 1) * squared / len(pairs)) / (1e-3**2 + relative**2 * abs(w - w0) ** 2)
            )
        return total / 4 + math.log(39 / relative) + 10

    assert pac_bayes_from_initialization(quantities).value == pytest.approx(naive(from_initialization))
    assert pac_bayes_from_origin(quantities).value == pytest.approx(naive(from_origin))
    found = magnitude_pac_bayes_from_initialization(quantities).value
    assert found == pytest.approx(naive_magnitude(from_initialization))
    assert magnitude_pac_bayes_from_origin(quantities).value == pytest.approx(naive_magnitude(from_origin))


def test_one_search_serves_three_measures():
    calls = []

    class Counting(Tolerant):
        noise_tolerance = quantity()(lambda self: calls.append(0) or NoiseTolerance(0.5, 0.1))

    quantities = Counting(two_parameters())
    for measure in PAC_BAYES_MEASURES:
        measure.function(quantities)
    assert len(calls) == 1


@pytest.mark.parametrize("measure", [m for m in PAC_BAYES_MEASURES if m.needs], ids=lambda m: m.name)
def test_initial_parameters_are_needed_where_that_is_said(measure):
    trained = classifier()
    unknown = TrainedModel(trained.network, trained.train_data)
    with pytest.raises(MeasureNotApplicableError) as caught:
        measure(unknown)
    assert str(caught.value) == "the initial parameters are needed, and are not known."


@pytest.mark.parametrize("measure", PAC_BAYES_MEASURES, ids=lambda m: m.name)
def test_there_is_none_where_accuracy_cannot_fall(measure):
    trained = classifier(num_wrong=39)
    with pytest.raises(MeasureNotApplicableError, match=r"accuracy on the sample is 0 and cannot fall by 0\.1\."):
        measure(trained)
