import copy

import pytest
import torch
from torch import nn

from widemargin.data import swiss_roll
from widemargin.errors import InvalidInputError
from widemargin.training import Poison, fit, train_stack

DATA = swiss_roll()
X, Y = DATA.train_inputs, DATA.train_labels


def networks(num: int = 4, outputs: int = 1) -> list[nn.Module]:
    torch.manual_seed(0)
    return [nn.Sequential(nn.Linear(2, 7), nn.ReLU(), nn.Linear(7, outputs)) for _ in range(num)]


def poison(factor: float) -> Poison:
    return Poison.of(DATA, factor, num_examples=8)


def weights(network: nn.Module) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in network.parameters()])


OPTIONS = {
    "adamw": {"lr": [0.01, 0.02, 0.03, 0.04], "weight_decay": [0.0, 0.1, 0.2, 0.3], "schedule": "cosine"},
    "sgd": {"optimizer": "sgd", "momentum": 0.7, "lr": 0.1, "weight_decay": 0.1, "schedule": "steps"},
    "batches": {"batch_size": 64, "lr": 0.01, "schedule": "constant"},
    "clipped": {"gradient_clipping": 0.01, "optimizer": "sgd", "lr": 0.5},
    "poisoned": {"poison": [poison(factor) for factor in (0.1, 0.2, 0.4, 0.8)], "lr": 0.01, "batch_size": 50},
    "partly poisoned": {"poison": [None, poison(0.4), None, poison(0.8)], "lr": 0.01},
}


def own(options: dict, index: int) -> dict:
    return {name: value[index] if isinstance(value, list) else value for name, value in options.items()}


@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize("outputs", [1, 2])
def test_is_what_fit_does_to_each_network(name, outputs):
    options = {"batch_size": None} | OPTIONS[name]
    stacked, alone = networks(outputs=outputs), networks(outputs=outputs)
    found = train_stack(stacked, X, Y, num_steps=70, seed=[5, 6, 7, 8], **options)
    assert found.why_one_by_one == ""
    for index in range(4):
        expected = fit(alone[index], X, Y, num_steps=70, seed=5 + index, **own(options, index))
        torch.testing.assert_close(weights(stacked[index]), weights(alone[index]), rtol=1e-3, atol=1e-4)
        assert len(found.fits[index].history) == len(expected.history)
        for mine, theirs in zip(found.fits[index].history, expected.history, strict=True):
            assert mine.as_dict() == pytest.approx(theirs.as_dict(), rel=1e-3, abs=6e-3)
        assert not stacked[index].training


def test_does_not_depend_on_what_else_is_in_the_stack():
    options = {"num_steps": 60, "lr": 0.02, "batch_size": 40}
    together, pair = networks(70), networks(70)[3:5]
    train_stack(together, X, Y, seed=range(70), poison=[poison(0.01 * k) for k in range(70)], **options)
    train_stack(pair, X, Y, seed=[3, 4], poison=[poison(0.03), poison(0.04)], **options)
    for one, other in zip(together[3:5], pair, strict=True):
        torch.testing.assert_close(weights(one), weights(other), rtol=1e-3, atol=1e-5)


def test_a_network_that_diverges_leaves_the_others_alone():
    some, alone = networks(3), networks(3)[:1]
    found = train_stack(some, X, Y, num_steps=40, optimizer="sgd", lr=[0.1, 1e30, 0.1], seed=[0, 1, 2])
    assert [fit.has_diverged for fit in found.fits] == [False, True, False]
    assert found.fits[1].num_steps < 40
    train_stack(alone, X, Y, num_steps=40, optimizer="sgd", lr=0.1, seed=0)
    torch.testing.assert_close(weights(some[0]), weights(alone[0]), rtol=1e-3, atol=1e-5)


class Branches(nn.Module):
    """What vmap cannot follow: a decision that depends on values."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(2, 2)

    def forward(self, inputs):
        return self.linear(inputs) if self.linear.weight.sum() > 0 else -self.linear(inputs)


REASONS = {
    "batch norm": (lambda: nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4), nn.Linear(4, 2)), "BatchNorm keeps"),
    "dropout": (lambda: nn.Sequential(nn.Linear(2, 4), nn.Dropout(0.5), nn.Linear(4, 2)), "dropout would draw"),
    "branches": (Branches, "cannot be vectorized"),
}


@pytest.mark.parametrize("name", REASONS)
def test_trains_one_by_one_what_cannot_be_stacked_and_says_why(name):
    make, reason = REASONS[name]
    torch.manual_seed(0)
    some = [make(), make()]
    alone = copy.deepcopy(some[1])
    steps = []
    found = train_stack(some, X, Y, num_steps=30, lr=0.01, seed=[1, 2], poison=poison(0.2), on_step=steps.append)
    assert reason in found.why_one_by_one
    assert steps == [15, 30]
    fit(alone, X, Y, num_steps=30, lr=0.01, seed=2, poison=poison(0.2), batch_size=None)
    assert torch.equal(weights(some[1]), weights(alone))


def test_zero_dropout_stacks():
    some = [nn.Sequential(nn.Linear(2, 4), nn.Dropout(0.0), nn.Linear(4, 2)) for _ in range(2)]
    assert train_stack(some, X, Y, num_steps=1).why_one_by_one == ""


def test_leaves_the_random_state_and_tells_how_far_it_is():
    some, steps = networks(), []
    state = torch.get_rng_state()
    train_stack(some, X, Y, num_steps=40, poison=poison(0.1), on_step=steps.append)
    assert torch.equal(state, torch.get_rng_state())
    assert steps == list(range(2, 41, 2))


ERRORS = {
    "none": (lambda: train_stack([], X, Y), "at least one network, got none"),
    "no examples": (lambda: train_stack(networks(), X[:0], Y[:0]), "at least one example, got none"),
    "shapes": (
        lambda: train_stack([*networks(1), *networks(1, outputs=2)], X, Y),
        "those of network 1 differ from those of network 0",
    ),
    "too few": (
        lambda: train_stack(networks(), X, Y, lr=[0.1]),
        "lr must be one value, or one for each of 4 .* got 1",
    ),
    "optimizer": (lambda: train_stack(networks(), X, Y, optimizer="lion"), "must be adamw or sgd, got 'lion'"),
    "schedule": (lambda: train_stack(networks(), X, Y, schedule="step"), "cosine, constant, steps, got 'step'"),
    "poison": (
        lambda: train_stack(networks(2), X, Y, poison=[poison(0.1), Poison.of(DATA, 0.1, num_examples=9)]),
        r"same number of poisoned examples per step, got \[8, 9\]",
    ),
}


@pytest.mark.parametrize("name", ERRORS)
def test_says_what_is_wrong(name, monkeypatch):
    monkeypatch.setattr("jaxtyping.config.jaxtyping_disable", True)
    make, text = ERRORS[name]
    with pytest.raises(InvalidInputError, match=text):
        make()


class RandomFeatures(nn.Module):
    def __init__(self, seed):
        super().__init__()
        self.register_buffer("features", torch.randn(2, 5, generator=torch.Generator().manual_seed(seed)))
        self.linear = nn.Linear(5, 1)

    def forward(self, inputs):
        return self.linear(torch.relu(inputs @ self.features))


def frozen() -> list[nn.Module]:
    some = networks(2)
    for network in some:
        network[0].weight.requires_grad_(False)
    return some


def hooked() -> list[nn.Module]:
    some = networks(2)
    some[1][2].register_forward_hook(lambda *call: 3 * call[2])
    return some


UNLIKE = {
    "buffers may differ": lambda: [RandomFeatures(0), RandomFeatures(1)],
    "built of different parts": lambda: [
        nn.Sequential(nn.Linear(2, 3), part(), nn.Linear(3, 1)) for part in (nn.ReLU, nn.Tanh)
    ],
    "dropout would draw": lambda: [
        nn.Sequential(nn.Linear(2, 3), nn.Dropout(p), nn.Linear(3, 1)) for p in (0.0, 0.9)
    ],
    "are frozen": frozen,
    "hooks may differ": hooked,
}


@pytest.mark.parametrize("reason", UNLIKE)
def test_networks_that_are_more_than_their_parameters_are_trained_one_by_one(reason):
    torch.manual_seed(0)
    some = UNLIKE[reason]()
    alone = copy.deepcopy(some)
    found = train_stack(some, X, Y, num_steps=20, lr=0.05, seed=[1, 2])
    assert reason in found.why_one_by_one
    for index, network in enumerate(alone):
        fit(network, X, Y, num_steps=20, lr=0.05, seed=1 + index, batch_size=None)
        assert torch.equal(weights(network), weights(some[index]))


def test_takes_arrays_where_each_network_has_its_own():
    import numpy as np

    first, second = networks(2), networks(2)
    train_stack(first, X, Y, num_steps=5, lr=np.array([0.1, 0.2]), seed=np.arange(2))
    train_stack(second, X, Y, num_steps=5, lr=torch.tensor([0.1, 0.2], dtype=torch.float64), seed=[0, 1])
    assert torch.equal(weights(first[1]), weights(second[1]))


TWO = networks(2)
WRONG = {
    "twice": (lambda: train_stack([TWO[0], TWO[0]], X, Y), "different objects"),
    "steps": (lambda: train_stack(TWO, X, Y, num_steps=-1), "num_steps must be at least 0, got -1"),
    "batch": (lambda: fit(TWO[0], X, Y, batch_size=0), "batch_size must be at least 1, or None"),
    "fewer labels": (lambda: train_stack(TWO, X, Y[:50]), r"labels of training must be as many .*\(200\), got 50"),
    "third class": (lambda: fit(TWO[0], X, Y + 1), r"from 0 to below 2 .*, got a minimum of 1 and a maximum of 2"),
    "float labels": (
        lambda: fit(TWO[0], X, Y.float()),
        "integer class index per example, got float32 of shape .*labels.long",
    ),
    "pool": (
        lambda: train_stack(TWO, X, Y, poison=Poison(0.1, 2, (X[:4], 2 * Y[:4] - 1))),
        "labels of the pool of poison must be integer class indices from 0 to below 2 .*got a minimum of -1",
    ),
    "short pool": (
        lambda: fit(TWO[0], X, Y, poison=Poison(0.1, 2, (X[:4], Y[:3]))),
        "labels of the pool of poison must be as many",
    ),
    "tuple": (lambda: fit(Tuple(), X, Y), "return logits as a tensor of one row per example, got tuple"),
    "one number": (lambda: fit(Mean(), X, Y), r"one row per example, got shape \[\]"),
}


class Tuple(nn.Linear):
    def __init__(self):
        super().__init__(2, 2)

    def forward(self, inputs):
        return (super().forward(inputs),)


class Mean(nn.Linear):
    def __init__(self):
        super().__init__(2, 2)

    def forward(self, inputs):
        return super().forward(inputs).mean()


@pytest.mark.parametrize("name", WRONG)
def test_refuses_examples_that_cannot_be_trained_on(name, monkeypatch):
    monkeypatch.setattr("jaxtyping.config.jaxtyping_disable", True)
    make, text = WRONG[name]
    with pytest.raises(InvalidInputError, match=text):
        make()


def test_a_refusal_leaves_the_network_as_it_was():
    network = nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4), nn.Linear(4, 2)).train()
    network[1].eval()  # a part that its owner has frozen
    with pytest.raises(InvalidInputError, match="from 0 to below 2"):
        fit(network, X, Y + 1)
    assert [module.training for module in network.modules()] == [True, True, False, True]
    assert network[1].num_batches_tracked == 0
