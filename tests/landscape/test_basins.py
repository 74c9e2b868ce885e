import math

import numpy as np
import pytest
import torch
from torch import nn

from landscape.cases import CASES, bowl, convolution, examples, flat, generator, interrupting, mlp, moved, snapshot
from widemargin import TrainedModel
from widemargin.errors import InvalidInputError
from widemargin.landscape import crossings
from widemargin.landscape.basins import BasinRadii, basin_radii
from widemargin.landscape.directions import Directions
from widemargin.landscape.evaluation import Evaluation


class Profile(nn.Module):
    """Two parameters and a loss that is any function of how far they have been moved."""

    def __init__(self, loss_of) -> None:
        super().__init__()
        self.theta = nn.Parameter(torch.tensor([3.0, -2.0], dtype=torch.float64))
        self.minimum = self.theta.detach().clone()
        self.loss_of = loss_of

    def forward(self, x):
        height = self.loss_of(self.theta - self.minimum)
        return torch.stack([torch.zeros_like(height), height]).expand(len(x), 2)


def radii_of(loss_of, directions=((1.0, 0.0),), **options) -> BasinRadii:
    data = (torch.zeros(2, 1), torch.tensor([0, 1]))
    trained = TrainedModel(Profile(loss_of), data, loss=lambda logits, labels: logits[:, 1])
    return basin_radii(trained, directions=torch.tensor(directions), **options)


def rotated(spectrum: torch.Tensor) -> torch.Tensor:
    n = len(spectrum)
    rotation = torch.linalg.qr(torch.randn(n, n, generator=generator(0), dtype=torch.float64)).Q
    return rotation @ spectrum.double().diag() @ rotation.T


def test_radii_of_a_bowl_are_known_along_every_direction():
    hessian = rotated(torch.logspace(-3, 3, 20))
    trained = bowl(hessian, torch.randn(20, generator=generator(1)))
    found = basin_radii(trained, cutoffs=(0.1,), num_directions=30, normalization="none", cap=100.0, seed=5)
    steps = Directions.around(trained.network, "none", seed=5).stacked(range(30))
    expected = (0.2 / (steps @ hessian * steps).sum(dim=1)).sqrt().numpy()
    np.testing.assert_allclose(found.radii[::2, 0], expected, rtol=1e-9)
    np.testing.assert_allclose(found.radii[1::2, 0], expected, rtol=1e-9)
    assert not found.is_censored.any()
    assert (found.num_directions, found.num_free, found.loss, found.caveats) == (30, 20, 0.0, ())


@pytest.mark.parametrize("precision", [0.1, 0.01, 1e-4])
def test_radii_are_as_precise_as_asked_for(precision):
    # Steeper than any power, so that no straight line in logarithms fits.
    found = radii_of(lambda step: torch.expm1(30 * step[0] ** 2) + step[0] ** 2, precision=precision)
    exact = next(t for t in np.linspace(0, 1, 1_000_001) if math.expm1(30 * t**2) + t**2 > 0.1)
    np.testing.assert_allclose(found.radii, exact, rtol=precision)


def test_agrees_with_a_walk_in_small_steps_on_a_network():
    x, y = examples(num=40)
    trained = TrainedModel(_fitted(mlp(), x, y), (x, y))
    found = basin_radii(trained, num_directions=4, cutoffs=(0.3,), precision=0.001)
    steps = Directions.around(trained.network, seed=0).stacked(range(4))
    grid = np.linspace(0, 1, 501)[1:]
    for direction, both in zip(steps, found.radii[:, 0].reshape(-1, 2), strict=True):
        for sign, radius in zip((1, -1), both, strict=True):
            points = flat(trained) + torch.tensor(grid[:, None]).float() * sign * direction
            with trained.borrowed():
                losses = Evaluation(trained).at(points).losses
            expected = grid[np.argmax(losses > 0.3)] if (losses > 0.3).any() else 1.0
            assert abs(radius - expected) <= 0.001 * expected + 1 / 500


def _fitted(model: nn.Module, x: torch.Tensor, y: torch.Tensor) -> nn.Module:
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(300):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
    return model


def test_the_first_crossing_counts_where_a_ridge_comes_back_down():
    def ridge(step):  # above 0.1 from 0.2 to 0.28, and from 0.8 on
        t = step[0].abs()
        return torch.where((t > 0.2) & (t < 0.28), 5.0, 0.15 * t**2 + (t > 0.8) * 3.0)

    found = radii_of(ridge, [(1.0, 0.0), (0.9, 0.0), (-1.0, 0.0)], precision=1e-4)
    np.testing.assert_allclose(found.radii[:, 0], [0.2, 0.2, 0.2 / 0.9, 0.2 / 0.9, 0.2, 0.2], rtol=1e-4)


def test_a_ridge_behind_a_farther_pilot_is_found_by_going_back_and_scanning():
    def walls(step):  # the second axis has a wall at 0.01; the first one of its own at 0.9
        return 10.0 * (step[1].abs() > 0.01) + 10.0 * (step[0].abs() > 0.9)

    found = radii_of(walls, [(1.0, 0.0), (1.0, 0.0), (0.0, 1.0)], precision=1e-4)
    np.testing.assert_allclose(found.radii[:, 0], [0.9] * 4 + [0.01] * 2, rtol=1e-4)


def test_a_ray_that_never_crosses_is_censored_at_the_cap():
    found = radii_of(lambda step: 10 * step[0] ** 2, [(1.0, 0.0), (0.0, 1.0)], cap=0.7)
    np.testing.assert_array_equal(found.is_censored[:, 0], [False, False, True, True])
    np.testing.assert_allclose(found.radii[:, 0], [0.1, 0.1, 0.7, 0.7])


def test_both_ways_along_a_direction_are_looked_at():
    found = radii_of(lambda step: torch.where(step[0] > 0, 10.0, 1000.0) * step[0] ** 2)
    np.testing.assert_allclose(found.radii[:, 0], [0.1, 0.01])


def test_several_cutoffs_give_what_each_one_gives_alone_from_fewer_evaluations():
    x, y = examples(num=40)
    trained = TrainedModel(_fitted(mlp(), x, y), (x, y))
    cutoffs = (0.5, 0.2, 1.0)
    together = basin_radii(trained, cutoffs=cutoffs, num_directions=20)
    alone = [basin_radii(trained, cutoffs=(cutoff,), num_directions=20) for cutoff in cutoffs]
    for column, single in enumerate(alone):
        np.testing.assert_allclose(together.radii[:, column], single.radii[:, 0], rtol=0.01)
        np.testing.assert_array_equal(together.is_censored[:, column], single.is_censored[:, 0])
    assert together.num_evaluations < 0.8 * sum(single.num_evaluations for single in alone)
    assert (np.diff(together.radii[:, [1, 0, 2]], axis=1) >= 0).all()


def test_a_ridge_that_only_the_larger_cutoffs_search_meets_moves_the_smaller_radius_in():
    def spike(step):  # exceeds 1 at 0.5, but 0.1 in a narrow spike at 0.4 already
        t = step[0].abs()
        return 0.3 * t**2 + 0.5 * ((t > 0.399) & (t < 0.401)) + 5.0 * (t > 0.5)

    search = crossings._Search(Evaluation(CASES["mlp"]()), 0.0, np.array([0.1, 1.0]), 0.01)
    brackets = search.brackets(np.array([[0.0, 0.3, 0.45, 0.4]]), np.array([[0.0, 0.03, 0.06, 0.55]]))
    assert (brackets.low[0].tolist(), brackets.high[0].tolist()) == ([0.3, 0.45], [0.4, math.inf])
    assert radii_of(spike, cutoffs=(0.1, 1.0)).radii[0, 1] == pytest.approx(0.5, rel=0.01)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_losses_that_are_not_finite_count_as_above_and_are_counted(value):
    found = radii_of(lambda step: torch.where(step[0] > 0.3, value, 0.01 * step[0] ** 2), [(1.0, 0.0), (0.0, 1.0)])
    np.testing.assert_allclose(found.radii[:, 0], [0.3, 1, 1, 1], rtol=0.01)
    assert found.num_not_finite == 1
    assert found.caveats == ("1 of 4 rays met a loss that is NaN or infinite, which counts as above every cutoff.",)


def test_a_wall_right_at_the_minimum_ends_the_search():
    found = radii_of(lambda step: torch.where(step[0] != 0, 1.0, 0.0).double(), [(1.0, 0.0)])
    assert (found.radii < 1e-12).all()
    assert (found.radii > 0).all()


@pytest.mark.parametrize("cap", [1e-3, 1.0, 1e5])
def test_radii_do_not_depend_on_a_cap_beyond_them(cap):
    found = radii_of(lambda step: 1e9 * (step**2).sum(), cap=cap)
    np.testing.assert_allclose(found.radii, 1e-5)


def test_few_evaluations_are_needed_and_all_are_counted(monkeypatch):
    points = []
    whole = Evaluation.at
    monkeypatch.setattr(Evaluation, "at", lambda self, some: points.extend(some) or whole(self, some))
    x, y = examples(num=40)
    found = basin_radii(TrainedModel(_fitted(mlp(), x, y), (x, y)), num_directions=20, cutoffs=(0.3,))
    assert found.evaluations_per_radius < 10
    assert found.evaluations_per_radius == found.num_evaluations / 40
    assert found.num_evaluations == len(points)


def test_rescaling_a_relu_network_layer_by_layer_changes_nothing():
    x, y = examples(num=40)
    trained = TrainedModel(_fitted(mlp().double(), x.double(), y), (x, y))
    rescaled = moved(trained, flat(trained))
    layers = [module for module in rescaled.model if isinstance(module, nn.Linear)]
    with torch.no_grad():
        up = 1.0
        for layer, factor in zip(layers, (5.0, 0.3, 1 / 1.5), strict=True):
            up *= factor
            layer.weight.mul_(factor)
            layer.bias.mul_(up)
    first, second = (basin_radii(t, num_directions=10, cutoffs=(0.3,)) for t in (trained, rescaled))
    np.testing.assert_allclose(second.radii, first.radii, rtol=1e-9)


def test_the_same_seed_gives_the_same_bits_and_another_seed_others():
    trained = CASES["mlp"]()
    first, again, other = (basin_radii(trained, cutoffs=(1.5,), num_directions=6, seed=s) for s in (1, 1, 2))
    np.testing.assert_array_equal(first.radii, again.radii)
    assert first.num_evaluations == again.num_evaluations
    assert (first.radii != other.radii).any()


def test_how_many_directions_are_held_at_once_does_not_matter(monkeypatch):
    trained = CASES["mlp"]()
    at_once = basin_radii(trained, cutoffs=(1.5,), num_directions=6)
    monkeypatch.setattr(crossings, "BYTES_AT_ONCE", 1)
    one_by_one = basin_radii(trained, cutoffs=(1.5,), num_directions=6)
    np.testing.assert_allclose(one_by_one.radii, at_once.radii, rtol=1e-4)


@pytest.mark.parametrize("name", CASES)
def test_works_for_networks_of_every_kind(name):
    found = basin_radii(CASES[name](), cutoffs=(3.0,), num_directions=3, cap=5.0)
    assert np.isfinite(found.radii).all()
    assert found.radii.shape == (6, 1)


def test_batch_norm_statistics_can_be_re_estimated_along_the_ray():
    trained = TrainedModel(convolution(), examples((1, 6, 6)))
    kept, fresh = (
        basin_radii(trained, cutoffs=(3.0,), num_directions=3, cap=5.0, batch_norm=how)
        for how in ("kept", "re-estimated")
    )
    assert (np.abs(kept.radii - fresh.radii) > 0.01).any()


def test_directions_of_ones_own_may_be_given_by_name():
    trained = CASES["mlp"]()
    with trained.borrowed() as network:
        directions = Directions.around(network, seed=0)
        named = [directions.space.named(row) for row in directions.stacked([0, 1])]
    found = basin_radii(trained, cutoffs=(3.0,), directions=named)
    np.testing.assert_allclose(found.radii, basin_radii(trained, cutoffs=(3.0,), num_directions=2).radii, rtol=1e-6)
    assert (found.normalization, found.seed, found.num_directions) == ("given", None, 2)


def test_zero_filters_stay_fixed_and_are_named():
    trained = CASES["mlp"]()
    with torch.no_grad():
        trained.model[0].weight[2] = 0
    found = basin_radii(trained, cutoffs=(3.0,), num_directions=2)
    assert found.caveats == ("1 filters are 0: they stay fixed, as biases do.",)
    assert found.num_free == 7 * 5 + 6 * 7 + 3 * 6 - 5


def measured(radii: list[list[float]], *, cap: float = 1.0) -> BasinRadii:
    values = np.array(radii)
    return BasinRadii(values, values == cap, (0.1, 0.2), cap, 0.0, "filter", 7, 0, 40, 0)


def test_mean_takes_a_direction_and_its_opposite_as_one_draw():
    found = measured([[0.1, 0.5], [0.3, 0.5], [0.4, 0.5], [0.6, 0.5], [0.2, 0.5], [0.6, 0.5]]).mean(0.1)
    pairs = [0.2, 0.5, 0.4]
    assert found.value == pytest.approx(np.mean(pairs))
    assert found.standard_error == pytest.approx(np.std(pairs, ddof=1) / 3**0.5)
    assert found.caveats == ()


def test_standard_errors_of_mean_and_median_are_those_of_many_repetitions():
    means, medians = [], []
    for seed in range(300):
        draws = np.repeat(np.random.default_rng(seed).exponential(size=100), 2)[:, None] / 50
        radii = measured(np.hstack([draws, draws]).tolist())
        means.append(radii.mean(0.1))
        medians.append(radii.median(0.1))
    for estimates in (means, medians):
        spread = np.std([estimate.value for estimate in estimates])
        assert np.mean([estimate.standard_error for estimate in estimates]) == pytest.approx(spread, rel=0.2)


def test_one_direction_has_a_mean_without_a_known_error():
    radii = measured([[0.1, 0.5], [0.3, 0.5]])
    assert (radii.mean(0.1).standard_error, radii.median(0.1).standard_error) == (math.inf, math.inf)


def test_a_mean_over_censored_radii_is_called_a_lower_bound_and_a_median_only_where_it_is_censored():
    radii = measured([[0.1, 1.0], [0.3, 1.0], [0.2, 1.0], [1.0, 0.2]])
    expected = "is a lower bound: {} of 4 rays stay below the cutoff up to the cap of 1.0."
    assert radii.mean(0.1).caveats == ("The mean " + expected.format(1),)
    assert radii.median(0.1).caveats == ()
    assert radii.median(0.2).caveats == ("The median " + expected.format(3),)


def test_a_cutoff_that_was_not_measured_is_refused():
    with pytest.raises(InvalidInputError, match=r"cutoff must be one that was measured \(0.1, 0.2\), got 0.3"):
        measured([[0.1, 1.0], [0.3, 1.0]]).mean(0.3)


def test_a_minimum_above_the_cutoff_has_no_basin():
    with pytest.raises(
        InvalidInputError, match=r"got a loss of 0\.5 and a cutoff of 0\.1\. Train further, or take larger"
    ):
        radii_of(lambda step: 0.5 + (step**2).sum(), cutoffs=(1.0, 0.1))


@pytest.mark.parametrize("cutoffs", [(), (0.0,), (0.1, -1.0), (math.nan,), (math.inf,)])
def test_cutoffs_that_are_no_losses_are_refused(cutoffs):
    with pytest.raises(InvalidInputError, match="cutoffs must be positive, finite losses, got"):
        radii_of(lambda step: (step**2).sum(), cutoffs=cutoffs)


@pytest.mark.parametrize("cap", [0.0, -1.0, math.nan, math.inf])
def test_a_cap_that_is_no_distance_is_refused(cap):
    with pytest.raises(InvalidInputError, match="cap must be positive and finite, got"):
        radii_of(lambda step: (step**2).sum(), cap=cap)


@pytest.mark.parametrize("precision", [0.0, 0.2, math.nan])
def test_a_precision_out_of_range_is_refused(precision):
    with pytest.raises(InvalidInputError, match=r"precision must be from 1e-6 to 0.1, got"):
        radii_of(lambda step: (step**2).sum(), precision=precision)


def test_no_direction_is_refused():
    with pytest.raises(InvalidInputError, match=r"num_directions must be 1 or more, got 0"):
        basin_radii(CASES["mlp"](), num_directions=0)
    with pytest.raises(InvalidInputError, match="directions must hold one direction or more, got none"):
        basin_radii(CASES["mlp"](), directions=[])


@pytest.mark.parametrize("value", [0.0, math.nan, math.inf])
def test_a_direction_that_moves_nothing_or_too_much_is_refused(value):
    with pytest.raises(InvalidInputError, match="a direction must be finite and not all 0"):
        radii_of(lambda step: (step**2).sum(), [(1.0, 0.0), (value, 0.0)])


def test_a_direction_of_the_wrong_shape_is_refused():
    with pytest.raises(InvalidInputError, match=r"vector of the network's 2 parameters, got the shape \[3\]"):
        radii_of(lambda step: (step**2).sum(), [(1.0, 0.0, 0.0)])


def test_a_network_without_weights_of_two_dimensions_is_pointed_to_plain_directions():
    trained = bowl(torch.eye(3), torch.zeros(3))
    with pytest.raises(InvalidInputError, match=r'Use normalization="none", which moves every parameter'):
        basin_radii(trained)


@pytest.mark.parametrize("at_call", [0, 4])
def test_the_network_comes_back_untouched_after_ctrl_c_too(at_call):
    trained = interrupting(at_call)
    before = snapshot(trained.model)
    if at_call:
        with pytest.raises(KeyboardInterrupt):
            basin_radii(trained, cutoffs=(9.0,), num_directions=2)
    else:
        basin_radii(trained, cutoffs=(9.0,), num_directions=2)
    assert snapshot(trained.model) == before
