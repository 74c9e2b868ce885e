"""Rows of the catalogue: what they declare is so, whatever the measure."""

import copy
import math

import pytest
import torch

from measures.networks import classifier
from widemargin.measures.margin_catalog import MARGIN_MEASURES
from widemargin.measures.quantities import Quantities
from widemargin.networks import MLP
from widemargin.trained_model import TrainedModel

INVARIANT = [measure for measure in MARGIN_MEASURES if measure.is_scale_invariant]


@pytest.mark.parametrize("measure", INVARIANT, ids=lambda measure: measure.name)
def test_scaling_one_layer_up_and_the_next_down_changes_nothing(measure):
    trained = classifier()
    before = measure(trained, num_sampled=30)
    scaled = copy.deepcopy(trained.network)
    for index, factor in ((0, 8.0), (2, 0.5), (4, 0.25)):
        scaled[index].weight.data *= factor
        scaled[index].bias.data *= math.prod([8.0, 0.5, 0.25][: index // 2 + 1])
    after = measure(TrainedModel(scaled, trained.train_data, batch_size=7), num_sampled=30)
    assert after.value == pytest.approx(before.value, rel=1e-4)
    assert after.per_layer == pytest.approx(dict(before.per_layer), rel=1e-4)


@pytest.mark.parametrize("measure", MARGIN_MEASURES, ids=lambda measure: measure.name)
def test_ignores_how_data_is_batched_and_asks_for_what_it_declares(measure):
    found = []
    for size in (1, 13, 100):
        quantities = Quantities(classifier(batch_size=size), num_sampled=30)
        found.append(measure.function(quantities))
        assert quantities.asked == set(measure.uses)
    for other in found[1:]:
        assert other.value == pytest.approx(found[0].value, rel=1e-4)


@pytest.mark.parametrize("measure", MARGIN_MEASURES, ids=lambda measure: measure.name)
def test_the_same_seed_gives_the_same_bits_and_an_untouched_network(measure):
    trained = classifier(MLP(3, (4,), hidden=(8, 7, 6), batch_norm=True).train())
    before = copy.deepcopy(trained.network.state_dict())
    one, two = (measure(trained, num_sampled=30, seed=5) for _ in range(2))
    assert (one.value, one.standard_error, one.per_layer) == (two.value, two.standard_error, two.per_layer)
    assert all(torch.equal(tensor, before[name]) for name, tensor in trained.network.state_dict().items())
    assert trained.network.training
    assert all(parameter.grad is None for parameter in trained.network.parameters())


def test_the_rows_are_complete_and_their_names_those_of_the_functions():
    assert len({measure.name for measure in MARGIN_MEASURES}) == len(MARGIN_MEASURES) == 13
    for measure in MARGIN_MEASURES:
        assert measure.function.__name__ == measure.name
        assert measure.family == "margins"
        assert all((measure.formula, measure.idea, measure.misleads, measure.reference, measure.uses))
