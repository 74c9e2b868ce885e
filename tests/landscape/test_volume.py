import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from landscape.cases import CASES, bowl, examples, flat, generator, interrupting, mlp, moved, snapshot
from widemargin import TrainedModel
from widemargin.errors import InvalidInputError
from widemargin.landscape import crossings
from widemargin.landscape.basins import BasinRadii, basin_radii
from widemargin.landscape.volume import basin_volume, basin_volumes, log_unit_ball

CUTOFF = 0.1
PRECONDITIONERS = ["diagonal", "low-rank", "full"]


def rotated_bowl(spectrum: torch.Tensor, seed: int = 0) -> TrainedModel:
    n = len(spectrum)
    rotation = torch.linalg.qr(torch.randn(n, n, generator=generator(seed), dtype=torch.float64)).Q
    return bowl(rotation @ spectrum.double().diag() @ rotation.T, 3 * torch.randn(n, generator=generator(seed + 1)))


def six_decades(n: int) -> torch.Tensor:
    return torch.logspace(-3, 3, n, dtype=torch.float64)


def flat_beyond(rank: int, n: int) -> torch.Tensor:
    return torch.cat([torch.full((n - rank,), 0.05), torch.logspace(-1, 4, rank)]).double()


def log10_ellipsoid(spectrum: torch.Tensor, cutoff: float = CUTOFF) -> float:
    """π^{n/2} / Γ(1 + n/2) · (2c)^{n/2} / √det H."""
    n = len(spectrum)
    log_volume = n / 2 * math.log(2 * math.pi * cutoff) - math.lgamma(1 + n / 2) - float(spectrum.log().sum()) / 2
    return log_volume / math.log(10)


def plain(trained: TrainedModel, **options):
    defaults = {"cutoff": CUTOFF, "normalization": "none", "cap": 1e4, "num_directions": 20}
    return basin_volume(trained, **defaults | options)


@pytest.mark.parametrize("n", [50, 200, 1000])
def test_the_full_preconditioner_is_exact_on_a_rotated_bowl(n):
    found = plain(rotated_bowl(six_decades(n)), preconditioner="full")
    assert found.log10_volume == pytest.approx(log10_ellipsoid(six_decades(n)), abs=0.01)
    assert found.standard_error < 0.01
    assert found.caveats == ()


@pytest.mark.parametrize("n", [50, 200, 1000])
def test_the_low_rank_preconditioner_is_exact_where_the_spectrum_beyond_its_rank_is_flat(n):
    found = plain(rotated_bowl(flat_beyond(10, n)), preconditioner="low-rank", rank=10)
    assert found.log10_volume == pytest.approx(log10_ellipsoid(flat_beyond(10, n)), abs=0.01)
    assert found.caveats == ()


@pytest.mark.parametrize("preconditioner", PRECONDITIONERS)
def test_any_preconditioner_is_exact_on_a_bowl_along_the_axes(preconditioner):
    spectrum = flat_beyond(10, 50)
    found = plain(bowl(spectrum.diag(), torch.zeros(50)), preconditioner=preconditioner, rank=10)
    assert found.log10_volume == pytest.approx(log10_ellipsoid(spectrum), abs=0.01)


@pytest.mark.parametrize("preconditioner", [None, "diagonal"])
@pytest.mark.parametrize(("n", "shortfall"), [(50, 20), (200, 120), (1000, 700)])
def test_what_falls_short_on_a_rotated_bowl_says_that_it_is_a_lower_bound(preconditioner, n, shortfall):
    found = plain(rotated_bowl(six_decades(n)), preconditioner=preconditioner)
    assert found.log10_volume < log10_ellipsoid(six_decades(n)) - shortfall
    assert found.effective_sample_size < 10
    assert found.standard_error is None
    assert found.caveats[0].startswith(f"Lower bound: 20 directions count for {found.effective_sample_size:.1f};")


@pytest.mark.parametrize("preconditioner", [None, *PRECONDITIONERS])
def test_a_flat_loss_fills_the_ball_up_to_the_cap(preconditioner):
    found = plain(bowl(torch.eye(7) * 1e-9, torch.zeros(7)), preconditioner=preconditioner, cap=0.3, rank=2)
    ball = math.log10(16 * math.pi**3 / 105 * 0.3**7)
    assert found.log10_volume == pytest.approx(ball, abs=1e-6)
    assert found.share_censored == 1
    assert "Lower bound: 100% of the rays stay below the cutoff up to the cap." in found.caveats


def test_the_cap_is_a_ball_in_the_unchanged_coordinates_whatever_the_preconditioner():
    # In two dimensions: an ellipse with half axes a > cap > b, cut by the circle.
    steep, shallow, cap = 20.0, 0.02, 1.0
    a, b = (2 * CUTOFF / shallow) ** 0.5, (2 * CUTOFF / steep) ** 0.5
    angles = np.linspace(0, 2 * np.pi, 200_001)[:-1]
    area = np.mean(np.minimum(1 / ((np.cos(angles) / a) ** 2 + (np.sin(angles) / b) ** 2), cap**2)) * np.pi
    trained = bowl(torch.tensor([[steep, 0.0], [0.0, shallow]]), torch.zeros(2))
    for preconditioner in (None, *PRECONDITIONERS):
        found = plain(trained, preconditioner=preconditioner, cap=cap, rank=1, num_directions=2000)
        assert found.log10_volume == pytest.approx(math.log10(area), abs=4 * found.standard_error)
        assert 0 < found.share_censored < 1


@pytest.mark.parametrize("preconditioner", [None, *PRECONDITIONERS])
def test_zero_filters_are_named_whatever_the_preconditioner(preconditioner):
    trained = CASES["mlp"]()
    with torch.no_grad():
        trained.model[0].weight[2] = 0
    found = basin_volume(trained, cutoff=3.0, num_directions=2, preconditioner=preconditioner)
    assert found.caveats[0] == "1 filters are 0: they stay fixed, as biases do."


def test_the_papers_estimator_is_its_formula():
    # log V = (n/2) log π − lnΓ(1 + n/2) + log Σ rⁿ − log M, here in plain numbers for few dimensions
    trained = rotated_bowl(torch.tensor([0.5, 1.0, 2.0, 4.0, 8.0]))
    radii = basin_radii(trained, num_directions=30, normalization="none", cap=10.0, precision=1e-3)
    expected = math.pi**2.5 / math.gamma(3.5) * (radii.radii[:, 0] ** 5).mean()
    assert plain(trained, num_directions=30, cap=10.0).log10_volume == pytest.approx(math.log10(expected))


def radii_of(values: list[float], **changes) -> BasinRadii:
    radii = np.array(values)[:, None]
    return replace(BasinRadii(radii, radii >= 1, (CUTOFF,), 1.0, 0.0, "filter", 3, 0, 40, 0), **changes)


def test_convergence_sample_size_share_and_error_are_those_of_the_directions_weights():
    radii = np.random.default_rng(0).uniform(0.1, 0.2, size=40)
    (found,) = basin_volumes(radii_of(radii.tolist()))
    weights = (radii**3).reshape(20, 2).mean(axis=1)
    ball = 4 / 3 * math.pi
    np.testing.assert_allclose(
        found.convergence, [math.log10(ball * weights[: m + 1].mean()) for m in range(20)], rtol=1e-12
    )
    assert found.log10_volume == found.convergence[-1]
    assert found.effective_sample_size == pytest.approx(weights.sum() ** 2 / (weights**2).sum())
    assert found.largest_share == pytest.approx(weights.max() / weights.sum())
    relative = weights.std(ddof=1) / 20**0.5 / weights.mean()
    assert found.standard_error == pytest.approx(relative / math.log(10))
    assert (found.num_directions, found.share_censored, found.caveats) == (20, 0.0, ())


def test_estimates_spread_by_their_standard_error():
    trained = rotated_bowl(torch.tensor([0.5, 1.0, 2.0, 4.0]))
    found = [plain(trained, num_directions=100, cap=10.0, seed=seed) for seed in range(40)]
    spread = np.std([volume.log10_volume for volume in found])
    assert np.mean([volume.standard_error for volume in found]) == pytest.approx(spread, rel=0.25)
    deviation = np.mean([volume.log10_volume for volume in found]) - log10_ellipsoid(torch.tensor([0.5, 1, 2, 4]))
    assert abs(deviation) < 3 * spread / 40**0.5


def test_logarithms_do_not_overflow_in_a_million_dimensions():
    (found,) = basin_volumes(radii_of([1e-3] * 40, num_free=10**6))
    assert found.log10_volume == pytest.approx(log_unit_ball(10**6) / math.log(10) - 3e6)
    assert found.effective_sample_size == pytest.approx(20)
    (found,) = basin_volumes(radii_of([1e-3] * 38 + [0.9] * 2, num_free=10**6))
    assert found.largest_share == 1


def test_one_measurement_of_radii_serves_all_cutoffs():
    trained = rotated_bowl(torch.tensor([0.5, 1.0, 2.0, 4.0, 8.0]))
    radii = basin_radii(
        trained, cutoffs=(0.2, 0.1), num_directions=20, normalization="none", cap=10.0, precision=1e-3
    )
    for volume, cutoff in zip(basin_volumes(radii), (0.2, 0.1), strict=True):
        alone = plain(trained, cutoff=cutoff, cap=10.0)
        assert volume.cutoff == cutoff
        assert volume.log10_volume == pytest.approx(alone.log10_volume, abs=1e-3)


def fitted(dtype: torch.dtype = torch.float64) -> TrainedModel:
    x, y = examples(num=40)
    model = mlp().to(dtype)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(300):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x.to(dtype)), y).backward()
        optimizer.step()
    return TrainedModel(model, (x, y))


@pytest.mark.parametrize("preconditioner", [None, *PRECONDITIONERS])
@pytest.mark.parametrize("normalization", ["filter", "layer"])
def test_rescaling_a_relu_network_layer_by_layer_changes_no_volume(preconditioner, normalization):
    trained = fitted()
    rescaled = moved(trained, flat(trained))
    with torch.no_grad():
        rescaled.model[0].weight.mul_(5)
        rescaled.model[0].bias.mul_(5)
        rescaled.model[2].weight.div_(5)
    options = {"cutoff": 0.3, "num_directions": 5, "rank": 3, "normalization": normalization}
    first, second = (basin_volume(t, preconditioner=preconditioner, **options) for t in (trained, rescaled))
    assert second.log10_volume == pytest.approx(first.log10_volume, abs=1e-3)


@pytest.mark.parametrize("preconditioner", [None, *PRECONDITIONERS])
def test_only_weights_of_filters_that_are_not_0_count_as_dimensions(preconditioner):
    trained = fitted()
    with torch.no_grad():
        trained.model[0].weight[2] = 0
    found = basin_volume(trained, cutoff=3.0, num_directions=3, preconditioner=preconditioner, rank=3)
    assert found.num_free == 7 * 5 + 6 * 7 + 3 * 6 - 5


def test_a_step_of_length_1_moves_filters_by_about_their_norm(monkeypatch):
    drawn = []
    whole = crossings._Search.along

    def spy(search, steps, caps, start):
        if len(steps) == 2:  # more are for the preconditioner
            drawn.append(search.evaluation.space.named(steps.clone()[0]))
        return whole(search, steps, caps, start)

    monkeypatch.setattr(crossings._Search, "along", spy)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(300, 4), nn.ReLU(), nn.Linear(4, 2))
    data = torch.zeros(4, 300), torch.tensor([0, 1, 0, 1])
    for seed in range(25):
        basin_volume(
            TrainedModel(model, data), cutoff=50.0, num_directions=1, preconditioner="low-rank", rank=1, seed=seed
        )
    for name in ("0.weight", "2.weight"):
        norms = torch.stack([steps[name].norm(dim=1) for steps in drawn])
        own = dict(model.named_parameters())[name].detach().norm(dim=1)
        np.testing.assert_allclose((norms**2).mean(dim=0).sqrt() / own, 1.0, rtol=0.4)
    assert all((steps["0.bias"] == 0).all() for steps in drawn)


@pytest.mark.parametrize("preconditioner", [None, *PRECONDITIONERS])
def test_the_same_seed_gives_the_same_bits(preconditioner):
    first, again = (
        basin_volume(fitted(), cutoff=0.3, num_directions=4, preconditioner=preconditioner, rank=3, seed=3)
        for _ in range(2)
    )
    np.testing.assert_array_equal(first.convergence, again.convergence)


@pytest.mark.parametrize("name", CASES)
def test_works_for_networks_of_every_kind(name):
    found = basin_volume(CASES[name](), cutoff=2.0, num_directions=3, cap=5.0, preconditioner="low-rank", rank=2)
    assert math.isfinite(found.log10_volume)


def test_losses_that_are_not_finite_are_reported():
    class Wall(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.theta = nn.Parameter(torch.zeros(3))

        def forward(self, x):
            square = (self.theta**2).sum()
            height = torch.where(square > 0.25, math.nan, 0.1 * square)
            return torch.stack([torch.zeros_like(height), height]).expand(len(x), 2)

    trained = TrainedModel(
        Wall(), (torch.zeros(2, 1), torch.tensor([0, 1])), loss=lambda logits, labels: logits[:, 1]
    )
    found = plain(trained, preconditioner="full", cap=1.0)
    assert found.log10_volume == pytest.approx(math.log10(4 / 3 * math.pi * 0.5**3), abs=1e-3)
    assert found.caveats == ("40 of 40 rays met a loss that is NaN or infinite, which counts as above every cutoff.",)


def test_the_ratio_of_two_volumes_carries_both_errors():
    (large,), (small,) = (basin_volumes(radii_of([radius] * 39 + [0.09])) for radius in (0.2, 0.1))
    found = large.log10_ratio(small)
    assert found.value == pytest.approx(large.log10_volume - small.log10_volume)
    assert found.standard_error == pytest.approx(math.hypot(large.standard_error, small.standard_error))


def test_the_ratio_of_lower_bounds_has_no_known_error_and_says_why():
    first, second = (
        replace(basin_volumes(radii_of([0.2] * 4))[0], caveats=caveats) for caveats in (("a",), ("a", "b"))
    )
    found = first.log10_ratio(second)
    assert found.standard_error == math.inf
    assert found.caveats == ("a", "b")


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("num_free", 4),
        ("num_directions", 7),
        ("cap", 2.0),
        ("cutoff", 0.5),
        ("normalization", "layer"),
        ("preconditioner", "full"),
    ],
)
def test_volumes_that_were_measured_differently_are_not_compared(name, other):
    (volume,) = basin_volumes(radii_of([0.2] * 4))
    with pytest.raises(InvalidInputError, match=rf"but {name} \(.* and {other}\) differ\. Measure both"):
        volume.log10_ratio(replace(volume, **{name: other}))


def test_radii_along_given_directions_have_no_volume():
    with pytest.raises(InvalidInputError, match=r"a volume needs radii along random directions, got some"):
        basin_volumes(radii_of([0.2] * 4, seed=None))


@pytest.mark.parametrize("preconditioner", [None, *PRECONDITIONERS])
def test_a_minimum_above_the_cutoff_has_no_volume(preconditioner):
    with pytest.raises(InvalidInputError, match=r"must be below the cutoff .*, got a loss of 1\.1"):
        basin_volume(CASES["mlp"](), cutoff=0.5, preconditioner=preconditioner)


@pytest.mark.parametrize("preconditioner", [None, *PRECONDITIONERS])
@pytest.mark.parametrize("options", [{"cutoff": -1.0}, {"cap": 0.0}, {"num_directions": 0}])
def test_numbers_out_of_range_are_refused_at_once(preconditioner, options):
    with pytest.raises(InvalidInputError, match=r"must be (a )?(positive|1 or more)"):
        basin_volume(CASES["mlp"](), **{"cutoff": 3.0, "preconditioner": preconditioner} | options)


@pytest.mark.parametrize("preconditioner", PRECONDITIONERS)
@pytest.mark.parametrize("at_call", [0, 2, 9])
def test_the_network_comes_back_untouched_after_ctrl_c_too(at_call, preconditioner):
    trained = interrupting(at_call)
    before = snapshot(trained.model)
    if at_call:
        with pytest.raises(KeyboardInterrupt):
            basin_volume(trained, cutoff=9.0, num_directions=2, preconditioner=preconditioner, rank=2)
    else:
        basin_volume(trained, cutoff=9.0, num_directions=2, preconditioner=preconditioner, rank=2)
    assert snapshot(trained.model) == before
