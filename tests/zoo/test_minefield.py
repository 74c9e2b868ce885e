import copy
import sys

import numpy as np
import pytest

from widemargin import TrainedModel
from widemargin.errors import InvalidInputError
from widemargin.measures import performance
from widemargin.training import fit, train_stack
from widemargin.zoo import RunConfig, minefield
from widemargin.zoo.resources import examples_of
from widemargin.zoo.run import network_of

CONFIG = RunConfig.model_validate(
    {
        "data": {"name": "swiss-roll"},
        "network": {"name": "mlp", "hidden": [16, 16], "one_logit": True},
        "training": {"lr": 0.02, "num_steps": 200, "batch_size": None, "poison": {"num_examples": 100}},
    }
)


@pytest.fixture(scope="module")
def field():
    steps = []
    found = minefield(CONFIG, poison_factor=2.0, num_starts=6, num_steps=150, on_step=steps.append)
    assert steps[-1] == 150
    return found


def test_has_the_path_first_and_a_minimum_for_each_start(field):
    assert field.is_path.sum() == len(field.is_path) - 6
    assert field.is_path[: field.is_path.sum()].all()
    assert (np.diff(field.steps[field.is_path]) > 0).all()
    assert field.steps[0] == 0
    assert field.steps[field.is_path][-1] == 200
    assert field.coordinates.shape == (len(field.steps), 2)
    assert set(field.steps[~field.is_path]) <= set(field.steps[field.is_path])


def test_the_path_is_the_training_itself(field):
    examples = examples_of(CONFIG)
    network = network_of(CONFIG, examples)
    training = CONFIG.training.model_dump(exclude={"poison", "augmentation", "precision"})
    fit(network, examples.train_inputs, examples.train_labels, **training, seed=0)
    test = (examples.test_inputs, examples.test_labels)
    accuracy = performance(TrainedModel(network, test)).accuracy
    end = int(field.is_path.sum()) - 1
    assert field.test_accuracies[end] == pytest.approx(accuracy)
    assert field.distances[end] == 0


def test_poisoned_ends_generalize_worse_than_the_path(field):
    assert field.test_accuracies[~field.is_path].mean() < field.test_accuracies[field.is_path][-1] - 0.1
    assert (field.distances[~field.is_path] > 0).all()


def test_needs_poison_that_the_data_allows():
    config = CONFIG.model_copy(update={"data": CONFIG.data.model_copy(update={"name": "digits"})})
    config = config.model_copy(update={"network": config.network.model_copy(update={"one_logit": False})})
    with pytest.raises(InvalidInputError, match="whose distribution is known"):
        minefield(config, num_starts=5, num_steps=1)


def test_every_point_keeps_its_own_batch_norm_statistics(monkeypatch):
    ends = []

    def keep(networks, *args, **options):
        found = train_stack(networks, *args, **options)
        examples = examples_of(config)
        test = (examples.test_inputs, examples.test_labels)
        ends.extend(performance(TrainedModel(copy.deepcopy(network), test)).accuracy for network in networks)
        return found

    monkeypatch.setattr(sys.modules["widemargin.zoo.minefield"], "train_stack", keep)  # a function has the same name
    network = CONFIG.network.model_copy(update={"batch_norm": True})
    config = CONFIG.model_copy(update={"network": network})
    found = minefield(config, poison_factor=0.5, num_starts=4, num_steps=40)
    assert found.test_accuracies[~found.is_path].tolist() == ends
