"""The still figures of a results page."""

import textwrap
from collections.abc import Callable, Mapping
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from widemargin.figures import (
    draw_gaps_by_value,
    draw_order_statistics,
    draw_predicted_gaps,
    draw_score_bars,
    gaps_by_hyperparameter,
    score_bars,
)
from widemargin.figures.colors import BADLY, WELL
from widemargin.figures.scales import set_log_ticks
from widemargin.report.findings import Findings

__all__ = ["write_figures"]

DOTS_PER_INCH = 110
PANELS_A_ROW = 3


def write_figures(findings: Findings, folder: Path) -> dict[Path, str]:
    """Write the figures of a zoo as NAME-*.png; return what each shows, in words, by its path."""
    drawn: Mapping[str, tuple[Callable[[Findings], Figure], str]] = {
        "predicted": (_predicted, "Predicted against actual gap, each configuration left out of its fit"),
        "scores": (_scores, "R² of every regression on configurations left out, with 95 % intervals"),
        "signature": (_signature, "Order statistics of normalized margins at each layer, of two networks"),
        "hyperparameters": (_hyperparameters, "Gaps by the value of each hyperparameter"),
    }
    written = {}
    for name, (draw, words) in drawn.items():
        path = folder / f"{findings.name}-{name}.png"
        figure = draw(findings)
        FigureCanvasAgg(figure)
        figure.savefig(path, dpi=DOTS_PER_INCH)
        written[path] = words
    return written


def _predicted(findings: Findings) -> Figure:
    figure = Figure(figsize=(6.0, 5.4), layout="constrained")
    ax = draw_predicted_gaps(figure.add_subplot(), findings.predictions)
    ax.set_title(findings.predictor)
    return figure


def _scores(findings: Findings) -> Figure:
    subsets = findings.by_subset
    height = 1.0 + 0.25 * max(map(len, subsets.values()))
    figure = Figure(figsize=(3.0 + 2.2 * len(subsets), height), layout="constrained")
    axes = figure.subplots(1, len(subsets), sharex=True, sharey=True, squeeze=False)[0]
    left = 0.0
    for ax, (name, scores) in zip(axes, subsets.items(), strict=True):
        left = min(left, draw_score_bars(ax, score_bars(scores)).get_xlim()[0])
        ax.set_title(f"{textwrap.fill(name, 22)}\n{scores[0].num_networks} networks", fontsize="medium")
        ax.get_legend().remove()
        ax.set_xlabel("")
    axes[0].set_xlim(left, 1.0)
    figure.supxlabel("R² on configurations left out; lines: 95 % intervals; grey: baselines", fontsize="medium")
    return figure


def _signature(findings: Findings) -> Figure:
    figure = Figure(figsize=(9.0, 4.2), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    for ax, portrait, color in zip(axes, (findings.well, findings.badly), (WELL, BADLY), strict=True):
        draw_order_statistics(ax, portrait.statistics, color=color)
        ax.set_title(f"{portrait.title}: gap {portrait.train_accuracy - portrait.test_accuracy:.3f}")
        ax.tick_params(axis="x", rotation=20)
    set_log_ticks(axes[0].yaxis, *axes[0].get_ylim())
    axes[1].set_ylabel("")
    return figure


def _hyperparameters(findings: Findings) -> Figure:
    panels = gaps_by_hyperparameter(findings.table, findings.varied)
    num_rows = max(-(-len(panels) // PANELS_A_ROW), 1)
    figure = Figure(figsize=(9.0, 3.0 * num_rows), layout="constrained")
    for number, gaps in enumerate(panels, start=1):
        draw_gaps_by_value(figure.add_subplot(num_rows, PANELS_A_ROW, number), gaps)
    return figure
