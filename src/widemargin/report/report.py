"""Findings → one self-contained HTML file."""

import math
import os
import secrets
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from plotly.offline import get_plotlyjs

from widemargin import __version__
from widemargin.report.findings import Findings
from widemargin.report.plotly_figures import (
    BADLY,
    WELL,
    density_figure,
    order_statistics_figure,
    predicted_gap_figure,
)

__all__ = ["write_report"]


def write_report(findings: Findings, path: str | Path) -> Path:
    """Write the report of a zoo and return its path; an older report is exchanged only once it is complete.

    The file needs nothing else: Plotly's script is embedded once, and whatever came from a file is escaped.
    """
    path = Path(path)
    environment = Environment(
        loader=PackageLoader("widemargin.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["percent"] = lambda value, digits=1: f"{100 * value:.{digits}f} %"
    environment.filters["score"] = lambda value: (
        "–" if value is None or math.isnan(value) else f"{value:.3f}".replace("-", "−")
    )
    figures = {
        "density-well": density_figure(findings.well, WELL),
        "density-badly": density_figure(findings.badly, BADLY),
        "order-statistics": order_statistics_figure((findings.well, findings.badly), (WELL, BADLY)),
        "predicted-gap": predicted_gap_figure(findings),
    }
    page = environment.get_template("report.html").render(
        findings=findings,
        figures=figures,
        paper=findings.score("full signature, least squares"),
        ridge=findings.score("full signature, ridge"),
        used=findings.score(findings.predictor),
        trivial=findings.best_trivial,
        baseline=findings.best_baseline,
        version=__version__,
        plotly_js=get_plotlyjs(),
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        partial.write_text(page, encoding="utf-8")
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    return path
