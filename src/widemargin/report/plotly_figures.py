"""The figures as Plotly draws them; colors of text and lines are left to the page's theme."""

import html
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from widemargin.figures import Density
from widemargin.figures.colors import NEITHER, NETWORK, WELL
from widemargin.report.axes import LEGEND, SEE_THROUGH
from widemargin.report.findings import Findings, Portrait, configuration_parts

__all__ = ["density_figure", "order_statistics_figure", "predicted_gap_figure"]


def density_figure(densities: Sequence[Density], color: str) -> dict[str, Any]:
    """Return one network's margin densities, a panel a layer."""
    layers = [density.layer for density in densities]
    figure = make_subplots(rows=max(len(layers), 1), cols=1, subplot_titles=layers, vertical_spacing=0.11)
    for row, density in enumerate(densities, start=1):
        figure.add_scatter(
            x=density.margins.tolist(),
            y=density.density.tolist(),
            mode="lines",
            fill="tozeroy",
            line={"color": color, "width": 2},
            hovertemplate="normalized margin %{x:.3g}<br>density %{y:.3g}<extra></extra>",
            showlegend=False,
            row=row,
            col=1,
        )
        figure.add_vline(x=0, line={"dash": "dash", "width": 1, "color": NEITHER}, row=row, col=1)
        figure.update_xaxes(range=[density.margins[0], density.margins[-1]], row=row, col=1)
        figure.update_yaxes(title_text="density", rangemode="tozero", nticks=4, row=row, col=1)
    figure.update_xaxes(title_text="normalized margin (0 = decision boundary)", row=len(layers), col=1)
    return _plain(figure, height=160 * max(len(layers), 1) + 60, hovermode="closest")


def order_statistics_figure(portraits: Sequence[Portrait], colors: Sequence[str]) -> dict[str, Any]:
    """Return box plots of each layer's order statistics, networks side by side."""
    figure = go.Figure()
    for portrait, color in zip(portraits, colors, strict=True):
        statistics = portrait.statistics
        figure.add_box(
            name=f"{portrait.title} (gap {100 * (portrait.train_accuracy - portrait.test_accuracy):.1f} %)",
            x=[s.layer for s in statistics],
            lowerfence=[s.lower_fence for s in statistics],
            q1=[s.q1 for s in statistics],
            median=[s.median for s in statistics],
            q3=[s.q3 for s in statistics],
            upperfence=[s.upper_fence for s in statistics],
            line={"color": color},
        )
    figure.update_xaxes(title_text="layer")
    figure.update_yaxes(title_text="normalized margin (log scale)", type="log", dtick="D2", tickformat=".2g")
    return _plain(figure, height=420, boxmode="group", legend=LEGEND)


def predicted_gap_figure(findings: Findings) -> dict[str, Any]:
    """Return predicted against actual gaps; hovering over a network shows its configuration."""
    gaps, usable = findings.predictions, findings.usable
    texts = [
        f"run {html.escape(run)}<br>{'<br>'.join(map(html.escape, configuration_parts(row, findings.varied)))}"
        f"<br>train accuracy {row['train_accuracy']:.3f}, test {row['test_accuracy']:.3f}"
        for run, (_, row) in zip(gaps.runs, usable.iterrows(), strict=True)
    ]
    figure = go.Figure()
    ends = [
        float(min(gaps.actual.min(), gaps.left_out.min())) - 0.01,
        float(max(gaps.actual.max(), gaps.left_out.max())) + 0.01,
    ]
    figure.add_scatter(
        x=ends,
        y=ends,
        mode="lines",
        line={"dash": "dash", "width": 1, "color": NEITHER},
        name="prediction = actual",
        hoverinfo="skip",
    )
    has_interval = bool(np.isfinite(gaps.half_interval).all())
    for name, values, symbol, visible in (
        ("each configuration left out of its fit", gaps.left_out, "circle", True),
        ("fitted to all (bars: 90 % prediction interval)", gaps.fitted, "diamond-open", "legendonly"),
    ):
        bars = {"type": "data", "array": gaps.half_interval.tolist(), "thickness": 0.6, "width": 0}
        figure.add_scatter(
            x=gaps.actual.tolist(),
            y=values.tolist(),
            mode="markers",
            name=name,
            visible=visible,
            text=texts,
            error_y=bars if has_interval and symbol != "circle" else None,
            marker={
                "size": 7,
                "symbol": symbol,
                "color": NETWORK if symbol == "circle" else WELL,
                "opacity": 0.8,
            },
            hovertemplate="actual gap %{x:.3f}, predicted %{y:.3f}<br>%{text}<extra></extra>",
        )
    figure.update_xaxes(title_text="actual gap (train − test accuracy)")
    figure.update_yaxes(title_text="predicted gap")
    return _plain(figure, height=520, hovermode="closest", legend=LEGEND)


def _plain(figure: go.Figure, **layout: Any) -> dict[str, Any]:
    """Return the figure as plain data, without the template that would bake a theme in."""
    figure.update_layout(template=None, margin={"l": 60, "r": 12, "t": 40, "b": 50}, **SEE_THROUGH, **layout)
    content: dict[str, Any] = json.loads(figure.to_json())
    return content
