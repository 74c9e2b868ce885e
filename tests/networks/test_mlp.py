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


def test_build_refuses_what_it_does_not_know():
    with pytest.raises(InvalidInputError, match="network must be one of mlp, nin, got 'vgg'"):
        networks.build("vgg", num_classes=3, input_shape=(4,), seed=0)
    with pytest.raises(InvalidInputError, match=r"nin needs square images .* got \[4\]"):
        networks.build("nin", num_classes=3, input_shape=(4,), seed=0)
