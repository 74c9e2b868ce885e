import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA

from landscape.cases import convolution, examples, flat, generator, mlp
from widemargin import TrainedModel
from widemargin.errors import InvalidInputError
from widemargin.landscape import plane as module
from widemargin.landscape.plane import trajectory_plane


def wander(trained: TrainedModel, num: int = 8, rank: int = 30) -> list[torch.Tensor]:
    basis = torch.randn(rank, len(flat(trained)), generator=generator(0), dtype=torch.float64)
    coordinates = torch.randn(num, rank, generator=generator(1), dtype=torch.float64)
    return list(flat(trained) + coordinates @ basis)


def network() -> TrainedModel:
    return TrainedModel(mlp().double(), examples())


def test_reproduces_a_trajectory_that_lies_in_a_plane():
    trained = network()
    points = wander(trained, rank=2)
    plane = trajectory_plane(trained, points)
    found = flat(trained) + torch.from_numpy(plane.coordinates) @ plane.directions
    torch.testing.assert_close(found, torch.stack(points))
    assert plane.explained.sum() == pytest.approx(1)
    torch.testing.assert_close(plane.directions @ plane.directions.T, torch.eye(2, dtype=torch.float64))


def test_is_the_singular_value_decomposition_of_differences_to_the_network():
    trained = network()
    points = wander(trained)
    plane = trajectory_plane(trained, points)
    left, values, right = torch.linalg.svd(torch.stack(points) - flat(trained), full_matrices=False)
    np.testing.assert_allclose(plane.explained, (values[:2] ** 2 / (values**2).sum()).numpy())
    for k in (0, 1):
        sign = torch.sign(left[0, k])
        torch.testing.assert_close(plane.directions[k], sign * right[k])
        np.testing.assert_allclose(plane.coordinates[:, k], (sign * left[:, k] * values[k]).numpy())


def test_agrees_with_principal_components_where_the_network_is_in_the_middle():
    trained = network()
    points = wander(trained)
    mirrored = points + [2 * flat(trained) - point for point in points]
    plane = trajectory_plane(trained, mirrored)
    expected = PCA(2).fit(torch.stack(mirrored).numpy())
    np.testing.assert_allclose(plane.explained, expected.explained_variance_ratio_)
    cosines = (plane.directions.numpy() * expected.components_).sum(axis=1)
    np.testing.assert_allclose(np.abs(cosines), 1)


def test_coordinates_are_projections_and_the_first_point_has_positive_ones():
    trained = network()
    points = wander(trained)
    for order in (points, points[::-1]):
        plane = trajectory_plane(trained, order)
        projections = (torch.stack(order) - flat(trained)) @ plane.directions.T
        np.testing.assert_allclose(plane.coordinates, projections.numpy(), atol=1e-9)
        assert (plane.coordinates[0] > 0).all()


def test_points_may_be_state_dicts_and_hold_the_network_itself():
    trained = TrainedModel(convolution(), examples((1, 6, 6)))
    points = [point.float() for point in wander(trained)]
    states = []
    for point in [*points, flat(trained)]:
        model = convolution()
        torch.nn.utils.vector_to_parameters(point, model.parameters())
        states.append(model.state_dict())
    plane = trajectory_plane(trained, states)
    expected = trajectory_plane(trained, points)
    torch.testing.assert_close(plane.directions, expected.directions)
    np.testing.assert_allclose(plane.coordinates[:-1], expected.coordinates, rtol=1e-5)
    np.testing.assert_allclose(plane.coordinates[-1], 0, atol=1e-5)


def test_the_extent_holds_trajectory_and_network_with_room():
    trained = network()
    plane = trajectory_plane(trained, wander(trained))
    away = trajectory_plane(
        trained, [flat(trained) + 4 * e for e in (plane.directions[0], plane.directions.sum(dim=0))]
    )
    assert away.coordinates[:, 0].min() > 1
    assert away.extent[0] < 0
    for axis, (low, high) in enumerate((plane.extent[:2], plane.extent[2:])):
        values = [0.0, *plane.coordinates[:, axis]]
        span = max(values) - min(values)
        assert (low, high) == (pytest.approx(min(values) - span / 10), pytest.approx(max(values) + span / 10))


def test_takes_products_in_pieces(monkeypatch):
    trained = network()
    expected = trajectory_plane(trained, wander(trained))
    monkeypatch.setattr(module, "COLUMNS_AT_ONCE", 7)
    torch.testing.assert_close(trajectory_plane(trained, wander(trained)).directions, expected.directions)


def test_says_what_spans_no_plane():
    trained = network()
    center, (one, other, *_) = flat(trained), wander(trained)
    for points in ([], [one], [center, center], [one, center + 2 * (one - center)]):
        with pytest.raises(InvalidInputError, match=rf"off one line with the network, got {len(points)} points"):
            trajectory_plane(trained, points)
    with pytest.raises(InvalidInputError, match=r"parameters, got the shape \[3\]"):
        trajectory_plane(trained, [one, torch.ones(3)])
    with pytest.raises(InvalidInputError, match=r"for '0.weight' the network has \[7, 5\] and the direction \[1\]"):
        trajectory_plane(trained, [one, {**dict(trained.model.named_parameters()), "0.weight": torch.ones(1)}])
    with pytest.raises(InvalidInputError, match="points of a trajectory must be finite"):
        trajectory_plane(trained, [one, other * torch.nan])
