"""Basins of two networks and of many: rays, radii, and what their size has to do with poison and gap."""

import html
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from widemargin.figures.colors import BADLY, NEITHER, NETWORK, WELL
from widemargin.figures.scales import round_values
from widemargin.report.axes import STEP, Figure, layout_of, log_ticks, numbers, scatter, tick_text
from widemargin.report.explanation import FITS, Explanation, Minimum
from widemargin.report.verdict import shown_cutoff

__all__ = ["basin_figures", "pair_of"]

NUM_BINS = 40


def basin_figures(explanation: Explanation) -> dict[str, Figure]:
    """Return the figures of basins; traces that belong to one cutoff say so in ``meta``, and one cutoff is seen."""
    figures = {"why-rays": _rays_figure(explanation), "why-poison": _poison_figure(explanation.networks)}
    if explanation.good.radii is not None or explanation.bad.radii is not None:
        figures["why-radii"] = _radii_figure(explanation)
    if any(len(explanation.basins(cutoff)) for cutoff in explanation.cutoffs):
        figures["why-radius-gap"] = _gap_figure(explanation, "mean_radius", f"mean radius {STEP}", is_log=True)
        figures["why-volume-gap"] = _gap_figure(explanation, "log10_volume", "log₁₀ volume (lower bound)")
    return figures


def _rays_figure(explanation: Explanation) -> Figure:
    """Return the loss along many directions, one line a network that is broken between them, and each cutoff."""
    data, positive = [], [np.array(explanation.cutoffs)]
    distances = explanation.good.ray_coefficients  # the bad one's too
    for minimum, name, color in pair_of(explanation):
        losses = np.where(np.isfinite(minimum.ray_losses) & (minimum.ray_losses > 0), minimum.ray_losses, np.nan)
        positive.append(losses.ravel())
        x = [*numbers(distances), None] * len(losses)
        y = [value for ray in losses for value in (*numbers(ray), None)]
        line = {"color": color, "width": 1.2}
        data.append(scatter(x, y, name, mode="lines", line=line, opacity=0.6, hoverinfo="skip"))
    ends = numbers([distances.min(), distances.max()])
    for cutoff in explanation.cutoffs:
        line = {"color": NEITHER, "width": 2, "dash": "dash"}
        name = f"cutoff {cutoff:g}"
        data.append(scatter(ends, [cutoff] * 2, name, mode="lines", line=line, **_of_cutoff(cutoff, explanation)))
    layout = layout_of(420, f"distance {STEP} (log scale)", "training loss (log scale)")
    layout["xaxis"] |= {"type": "log", **log_ticks(distances)}
    layout["yaxis"] |= {"type": "log", **log_ticks(np.concatenate(positive))}
    return {"data": data, "layout": layout}


def _radii_figure(explanation: Explanation) -> Figure:
    """Return histograms of the radii's logarithms; those that were cut off by the cap are bars of their own."""
    found = [(m.radii, name, color) for m, name, color in pair_of(explanation) if m.radii is not None]
    everything = np.concatenate([radii.radii.ravel() for radii, _, _ in found])
    low, high = float(everything.min()) / 1.05, float(everything.max()) * 1.05
    edges = np.linspace(np.log10(low), np.log10(high), NUM_BINS + 1)
    middles = (edges[1:] + edges[:-1]) / 2
    data = []
    for radii, name, color in found:
        for column, cutoff in enumerate(radii.cutoffs):
            is_censored = radii.is_censored[:, column]
            for which, label, shape in (
                (~is_censored, name, ""),
                (is_censored, f"{name}, at the cap or beyond", "/"),
            ):
                if which.any():
                    data.append(
                        {
                            "type": "bar",
                            "name": label,
                            "x": numbers(middles),
                            "y": np.histogram(np.log10(radii.radii[which, column]), edges)[0].tolist(),
                            "customdata": numbers(10**middles, 2),
                            "width": float(edges[1] - edges[0]),
                            "opacity": 0.65,
                            "marker": {"color": color, "pattern": {"shape": shape}},
                            "hovertemplate": f"{label}: %{{y}} rays near %{{customdata}}<extra></extra>",
                            **_of_cutoff(cutoff, explanation),
                        }
                    )
    layout = layout_of(420, f"radius {STEP} (log scale)", "number of rays", barmode="overlay")
    ticks = round_values(low, high)
    layout["xaxis"] |= {"tickvals": numbers(np.log10(ticks)), "ticktext": [tick_text(tick) for tick in ticks]}
    return {"data": data, "layout": layout}


def _poison_figure(networks: pd.DataFrame) -> Figure:
    """Return each network's gap against its poison factor, and the means; 0 stands one place left of the others."""
    factors = networks["poison_factor"].to_numpy(dtype=np.float64)
    positive = factors[factors > 0]
    low, high = float(positive.min()), float(positive.max())
    zero = np.log10(low) - max(0.25, (np.log10(high) - np.log10(low)) / 8)
    has_zero = bool((factors == 0).any())

    def place(factor: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.where(factor > 0, np.log10(np.maximum(factor, low)), zero)

    data = []
    fits = networks["train_accuracy"] >= FITS
    for which, name, symbol in ((fits, "fits its training set", "circle"), (~fits, "does not fit it", "circle-open")):
        rows = networks[which]
        if len(rows):
            data.append(
                scatter(
                    numbers(place(rows["poison_factor"].to_numpy(dtype=np.float64))),
                    numbers(rows["gap"]),
                    name,
                    mode="markers",
                    marker={"size": 7, "symbol": symbol, "color": NETWORK, "opacity": 0.8},
                    customdata=_hovers(rows),
                    hovertemplate="gap %{y:.3f}<br>%{customdata}<extra></extra>",
                )
            )
    means = networks.groupby("poison_factor")["gap"].mean()
    levels = means.index.to_numpy(dtype=np.float64)
    x: list[float | None] = numbers(place(levels))
    y = numbers(means)
    if has_zero:  # no line over the break in the axis
        x, y = [x[0], None, *x[1:]], [y[0], None, *y[1:]]
    data.append(scatter(x, y, "mean", mode="lines+markers", line={"color": BADLY, "width": 2}, hoverinfo="skip"))
    ticks = round_values(low, high)
    layout = layout_of(420, "poison factor β (log scale)", "generalization gap")
    layout["xaxis"] |= {"tickvals": numbers(np.log10(ticks)), "ticktext": [tick_text(tick) for tick in ticks]}
    if has_zero:
        layout["xaxis"]["tickvals"].insert(0, float(zero))
        layout["xaxis"]["ticktext"].insert(0, "0")
        middle = (zero + np.log10(low)) / 2
        line = {"color": NEITHER, "width": 1, "dash": "dot"}
        layout["shapes"] = [
            {"type": "line", "x0": middle, "x1": middle, "y0": 0, "y1": 1, "yref": "paper", "line": line}
        ]
    return {"data": data, "layout": layout}


def _gap_figure(explanation: Explanation, column: str, label: str, *, is_log: bool = False) -> Figure:
    """Return a basin's size against the gap, a set of points for each cutoff; the good and the bad one stand out."""
    data = []
    cutoffs = [cutoff for cutoff in explanation.cutoffs if len(explanation.basins(cutoff))]
    for cutoff in cutoffs:
        rows = explanation.basins(cutoff)
        is_marked = rows.index.isin([explanation.good.run, explanation.bad.run])
        groups = [(rows[~is_marked], "other networks", NETWORK, 7)]
        groups += [(rows[rows.index == one.run], name, color, 12) for one, name, color in pair_of(explanation)]
        for some, name, color, size in groups:
            if len(some):
                data.append(
                    scatter(
                        numbers(some["gap"]),
                        numbers(some[column], 6),
                        name,
                        mode="markers",
                        marker={"size": size, "color": color, "opacity": 0.85},
                        customdata=_hovers(some),
                        hovertemplate="gap %{x:.3f}: %{y:,.5~g}<br>%{customdata}<extra></extra>",
                        **_of_cutoff(cutoff, explanation),
                    )
                )
    label += " (log scale)" if is_log else ""
    layout = layout_of(420, "generalization gap (train − test accuracy)", label)
    sizes = np.concatenate([explanation.basins(cutoff)[column].to_numpy(dtype=np.float64) for cutoff in cutoffs])
    layout["yaxis"] |= {"type": "log", **log_ticks(sizes)} if is_log else {"tickformat": ",~r"}
    return {"data": data, "layout": layout}


def pair_of(explanation: Explanation) -> tuple[tuple[Minimum, str, str], ...]:
    """Return the good and the bad network, each with its name and color."""
    return ((explanation.good, "good", WELL), (explanation.bad, "bad", BADLY))


def _of_cutoff(cutoff: float, explanation: Explanation) -> dict[str, Any]:
    return {"meta": {"cutoff": cutoff}, "visible": cutoff == shown_cutoff(explanation)}


def _hovers(rows: pd.DataFrame) -> list[str]:
    return [
        f"run {html.escape(str(run))}<br>poison factor {row['poison_factor']:g}"
        f"<br>train accuracy {row['train_accuracy']:.3f}, test {row['test_accuracy']:.3f}"
        for run, row in rows.iterrows()
    ]
