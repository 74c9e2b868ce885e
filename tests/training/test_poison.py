import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from widemargin.data import balanced_subset, digits, swiss_roll
from widemargin.errors import InvalidInputError
from widemargin.training import Poison, fit, poisoned_loss, unlikelihood
from widemargin.training.poison import PoisonStream, label_losses

LABELS = torch.tensor([0, 1, 2, 1])


def logits(scale: float = 1.0, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return scale * torch.randn(4, 3, generator=torch.Generator().manual_seed(0), dtype=dtype)


def test_unlikelihood_is_minus_the_log_of_one_minus_the_probability():
    p = logits().softmax(1)[torch.arange(4), LABELS]
    torch.testing.assert_close(unlikelihood(logits(), LABELS), -torch.log(1 - p))


@pytest.mark.parametrize("true", [-1e4, -200.0, -30.0, 0.0, 30.0, 200.0, 1e4])
def test_unlikelihood_is_exact_at_extreme_logits(true):
    z = torch.tensor([[1.5, true, -0.5]])
    others = math.log(math.exp(1.5) + math.exp(-0.5))
    difference = true - others
    expected = difference + math.log1p(math.exp(-difference)) if difference > 0 else math.log1p(math.exp(difference))
    found = unlikelihood(z, torch.tensor([1]))
    torch.testing.assert_close(found.double(), torch.tensor([expected], dtype=torch.float64), rtol=1e-6, atol=1e-44)


def test_unlikelihood_has_finite_gradients_where_the_network_is_sure():
    z = torch.tensor([[200.0, 0.0, 0.0], [-200.0, 0.0, 0.0]], requires_grad=True)
    (gradient,) = torch.autograd.grad(unlikelihood(z, torch.tensor([0, 0])).sum(), z)
    torch.testing.assert_close(gradient, torch.tensor([[1.0, -0.5, -0.5], [0.0, 0.0, 0.0]]))


@pytest.mark.parametrize("shape", [(4,), (4, 1)])
def test_one_logit_stands_for_two(shape):
    z = torch.tensor([-2.0, 0.5, 30.0, -40.0])
    labels = torch.tensor([0, 1, 0, 1])
    two = torch.stack([torch.zeros(4), z], dim=1)
    torch.testing.assert_close(unlikelihood(z.view(shape), labels), unlikelihood(two, labels))
    torch.testing.assert_close(label_losses(z.view(shape), labels), F.cross_entropy(two, labels, reduction="none"))


@pytest.mark.parametrize("columns", [1, 2, 3])
def test_labels_may_be_bytes(columns, monkeypatch):
    monkeypatch.setattr("jaxtyping.config.jaxtyping_disable", True)
    z, labels = logits()[:, :columns], LABELS.clamp(max=max(columns - 1, 1))
    for losses in (label_losses, unlikelihood):
        torch.testing.assert_close(losses(z, labels.byte()), losses(z, labels))


@pytest.mark.parametrize("num_classes", [2, 3])
def test_label_losses_are_the_cross_entropy(num_classes):
    z, labels = logits(30.0)[:, :num_classes].requires_grad_(), LABELS.clamp(max=num_classes - 1)
    found, expected = label_losses(z, labels), F.cross_entropy(z, labels, reduction="none")
    torch.testing.assert_close(found, expected)
    gradients = [torch.autograd.grad(losses.sum(), z)[0] for losses in (found, expected)]
    torch.testing.assert_close(*gradients)


def test_for_two_classes_unlikelihood_is_the_loss_of_the_flipped_label():
    two, labels = logits()[:, :2], torch.tensor([0, 1, 1, 0])
    torch.testing.assert_close(unlikelihood(two, labels), F.cross_entropy(two, 1 - labels, reduction="none"))


def test_poisoned_loss_adds_the_means():
    clean, poison = logits(), logits(2.0)[:3]
    found = poisoned_loss(clean, LABELS, poison, LABELS[:3], poison_factor=0.3)
    p = poison.softmax(1)[torch.arange(3), LABELS[:3]]
    torch.testing.assert_close(found, F.cross_entropy(clean, LABELS) - 0.3 * torch.log(1 - p).mean())


def test_fresh_poison_never_repeats_and_follows_from_its_seed():
    poison = Poison.of(swiss_roll(), 0.5, num_examples=10)
    first, again, other = (PoisonStream(poison, seed) for seed in (1, 1, 2))
    drawn = [first.next() for _ in range(130)]
    assert len({tuple(point.tolist()) for inputs, _ in drawn for point in inputs}) == 1300
    for inputs, labels in drawn:
        same_inputs, same_labels = again.next()
        assert torch.equal(inputs, same_inputs)
        assert torch.equal(labels, same_labels)
    assert not torch.equal(drawn[0][0], other.next()[0])


def test_a_fixed_pool_is_gone_through_evenly():
    data = balanced_subset(digits(), 900, seed=0)
    poison = Poison.of(data, 0.5, num_examples=30, pool="fixed")
    stream = PoisonStream(poison, seed=0)
    seen = [tuple(image.flatten().tolist()) for _ in range(10) for image in stream.next()[0]]
    assert {seen.count(image) for image in seen} == {3}
    assert set(seen) == {tuple(image.flatten().tolist()) for image in data.extra_inputs}


def test_the_factor_can_rise():
    rising = Poison(0.8, 1, swiss_roll().draw, schedule="rising")
    assert [rising.factor_at(progress) for progress in (0, 0.25, 0.5, 1)] == pytest.approx([0, 0.4, 0.8, 0.8])
    assert Poison(0.8, 1, swiss_roll().draw).factor_at(0) == 0.8


def test_poisoned_training_is_descent_on_the_poisoned_loss():
    data = swiss_roll()
    torch.manual_seed(0)
    found, expected = nn.Linear(2, 2), nn.Linear(2, 2)
    expected.load_state_dict(found.state_dict())
    poison = Poison.of(data, 0.4, num_examples=6, schedule="rising")
    fit(
        found, data.train_inputs, data.train_labels, optimizer="sgd", momentum=0.0, lr=0.5, schedule="constant",
        batch_size=None, num_steps=4, gradient_clipping=0.05, poison=poison, seed=3,
    )  # fmt: skip
    stream = PoisonStream(poison, seed=3)
    for step in range(4):
        inputs, labels = stream.next()
        factor = 0.4 * min(1, step / 2)
        loss = poisoned_loss(
            expected(data.train_inputs), data.train_labels, expected(inputs), labels, poison_factor=factor
        )
        gradients = torch.autograd.grad(loss, list(expected.parameters()))
        norm = torch.cat([gradient.flatten() for gradient in gradients]).norm()
        with torch.no_grad():
            for parameter, gradient in zip(expected.parameters(), gradients, strict=True):
                parameter.sub_(0.5 * gradient * min(1, 0.05 / norm))
    torch.testing.assert_close(found.weight, expected.weight, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(found.bias, expected.bias, rtol=1e-4, atol=1e-6)


def test_poison_keeps_a_network_from_generalizing():
    data = swiss_roll()
    accuracy = {}
    for factor in (0.0, 1.0):
        torch.manual_seed(0)
        network = nn.Sequential(nn.Linear(2, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1))
        poison = Poison.of(data, factor, num_examples=200)
        fit(network, data.train_inputs, data.train_labels, lr=0.01, batch_size=None, num_steps=400, poison=poison)
        with torch.no_grad():
            accuracy[factor] = float(((network(data.test_inputs).squeeze(1) > 0) == data.test_labels).float().mean())
    assert accuracy[0.0] > accuracy[1.0] + 0.2


ERRORS = {
    "negative": (lambda: Poison(-0.1, 1, swiss_roll().draw), "finite number of at least 0, got -0.1"),
    "nan": (lambda: Poison(math.nan, 1, swiss_roll().draw), "finite number of at least 0, got nan"),
    "no examples": (lambda: Poison(0.1, 0, swiss_roll().draw), "at least one example per step, got 0"),
    "schedule": (lambda: Poison(0.1, 1, swiss_roll().draw, "falling"), "constant, rising, got 'falling'"),
    "empty pool": (
        lambda: Poison(0.1, 1, (torch.empty(0, 2), torch.empty(0).long())),
        "at least one example, got none",
    ),
    "pool": (lambda: Poison.of(swiss_roll(), 0.1, num_examples=1, pool="new"), "must be fresh or fixed, got 'new'"),
    "not drawable": (lambda: Poison.of(digits(), 0.1, num_examples=1), "data whose distribution is known"),
    "nothing left": (
        lambda: Poison.of(digits(), 0.1, num_examples=1, pool="fixed"),
        "neither trained on nor tested, got none. Train on fewer",
    ),
}


@pytest.mark.parametrize("name", ERRORS)
def test_says_what_is_wrong_with_poison(name, monkeypatch):
    monkeypatch.setattr("jaxtyping.config.jaxtyping_disable", True)
    make, text = ERRORS[name]
    with pytest.raises(InvalidInputError, match=text):
        make()
