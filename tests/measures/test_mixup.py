"""Means of two examples of one class against a search through all pairs."""

from typing import Any

import pytest
import torch
from torch import nn

from widemargin.errors import MeasureNotApplicableError
from widemargin.measures.mixup import mixed_within_classes
from widemargin.trained_model import TrainedModel


def classifier(num_examples: int = 11, batch_size: int = 4) -> TrainedModel:
    inputs = torch.randn(num_examples, 5, generator=torch.Generator().manual_seed(0))
    return TrainedModel(nn.Linear(5, 3), (inputs, torch.arange(num_examples) % 3), batch_size=batch_size)


def gathered(trained: TrainedModel) -> tuple[torch.Tensor, torch.Tensor]:
    batches = list(trained.batches("train"))
    return torch.cat([batch[0] for batch, _ in batches]), torch.cat([labels for _, labels in batches])


def test_every_mixture_is_the_mean_of_two_of_its_class_and_every_example_is_in_two():
    model = classifier()
    inputs, labels = model.train_data
    mixed, given = gathered(mixed_within_classes(model, seed=0))
    uses = [0] * len(inputs)
    for mixture, label in zip(mixed, given, strict=True):
        pairs = [
            (i, j)
            for i in range(len(inputs))
            for j in range(i)
            if labels[i] == labels[j] == label and torch.allclose((inputs[i] + inputs[j]) / 2, mixture)
        ]
        assert len(pairs) == 1
        for example in pairs[0]:
            uses[example] += 1
    assert uses == [2] * len(inputs)


def test_ignores_how_data_is_batched():
    one, many = (gathered(mixed_within_classes(classifier(batch_size=size), seed=0)) for size in (1, 100))
    assert torch.equal(one[0], many[0])
    assert torch.equal(one[1], many[1])


def test_batches_keep_their_size():
    sizes = [len(labels) for _, labels in mixed_within_classes(classifier(batch_size=4), seed=0).batches("train")]
    assert sizes == [4, 4, 3]


def test_another_seed_mixes_others():
    one, same, other = (gathered(mixed_within_classes(classifier(), seed=seed))[0] for seed in (0, 0, 1))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_a_class_of_one_example_is_left_out():
    inputs = torch.tensor([[0.0], [5.0], [1.0]])
    mixed, labels = gathered(
        mixed_within_classes(TrainedModel(nn.Linear(1, 2), (inputs, torch.tensor([0, 1, 0]))), seed=0)
    )
    assert mixed.tolist() == [[0.5], [0.5]]
    assert labels.tolist() == [0, 0]


def batches_of(**columns: Any) -> list[dict[str, Any]]:
    return [{name: part[i : i + 2] for name, part in columns.items()} for i in (0, 2)]


def by_keyword(batches: list[Any]) -> TrainedModel:
    return TrainedModel(nn.Linear(1, 2), batches, forward=lambda model, batch: model(batch["pixels"]))


def test_mixes_what_is_floating_of_batches_by_keyword():
    batches = batches_of(
        pixels=torch.tensor([[0.0], [2.0], [4.0], [8.0]]),
        ids=torch.arange(4),
        labels=torch.tensor([0, 0, 1, 1]),
    )
    for batch in batches:
        batch |= {"scale": torch.tensor(3.0), "name": "pixels", "sizes": (torch.tensor([1.0, 1.0]),)}
    mixed = mixed_within_classes(by_keyword(batches), seed=0)
    (batch, labels) = next(mixed.batches("train"))
    assert sorted(batch["pixels"].ravel().tolist()) == [1.0, 1.0, 6.0, 6.0]
    assert sorted(batch["ids"].tolist()) == [0, 1, 2, 3]
    assert (batch["pixels"].ravel() > 3).tolist() == labels.bool().tolist() == (batch["ids"] > 1).tolist()
    assert (float(batch["scale"]), batch["name"], batch["sizes"][0].tolist()) == (3.0, "pixels", [1.0] * 4)


def test_the_data_handed_over_stays_as_it_is():
    model = classifier()
    before = model.train_data[0].clone()
    mixed_within_classes(model, seed=0)
    assert torch.equal(model.train_data[0], before)


def test_tokens_cannot_be_mixed():
    batches = batches_of(pixels=torch.arange(4), labels=torch.tensor([0, 0, 1, 1]))
    with pytest.raises(
        MeasureNotApplicableError, match=r"^nothing can be mixed, because inputs are integers \(tokens"
    ):
        mixed_within_classes(by_keyword(batches), seed=0)


def test_inputs_of_several_shapes_cannot_be_mixed():
    batches = [(torch.randn(2, size), torch.tensor([0, 1])) for size in (3, 4)]
    with pytest.raises(
        MeasureNotApplicableError, match=r"^nothing can be mixed, because inputs have several shapes\."
    ):
        mixed_within_classes(TrainedModel(nn.Linear(3, 2), batches), seed=0)


def test_examples_without_another_of_their_class_cannot_be_mixed():
    with pytest.raises(
        MeasureNotApplicableError, match=r"^nothing can be mixed, because no class has two examples\."
    ):
        mixed_within_classes(classifier(num_examples=3), seed=0)
