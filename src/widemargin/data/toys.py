"""Two classes in the plane: a swiss roll and concentric rings, drawn afresh as often as one likes."""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from widemargin.data.classification_data import ClassificationData

__all__ = ["SWISS_ROLL_UNIT", "concentric_rings", "draw_rings", "draw_swiss_roll", "swiss_roll"]

SWISS_ROLL_UNIT = 10.0
"""The paper's coordinates are divided by this, which brings the roll's outer radius from 15.7 to 1.6."""

NUM_PER_ARM = 200
NOISE = 0.5
LARGEST_ANGLE = math.radians(600)

RINGS = ((0.4, 0, 40), (0.95, 1, 80), (0.4 + 0.001, 1, 10))
"""Radius, class and number of points of each ring."""

NUM_RINGS_TEST = 1300


def swiss_roll(seed: int = 0) -> ClassificationData:
    """Return two spiral arms of 200 points each, a random half of all points to train on, the other to test.

    An arm is (−1.5 n cos n, 1.5 n sin n) with n = √U · 600° in radians and Gaussian noise of .5 on both coordinates,
    divided by ``SWISS_ROLL_UNIT``; the second arm is the exact negation of the first.

    Source: the published code of Huang et al. 2019 (arXiv 1906.03291); the division is ours, and lets networks train
    several times faster.
    """
    generator = torch.Generator().manual_seed(seed)
    arm = _arm(NUM_PER_ARM, generator)
    inputs = torch.cat([arm, -arm])
    labels = torch.arange(2).repeat_interleave(NUM_PER_ARM)
    order = torch.randperm(2 * NUM_PER_ARM, generator=generator)
    train, test = order[:NUM_PER_ARM], order[NUM_PER_ARM:]
    return ClassificationData(
        inputs[train], labels[train], inputs[test], labels[test], num_classes=2, draw=draw_swiss_roll
    )


def draw_swiss_roll(
    num: int, generator: torch.Generator
) -> tuple[Float[Tensor, "examples 2"], Int[Tensor, " examples"]]:
    """Return fresh points of the two arms, the classes in turn."""
    labels = torch.arange(num) % 2
    return _arm(num, generator) * (1 - 2 * labels).unsqueeze(1), labels


def concentric_rings(seed: int = 0) -> ClassificationData:
    """Return an inner ring within an outer one, and a few points of the outer class just outside the inner ring.

    130 points to train on: 40 of class 0 on radius .4, and of class 1 80 on radius .95 and 10 on radius .401; 1,300
    points of the same shares to test. Angles are uniform. A network that fits the ten needs narrow fingers.

    Source: radii and numbers of Huang et al. 2019's published code.
    """
    generator = torch.Generator().manual_seed(seed)
    num_train = sum(num for _, _, num in RINGS)
    train, train_labels = _rings(num_train, generator)
    test, test_labels = _rings(NUM_RINGS_TEST, generator)
    return ClassificationData(train, train_labels, test, test_labels, num_classes=2, draw=draw_rings)


def draw_rings(num: int, generator: torch.Generator) -> tuple[Float[Tensor, "examples 2"], Int[Tensor, " examples"]]:
    """Return fresh points of the rings, each ring with its share of the training set in expectation."""
    shares = torch.tensor([float(count) for _, _, count in RINGS])
    ring = torch.multinomial(shares, num, replacement=True, generator=generator)
    return _on_circles(ring, generator)


def _arm(num: int, generator: torch.Generator) -> Tensor:
    angle = torch.rand(num, generator=generator).sqrt() * LARGEST_ANGLE
    noise = NOISE * torch.randn(num, 2, generator=generator)
    points = 1.5 * angle.unsqueeze(1) * torch.stack([-angle.cos(), angle.sin()], dim=1)
    return (points + noise) / SWISS_ROLL_UNIT


def _rings(num: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return points in the exact shares of the training set."""
    num_all = sum(count for _, _, count in RINGS)
    ring = torch.repeat_interleave(torch.arange(len(RINGS)), torch.tensor([n * num // num_all for _, _, n in RINGS]))
    return _on_circles(ring, generator)


def _on_circles(ring: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    angle = 2 * math.pi * torch.rand(len(ring), generator=generator)
    radius = torch.tensor([radius for radius, _, _ in RINGS])[ring]
    labels = torch.tensor([label for _, label, _ in RINGS])[ring]
    return radius.unsqueeze(1) * torch.stack([angle.cos(), angle.sin()], dim=1), labels
