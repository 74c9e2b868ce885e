import copy

import numpy as np
import pytest
import torch
from torch import nn

from landscape.cases import (
    CASES,
    bowl,
    convolution,
    examples,
    flat,
    generator,
    interrupting,
    mlp,
    moved,
    naive_values,
    snapshot,
)
from widemargin import TrainedModel
from widemargin.errors import InvalidInputError
from widemargin.landscape.directions import Directions
from widemargin.landscape.plane import trajectory_plane
from widemargin.landscape.surface import loss_surface
from widemargin.landscape.walk import loss_along


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_is_the_loss_of_copies_moved_in_the_plane(case):
    trained = case()
    surface = loss_surface(trained, num_points=4, reach=0.7, seed=2)
    first, second = Directions.around(trained.model, seed=2).stacked([0, 1])
    for row, y in enumerate(surface.y):
        for column, x in enumerate(surface.x):
            loss, accuracy = naive_values(moved(trained, flat(trained) + x * first + y * second))
            assert surface.losses[row, column] == pytest.approx(loss, rel=1e-5)
            assert surface.accuracies[row, column] == pytest.approx(accuracy)
    assert surface.num_evaluations == 16
    assert surface.cosine == pytest.approx(float(torch.cosine_similarity(first, second, dim=0)), abs=1e-6)


def test_a_bowl_has_its_closed_form():
    factor = torch.randn(5, 5, generator=generator(0), dtype=torch.float64)
    hessian, directions = factor @ factor.T, torch.randn(2, 5, generator=generator(1), dtype=torch.float64)
    surface = loss_surface(bowl(hessian, torch.ones(5)), directions=directions, reach=(-1.0, 2.0, 0.5, 3.0))
    assert surface.losses.shape == (51, 51)
    assert (surface.x[0], surface.x[-1], surface.y[0], surface.y[-1]) == (-1.0, 2.0, 0.5, 3.0)
    metric = (directions @ hessian @ directions.T).numpy()
    x, y = np.meshgrid(surface.x, surface.y)
    expected = (metric[0, 0] * x**2 + 2 * metric[0, 1] * x * y + metric[1, 1] * y**2) / 2
    np.testing.assert_allclose(surface.losses, expected, rtol=1e-9, atol=1e-12)
    assert (surface.normalization, surface.seed) == ("given", None)


def test_the_middle_is_the_network_and_the_first_axis_is_the_walk_of_that_seed():
    trained = TrainedModel(mlp().double(), examples())
    surface = loss_surface(trained, num_points=5, seed=3)
    assert surface.losses[2, 2] == pytest.approx(naive_values(trained)[0])
    walk = loss_along(trained, coefficients=surface.x, seed=3)
    np.testing.assert_allclose(surface.losses[2], walk.losses, rtol=1e-9)
    assert (surface.normalization, surface.seed) == ("filter", 3)


def test_rescaling_a_relu_network_moves_no_filter_normalized_surface():
    model = nn.Sequential(nn.Linear(5, 7, bias=False), nn.ReLU(), nn.Linear(7, 3)).double()
    scaled = copy.deepcopy(model)
    with torch.no_grad():
        scaled[0].weight *= torch.logspace(-2, 2, 7).unsqueeze(1)
        scaled[2].weight /= torch.logspace(-2, 2, 7)
    with torch.no_grad():  # unit by unit changes the filters behind; layer by layer does not
        whole = copy.deepcopy(model)
        whole[0].weight *= 50
        whole[2].weight /= 50
    surfaces = [loss_surface(TrainedModel(m, examples()), num_points=5) for m in (model, whole, scaled)]
    np.testing.assert_allclose(surfaces[0].losses, surfaces[1].losses, rtol=1e-9)
    assert np.abs(surfaces[0].losses - surfaces[2].losses).max() > 1e-3


def test_random_directions_are_almost_orthogonal():
    surface = loss_surface(TrainedModel(nn.Linear(5, 2000), examples()), num_points=2)
    assert abs(surface.cosine) < 4 / 10_000**0.5


def test_shows_a_trajectory_in_its_plane():
    trained = TrainedModel(mlp().double(), examples())
    generators = torch.randn(2, len(flat(trained)), generator=generator(0), dtype=torch.float64)
    points = [flat(trained) + a * generators[0] + b * generators[1] for a, b in ((1, 0), (0.5, 0.3), (0.1, 0.4))]
    plane = trajectory_plane(trained, points)
    surface = loss_surface(trained, directions=plane, num_points=3)
    assert (surface.x[0], surface.x[-1], surface.y[0], surface.y[-1]) == plane.extent
    for (x, y), point in zip(plane.coordinates, points, strict=True):
        there = loss_surface(trained, directions=plane, num_points=2, reach=(x, x + 1, y, y + 1))
        assert there.losses[0, 0] == pytest.approx(naive_values(moved(trained, point))[0], rel=1e-9)


def test_losses_that_are_not_finite_are_kept_and_counted():
    surface = loss_surface(TrainedModel(mlp(), examples()), reach=1e30, num_points=3)
    assert np.isfinite(surface.losses[1, 1])
    assert surface.num_not_finite == 8
    assert "8 of 9 losses are NaN or infinite." in surface.caveats


def test_re_estimates_statistics_where_asked():
    trained = TrainedModel(convolution(), examples((1, 6, 6)), batch_size=4)
    fresh = loss_surface(trained, num_points=3, batch_norm="re-estimated")
    walk = loss_along(trained, coefficients=fresh.x, batch_norm="re-estimated")
    np.testing.assert_allclose(fresh.losses[1], walk.losses, rtol=1e-5)
    assert (fresh.losses != loss_surface(trained, num_points=3).losses).all()


@pytest.mark.parametrize("at_call", [-1, 1, 2, 6])
def test_leaves_the_network_as_it_was(at_call):
    trained = interrupting(at_call)
    before = snapshot(trained.model)
    if at_call == -1:
        loss_surface(trained, num_points=3, batch_norm="re-estimated")
    else:
        with pytest.raises(KeyboardInterrupt):
            loss_surface(trained, num_points=3, batch_norm="re-estimated")
    assert snapshot(trained.model) == before


def test_says_what_no_surface_can_be_drawn_over():
    trained = TrainedModel(nn.Linear(5, 3), examples())
    for options, text in (
        ({"num_points": 1}, "num_points must be 2 or more along each axis, got 1"),
        ({"reach": 0.0}, "each low below its high"),
        ({"reach": float("inf")}, "all finite"),
        ({"reach": (0.0, 1.0, 2.0, 1.0)}, r"each low below its high, got \(0.0, 1.0, 2.0, 1.0\)"),
        ({"directions": torch.ones(3, 18)}, "a surface takes two directions, got 3. loss_along takes one"),
        ({"directions": [torch.ones(18), torch.ones(17)]}, r"18 parameters, got the shape \[17\]"),
        ({"directions": [torch.ones(18), torch.zeros(18)]}, "finite and not all 0"),
    ):
        with pytest.raises(InvalidInputError, match=text):
            loss_surface(trained, **options)
    with pytest.raises(InvalidInputError, match='Use normalization="none"'):
        loss_surface(TrainedModel(nn.BatchNorm1d(5), examples()))
