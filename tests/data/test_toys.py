import math

import pytest
import torch

from widemargin import data
from widemargin.data.toys import SWISS_ROLL_UNIT, draw_rings, draw_swiss_roll


def test_the_swiss_rolls_arms_negate_each_other():
    roll = data.load("swiss-roll")
    points = torch.cat([roll.train_inputs, roll.test_inputs])
    labels = torch.cat([roll.train_labels, roll.test_labels])
    first, second = points[labels == 0], points[labels == 1]
    assert len(first) == len(second) == 200
    assert {tuple(p.tolist()) for p in first} == {tuple((-p).tolist()) for p in second}


def test_points_lie_on_the_arms_but_for_the_noise():
    points, labels = draw_swiss_roll(20_000, torch.Generator().manual_seed(0))
    arm = points * (1 - 2 * labels).unsqueeze(1) * SWISS_ROLL_UNIT
    radius = arm.norm(dim=1)
    n = torch.linspace(0, math.radians(600), 5000)
    curve = 1.5 * n.unsqueeze(1) * torch.stack([-n.cos(), n.sin()], dim=1)
    across = torch.cdist(arm[:2000], curve).min(dim=1).values
    assert float(across.median()) == pytest.approx(0.5 * 0.6745, rel=0.05)  # of a Gaussian's absolute value
    assert float(radius.max()) < 15.71 + 2.5
    assert (radius**2).mean() == pytest.approx(
        (1.5 * math.radians(600)) ** 2 / 2 + 2 * 0.25, rel=0.02
    )  # n² is uniform
    assert labels.float().mean() == 0.5


def test_half_of_the_roll_trains_and_half_tests():
    roll = data.load("swiss-roll")
    assert roll.train_inputs.shape == roll.test_inputs.shape == (200, 2)
    assert torch.equal(roll.train_inputs, data.swiss_roll().train_inputs)
    assert not torch.equal(roll.train_inputs, data.swiss_roll(seed=1).train_inputs)


def test_rings_have_their_radii_and_numbers():
    rings = data.load("rings")
    radius = rings.train_inputs.norm(dim=1)
    for value, label, num in ((0.4, 0, 40), (0.95, 1, 80), (0.401, 1, 10)):
        is_there = (radius - value).abs() < 1e-5
        assert int(is_there.sum()) == num
        assert (rings.train_labels[is_there] == label).all()
    assert len(rings.test_labels) == 1300


def test_fresh_rings_come_in_the_same_shares():
    points, labels = draw_rings(50_000, torch.Generator().manual_seed(0))
    radius = points.norm(dim=1)
    assert float(((radius - 0.4).abs() < 1e-4).float().mean()) == pytest.approx(40 / 130, abs=0.01)
    assert float(((radius - 0.401).abs() < 1e-4).float().mean()) == pytest.approx(10 / 130, abs=0.01)
    assert (labels[radius > 0.4005] == 1).all()


def test_what_a_subset_leaves_over_is_extra():
    subset = data.load("digits", num_train=300)
    everything = data.load("digits")
    assert len(subset.extra_labels) == 700
    both = torch.cat([subset.train_inputs, subset.extra_inputs]).flatten(1)
    assert {tuple(p.tolist()) for p in both} == {tuple(p.tolist()) for p in everything.train_inputs.flatten(1)}
