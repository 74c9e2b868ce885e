import numpy as np
import pytest
import torch
from torch import nn

from landscape.cases import CASES, convolution, flat, generator, mlp
from widemargin.errors import InvalidInputError
from widemargin.landscape.directions import Directions, checked_direction
from widemargin.parameters import ParameterSpace


def parts(directions: Directions, index: int = 0) -> dict[str, torch.Tensor]:
    return directions.space.named(directions.stacked([index])[0])


def test_every_filter_of_a_direction_is_as_long_as_the_networks():
    model = convolution()
    drawn = parts(Directions.around(model, seed=3))
    for name, weight in model.named_parameters():
        for mine, own in zip(drawn[name], weight, strict=True):
            expected = own.norm() if weight.ndim >= 2 else torch.tensor(0.0)
            torch.testing.assert_close(mine.norm(), expected.detach())


def test_every_layer_of_a_direction_is_as_long_as_the_networks():
    model = convolution()
    drawn = parts(Directions.around(model, "layer", seed=3))
    for name, weight in model.named_parameters():
        torch.testing.assert_close(drawn[name].norm(), weight.detach().norm() * (weight.ndim >= 2))
    ratios = drawn["0.weight"].flatten(1).norm(dim=1) / model[0].weight.detach().flatten(1).norm(dim=1)
    assert ratios.max() - ratios.min() > 0.01  # and so are not the filters


def test_a_direction_without_normalization_has_length_1_and_moves_everything():
    drawn = Directions.around(convolution(), "none", seed=3).stacked([0, 1])
    torch.testing.assert_close(drawn.norm(dim=1), torch.ones(2))
    assert (drawn != 0).all()


def test_numbers_within_a_filter_are_gaussian():
    model = nn.Linear(10_000, 3, bias=False)
    drawn = parts(Directions.around(model, seed=0))["weight"]
    standard = drawn / drawn.std(dim=1, keepdim=True)
    assert (standard.mean(dim=1).abs() < 0.04).all()  # four standard errors
    assert ((standard**4).mean(dim=1) - 3).abs().max() < 4 * (96 / 10_000) ** 0.5


@pytest.mark.parametrize("normalization", ["filter", "layer", "none"])
def test_a_direction_follows_from_seed_and_number_alone(normalization):
    directions = Directions.around(mlp(), normalization, seed=3)
    together = directions.stacked([0, 5, 2])
    torch.manual_seed(99)
    again = Directions.around(mlp(), normalization, seed=3)
    for row, index in zip(together, (0, 5, 2), strict=True):
        torch.testing.assert_close(again.stacked([index])[0], row, rtol=1e-6, atol=1e-8)
    other_seed = Directions.around(mlp(), normalization, seed=4).stacked([0])[0]
    for other in (together[1], together[2], other_seed):
        assert abs(float(torch.cosine_similarity(together[0], other, dim=0))) < 0.5


def test_drawing_leaves_the_random_state_alone():
    directions = Directions.around(mlp(), seed=3)
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    directions.stacked([0, 1])
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (np.random.get_state()[1] == before[1]).all()


def test_zero_filters_stay_at_zero():
    model = mlp()
    with torch.no_grad():
        model[0].weight[2] = 0
    directions = Directions.around(model, seed=0)
    drawn = parts(directions)["0.weight"]
    assert (drawn[2] == 0).all()
    assert drawn.isfinite().all()
    assert directions.groups.num_zero == 1


def test_directions_come_in_the_networks_precision():
    single, double = (Directions.around(model, seed=3).stacked([0]) for model in (mlp(), mlp().double()))
    assert (single.dtype, double.dtype) == (torch.float32, torch.float64)
    torch.testing.assert_close(single.double(), double, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_a_users_direction_may_be_flat_or_by_name(case):
    trained = case()
    space = ParameterSpace.of(trained.network)
    given = torch.randn(space.num_parameters, generator=generator(0), dtype=flat(trained).dtype)
    assert torch.equal(checked_direction(given, space), given)
    assert torch.equal(checked_direction(space.named(given), space), given)


def test_says_what_does_not_fit_in_a_users_direction():
    model = nn.Linear(2, 3)
    space = ParameterSpace.of(model)
    with pytest.raises(InvalidInputError, match=r"vector of the network's 9 parameters, got the shape \[3, 3\]"):
        checked_direction(torch.zeros(3, 3), space)
    named = {name: p.detach() for name, p in model.named_parameters()}
    with pytest.raises(InvalidInputError, match=r"for 'bias' the network has \[3\] and the direction \[2\]"):
        checked_direction({**named, "bias": torch.zeros(2)}, space)
    with pytest.raises(InvalidInputError, match=r"for 'bias' the network has \[3\] and the direction none"):
        checked_direction({"weight": named["weight"]}, space)
    with pytest.raises(InvalidInputError, match=r"for 'extra' the network has none and the direction \[1\]"):
        checked_direction({**named, "extra": torch.zeros(1)}, space)


def test_says_when_there_is_nothing_to_move():
    with pytest.raises(InvalidInputError, match='Use normalization="none"'):
        Directions.around(nn.BatchNorm1d(3), seed=0)
