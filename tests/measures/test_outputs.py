"""Accuracy and loss against a loop over examples."""

import math

import pytest
import torch
from torch import nn

from widemargin.errors import EmptyDataError, InvalidInputError, InvalidLabelsError, InvalidLogitsError
from widemargin.measures import Performance, performance
from widemargin.trained_model import TrainedModel


def classifier(num_examples: int = 23, batch_size: int = 5) -> TrainedModel:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(num_examples, 4, generator=generator)
    labels = torch.randint(0, 3, (num_examples,), generator=generator)
    network = nn.Linear(4, 3)
    network.weight.data = torch.randn(3, 4, generator=generator)
    network.bias.data = torch.randn(3, generator=generator)
    return TrainedModel(network, (inputs, labels), (inputs[:7], labels[:7].flip(0)), batch_size=batch_size)


@pytest.mark.parametrize("split", ["train", "test"])
def test_performance_is_that_of_a_loop_over_examples(split: str) -> None:
    model = classifier()
    inputs, labels = model.train_data if split == "train" else model.test_data
    num_correct, loss = 0, 0.0
    for one, label in zip(inputs, labels, strict=True):
        logits = model.network(one).tolist()
        num_correct += max(range(3), key=lambda k: logits[k]) == int(label)
        loss += math.log(sum(math.exp(z) for z in logits)) - logits[int(label)]
    found = performance(model, split)
    assert found.num_examples == len(labels)
    assert found.accuracy == num_correct / len(labels)
    assert found.loss == pytest.approx(loss / len(labels), rel=1e-5)


def test_ignores_how_data_is_batched() -> None:
    one, many = performance(classifier(batch_size=1)), performance(classifier(batch_size=100))
    assert (one.accuracy, one.num_examples) == (many.accuracy, many.num_examples)
    assert one.loss == pytest.approx(many.loss, rel=1e-6)


def test_the_loss_is_the_one_handed_over() -> None:
    model = classifier()
    twice = TrainedModel(model.model, model.train_data, loss=lambda logits, labels: torch.full((len(labels),), 2.0))
    assert performance(twice).loss == 2.0


def test_dropout_is_off() -> None:
    network = nn.Sequential(nn.Linear(4, 3), nn.Dropout(0.9)).train()
    model = TrainedModel(network, classifier().train_data)
    assert performance(model) == performance(model)
    assert network.training


def test_a_perfect_classifier_has_accuracy_one() -> None:
    network = nn.Linear(3, 3)
    network.weight.data, network.bias.data = 50 * torch.eye(3), torch.zeros(3)
    found = performance(TrainedModel(network, (torch.eye(3), torch.arange(3))))
    assert found.loss == pytest.approx(0, abs=1e-6)
    assert found == Performance(accuracy=1.0, loss=found.loss, num_examples=3)


def test_test_data_that_was_not_handed_over_is_asked_for() -> None:
    with pytest.raises(EmptyDataError, match=r"^test_data is needed for this, and none was handed over\.$"):
        performance(TrainedModel(nn.Linear(4, 3), classifier().train_data), "test")


def test_labels_out_of_range_are_refused() -> None:
    inputs, labels = classifier().train_data
    with pytest.raises(InvalidLabelsError, match="from 0 to below 3"):
        performance(TrainedModel(nn.Linear(4, 3), (inputs, labels + 1)))


def test_a_diverged_network_is_refused() -> None:
    model = classifier()
    nn.init.constant_(model.network.bias, math.nan)
    with pytest.raises(InvalidLogitsError, match="logits must be finite"):
        performance(model)


def test_a_loss_that_is_a_mean_is_refused():
    trained = TrainedModel(torch.nn.Linear(2, 3), (torch.randn(6, 2), torch.arange(6) % 3), loss=mean_loss)
    with pytest.raises(InvalidInputError, match=r"one number per example, shape \[6\], got \[\]. Use reduction"):
        performance(trained)


def mean_loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.cross_entropy(logits, labels)
