"""The noise that costs a tenth of the accuracy against normal quantiles."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import norm
from torch import nn

from measures.sharpness_cases import classifier, independent
from widemargin import TrainedModel
from widemargin.errors import InvalidLogitsError, MeasureNotApplicableError
from widemargin.landscape.evaluation import Evaluation
from widemargin.measures import noise_tolerance as module
from widemargin.measures.noise_tolerance import noise_tolerance

QUANTILE = float(norm.ppf(0.9))  # a weight w keeps its sign under noise σ with probability Φ(w / σ)
ALTERNATING = torch.tensor([3.0, -0.5, 1.0, -0.02]).repeat(250)


def test_equal_weights_bear_noise_up_to_the_normal_quantile():
    found = noise_tolerance(independent(torch.full((1000,), 0.3)), unit=torch.ones_like, seed=0)
    assert math.log(found.deviation * QUANTILE / 0.3) == pytest.approx(0, abs=3 * found.relative_error)
    assert 0.005 < found.relative_error < 0.03


def test_noise_in_units_of_weights_is_borne_alike_by_all():
    found = noise_tolerance(independent(ALTERNATING), unit=torch.abs, seed=0)
    assert math.log(found.deviation * QUANTILE) == pytest.approx(0, abs=3 * found.relative_error)


def test_its_error_is_honest():
    trained, unit = independent(torch.ones(300)), torch.ones_like
    found = [noise_tolerance(trained, unit=unit, seed=seed) for seed in range(30)]
    scores = np.array([math.log(each.deviation * QUANTILE) / each.relative_error for each in found])
    assert abs(scores.mean()) < 3 * scores.std() / len(scores) ** 0.5
    assert 0.6 < scores.std() < 1.6


@pytest.mark.parametrize("far", [100.0, 5.0])
def test_where_the_scouts_send_all_draws_does_not_matter(far, monkeypatch):
    trained, unit = independent(torch.full((1000,), 0.3)), torch.ones_like
    expected = noise_tolerance(trained, unit=unit, seed=0).deviation
    monkeypatch.setattr(module, "FAR", far)  # they stop early, or do not look at all
    assert noise_tolerance(trained, unit=unit, seed=0).deviation == pytest.approx(expected, rel=5e-3)


def test_it_is_found_in_half_of_the_evaluations_of_bisection(monkeypatch):
    num_points, evaluate = [], Evaluation.at
    monkeypatch.setattr(Evaluation, "at", lambda self, some: num_points.append(len(some)) or evaluate(self, some))
    for seed in range(10):
        noise_tolerance(independent(torch.full((300,), 0.3)), unit=torch.ones_like, seed=seed)
    assert sum(num_points) / 10 < 81 / 2  # bisection to the same width: the network itself and 8 times 10 draws


def test_accuracy_falls_by_a_tenth_there(monkeypatch):
    monkeypatch.setattr(module, "NUM_DRAWS", 400)
    trained = classifier()
    found = noise_tolerance(trained, unit=torch.ones_like, seed=0)
    falls, generator = [], torch.Generator().manual_seed(1)
    inputs, labels = trained.train_data
    own = [parameter.detach().clone() for parameter in trained.network.parameters()]
    for _ in range(2000):
        with torch.no_grad():
            for parameter, value in zip(trained.network.parameters(), own, strict=True):
                parameter.copy_(value + found.deviation * torch.randn(value.shape, generator=generator))
            falls.append(1 - float((trained.network(inputs).argmax(dim=1) == labels).double().mean()))
    assert np.mean(falls) == pytest.approx(0.1, abs=0.02)


def test_a_seed_gives_the_same_however_data_is_batched():
    found = {
        noise_tolerance(independent(torch.ones(90), batch_size=size), unit=torch.ones_like, seed=3)
        for size in (7, 90)
    }
    assert len(found) == 1
    assert noise_tolerance(independent(torch.ones(90)), unit=torch.ones_like, seed=4) not in found


def test_parameters_without_a_unit_get_no_noise():
    weights = torch.tensor([1.0, 2.0]).repeat(200)
    found = noise_tolerance(independent(weights), unit=lambda w: 1.0 * (w == 1), seed=0)  # half may fall, each by .2
    expected = 1 / float(norm.ppf(0.8))
    assert math.log(found.deviation / expected) == pytest.approx(0, abs=3 * found.relative_error)


def test_accuracy_below_a_tenth_cannot_fall_by_it():
    trained = independent(torch.ones(20))
    wrong = TrainedModel(trained.network, (trained.train_data[0], 1 - trained.train_data[1]))
    with pytest.raises(MeasureNotApplicableError) as caught:
        noise_tolerance(wrong, unit=torch.ones_like, seed=0)
    assert str(caught.value) == "accuracy on the sample is 0 and cannot fall by 0.1."


class Deaf(nn.Module):
    """Does not listen to its parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.unused = nn.Parameter(torch.ones(3))

    def forward(self, x):
        return x


def test_a_network_that_bears_any_noise_has_no_tolerance():
    trained = TrainedModel(Deaf(), (torch.eye(5), torch.arange(5)))
    with pytest.raises(MeasureNotApplicableError) as caught:
        noise_tolerance(trained, unit=torch.ones_like, seed=0)
    assert str(caught.value) == (
        "accuracy on the sample is 1 and does not fall by 0.1 at any noise from 1e-06 to 100."
    )


def test_a_network_that_bears_no_noise_has_no_tolerance():
    with pytest.raises(MeasureNotApplicableError, match=r"does not fall by 0\.1 at any noise from 1e-06 to 100\."):
        noise_tolerance(independent(torch.full((50,), 1e-12)), unit=torch.ones_like, seed=0)


def test_a_diverged_network_is_refused():
    with pytest.raises(InvalidLogitsError, match="logits must be finite"):
        noise_tolerance(independent(torch.full((50,), math.nan)), unit=torch.ones_like, seed=0)
