"""The animated walk: its data against single calls, and the file read back."""

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image
from torch import nn

from widemargin import TrainedModel
from widemargin.errors import InvalidInputError
from widemargin.figures import perturbation_walk, write_walk_animation
from widemargin.figures.animation import _Palette
from widemargin.landscape.boundary import DecisionRegions, decision_regions
from widemargin.landscape.walk import Walk, loss_along, points_along, walk_coefficients


def trained(num_features: int = 2) -> TrainedModel:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(num_features, 8), nn.ReLU(), nn.Linear(8, 1))
    inputs = torch.randn(12, num_features, generator=torch.Generator().manual_seed(1))
    return TrainedModel(model, (inputs, (inputs[:, 0] > 0).long()))


def walk_and_regions(num_frames: int = 11, reach: float = 2.0) -> tuple[Walk, DecisionRegions]:
    walk, regions = perturbation_walk(trained(), num_frames=num_frames, reach=reach)
    assert regions is not None
    return walk, regions


def read(path: Path) -> tuple[list[np.ndarray], list[int]]:
    frames, durations = [], []
    with Image.open(path) as image:
        for index in range(image.n_frames):
            image.seek(index)
            frames.append(np.asarray(image.convert("RGB")))
            durations.append(image.info["duration"])
    return frames, durations


def test_the_walk_is_that_of_loss_along_with_curvature() -> None:
    walk, _ = perturbation_walk(trained(), num_frames=11, reach=0.5, seed=3)
    alone = loss_along(trained(), coefficients=walk_coefficients(11, 0.5), seed=3, curvature=True)
    for name in ("coefficients", "losses", "accuracies", "curvatures"):
        np.testing.assert_array_equal(getattr(walk, name), getattr(alone, name))


def test_each_frame_has_the_regions_of_its_own_step() -> None:
    walk, regions = walk_and_regions()
    for index, c in enumerate(walk.coefficients.tolist()):
        alone = decision_regions(trained(), at=points_along(trained(), [c])[0])
        np.testing.assert_array_equal(regions.classes[index], alone.classes)
        np.testing.assert_allclose(regions.margins[index], alone.margins, rtol=1e-4, atol=1e-5)
        np.testing.assert_array_equal(regions.is_correct[index], alone.is_correct)


def test_inputs_that_are_not_two_numbers_have_no_regions() -> None:
    walk, regions = perturbation_walk(trained(num_features=3), num_frames=7)
    assert regions is None
    assert len(walk.losses) == 7


def test_a_network_without_regions_is_not_copied_for_every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("widemargin.figures.animation.points_along", None)
    assert perturbation_walk(trained(num_features=3), num_frames=7)[1] is None


def test_the_network_is_unhurt() -> None:
    mine = trained()
    before = copy.deepcopy(mine.model.state_dict())
    perturbation_walk(mine, num_frames=7)
    assert mine.model.training
    for name, value in mine.model.state_dict().items():
        assert torch.equal(value, before[name])


def test_the_file_is_a_gif_that_runs_for_ever_with_a_frame_for_each_step(tmp_path: Path) -> None:
    walk, regions = walk_and_regions()
    write_walk_animation(tmp_path / "walk.gif", walk, regions)
    with Image.open(tmp_path / "walk.gif") as image:
        assert (image.format, image.size, image.info["loop"]) == ("GIF", (800, 480), 0)
        assert image.n_frames == 9  # the two turning points are held for two frames each
    frames, durations = read(tmp_path / "walk.gif")
    assert sum(durations) == 11 * 50
    assert durations[2] == durations[6] == 100
    np.testing.assert_array_equal(frames[0], frames[-1])
    assert len({frame.tobytes() for frame in frames}) == 5


def test_both_regions_and_dots_move(tmp_path: Path) -> None:
    walk, regions = walk_and_regions()
    write_walk_animation(tmp_path / "walk.gif", walk, regions)
    below_title, between = slice(40, None), 470
    first, turning = (frame[below_title] for frame in (read(tmp_path / "walk.gif")[0][k] for k in (0, 2)))
    assert (first[:, :between] != turning[:, :between]).any(axis=2).sum() > 1000
    assert 100 < (first[:, between:] != turning[:, between:]).any(axis=2).sum() < 2000


def test_without_regions_there_are_the_curves_alone(tmp_path: Path) -> None:
    walk, _ = perturbation_walk(trained(num_features=3), num_frames=7)
    write_walk_animation(str(tmp_path / "walk.gif"), walk)
    frames, durations = read(tmp_path / "walk.gif")
    assert frames[0].shape == (280, 800, 3)
    assert sum(durations) == 7 * 50


def test_a_walk_without_curvature_has_two_curves(tmp_path: Path) -> None:
    walk = loss_along(trained(), coefficients=[0.0, 0.5])
    write_walk_animation(tmp_path / "walk.gif", walk)
    assert read(tmp_path / "walk.gif")[0][0].shape == (280, 800, 3)


def test_a_frame_does_not_depend_on_those_before_it(tmp_path: Path) -> None:
    walk, regions = walk_and_regions()
    write_walk_animation(tmp_path / "forth.gif", walk, regions)
    back = np.arange(11)[::-1]
    reversed_walk = replace(
        walk,
        coefficients=walk.coefficients[back],
        losses=walk.losses[back],
        accuracies=walk.accuracies[back],
        curvatures=walk.curvatures[back],
    )
    reversed_regions = replace(
        regions,
        classes=regions.classes[back],
        margins=regions.margins[back],
        is_correct=regions.is_correct[back],
    )
    write_walk_animation(tmp_path / "back.gif", reversed_walk, reversed_regions)
    forth, back_again = read(tmp_path / "forth.gif")[0], read(tmp_path / "back.gif")[0]
    for one, other in zip(forth, reversed(back_again), strict=True):
        assert np.abs(one.astype(int) - other).max() < 40  # palettes of equally frequent colors may differ


def test_losses_that_are_not_finite_can_be_written(tmp_path: Path) -> None:
    walk, regions = walk_and_regions()
    losses = walk.losses.copy()
    losses[[2, 3]] = np.inf, np.nan
    write_walk_animation(tmp_path / "walk.gif", replace(walk, losses=losses), regions)
    assert len(read(tmp_path / "walk.gif")[0]) >= 9


def test_plain_areas_keep_their_colors() -> None:
    pixels = np.zeros((40, 40, 3), dtype=np.uint8)
    pixels[:20], pixels[20:30] = 255, (27, 158, 119)
    shown = np.asarray(_Palette(pixels).indexed(pixels).convert("RGB")).astype(int)
    np.testing.assert_array_equal(shown[:20], 255)
    assert np.abs(shown - pixels).max() <= 3


def test_more_than_203_frames_are_refused(tmp_path: Path) -> None:
    walk = loss_along(trained(), coefficients=np.linspace(-1, 1, 204))
    with pytest.raises(
        InvalidInputError, match=r"an animation has 203 frames at most, got 204\. Take fewer points\."
    ):
        write_walk_animation(tmp_path / "walk.gif", walk)


def test_regions_of_other_frames_than_the_walk_are_refused(tmp_path: Path) -> None:
    walk, regions = walk_and_regions()
    message = r"a frame for each of the walk's 11 points, got the shape \[{}100, 100\]\. Hand over what pertur"
    few = replace(
        regions, classes=regions.classes[:10], margins=regions.margins[:10], is_correct=regions.is_correct[:10]
    )
    with pytest.raises(InvalidInputError, match=message.format("10, ")):
        write_walk_animation(tmp_path / "walk.gif", walk, few)
    with pytest.raises(InvalidInputError, match=message.format("")):
        write_walk_animation(tmp_path / "walk.gif", walk, decision_regions(trained()))


def test_an_interrupted_animation_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    walk, _ = walk_and_regions()
    path = tmp_path / "walk.gif"
    path.write_text("an older one")
    num_drawn = 0
    draw_artist = Figure.draw_artist

    def interrupting(figure: Figure, artist: object) -> None:
        nonlocal num_drawn
        num_drawn += 1
        if num_drawn > 30:
            raise KeyboardInterrupt
        draw_artist(figure, artist)

    monkeypatch.setattr(Figure, "draw_artist", interrupting)
    with pytest.raises(KeyboardInterrupt):
        write_walk_animation(path, walk)
    assert path.read_text() == "an older one"
    assert [entry.name for entry in tmp_path.iterdir()] == ["walk.gif"]
