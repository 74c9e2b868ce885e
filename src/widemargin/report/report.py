"""Findings and explanations → one self-contained HTML file."""

import math
import os
import secrets
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from plotly.offline import get_plotlyjs

from widemargin import __version__
from widemargin.figures.colors import BADLY, WELL, class_color
from widemargin.report.axes import tick_text
from widemargin.report.explanation import Explanation
from widemargin.report.explanation_figures import explanation_figures
from widemargin.report.findings import Findings, interval_text, score_text
from widemargin.report.plotly_figures import (
    density_figure,
    order_statistics_figure,
    predicted_gap_figure,
)
from widemargin.report.region_figures import packed_regions
from widemargin.report.verdict import shown_cutoff, verdict

__all__ = ["write_explanation", "write_report"]


def write_report(findings: Findings, path: str | Path, explanation: Explanation | None = None) -> Path:
    """Write the report of a zoo and return its path; an older report is exchanged only once it is complete.

    The file needs nothing else: Plotly's script is embedded once, and whatever came from a file is escaped.

    Args:
        findings: What the zoo shows.
        path: The HTML file.
        explanation: Gets a section of its own if given; it may be of another zoo.
    """
    figures = {
        "density-well": density_figure(findings.well, WELL),
        "density-badly": density_figure(findings.badly, BADLY),
        "order-statistics": order_statistics_figure((findings.well, findings.badly), (WELL, BADLY)),
        "predicted-gap": predicted_gap_figure(findings),
    }
    return _written(
        Path(path),
        "report.html",
        figures,
        explanation,
        findings=findings,
        paper=findings.score("full signature, least squares"),
        ridge=findings.score("full signature, ridge"),
        used=findings.score(findings.predictor),
        trivial=findings.best_trivial,
        together=findings.together_on("all"),
        baseline=findings.best_baseline,
    )


def write_explanation(explanation: Explanation, path: str | Path) -> Path:
    """Write an explanation as a page of its own and return its path; as :func:`write_report` in all else.

    Args:
        explanation: What a zoo with poison shows.
        path: The HTML file.
    """
    return _written(Path(path), "explanation_page.html", {}, explanation)


def _written(
    path: Path, template: str, figures: dict[str, Any], explanation: Explanation | None, **content: Any
) -> Path:
    if explanation is not None:
        figures |= explanation_figures(explanation)
        content |= {
            "regions": packed_regions(explanation),
            "cutoff": shown_cutoff(explanation),
            "verdict": verdict(explanation),
        }
    page = (
        _environment()
        .get_template(template)
        .render(figures=figures, explanation=explanation, version=__version__, plotly_js=get_plotlyjs(), **content)
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        partial.write_text(page, encoding="utf-8")
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    return path


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("widemargin.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["percent"] = lambda value, digits=1: f"{100 * value:.{digits}f}\N{NO-BREAK SPACE}%"
    environment.filters["number"] = _number
    environment.filters["score"] = score_text
    environment.filters["interval"] = interval_text
    environment.filters["plain"] = tick_text
    environment.filters["class_color"] = class_color
    return environment


def _number(value: float | None, form: str = ".3g") -> str:
    return "–" if value is None or not math.isfinite(value) else f"{value:{form}}".replace("-", "−")
