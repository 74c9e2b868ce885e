"""What every measure of the family promises: invariance where it is said, batching ignored, seeds kept."""

import copy
import math
from contextlib import suppress

import pytest
import torch

from curvature.known_curvature import NETWORKS, trained_network
from measures.sharpness_cases import classifier
from widemargin import TrainedModel
from widemargin.errors import MeasureNotApplicableError
from widemargin.measures.basins import BASIN_MEASURES
from widemargin.measures.gradient_spread import GRADIENT_MEASURES
from widemargin.measures.loss_curvature import CURVATURE_MEASURES
from widemargin.measures.measure import Measure
from widemargin.measures.pac_bayes import PAC_BAYES_MEASURES
from widemargin.measures.quantities import Quantities
from widemargin.measures.sharpness import SHARPNESS_MEASURES

MEASURES = SHARPNESS_MEASURES + PAC_BAYES_MEASURES + CURVATURE_MEASURES + BASIN_MEASURES + GRADIENT_MEASURES
each = pytest.mark.parametrize("measure", MEASURES, ids=lambda measure: measure.name)


def case(measure: Measure, **options) -> TrainedModel:
    """A network with a basin, or one with mistakes, whose curvature is not all rounding."""
    return classifier(sharp=30.0, **options) if measure in BASIN_MEASURES else classifier(num_wrong=3, **options)


def rescaled(trained: TrainedModel, factor: float) -> TrainedModel:
    """The same function with the first layer multiplied and the second divided."""
    network, initial = copy.deepcopy(trained.network), dict(trained.initial_parameters)
    with torch.no_grad():
        network[0].weight *= factor
        network[0].bias *= factor
        network[2].weight /= factor
    return TrainedModel(network, trained.train_data, initial_parameters=initial, batch_size=7)


@each
def test_scale_invariance_is_as_said(measure):
    trained = case(measure)
    before, after = measure(trained).value, measure(rescaled(trained, 8.0)).value
    assert (after == pytest.approx(before, rel=1e-6)) == measure.is_scale_invariant


@each
def test_batches_are_ignored_in_single_precision(measure):
    values = [measure(case(measure, dtype=torch.float32, batch_size=size)).value for size in (3, 39)]
    assert values[0] == pytest.approx(values[1], rel=1e-4)


@each
def test_a_seed_gives_the_same_bits(measure):
    assert measure(case(measure), seed=3, num_sampled=30) == measure(case(measure), seed=3, num_sampled=30)


@each
def test_values_are_finite_and_quantities_are_those_declared(measure):
    quantities = Quantities(case(measure))
    assert math.isfinite(measure.function(quantities).value)
    assert quantities.asked == set(measure.uses)


@each
def test_the_network_comes_back_untouched(measure):
    trained = case(measure)
    trained.network.train()
    before = {name: tensor.clone() for name, tensor in trained.network.state_dict().items()}
    state = torch.get_rng_state()
    measure(trained)
    assert torch.equal(state, torch.get_rng_state())
    assert trained.network.training
    assert all(parameter.grad is None for parameter in trained.network.parameters())
    for name, tensor in trained.network.state_dict().items():
        assert torch.equal(tensor, before[name])


@pytest.mark.parametrize("name", NETWORKS)
def test_any_network_has_a_finite_value_or_none(name):
    quantities = Quantities(trained_network(name), num_sampled=9)
    values = {}
    for measure in MEASURES:
        with suppress(MeasureNotApplicableError):
            values[measure.name] = measure.function(quantities).value
    assert all(map(math.isfinite, values.values()))
    assert len(values) >= 10


def test_the_family_takes_no_more_than_its_share():
    shared = {name for measure in MEASURES for name in measure.uses}
    quantities = vars(Quantities)
    passes = sum(quantities[name].cost.sample for name in shared) + sum(m.cost.sample for m in MEASURES)
    assert passes <= 150  # over the sample: 15 over ten times as many examples


def test_names_are_those_of_the_functions_and_occur_once():
    names = [measure.name for measure in MEASURES]
    assert len(set(names)) == len(names) == 18
    assert names == [measure.function.__name__ for measure in MEASURES]
