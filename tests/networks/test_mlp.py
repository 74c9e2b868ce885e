import pytest
import torch
from torch import nn

from widemargin import networks
from widemargin.errors import InvalidInputError
from widemargin.layers import choose_layers
from widemargin.networks import MLP
from widemargin.trained_model import TrainedModel


@pytest.mark.parametrize(("depth", "points"), [(1, [0]), (2, [0, 1]), (3, [0, 1, 2]), (7, [1, 3, 5]), (6, [1, 3, 4])])
def test_names_equally_spaced_layers(depth, points):
    model = MLP(3, (4,), hidden=[5] * depth)
    assert model.margin_layers == ("input", *(f"layers.{point}" for point in points))
    choice = choose_layers(TrainedModel(model.eval(), (torch.randn(6, 4), torch.arange(6) % 3)))
    assert choice.names == model.margin_layers


def test_is_linear_layers_with_relus():
    torch.manual_seed(0)
    model, x = MLP(3, (2, 2), hidden=(5, 6)), torch.randn(7, 2, 2)
    chain = nn.Sequential(nn.Flatten(), model.layers[0][0], nn.ReLU(), model.layers[1][0], nn.ReLU(), model.head)
    torch.testing.assert_close(model(x), chain(x))


def test_has_batch_norm_and_dropout_where_asked():
    model = MLP(3, (4,), hidden=(5, 6), batch_norm=True, dropout=0.3)
    assert [m.num_features for m in model.modules() if isinstance(m, nn.BatchNorm1d)] == [5, 6]
    assert model.dropout.p == 0.3


@pytest.mark.parametrize(("options", "text"), [({"hidden": (0,)}, "at least one unit"), ({"dropout": -0.1}, "share")])
def test_refuses_impossible_options(options, text):
    with pytest.raises(InvalidInputError, match=text):
        MLP(**options)


def test_build_gives_the_same_network_for_the_same_seed_and_leaves_the_random_state():
    state = torch.get_rng_state()
    first, second, other = (networks.build("mlp", num_classes=3, input_shape=(4,), seed=s) for s in (1, 1, 2))
    assert torch.equal(first.head.weight, second.head.weight)
    assert not torch.equal(first.head.weight, other.head.weight)
    assert torch.equal(torch.get_rng_state(), state)


def test_the_swiss_roll_network_has_the_papers_number_of_parameters():
    model = MLP(2, (2,), hidden=networks.SWISS_ROLL_HIDDEN, one_logit=True, initialization="glorot")
    assert sum(parameter.numel() for parameter in model.parameters()) == 3614
    assert model(torch.randn(5, 2)).shape == (5, 1)


def test_glorot_draws_evenly_up_to_its_bound():
    torch.manual_seed(0)
    model = MLP(2, (200,), hidden=(300,), initialization="glorot")
    for linear in (model.layers[0][0], model.head):
        bound = (6 / (linear.in_features + linear.out_features)) ** 0.5
        assert 0.95 * bound < linear.weight.abs().max() <= bound
        assert (linear.bias == 0).all()


@pytest.mark.parametrize(
    ("options", "text"),
    [({"one_logit": True}, "2 classes apart, got 10"), ({"initialization": "zero"}, "one of he, glorot, got 'zero'")],
)
def test_refuses_what_does_not_fit(options, text, monkeypatch):
    monkeypatch.setattr("jaxtyping.config.jaxtyping_disable", True)
    with pytest.raises(InvalidInputError, match=text):
        MLP(**options)
