"""The perturbation walk as a moving picture: curves with a dot, and decision regions that come apart."""

import os
import secrets
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias, cast

import numpy as np
from jaxtyping import UInt8
from matplotlib.artist import Artist
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from widemargin.errors import InvalidInputError
from widemargin.figures.regions import RegionArtists
from widemargin.figures.scales import step_unit
from widemargin.figures.walks import WalkQuantity, draw_walk, mark_step, walk_values
from widemargin.landscape.boundary import DecisionRegions, decision_regions
from widemargin.landscape.walk import Walk, loss_along, points_along, walk_coefficients
from widemargin.parameters import Normalization
from widemargin.trained_model import TrainedModel

__all__ = ["MAX_FRAMES", "perturbation_walk", "write_walk_animation"]

Pixels: TypeAlias = UInt8[NDArray[np.uint8], "rows columns 3"]

MAX_FRAMES = 203
MILLISECONDS = 50
"""That a frame is shown: the whole walk in ten seconds."""

DPI = 100
NUM_COLORS = 255
"""One is left over for what stays as it was in the frame before: half the size of the file."""


def perturbation_walk(
    trained: TrainedModel,
    *,
    num_frames: int = MAX_FRAMES,
    reach: float = 0.25,
    normalization: Normalization = "filter",
    seed: int = 0,
) -> tuple[Walk, DecisionRegions | None]:
    """Return the walk 0 → reach → 0 → −reach → 0 along a random direction, and the decision regions on its way.

    There are regions, one frame for each step, where inputs are two numbers an example; else ``None`` in their place.
    Steps that occur again are evaluated once. Most of the time goes to the curvature; a frame of regions is 160 KB.

    Args:
        trained: The network at the center, with its training data.
        num_frames: As for :func:`~widemargin.landscape.walk.walk_coefficients`.
        reach: Where the walk turns around [steps of the normalization].
        normalization: Units of the direction.
        seed: Where the direction comes from.

    Raises:
        InvalidInputError: As for :func:`~widemargin.landscape.walk.walk_coefficients` and
            :func:`~widemargin.landscape.walk.loss_along`.

    Source: the perturbation animation of Huang et al. 2019 (arXiv 1906.03291).
    """
    coefficients = walk_coefficients(num_frames, reach)
    walk = loss_along(trained, coefficients=coefficients, normalization=normalization, seed=seed, curvature=True)
    try:
        decision_regions(trained, num_points=2)
    except InvalidInputError:  # the walk took the same network and data: it is the inputs that are not two numbers
        return walk, None
    steps, frames = np.unique(walk.coefficients, return_inverse=True)
    regions = decision_regions(trained, at=points_along(trained, steps, normalization=normalization, seed=seed))
    return walk, replace(
        regions,
        classes=regions.classes[frames],
        margins=regions.margins[frames],
        is_correct=regions.is_correct[frames],
    )


def write_walk_animation(path: str | Path, walk: Walk, regions: DecisionRegions | None = None) -> None:
    """Write the walk as an animated GIF of 800 pixels width that runs for ever.

    A dot moves along loss, accuracy and (if the walk has it) curvature; beside them the regions of the same step.
    What does not move is drawn once, and all frames share one palette. The file appears when it is complete.
    Neighboring frames that look the same become one that is shown longer.

    Args:
        path: Where to write, ending in ``.gif``.
        walk: One point a frame, 203 at most.
        regions: One frame for each point of the walk, if there are any.

    Raises:
        InvalidInputError: More than 203 points, or regions that have not one frame for each of them.

    Source: the perturbation animation of Huang et al. 2019 (arXiv 1906.03291).

    Example:
        >>> import tempfile, torch
        >>> data = torch.randn(9, 2, generator=torch.Generator().manual_seed(0)), torch.arange(9) % 2
        >>> walk, regions = perturbation_walk(TrainedModel(torch.nn.Linear(2, 2), data), num_frames=7)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_walk_animation(Path(folder, "walk.gif"), walk, regions)
        ...     with Image.open(Path(folder, "walk.gif")) as image:
        ...         image.size
        (800, 480)
    """
    num_frames = len(walk.coefficients)
    if num_frames > MAX_FRAMES:
        raise InvalidInputError(f"an animation has {MAX_FRAMES} frames at most, got {num_frames}. Take fewer points.")
    if regions is not None and (regions.classes.ndim != 3 or len(regions.classes) != num_frames):
        raise InvalidInputError(
            f"regions must have a frame for each of the walk's {num_frames} points, got the shape "
            f"{list(regions.classes.shape)}. Hand over what perturbation_walk returns."
        )
    shown = _Moving(walk, regions)
    ends = (0, int(walk.coefficients.argmax()), int(walk.coefficients.argmin()))
    extremes = np.vstack([shown.pixels(frame) for frame in ends])
    palette = _Palette(extremes)
    images = (palette.indexed(shown.pixels(frame)) for frame in range(num_frames))
    path = Path(path)
    temporary = path.with_name(f".partial-{secrets.token_hex(4)}-{path.name}")
    try:
        with temporary.open("wb") as file:
            next(images).save(file, "GIF", save_all=True, append_images=images, duration=MILLISECONDS, loop=0)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


class _Palette:
    """The most frequent colors of some pixels, so that plain areas keep theirs.

    Pillow looks colors up in boxes of 4 × 4 × 4, by the lowest corner: so one color a box is taken, looked up by that
    corner, and shown as the highest one, which keeps white white.
    """

    def __init__(self, pixels: Pixels) -> None:
        packed = (pixels & 252) @ np.array([1 << 16, 1 << 8, 1])
        boxes, counts = np.unique(packed, return_counts=True)
        frequent = boxes[np.argsort(-counts)[:NUM_COLORS]]
        corners = np.stack([frequent >> 16, frequent >> 8 & 255, frequent & 255], axis=1)
        self._corners = Image.new("P", (1, 1))
        self._corners.putpalette(corners.ravel().tolist())
        self._shown = (corners | 3).ravel().tolist()

    def indexed(self, pixels: Pixels) -> Image.Image:
        image = Image.fromarray(pixels).quantize(palette=self._corners, dither=Image.Dither.NONE)
        image.putpalette(self._shown)
        return image


class _Moving:
    """The figure, with what stands still already drawn."""

    def __init__(self, walk: Walk, regions: DecisionRegions | None) -> None:
        quantities: list[WalkQuantity] = ["loss", "accuracy"]
        if walk.curvatures is not None:
            quantities.append("curvature")
        figure = Figure(figsize=(8, 2.8 if regions is None else 4.8), dpi=DPI, layout="constrained")
        mosaic: list[Any] = [quantities] if regions is None else [["regions", quantity] for quantity in quantities]
        panels = figure.subplot_mosaic(mosaic, width_ratios=None if regions is None else (1.5, 1))
        self._figure = figure
        self._canvas = cast(Any, FigureCanvasAgg(figure))  # matplotlib leaves its methods without types
        self._walk = walk
        self._title = figure.suptitle(" ", size="medium")
        self._dots = {}
        for quantity in quantities:
            ax = draw_walk(panels[quantity], walk, quantity=quantity)
            self._dots[mark_step(ax, walk, 0, quantity=quantity)] = walk_values(walk, quantity)
            if regions is not None and quantity != quantities[-1]:
                ax.tick_params(labelbottom=False)
                ax.set_xlabel("")
        self._regions = None if regions is None else RegionArtists(panels["regions"], regions)
        regional = () if self._regions is None else (*self._regions.artists, *panels["regions"].spines.values())
        self._moving: tuple[Artist, ...] = (*regional, *self._dots, self._title)
        figure.align_ylabels([panels[quantity] for quantity in quantities])
        self._canvas.draw()
        figure.set_layout_engine("none")
        for artist in self._moving:
            artist.set_animated(True)
        self._canvas.draw()
        self._background = self._canvas.copy_from_bbox(figure.bbox)

    def pixels(self, frame: int) -> Pixels:
        """Return the colors of one frame."""
        c = self._walk.coefficients[frame]
        self._title.set_text(f"step c = {c:+z.4f} [{step_unit(self._walk.normalization)}]".replace("-", "−"))
        for dot, values in self._dots.items():
            dot.set_data([c], [values[frame]])
        if self._regions is not None:
            self._regions.show(frame)
        self._canvas.restore_region(self._background)
        for artist in self._moving:
            self._figure.draw_artist(artist)
        return np.asarray(self._canvas.buffer_rgba())[..., :3].copy()
