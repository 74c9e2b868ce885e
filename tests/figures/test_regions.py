"""Boundaries against closed forms; what is drawn of regions and examples."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.colors import to_rgb
from torch import nn

from widemargin import TrainedModel
from widemargin.errors import InvalidInputError
from widemargin.figures import boundary_lines, draw_decision_regions
from widemargin.figures.colors import CLASSES, NEITHER
from widemargin.figures.regions import TINT, RegionArtists
from widemargin.landscape.boundary import DecisionRegions, decision_regions

EXAMPLES = torch.tensor([[0.2, 0.1], [-0.4, 0.3], [0.5, -0.5], [-0.1, -0.6]]), torch.tensor([0, 1, 1, 0])


def linear(weight: list[list[float]], bias: list[float]) -> TrainedModel:
    model = nn.Linear(2, len(bias))
    model.weight.data, model.bias.data = torch.tensor(weight), torch.tensor(bias)
    return TrainedModel(model, EXAMPLES)


def regions(weight: list[list[float]], bias: list[float], num_points: int = 7) -> DecisionRegions:
    return decision_regions(linear(weight, bias), extent=(-1.0, 1.0, -1.0, 1.0), num_points=num_points)


def stacked() -> DecisionRegions:
    """Two frames: class 1 right of 0.25, then class 1 above −0.5."""
    trained = linear([[1.0, 0.0]], [-0.25])
    at = torch.tensor([[1.0, 0.0, -0.25], [0.0, 1.0, 0.5]])
    return decision_regions(trained, extent=(-1.0, 1.0, -1.0, 1.0), num_points=7, at=at)


def points(ax: Axes) -> tuple[PathCollection, PathCollection]:
    right, wrong = (c for c in ax.collections if isinstance(c, PathCollection))
    return right, wrong


def test_the_boundary_of_one_logit_is_where_the_logit_is_0() -> None:
    (line,) = boundary_lines(regions([[2.0, 1.0]], [0.3]))
    np.testing.assert_allclose(2 * line[:, 0] + line[:, 1] + 0.3, 0, atol=1e-6)
    assert np.ptp(line[:, 1]) == 2


def test_boundaries_of_three_classes_are_where_the_first_two_logits_are_equal() -> None:
    weight, bias = np.array([[1.0, 0.0], [-0.5, 0.8], [-0.5, -0.8]]), np.array([0.1, 0.0, -0.1])
    lines = np.concatenate(boundary_lines(regions(weight.tolist(), bias.tolist(), num_points=81)))
    logits = lines @ weight.T + bias
    third, second, first = np.sort(logits, axis=1).T
    is_by_itself = second - third > 0.1  # in cells that three classes meet in, lines are approximate
    np.testing.assert_allclose(first[is_by_itself], second[is_by_itself], atol=1e-6)
    assert (first - second)[~is_by_itself].max() < 0.03
    neighbors = {tuple(sorted(pair)) for pair in np.argsort(logits, axis=1)[is_by_itself, 1:].tolist()}
    assert neighbors == {(0, 1), (0, 2), (1, 2)}


def test_boundaries_lie_between_classes_that_are_not_neighbors_in_number() -> None:
    found = regions([[-1.0, 0.0], [0.0, 0.0], [1.0, 0.0]], [0.0, -9.0, 0.0])
    np.testing.assert_allclose(np.concatenate(boundary_lines(found))[:, 0], 0, atol=1e-9)


def test_one_class_alone_has_no_boundary() -> None:
    assert boundary_lines(regions([[0.0, 0.0]], [3.0])) == []


def test_there_is_no_boundary_to_what_is_not_finite() -> None:
    found = regions([[1.0, 0.0]], [0.1])
    is_bad = np.zeros(found.classes.shape, dtype=bool)
    is_bad[:, -2:] = True
    holed = replace(
        found, classes=np.where(is_bad, -1, found.classes), margins=np.where(is_bad, np.nan, found.margins)
    )
    np.testing.assert_allclose(np.concatenate(boundary_lines(holed))[:, 0], -0.1, atol=1e-6)


def test_each_frame_has_its_own_boundary() -> None:
    np.testing.assert_allclose(np.concatenate(boundary_lines(stacked(), 0))[:, 0], 0.25, atol=1e-6)
    np.testing.assert_allclose(np.concatenate(boundary_lines(stacked(), 1))[:, 1], -0.5, atol=1e-6)


@pytest.mark.parametrize("frame", [-1, 2])
def test_a_frame_that_is_not_there_is_refused(frame: int, ax: Axes) -> None:
    with pytest.raises(InvalidInputError, match=rf"frame must be from 0 to 1, got {frame}\."):
        boundary_lines(stacked(), frame)
    with pytest.raises(InvalidInputError, match=r"frame must be from 0 to 1"):
        draw_decision_regions(ax, stacked(), frame=frame)


def test_drawing_returns_axes_of_equal_scales_with_labels(ax: Axes) -> None:
    assert draw_decision_regions(ax, regions([[1.0, 0.0]], [0.0])) is ax
    assert ax.get_aspect() == 1
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("first input feature", "second input feature")
    assert (ax.get_xlim(), ax.get_ylim()) == ((-1, 1), (-1, 1))
    texts = [text.get_text() for text in ax.get_legend().get_texts()]
    assert texts == ["class 0", "class 1", "right", "wrong"]


def test_without_a_legend_there_is_none(ax: Axes) -> None:
    draw_decision_regions(ax, regions([[1.0, 0.0]], [0.0]), has_legend=False)
    assert ax.get_legend() is None


def test_regions_are_tints_of_their_class_with_the_grid_at_the_pixels_centers(ax: Axes) -> None:
    found = regions([[1.0, 0.0]], [0.1])
    (image,) = draw_decision_regions(ax, found).get_images()
    drawn = np.asarray(image.get_array())
    for row, line in enumerate(found.classes):
        for column, one in enumerate(line):
            np.testing.assert_allclose(drawn[row, column], 1 - TINT * (1 - np.array(to_rgb(CLASSES[one]))))
    left, right, bottom, top = image.get_extent()
    assert (left, right, bottom, top) == pytest.approx((-7 / 6, 7 / 6, -7 / 6, 7 / 6))
    assert image.origin == "lower"


def test_what_is_not_finite_is_grey_and_in_the_legend(ax: Axes) -> None:
    found = regions([[1.0, 0.0]], [0.1])
    bad = replace(found, classes=np.full_like(found.classes, -1), margins=np.full_like(found.margins, np.nan))
    (image,) = draw_decision_regions(ax, bad).get_images()
    np.testing.assert_allclose(np.asarray(image.get_array())[3, 3], 1 - TINT * (1 - np.array(to_rgb(NEITHER))))
    assert ax.get_legend().get_texts()[0].get_text() == "not finite"


def test_right_and_wrong_examples_differ_in_marker_and_size(ax: Axes) -> None:
    found = regions([[1.0, 0.0]], [0.0])
    right, wrong = points(draw_decision_regions(ax, found))
    np.testing.assert_array_equal(right.get_offsets(), found.inputs[found.is_correct])
    np.testing.assert_array_equal(wrong.get_offsets(), found.inputs[~found.is_correct])
    assert 0 < found.is_correct.sum() < 4
    assert len(right.get_paths()[0]) != len(wrong.get_paths()[0])
    assert wrong.get_sizes()[0] > 2 * right.get_sizes()[0]


def test_examples_have_the_color_that_they_were_trained_to(ax: Axes) -> None:
    found = regions([[1.0, 0.0]], [0.0])
    for drawn, which in zip(
        points(draw_decision_regions(ax, found)), (found.is_correct, ~found.is_correct), strict=True
    ):
        expected = [to_rgb(CLASSES[label]) for label in found.labels[which]]
        np.testing.assert_allclose(drawn.get_facecolor()[:, :3], expected)


def test_the_boundary_is_drawn(ax: Axes) -> None:
    found = regions([[1.0, 0.3]], [0.0])
    (drawn,) = [c for c in draw_decision_regions(ax, found).collections if isinstance(c, LineCollection)]
    for segment, line in zip(drawn.get_segments(), boundary_lines(found), strict=True):
        np.testing.assert_allclose(segment, line)


def test_a_frame_takes_anothers_place_as_if_it_had_been_drawn_alone(ax: Axes) -> None:
    artists = RegionArtists(ax, stacked())
    artists.show(0)
    artists.show(1)
    alone = ax.figure.add_subplot()
    draw_decision_regions(alone, stacked(), frame=1)
    np.testing.assert_array_equal(ax.get_images()[0].get_array(), alone.get_images()[0].get_array())
    for mine, theirs in zip(points(ax), points(alone), strict=True):
        np.testing.assert_array_equal(mine.get_offsets(), theirs.get_offsets())
        np.testing.assert_array_equal(mine.get_facecolor(), theirs.get_facecolor())
    assert len(ax.collections) == len(alone.collections)
