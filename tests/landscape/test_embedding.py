import numpy as np
import pytest
import torch

from widemargin.errors import InvalidInputError
from widemargin.landscape import embedded


def clusters() -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    centers = 20 * torch.randn(3, 400, generator=generator)
    return centers.repeat_interleave(20, dim=0) + torch.randn(60, 400, generator=generator)


def test_near_points_stay_neighbors():
    places = embedded(clusters(), seed=0)
    assert places.shape == (60, 2)
    distances = np.linalg.norm(places[:, None] - places[None], axis=2)
    np.fill_diagonal(distances, np.inf)
    nearest = distances.argmin(axis=1)
    assert (nearest // 20 == np.arange(60) // 20).all()


def test_the_same_seed_gives_the_same_map():
    assert np.array_equal(embedded(clusters(), seed=1), embedded(clusters(), seed=1))


def test_five_points_are_enough():
    assert embedded(clusters()[:5]).shape == (5, 2)


def test_says_what_it_cannot_map():
    with pytest.raises(InvalidInputError, match="5 points or more, all finite, got 4, 0 of them not"):
        embedded(clusters()[:4])
    points = clusters()
    points[3, 2] = torch.nan
    with pytest.raises(InvalidInputError, match="got 60, 1 of them not"):
        embedded(points)
