"""Gradient ascent against closed forms of linear losses and brute force on bowls."""

import copy
import itertools
import math
from functools import partial

import pytest
import torch

from curvature.known_curvature import NETWORKS, bowl, rotated, trained_network
from measures.sharpness_cases import classifier, curve, linear
from widemargin import TrainedModel
from widemargin.errors import InvalidInputError, InvalidLogitsError, MeasureNotApplicableError
from widemargin.measures import ascent as module
from widemargin.measures.ascent import Slope, ascent


def slope(trained: TrainedModel) -> Slope:
    with trained.borrowed():
        return module.slope(trained)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_slope_is_that_of_the_mean_loss(name):
    trained = trained_network(name)
    found = slope(trained)
    network = copy.deepcopy(trained.network).eval()
    copied = TrainedModel(network, trained.train_data, loss=trained.loss, batch_size=5)
    losses = [copied.losses(copied.logits(batch), labels) for batch, labels in copied.batches()]
    loss = torch.cat(losses).mean()
    loss.backward()
    gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in network.parameters()]
    assert found.loss == pytest.approx(loss.item())
    torch.testing.assert_close(found.gradient, torch.cat([g.flatten() for g in gradients]))


def test_frozen_parameters_have_a_slope_too():
    trained = classifier()
    expected = slope(trained).gradient
    trained.network.requires_grad_(False)
    torch.testing.assert_close(slope(trained).gradient, expected)


def test_a_linear_loss_rises_by_the_dual_norm():
    trained = linear([2.0, -1.0], [[3.0, 1.0]])
    start = partial(slope, trained)

    def unit(w):
        return 1.0 + (w == -1)

    boxed = ascent(trained, start, unit=unit, norm="max", radius=0.1, num_steps=3)
    assert boxed == pytest.approx([5, *[5 + 0.1 * (3 + 2 * 1)] * 3])
    round_ = ascent(trained, start, unit=unit, norm="euclidean", radius=0.1, num_steps=3)
    assert round_ == pytest.approx([5, *[5 + 0.1 * math.hypot(3, 2)] * 3])


def moved_bowl(values: list[float], at: list[float]) -> TrainedModel:
    """A bowl with these curvatures and the network at these coordinates along them."""
    trained = bowl(rotated(torch.tensor(values)))
    directions = torch.linalg.eigh(trained.network.hessian).eigenvectors
    trained.network.theta.data = directions @ torch.tensor(at, dtype=torch.float64)
    return trained


def test_a_bowl_is_climbed_to_its_highest_point_in_the_ball():
    trained = moved_bowl([1.0, 6.0], [1.0, 0.02])
    theta, H = trained.network.theta.data, trained.network.hessian
    angles = torch.linspace(0, 2 * math.pi, 20_000, dtype=torch.float64)
    circle = theta + 0.7 * torch.stack([angles.cos(), angles.sin()], dim=1)
    highest = float(((circle @ H) * circle).sum(dim=1).max() / 2)
    losses = ascent(
        trained, partial(slope, trained), unit=torch.ones_like, norm="euclidean", radius=0.7, num_steps=20
    )
    assert losses[1] < 0.9 * highest  # the first step alone does not do it
    assert max(losses) == pytest.approx(highest, rel=1e-6)


def test_a_bowl_is_climbed_to_its_highest_corner_of_the_box():
    trained = moved_bowl([0.2, 1.0, 6.0], [0.5, 0.1, -0.3])
    theta, H = trained.network.theta.data, trained.network.hessian
    corners = [theta + 0.7 * theta.new_tensor(signs) for signs in itertools.product([-1.0, 1.0], repeat=3)]
    losses = ascent(trained, partial(slope, trained), unit=torch.ones_like, norm="max", radius=0.7, num_steps=5)
    assert max(losses) == pytest.approx(max(float(corner @ H @ corner) / 2 for corner in corners))


def test_parameters_without_a_unit_stay_fixed():
    trained = linear([2.0, -1.0], [[3.0, 1.0]])
    for norm in ("max", "euclidean"):
        losses = ascent(
            trained, partial(slope, trained), unit=lambda w: 1.0 * (w != 2), norm=norm, radius=0.1, num_steps=1
        )
        assert losses == [5, pytest.approx(5.1)]


def plateau(theta: float) -> TrainedModel:
    return curve(lambda height: height.clamp(max=1), theta)


def test_it_stops_where_the_gradient_is_zero():
    trained = plateau(0.5)
    assert ascent(trained, partial(slope, trained), unit=torch.ones_like, norm="max", radius=2.0, num_steps=9) == [
        0.5,
        1.0,
    ]


@pytest.mark.parametrize("num_steps", [1, 3])
def test_the_last_step_takes_no_gradient(num_steps, monkeypatch):
    trained = linear([2.0, -1.0], [[3.0, 1.0]])
    start, calls, grad = slope(trained), [], torch.autograd.grad
    monkeypatch.setattr(torch.autograd, "grad", lambda *given, **options: calls.append(1) or grad(*given, **options))
    ascent(trained, lambda: start, unit=torch.ones_like, norm="max", radius=0.1, num_steps=num_steps)
    assert len(calls) == num_steps - 1


def test_a_gradient_of_zero_at_the_start_has_no_ascent():
    trained = plateau(1.5)
    with pytest.raises(MeasureNotApplicableError) as caught:
        ascent(trained, partial(slope, trained), unit=torch.ones_like, norm="max", radius=2.0, num_steps=9)
    assert str(caught.value) == "the gradient on the sample is 0, and gives no direction of ascent."


@pytest.mark.parametrize("num_steps", [1, 2])
def test_a_loss_that_is_not_finite_on_the_way_is_told(num_steps):
    trained = linear([2.0, -1.0], [[3.0, 1.0]])
    roots = TrainedModel(trained.network, trained.train_data, loss=lambda logits, labels: -(logits[:, 0] ** 0.5))
    with pytest.raises(MeasureNotApplicableError) as caught:
        ascent(roots, partial(slope, roots), unit=torch.ones_like, norm="euclidean", radius=10.0, num_steps=num_steps)
    assert str(caught.value) == "the loss is not finite all over the neighborhood."


def test_a_loss_without_a_finite_gradient_is_refused():
    trained = linear([0.0, 0.0], [[3.0, 1.0]])
    roots = TrainedModel(trained.network, trained.train_data, loss=lambda logits, labels: logits[:, 0] ** 0.5)
    with pytest.raises(InvalidInputError) as caught:
        slope(roots)
    assert str(caught.value) == (
        "the loss and its gradient must be finite, got NaN or infinity. Look for roots, norms and divisions at 0 in "
        "the network and the loss, or measure in float64."
    )


def test_a_diverged_network_is_refused():
    trained = linear([math.nan, -1.0], [[3.0, 1.0]])
    with pytest.raises(InvalidLogitsError, match="logits must be finite"):
        slope(trained)
