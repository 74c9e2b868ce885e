"""The figures of "See why" as Plotly draws them; colors of text and lines are left to the page's theme."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from widemargin.figures.colors import ACCURACY_MAP, BADLY, LOSS_MAP, NEITHER
from widemargin.landscape import Surface
from widemargin.report.axes import SEE_THROUGH, STEP, Figure, layout_of, log_ticks, numbers, scatter, tick_text
from widemargin.report.basin_figures import basin_figures, pair_of
from widemargin.report.explanation import Explanation
from widemargin.report.region_figures import region_figures
from widemargin.zoo import Minefield

__all__ = ["explanation_figures"]


def explanation_figures(explanation: Explanation) -> dict[str, Figure]:
    """Return the figures by the id of their place on the page; those without data are left out."""
    minima = (explanation.good, explanation.bad)
    surfaces = _surface_figures(*(minimum.surface for minimum in minima))
    figures = {
        **region_figures(explanation),
        "why-surface-good": surfaces[0],
        "why-surface-bad": surfaces[1],
        "why-loss": _walk_figure(explanation, "training loss", [m.walk.losses for m in minima], is_log=True),
        "why-accuracy": _walk_figure(explanation, "training accuracy", [m.walk.accuracies for m in minima]),
        **basin_figures(explanation),
    }
    curvatures = [minimum.walk.curvatures for minimum in minima if minimum.walk.curvatures is not None]
    if len(curvatures) == len(minima):
        figures["why-curvature"] = _walk_figure(explanation, "curvature", curvatures, is_log=True)
    if explanation.field is not None:
        figures["why-field"] = _field_figure(explanation.field)
    return figures


def _surface_figures(*surfaces: Surface) -> list[Figure]:
    """Return the logarithms of the losses over their planes, all with the same heights and colors."""
    heights = [np.log10(np.where(surface.losses > 0, surface.losses, np.nan)) for surface in surfaces]
    known = np.concatenate([height[np.isfinite(height)] for height in heights])
    low, high = (float(known.min()), float(known.max())) if len(known) else (-1.0, 1.0)
    powers = np.arange(np.floor(low), np.ceil(high) + 1, max(1, round((high - low) / 5)))
    height_axis = {
        "title": {"text": "training loss"},
        "range": [low - 0.1, high + 0.1],
        "tickvals": powers.tolist(),
        "ticktext": [tick_text(10.0**power) for power in powers],
    }
    return [
        {
            "data": [
                {
                    "type": "surface",
                    "x": numbers(surface.x),
                    "y": numbers(surface.y),
                    "z": [numbers(row) for row in height],
                    "customdata": [numbers(row, 3) for row in surface.losses],
                    "colorscale": LOSS_MAP.capitalize(),
                    "cmin": low,
                    "cmax": high,
                    "showscale": False,
                    "hovertemplate": "step (%{x:.2f}, %{y:.2f})<br>loss %{customdata:.3g}<extra></extra>",
                },
                {
                    "type": "scatter3d",
                    "mode": "markers",
                    "x": [0],
                    "y": [0],
                    "z": numbers([_height_of_center(surface, height)]),
                    "marker": {"size": 5, "color": BADLY, "line": {"width": 1, "color": "#000000"}},
                    "hovertemplate": "the network itself<extra></extra>",
                },
            ],
            "layout": {
                "height": 440,
                "margin": {"l": 0, "r": 0, "t": 0, "b": 0},
                **SEE_THROUGH,
                "showlegend": False,
                "scene": {
                    "xaxis": {"title": {"text": "1st direction"}, "nticks": 5},
                    "yaxis": {"title": {"text": "2nd direction"}, "nticks": 5},
                    "zaxis": height_axis,
                    "aspectmode": "cube",
                    "uirevision": "kept",
                    "camera": {"eye": {"x": 1.6, "y": 1.6, "z": 0.5}, "center": {"x": 0, "y": 0, "z": -0.1}},
                },
            },
        }
        for surface, height in zip(surfaces, heights, strict=True)
    ]


def _height_of_center(surface: Surface, height: NDArray[np.float64]) -> float:
    return float(height[int(np.abs(surface.y).argmin()), int(np.abs(surface.x).argmin())])


def _walk_figure(
    explanation: Explanation, quantity: str, values: Sequence[NDArray[np.float64]], *, is_log: bool = False
) -> Figure:
    """Return a quantity along the walk, a line and then a dot for each network.

    The slider's places are equally far apart, so that what happens close to the minimum is seen.
    """
    shown = [np.where(value > 0, value, np.nan) if is_log else value for value in values]
    lines, dots = [], []
    for (minimum, name, color), value in zip(pair_of(explanation), shown, strict=True):
        steps, y = numbers(minimum.walk.coefficients), numbers(value)
        x = list(range(len(y)))
        middle = int(np.abs(minimum.walk.coefficients).argmin())
        hover = f"{name}: %{{y:.3g}} at c = %{{customdata:.2g}}<extra></extra>"
        lines.append(
            scatter(
                x, y, name, mode="lines", line={"color": color, "width": 2}, customdata=steps, hovertemplate=hover
            )
        )
        dot = {"size": 11, "color": color, "line": {"width": 1.5, "color": "#ffffff"}}
        dots.append(scatter([x[middle]], [y[middle]], name, mode="markers", marker=dot, hoverinfo="skip"))
    quantity += " (log scale)" if is_log else ""
    layout = layout_of(250, f"c {STEP}, stretched near 0", quantity, has_legend=False)
    marked = np.linspace(0, len(x) - 1, 5).round().astype(int).tolist()
    layout["xaxis"] |= {
        "range": [-1, len(x)],
        "tickvals": marked,
        "ticktext": [f"{steps[place]:.2g}".replace("-", "−") for place in marked],
    }
    if is_log:
        layout["yaxis"] |= {"type": "log", **log_ticks(np.concatenate(shown))}
    else:
        layout["yaxis"] |= {"range": [-0.05, 1.05], "tickformat": ".0%"}
    return {"data": lines + dots, "layout": layout}


def _field_figure(field: Minefield) -> Figure:
    data = []
    for which, name, symbol, mode in (
        (~field.is_path, "ends of poisoned trainings", "x", "markers"),
        (field.is_path, "path of the good training", "circle", "lines+markers"),
    ):
        data.append(
            scatter(
                numbers(field.coordinates[which, 0]),
                numbers(field.coordinates[which, 1]),
                name,
                mode=mode,
                line={"color": NEITHER, "width": 1.5},
                marker={
                    "size": 11,
                    "symbol": symbol,
                    "color": numbers(field.test_accuracies[which]),
                    "colorscale": ACCURACY_MAP.capitalize(),
                    "cmin": 0,
                    "cmax": 1,
                    "line": {"width": 1, "color": NEITHER},
                    "showscale": mode == "markers",
                    "colorbar": {
                        "orientation": "h",
                        "y": -0.2,
                        "yanchor": "top",
                        "thickness": 12,
                        "title": {"text": "test accuracy", "side": "bottom"},
                        "tickformat": ".0%",
                    },
                },
                customdata=[
                    [step, round(100 * train, 1)]
                    for step, train in zip(
                        field.steps[which].tolist(), field.train_accuracies[which].tolist(), strict=True
                    )
                ],
                hovertemplate="test accuracy %{marker.color:.1%}, train %{customdata[1]} %"
                "<br>step %{customdata[0]} of the path<extra></extra>",
            )
        )
    path = field.coordinates[field.is_path]
    layout = layout_of(560, "t-SNE, first coordinate [no unit]", "t-SNE, second coordinate [no unit]")
    layout["margin"]["b"] = 130
    layout["annotations"] = [
        {
            "x": float(point[0]),
            "y": float(point[1]),
            "text": text,
            "showarrow": True,
            "arrowhead": 0,
            "ax": 24,
            "ay": -24,
        }
        for text, point in (("start", path[0]), ("end", path[-1]))
    ]
    return {"data": data, "layout": layout}
