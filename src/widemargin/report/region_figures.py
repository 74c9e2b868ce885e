"""Decision regions: axes and colors for Plotly, and classes packed into a fraction of their size."""

import base64
from typing import Any

import numpy as np
from jaxtyping import Bool, Int
from numpy.typing import NDArray

from widemargin.figures.colors import class_color
from widemargin.landscape import DecisionRegions
from widemargin.report.axes import Figure, layout_of, numbers
from widemargin.report.explanation import Explanation

__all__ = ["packed_bits", "packed_classes", "packed_regions", "region_figures"]

LONGEST_RUN = 255


def region_figures(explanation: Explanation) -> dict[str, Figure]:
    """Return axes and colors of each picture of decision regions; what is on it is in :func:`packed_regions`."""
    return {
        name: _figure(regions, height=290 if "boundary" in name else 440)
        for name, regions in _regions(explanation).items()
    }


def packed_regions(explanation: Explanation) -> dict[str, dict[str, Any]]:
    """Return for each figure of decision regions the training examples and, of each frame, classes and who is right.

    Classes are counted from 1, so that 0 is left for logits that are not finite.
    """
    return {
        name: {
            "columns": len(regions.x),
            "rows": len(regions.y),
            "classes": packed_classes(regions.classes.reshape(-1, len(regions.y) * len(regions.x))),
            "correct": packed_bits(regions.is_correct.reshape(-1, len(regions.labels))),
            "x": numbers(regions.inputs[:, 0]),
            "y": numbers(regions.inputs[:, 1]),
            "labels": (regions.labels + 1).tolist(),
        }
        for name, regions in _regions(explanation).items()
    }


def packed_classes(classes: Int[NDArray[np.int64], "frames cells"]) -> str:
    """Return classes as base64 of pairs of bytes: class + 1, and how many cells in a row have it.

    Example:
        >>> list(base64.b64decode(packed_classes(np.array([[0, 0, 1], [1, 1, -1]]))))
        [1, 2, 2, 1, 2, 2, 0, 1]
    """
    pairs: list[int] = []
    for frame in classes:
        starts = np.flatnonzero(np.diff(frame, prepend=frame[0] - 1))
        for start, length in zip(starts, np.diff(starts, append=len(frame)), strict=True):
            for done in range(0, int(length), LONGEST_RUN):
                pairs += [int(frame[start]) + 1, min(int(length) - done, LONGEST_RUN)]
    return base64.b64encode(bytes(pairs)).decode()


def packed_bits(bits: Bool[NDArray[np.bool_], "frames examples"]) -> str:
    """Return base64 of the bits, the first in a byte's highest place; each frame begins a byte of its own."""
    return base64.b64encode(np.packbits(bits, axis=1).tobytes()).decode()


def _regions(explanation: Explanation) -> dict[str, DecisionRegions]:
    found = {
        "why-regions-good": explanation.good.regions,
        "why-regions-bad": explanation.bad.regions,
        "why-walk-good": explanation.good.walk_regions,
        "why-walk-bad": explanation.bad.walk_regions,
        **{f"why-boundary-{index}": boundary.regions for index, boundary in enumerate(explanation.boundaries)},
    }
    return {name: regions for name, regions in found.items() if regions is not None}


def _figure(regions: DecisionRegions, *, height: int) -> Figure:
    num = int(max(regions.classes.max(), regions.labels.max())) + 2
    colors = [class_color(index - 1) for index in range(num)]
    scale = [[(index + end) / num, color] for index, color in enumerate(colors) for end in (0, 1)]
    limits = {"colorscale": scale, "showscale": False}
    heatmap = {
        "type": "heatmap",
        "x": numbers(regions.x),
        "y": numbers(regions.y),
        "z": [],
        **limits,
        "zmin": -0.5,
        "zmax": num - 0.5,
        "opacity": 0.4,
        "hoverinfo": "skip",
    }
    points = [
        {
            "type": "scatter",
            "mode": "markers",
            "name": name,
            "x": [],
            "y": [],
            "marker": {
                **limits,
                "cmin": -0.5,
                "cmax": num - 0.5,
                "color": [],
                "symbol": symbol,
                "size": size,
                "line": {"width": 0.8, "color": line},
            },
            "hovertemplate": f"(%{{x:.3g}}, %{{y:.3g}})<br>training example, {name}<extra></extra>",
        }
        for name, symbol, size, line in (("right", "circle", 6, "#ffffff"), ("wrong", "x", 9, "#000000"))
    ]
    layout = layout_of(height, "first input feature", "second input feature", has_legend=False)
    layout["xaxis"] |= {"range": numbers(regions.x[[0, -1]]), "showgrid": False, "constrain": "domain"}
    layout["yaxis"] |= {"range": numbers(regions.y[[0, -1]]), "showgrid": False, "constrain": "domain"}
    layout["yaxis"] |= {"scaleanchor": "x"}
    return {"data": [heatmap, *points], "layout": layout}
