"""Figures of the comparison of measures, as Plotly draws them, and the numbers that the page draws pairs from."""

import html
from typing import Any

import numpy as np
import pandas as pd

from widemargin.figures.colors import BADLY, CLASSES, WELL
from widemargin.report.axes import Figure, layout_of, numbers
from widemargin.report.comparison import Comparison

__all__ = ["comparison_figures", "pair_data"]

CELL = 15
"""Pixels of a measure in the matrix of correlations."""

LONGEST_LABEL = 44
"""Letters of a name beside the matrix."""

MOST_VALUES = 12
"""A hyperparameter of more values than that colors no points."""

DIVERGING = [[0.0, BADLY], [0.5, "rgba(136,136,136,0.08)"], [1.0, WELL]]


def comparison_figures(comparison: Comparison) -> dict[str, Figure]:
    """Return the figures by the id of their place: pairs of columns (drawn by the page), correlations."""
    return {"pair": {"data": [], "layout": layout_of(460, "", "")}, "measure-correlations": _correlations(comparison)}


def pair_data(comparison: Comparison) -> dict[str, Any]:
    """Return what the page draws pairs of columns from: values, names of networks, and what may color them."""
    table, evaluation = comparison.table, comparison.evaluation
    measured = [score.name for score in evaluation.scores]
    beside = [name for name in ("train_accuracy", "train_loss", "test_accuracy") if name in table]
    columns = [*measured, *(name for name in (evaluation.gap, *beside) if name not in measured)]
    return {
        "gap": evaluation.gap,
        "columns": [
            {"name": name, "label": comparison.label(name), "values": numbers(table[name])} for name in columns
        ],
        "networks": _described(table, evaluation.hyperparameters),
        "colorings": [
            {"name": name, "label": comparison.label(name), "values": table[name].map(str).tolist()}
            for name in evaluation.hyperparameters
            if table[name].nunique(dropna=False) <= MOST_VALUES
        ],
        "palette": list(CLASSES),
    }


def _shortened(label: str) -> str:
    return html.escape(label if len(label) <= LONGEST_LABEL else f"{label[: LONGEST_LABEL - 1]}…")


def _described(table: pd.DataFrame, hyperparameters: tuple[str, ...]) -> list[list[str]]:
    """Return of each network what sets it apart."""
    names = [*hyperparameters, *(name for name in table.columns if name.rpartition(".")[2] == "seed")]
    told = [[f"{name.removeprefix('hp.')} {value}" for value in table[name]] for name in names]
    return [list(each) for each in zip([f"network {key}" for key in table.index], *told, strict=True)]


def _correlations(comparison: Comparison) -> Figure:
    found = comparison.correlations
    labels = [html.escape(comparison.label(str(name))) for name in found.columns]
    values = found.to_numpy(dtype=np.float64)
    heatmap = {
        "type": "heatmap",
        "x": labels,
        "y": labels,
        "z": [numbers(row, 3) for row in values],
        "zmin": -1,
        "zmax": 1,
        "colorscale": DIVERGING,
        "colorbar": {"title": {"text": "Kendall’s τ"}, "thickness": 12, "len": 0.5, "y": 1, "yanchor": "top"},
        "hovertemplate": "%{x}<br>%{y}<br>τ %{z:.2f}<extra></extra>",
        "hoverongaps": False,
    }
    height = max(320, CELL * len(labels) + 240)
    layout = layout_of(height, "", "", has_legend=False)
    shown = {"tickvals": labels, "ticktext": [_shortened(comparison.label(str(name))) for name in found.columns]}
    layout["xaxis"] |= shown | {"tickangle": -90, "tickfont": {"size": 10}, "showgrid": False}
    layout["yaxis"] |= shown | {"autorange": "reversed", "tickfont": {"size": 10}, "showgrid": False}
    return {"data": [heatmap], "layout": layout | {"meta": {"hidesTicksWhenNarrow": True}}}
