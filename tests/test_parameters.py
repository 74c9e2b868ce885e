import pytest
import torch
from torch import nn

from widemargin.errors import InvalidInputError
from widemargin.parameters import ParameterSpace


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(3, 3), nn.Linear(3, 3)
        self.second.weight = self.first.weight


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(2, 3, 2), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(12, 4))


def test_flat_and_named_are_inverse():
    model = network()
    space = ParameterSpace.of(model)
    flat = space.flat(model)
    assert flat.shape == (space.num_parameters,)
    assert all(torch.equal(space.named(flat)[name], p) for name, p in model.named_parameters())


def test_flat_is_a_copy():
    model = network()
    space = ParameterSpace.of(model)
    space.flat(model).zero_()
    assert model[0].weight.abs().sum() > 0


def test_tied_parameters_count_once():
    assert ParameterSpace.of(Tied()).num_parameters == 9 + 3 + 3


def test_integer_parameters_stay_out_and_precisions_come_back():
    model = nn.ParameterDict(
        {"a": nn.Parameter(torch.ones(2, dtype=torch.float64)), "b": nn.Parameter(torch.ones(3, dtype=torch.float16))}
    )
    model["c"] = nn.Parameter(torch.ones(2, dtype=torch.long), requires_grad=False)
    space = ParameterSpace.of(model)
    assert space.num_parameters == 5
    assert [value.dtype for value in space.named(space.flat(model)).values()] == [torch.float64, torch.float16]


def test_empty_parameters_stay_out():
    network = nn.Linear(2, 3)
    network.empty = nn.Parameter(torch.zeros(0, 4))
    assert ParameterSpace.of(network).names == ("weight", "bias")
    assert ParameterSpace.of(network).groups(torch.ones(9)).num_free == 6


def test_every_weight_has_the_norm_of_its_filter():
    model = network()
    space = ParameterSpace.of(model)
    groups = space.groups(space.flat(model))
    norms, sizes = space.named(groups.norms), space.named(groups.sizes)
    for channel in range(3):
        torch.testing.assert_close(norms["0.weight"][channel], model[0].weight[channel].norm().expand(2, 2, 2))
    assert (sizes["0.weight"] == 8).all()
    assert (sizes["3.weight"] == 12).all()
    for fixed in ("0.bias", "1.weight", "1.bias", "3.bias"):
        assert (norms[fixed] == 0).all()
        assert (sizes[fixed] == 0).all()
    assert groups.num_free == 24 + 48
    assert groups.num_zero == 0


def test_layers_are_groups_of_all_their_filters():
    model = network()
    space = ParameterSpace.of(model)
    groups = space.groups(space.flat(model), "layer")
    torch.testing.assert_close(space.named(groups.norms)["3.weight"], model[3].weight.norm().expand(4, 12))
    assert (space.named(groups.sizes)["3.weight"] == 48).all()


def test_without_normalization_everything_moves():
    model = network()
    space = ParameterSpace.of(model)
    groups = space.groups(space.flat(model), "none")
    assert groups.num_free == space.num_parameters
    assert (groups.norms == 1).all()


def test_zero_filters_stay_fixed_and_are_counted():
    model = network()
    with torch.no_grad():
        model[0].weight[1] = 0
    space = ParameterSpace.of(model)
    groups = space.groups(space.flat(model))
    assert groups.num_zero == 1
    assert groups.num_free == 16 + 48
    assert (space.named(groups.sizes)["0.weight"][1] == 0).all()


def test_says_when_there_is_nothing_to_move(monkeypatch):
    monkeypatch.setattr("jaxtyping.config.jaxtyping_disable", True)
    with pytest.raises(InvalidInputError, match="floating parameters to move, got none"):
        ParameterSpace.of(nn.ReLU())
    norm = nn.BatchNorm1d(3)
    space = ParameterSpace.of(norm)
    with pytest.raises(InvalidInputError, match='Use normalization="none"'):
        space.groups(space.flat(norm))
    with pytest.raises(InvalidInputError, match="must be filter, layer or none, got 'fliter'"):
        space.groups(space.flat(norm), "fliter")
