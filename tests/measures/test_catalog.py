"""The contract of every measure in the catalogue; their values are tested one by one elsewhere."""

import copy
import math
import re
from dataclasses import replace

import pytest
import torch
from torch import nn

from measures.networks import HISTORY, convolutional, of_tokens, perceptron
from widemargin.errors import MeasureNotApplicableError
from widemargin.measures import MEASURES, Measure, Quantities, measure_all
from widemargin.networks import MLP
from widemargin.trained_model import TrainedModel

MAKERS = {"perceptron": perceptron, "convolutional": convolutional, "tokens": of_tokens}
every_measure = pytest.mark.parametrize("measure", MEASURES.values(), ids=MEASURES.keys())


@pytest.fixture(params=MAKERS)
def trained(request: pytest.FixtureRequest) -> TrainedModel:
    """A trained network. Not to be changed."""
    return MAKERS[request.param]()


def value_of(measure: Measure, trained: TrainedModel, seed: int = 0, num_sampled: int = 30) -> float | str:
    """Return a measure, or why it does not apply."""
    try:
        return measure(trained, history=HISTORY, seed=seed, num_sampled=num_sampled).value
    except MeasureNotApplicableError as reason:
        return str(reason)


@every_measure
def test_is_a_finite_number_or_does_not_apply_because(measure: Measure, trained: TrainedModel) -> None:
    value = value_of(measure, trained)
    assert len(value) > 20 if isinstance(value, str) else math.isfinite(value)


@every_measure
def test_applies_to_plain_networks(measure: Measure) -> None:
    assert any(not isinstance(value_of(measure, MAKERS[name]()), str) for name in ("perceptron", "convolutional"))


def test_speaks_of_convolutions_where_there_are_some() -> None:
    said = [
        str([*measure_all(make(), history=HISTORY, num_sampled=30)["caveats"]])
        for make in (convolutional, perceptron)
    ]
    assert all(start in said[0] for start in ("Convolutions count by", "Convolutions are taken as circular"))
    assert "Convolution" not in said[1]


@every_measure
def test_leaves_the_network_as_it_was(measure: Measure, trained: TrainedModel) -> None:
    trained = replace(trained, model=copy.deepcopy(trained.network))
    network = trained.network.train()
    before = copy.deepcopy(network.state_dict())
    random = torch.get_rng_state()
    value_of(measure, trained)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert all(parameter.grad is None and parameter.requires_grad for parameter in network.parameters())
    assert network.training
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())
    assert torch.equal(torch.get_rng_state(), random)


@every_measure
def test_the_same_seed_gives_the_same_bits(measure: Measure, trained: TrainedModel) -> None:
    assert value_of(measure, trained, seed=3) == value_of(measure, trained, seed=3)


@every_measure
@pytest.mark.parametrize("name", ["perceptron", "convolutional"])
def test_ignores_how_data_is_batched(measure: Measure, name: str) -> None:
    trained = MAKERS[name]()
    one, other = value_of(measure, trained), value_of(measure, replace(trained, batch_size=7))
    assert one == other if isinstance(one, str) else other == pytest.approx(one, rel=1e-4, abs=1e-9)


@every_measure
def test_asks_for_what_it_says_and_nothing_else(measure: Measure) -> None:
    quantities = Quantities(convolutional(), history=HISTORY, num_sampled=30)
    measure.function(quantities)
    assert quantities.asked == set(measure.uses)


@every_measure
def test_says_what_it_needs_where_that_is_missing(measure: Measure) -> None:
    trained = replace(convolutional(), initial_parameters=None)
    for need in ("initial parameters", "history"):
        if need in measure.needs:
            with pytest.raises(MeasureNotApplicableError, match=f"the {need}.* needed, and"):
                measure(trained)
    if not measure.needs:
        measure(trained, num_sampled=30)


@every_measure
def test_is_as_blind_to_scale_as_it_says(measure: Measure) -> None:
    def measured(factor: float) -> float | str:
        trained = perceptron()
        network = copy.deepcopy(trained.network)
        first, second = [module for module in network.modules() if isinstance(module, nn.Linear)][:2]
        with torch.no_grad():
            first.weight *= factor
            first.bias *= factor
            second.weight /= factor
        return value_of(measure, replace(trained, model=network))

    before, after = measured(1.0), measured(4.0)
    assert not isinstance(before, str)
    assert not isinstance(after, str)
    assert (after == pytest.approx(before, rel=2e-3, abs=1e-9)) == measure.is_scale_invariant


@every_measure
def test_is_explained(measure: Measure) -> None:
    assert re.fullmatch(r"[a-z0-9_]+", measure.name)
    assert measure.idea.count(". ") >= 1
    assert all(text.endswith(".") for text in (measure.idea, measure.misleads))
    assert measure.formula
    assert measure.reference
    assert measure.sign in (1, -1)


def test_there_are_at_least_forty() -> None:
    assert len(MEASURES) >= 40


def test_the_catalogue_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        MEASURES["mine"] = next(iter(MEASURES.values()))  # type: ignore[index]


def test_a_dead_network_gets_answers() -> None:
    network = MLP(3, (5,), hidden=(4, 4, 4))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
    dead = replace(perceptron(), model=network, initial_parameters=copy.deepcopy(network.state_dict()))
    for measure in MEASURES.values():
        value = value_of(measure, dead)
        assert isinstance(value, str) or math.isfinite(value), measure.name
