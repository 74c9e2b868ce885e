import copy
import math

import pytest
import torch
from torch import nn

from widemargin.errors import InvalidInputError
from widemargin.networks import MLP, NiN
from widemargin.training import fit

X = torch.randn(20, 5, generator=torch.Generator().manual_seed(0))
Y = torch.arange(20) % 3


def network() -> MLP:
    torch.manual_seed(0)
    return MLP(3, (5,), hidden=(8,))


OPTIMIZERS = {
    "sgd": lambda groups: torch.optim.SGD(groups, lr=0.1, momentum=0.5),
    "adamw": lambda groups: torch.optim.AdamW(groups, lr=0.1),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_is_a_plain_loop_over_shuffled_epochs(name):
    found, expected = network(), network()
    fit(found, X, Y, optimizer=name, lr=0.1, momentum=0.5, weight_decay=0.3, batch_size=8, num_steps=7, seed=4)

    torch.manual_seed(4)
    kernels = [p for p in expected.parameters() if p.ndim == 2]
    biases = [p for p in expected.parameters() if p.ndim == 1]
    optimizer = OPTIMIZERS[name]([{"params": kernels, "weight_decay": 0.3}, {"params": biases, "weight_decay": 0}])
    step = 0
    while step < 7:
        order = torch.randperm(20)
        for start in (0, 8, 16):
            if step < 7:
                for group in optimizer.param_groups:
                    group["lr"] = 0.1 * (1 + math.cos(math.pi * step / 7)) / 2
                rows = order[start : start + 8]
                optimizer.zero_grad()
                nn.functional.cross_entropy(expected(X[rows]), Y[rows]).backward()
                optimizer.step()
                step += 1
    for one, other in zip(found.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(one, other)


def test_fits_what_can_be_fitted():
    result = fit(network(), X, Y, lr=0.02, num_steps=600)
    assert result.history[-1].accuracy == 1.0
    assert not result.has_diverged


def test_the_same_seed_gives_the_same_bits_and_leaves_the_random_state():
    def weights(seed: int) -> torch.Tensor:
        torch.manual_seed(0)
        model = MLP(3, (5,), hidden=(8,), dropout=0.5)
        fit(model, X, Y, num_steps=10, batch_size=8, seed=seed)
        return model.head.weight

    state = torch.get_rng_state()
    first, second, other = weights(1), weights(1), weights(2)
    assert torch.equal(first, second)
    assert not torch.equal(first, other)
    torch.manual_seed(0)
    fit(network(), X, Y, num_steps=3)
    after = torch.get_rng_state()
    torch.manual_seed(0)
    network()
    assert torch.equal(after, torch.get_rng_state())
    assert state.shape == after.shape


def test_history_covers_every_step_and_is_reported_as_it_is_made():
    reported = []
    result = fit(network(), X, Y, num_steps=45, batch_size=8, schedule="constant", on_record=reported.append)
    assert tuple(reported) == result.history
    assert result.history[-1].step == result.num_steps == 45
    assert [record.step for record in result.history[:3]] == [2, 4, 6]
    assert result.history[-1].epoch == 15
    assert result.history[-1].lr == 1e-3
    assert result.history[0].as_dict().keys() == {"step", "epoch", "loss", "accuracy", "lr"}


def test_divergence_is_noticed_and_stops_training():
    result = fit(network(), X * 1e20, Y, optimizer="sgd", lr=1e30, num_steps=400)
    assert result.has_diverged
    assert result.num_steps < 400


def test_leaves_the_network_in_evaluation_mode_with_contiguous_weights():
    torch.manual_seed(0)
    model = NiN(3, 1, 8, width=0.05)
    fit(model, torch.randn(6, 1, 8, 8), Y[:6], num_steps=3)
    assert not any(module.training for module in model.modules())
    assert all(parameter.is_contiguous() for parameter in model.parameters())


def test_memory_layout_of_images_changes_nothing_but_rounding():
    torch.manual_seed(0)
    model = NiN(3, 1, 8, width=0.05).double()
    other = copy.deepcopy(model)
    images = torch.randn(6, 1, 8, 8, dtype=torch.float64)
    fit(model, images, Y[:6], num_steps=5, schedule="constant")
    optimizer = torch.optim.AdamW(other.parameters(), lr=1e-3, weight_decay=0)
    for _ in range(5):  # one batch an epoch: order does not matter
        optimizer.zero_grad()
        nn.functional.cross_entropy(other(images), Y[:6]).backward()
        optimizer.step()
    torch.testing.assert_close(model.head.weight, other.head.weight)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"optimizer": "lion"}, "optimizer must be adamw or sgd, got 'lion'"),
        ({"schedule": "step"}, "schedule must be one of cosine, constant, steps, got 'step'"),
    ],
)
def test_names_unknown_options(options, text, monkeypatch):
    monkeypatch.setattr("jaxtyping.config.jaxtyping_disable", True)
    with pytest.raises(InvalidInputError, match=text):
        fit(network(), X, Y, **options)


def test_needs_an_example():
    with pytest.raises(InvalidInputError, match="at least one example, got none"):
        fit(network(), X[:0], Y[:0])


def test_a_network_of_double_precision_is_trained_in_it():
    found, expected = network().double(), network().double()
    fit(
        found, X.double(), Y, optimizer="sgd", lr=0.1, momentum=0.0, batch_size=None, num_steps=1, schedule="constant"
    )
    nn.functional.cross_entropy(expected(X.double()), Y).backward()
    for one, other in zip(found.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(one, other - 0.1 * other.grad, rtol=1e-12, atol=1e-14)
