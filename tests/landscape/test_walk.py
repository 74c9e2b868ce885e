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
from widemargin.curvature import top_eigenvalues
from widemargin.errors import InvalidInputError
from widemargin.landscape import evaluation
from widemargin.landscape.directions import Directions
from widemargin.landscape.walk import loss_along, points_along, walk_coefficients

STEPS = [-1.0, 0.0, 0.3, 1.5]


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_is_the_loss_of_copies_moved_along_the_direction(case):
    trained = case()
    direction = torch.randn(len(flat(trained)), generator=generator(0)).to(flat(trained))
    walk = loss_along(trained, direction=direction, coefficients=STEPS)
    expected = np.array([naive_values(moved(trained, flat(trained) + c * direction)) for c in STEPS])
    np.testing.assert_allclose(walk.losses, expected[:, 0], rtol=1e-5)
    np.testing.assert_allclose(walk.accuracies, expected[:, 1])
    assert (walk.normalization, walk.seed) == ("given", None)


@pytest.mark.parametrize("normalization", ["filter", "layer", "none"])
def test_a_random_walk_follows_the_first_direction_of_its_seed(normalization):
    trained = TrainedModel(mlp(), examples())
    walk = loss_along(trained, coefficients=STEPS, normalization=normalization, seed=5)
    direction = Directions.around(trained.model, normalization, seed=5).stacked([0])[0]
    assert (walk.losses == loss_along(trained, direction=direction, coefficients=STEPS).losses).all()
    assert (walk.normalization, walk.seed) == (normalization, 5)


def test_a_bowl_has_its_closed_form():
    factor = torch.randn(4, 4, generator=generator(0), dtype=torch.float64)
    hessian, direction = factor @ factor.T, torch.randn(4, generator=generator(1), dtype=torch.float64)
    walk = loss_along(bowl(hessian, torch.ones(4)), direction=direction)
    np.testing.assert_allclose(walk.coefficients, np.linspace(-1, 1, 51))
    np.testing.assert_allclose(walk.losses, walk.coefficients**2 * float(direction @ hessian @ direction) / 2)


def test_a_direction_may_be_given_by_name():
    trained = TrainedModel(mlp(), examples())
    named = {name: torch.ones_like(p) for name, p in trained.model.named_parameters()}
    by_name = loss_along(trained, direction=named, coefficients=STEPS)
    assert (by_name.losses == loss_along(trained, direction=torch.ones(len(flat(trained)))).losses[[0]]).sum() == 1
    assert (
        by_name.losses[0]
        == loss_along(trained, direction=torch.ones(len(flat(trained))), coefficients=STEPS).losses[0]
    )


def test_coefficients_that_occur_again_are_evaluated_once():
    trained = TrainedModel(mlp(), examples())
    steps = walk_coefficients(27)
    walk = loss_along(trained, coefficients=steps, curvature=True)
    assert walk.num_evaluations == 13
    for values in (walk.losses, walk.accuracies, walk.curvatures):
        for c in steps:
            assert len(set(values[steps == c])) == 1
    assert walk.losses[0] == pytest.approx(naive_values(trained)[0])


def test_the_papers_walk_goes_out_and_back_on_both_sides():
    steps = walk_coefficients()
    assert len(steps) == 203
    assert (steps[0], steps[50], steps[51], steps[101], steps[151], steps[152], steps[202]) == (
        0.0,
        0.25,
        0.25,
        0.0,
        -0.25,
        -0.25,
        0.0,
    )
    turns = np.sign(np.diff(steps))
    assert (turns == np.repeat([1, 0, -1, 0, 1], [50, 1, 100, 1, 50])).all()
    assert steps[25] == pytest.approx(0.25 * 0.5**5)
    assert len(np.unique(steps)) == 101


@pytest.mark.parametrize(("num_frames", "instead"), [(204, 203), (205, 203), (206, 203), (3, 7), (-9, 7)])
def test_says_how_many_frames_a_walk_may_have(num_frames, instead):
    with pytest.raises(InvalidInputError, match=rf"4 legs .* got {num_frames}\. Use {instead}\."):
        walk_coefficients(num_frames)
    assert len(walk_coefficients(instead)) == instead


def test_a_walk_turns_around_somewhere_finite():
    with pytest.raises(InvalidInputError, match="reach must be finite, got nan"):
        walk_coefficients(reach=float("nan"))


def test_points_along_are_those_of_the_walk():
    trained = TrainedModel(convolution(), examples((1, 6, 6)), batch_size=5)
    walk = loss_along(trained, coefficients=STEPS, seed=2)
    points = points_along(trained, STEPS, seed=2)
    expected = [naive_values(moved(trained, point))[0] for point in points]
    np.testing.assert_allclose(walk.losses, expected, rtol=1e-5)
    assert torch.equal(points[1], flat(trained))


def test_rescaling_a_relu_network_moves_no_filter_normalized_walk():
    model = mlp().double()
    scaled = copy.deepcopy(model)
    with torch.no_grad():
        for layer, weight_factor, bias_factor in ((0, 30, 30), (2, 0.01 / 30, 0.01), (4, 100, 1)):
            scaled[layer].weight *= weight_factor
            scaled[layer].bias *= bias_factor
    walks = [loss_along(TrainedModel(m, examples()), coefficients=STEPS, curvature=True) for m in (model, scaled)]
    np.testing.assert_allclose(walks[0].losses, walks[1].losses, rtol=1e-9)
    np.testing.assert_allclose(walks[0].curvatures, walks[1].curvatures, rtol=1e-2)
    plain = [
        loss_along(TrainedModel(m, examples()), coefficients=STEPS, normalization="none") for m in (model, scaled)
    ]
    assert np.abs(plain[0].losses - plain[1].losses).max() > 1e-3


def test_curvature_is_the_top_eigenvalue_of_the_dense_scaled_hessian():
    model = nn.Sequential(nn.Linear(5, 3), nn.Tanh(), nn.Linear(3, 3)).double()
    trained = TrainedModel(model, examples(), batch_size=5)
    walk = loss_along(trained, coefficients=STEPS, curvature=True, seed=1)
    x, y = examples()
    for curvature, point in zip(walk.curvatures, points_along(trained, STEPS, seed=1), strict=True):
        copied = moved(trained, point).model
        shapes = {name: p.shape for name, p in copied.named_parameters()}

        def loss(vector, copied=copied, shapes=shapes):
            parts = vector.split([shape.numel() for shape in shapes.values()])
            named = {name: part.view(shape) for (name, shape), part in zip(shapes.items(), parts, strict=True)}
            return nn.functional.cross_entropy(torch.func.functional_call(copied, named, (x.double(),)), y)

        hessian = torch.autograd.functional.hessian(loss, point)
        norms = [
            p.norm(dim=1, keepdim=True).expand_as(p).flatten() if p.ndim == 2 else torch.zeros_like(p)
            for p in copied.parameters()
        ]
        scale = torch.cat(norms).detach()
        assert curvature == pytest.approx(
            float(torch.linalg.eigvalsh(scale[:, None] * hessian * scale).max()), rel=2e-3
        )


def test_curvature_is_that_of_the_network_moved_there():
    trained = TrainedModel(convolution(), examples((1, 6, 6)), batch_size=5)
    walk = loss_along(trained, coefficients=[0.2], curvature=True, normalization="layer")
    there = moved(trained, points_along(trained, [0.2], normalization="layer")[0])
    expected = top_eigenvalues(there, normalization="layer")
    assert walk.curvatures[0] == pytest.approx(expected.values[0], rel=2e-3)
    assert walk.num_products == expected.num_products
    assert 0 <= walk.residuals[0] <= 2e-3 * walk.curvatures[0]


def test_curvature_that_does_not_converge_is_flagged(monkeypatch):
    def impatient(*args, **options):
        return top_eigenvalues(*args, **options, max_products=2, tolerance=1e-9)

    monkeypatch.setattr("widemargin.landscape.walk.top_eigenvalues", impatient)
    trained = TrainedModel(convolution(), examples((1, 6, 6)))
    walk = loss_along(trained, coefficients=[0.0, 0.1], curvature=True)
    assert "The curvature did not converge at 2 of 2 points: see residuals." in walk.caveats


def test_curvature_is_left_out_unless_asked_for():
    walk = loss_along(TrainedModel(mlp(), examples()))
    assert (walk.curvatures, walk.residuals, walk.num_products, walk.caveats) == (None, None, 0, ())


def test_losses_that_are_not_finite_are_kept_and_counted():
    trained = TrainedModel(mlp(), examples())
    walk = loss_along(trained, coefficients=[0.0, 1e30, 0.1, 1e30], curvature=True)
    assert np.isfinite(walk.losses).tolist() == [True, False, True, False]
    assert np.isnan(walk.curvatures).tolist() == [False, True, False, True]
    assert walk.num_not_finite == 2
    assert "2 of 4 losses are NaN or infinite." in walk.caveats


def test_takes_the_split_that_is_named():
    trained = CASES["mlp"]()
    walk = loss_along(trained, coefficients=[0.0], split="test")
    assert walk.losses[0] == pytest.approx(naive_values(trained, "test")[0])
    assert walk.split == "test"


def test_re_estimates_statistics_where_asked():
    trained = TrainedModel(convolution(), examples((1, 6, 6)), batch_size=4)
    walk = loss_along(trained, coefficients=[0.3], batch_norm="re-estimated")
    there = moved(trained, points_along(trained, [0.3])[0])
    torch.optim.swa_utils.update_bn(list(examples((1, 6, 6))[0].split(4)), there.model)
    there.model.eval()
    assert walk.losses[0] == pytest.approx(naive_values(there)[0], rel=1e-5)
    assert walk.losses[0] != loss_along(trained, coefficients=[0.3]).losses[0]


def test_zero_filters_and_slow_networks_are_told_of():
    model = mlp()
    with torch.no_grad():
        model[0].weight[2] = 0
    assert "1 filters are 0: they stay fixed, as biases do." in loss_along(TrainedModel(model, examples())).caveats
    (caveat,) = loss_along(CASES["no vmap"]()).caveats
    assert caveat.startswith("Points were evaluated one by one, as vmap cannot: RuntimeError")


def test_large_networks_are_moved_point_by_point(monkeypatch):
    trained = TrainedModel(mlp(), examples())
    expected = loss_along(trained).losses
    num_made = []
    kept = evaluation.Evaluation.at
    monkeypatch.setattr(evaluation, "FLOATS_AT_ONCE", 1)
    monkeypatch.setattr(
        evaluation.Evaluation, "at", lambda self, points: num_made.append(len(points)) or kept(self, points)
    )
    np.testing.assert_allclose(loss_along(trained).losses, expected, rtol=1e-5)
    assert num_made == [1] * 51


def test_works_inside_inference_mode_and_for_frozen_networks():
    model = mlp().requires_grad_(False)
    expected = loss_along(TrainedModel(mlp(), examples()), coefficients=STEPS, curvature=True)
    with torch.inference_mode():
        found = loss_along(TrainedModel(model, examples()), coefficients=STEPS, curvature=True)
    assert (found.losses == expected.losses).all()
    assert (found.curvatures == expected.curvatures).all()


CALLS = {
    "walk": lambda trained: loss_along(trained, coefficients=STEPS),
    "walk with fresh statistics": lambda trained: loss_along(trained, coefficients=STEPS, batch_norm="re-estimated"),
    "walk with curvature": lambda trained: loss_along(trained, coefficients=STEPS, curvature=True),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
@pytest.mark.parametrize("at_call", [-1, 1, 2, 3])
def test_leaves_the_network_as_it_was(call, at_call):
    trained = interrupting(at_call)
    before = snapshot(trained.model)
    if at_call == -1:
        call(trained)
    else:
        with pytest.raises(KeyboardInterrupt):
            call(trained)
    assert snapshot(trained.model) == before


def test_says_what_cannot_be_walked_along(monkeypatch):
    monkeypatch.setattr("jaxtyping.config.jaxtyping_disable", True)
    trained = TrainedModel(nn.Linear(5, 3), examples())
    for options, text in (
        ({"direction": torch.zeros(4)}, r"vector of the network's 18 parameters, got the shape \[4\]"),
        ({"direction": torch.zeros(18)}, "finite and not all 0"),
        ({"direction": torch.full((18,), torch.nan)}, "finite and not all 0"),
        ({"coefficients": []}, r"one finite number or more, got the shape \[0\]"),
        ({"coefficients": [0.0, float("inf")]}, r"the shape \[2\] with 1 that are NaN or infinite"),
        ({"coefficients": [[0.0]]}, r"the shape \[1, 1\]"),
        ({"normalization": "fliter"}, "normalization must be filter, layer or none"),
        ({"curvature": True, "batch_norm": "re-estimated"}, 'curvature needs batch_norm="kept"'),
    ):
        with pytest.raises(InvalidInputError, match=text):
            loss_along(trained, **options)
    with pytest.raises(InvalidInputError, match='Use normalization="none"'):
        loss_along(TrainedModel(nn.BatchNorm1d(5), examples()))
