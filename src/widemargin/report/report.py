"""Findings and explanations → one self-contained HTML file."""

import math
import os
import secrets
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape
from plotly.offline import get_plotlyjs

from widemargin import __version__
from widemargin.figures.colors import BADLY, NETWORK, WELL, class_color
from widemargin.measures import MEASURES, cost_in_words
from widemargin.prediction import Interval
from widemargin.report.axes import tick_text
from widemargin.report.comparison import Comparison
from widemargin.report.comparison_figures import comparison_figures, pair_data
from widemargin.report.comparison_verdict import comparison_verdict
from widemargin.report.explanation import Explanation
from widemargin.report.explanation_figures import explanation_figures
from widemargin.report.findings import Findings, interval_text, score_text
from widemargin.report.measured_network import MeasuredNetwork
from widemargin.report.plotly_figures import (
    density_figure,
    order_statistics_figure,
    predicted_gap_figure,
)
from widemargin.report.region_figures import packed_regions
from widemargin.report.verdict import shown_cutoff, verdict

__all__ = ["write_comparison", "write_explanation", "write_network", "write_report"]


def write_report(
    findings: Findings,
    path: str | Path,
    explanation: Explanation | None = None,
    comparison: Comparison | None = None,
) -> Path:
    """Write the report of a zoo and return its path; an older report is exchanged only once it is complete.

    The file needs nothing else: Plotly's script is embedded once, and whatever came from a file is escaped.

    Args:
        findings: What the zoo shows.
        path: The HTML file.
        explanation: Gets a section of its own if given; it may be of another zoo.
        comparison: Of measures of the zoo's networks; gets a section of its own if given.
    """
    figures = {
        "density-well": density_figure(findings.well.densities, WELL),
        "density-badly": density_figure(findings.badly.densities, BADLY),
        "order-statistics": order_statistics_figure((findings.well, findings.badly), (WELL, BADLY)),
        "predicted-gap": predicted_gap_figure(findings),
    }
    return _written(
        Path(path),
        "report.html",
        figures,
        explanation,
        comparison,
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
    return _written(Path(path), "explanation_page.html", {}, explanation, None)


def write_comparison(comparison: Comparison, path: str | Path) -> Path:
    """Write a comparison of measures as a page of its own and return its path; as :func:`write_report` in all else.

    Args:
        comparison: Measures of the same networks.
        path: The HTML file.
    """
    return _written(Path(path), "comparison_page.html", {}, None, comparison)


def write_network(network: MeasuredNetwork, path: str | Path) -> Path:
    """Write the page of one network and return its path; as :func:`write_report` in all else.

    Args:
        network: What was measured of it.
        path: The HTML file.
    """
    figures = {"densities": density_figure(network.densities, NETWORK)} if network.densities else {}
    cards = [MEASURES[str(name)] for name in network.measured.index if name in MEASURES]
    return _written(
        Path(path),
        "network_page.html",
        figures,
        None,
        None,
        network=network,
        cards=cards,
        costs={measure.name: cost_in_words(measure) for measure in cards},
    )


def _written(
    path: Path,
    template: str,
    figures: dict[str, Any],
    explanation: Explanation | None,
    comparison: Comparison | None,
    **content: Any,
) -> Path:
    if comparison is not None:
        figures |= comparison_figures(comparison)
        content |= _compared(comparison)
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
        .render(
            figures=figures,
            explanation=explanation,
            comparison=comparison,
            version=__version__,
            plotly_js=get_plotlyjs(),
            **content,
        )
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        partial.write_text(page, encoding="utf-8")
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    return path


def _compared(comparison: Comparison) -> dict[str, Any]:
    scores = [score for evaluation in comparison.evaluations.values() for score in evaluation.scores]
    told = [score.conditional_mutual_information.value or 0.0 for score in scores]
    return {
        "measured": pair_data(comparison),
        "sentences": comparison_verdict(comparison),
        "most_told": max(told, default=0.0) or 1.0,
        "breakdown": list(
            dict.fromkeys(name for score in scores for name in score.granulated_kendall.per_hyperparameter)
        ),
        "costs": {measure.name: cost_in_words(measure) for measure in comparison.cards.values()},
    }


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
    environment.filters["breakable"] = lambda name: escape(name).replace("_", Markup("_<wbr>"))
    environment.globals |= {"strip": _strip, "shade": _shade, "infinity": math.inf}
    return environment


def _number(value: float | None, form: str = ".3g") -> str:
    return "–" if value is None or not math.isfinite(value) else f"{value:{form}}".replace("-", "−")


def _strip(value: float, interval: Interval | None, low: float, high: float) -> Markup:
    """Return a score and its interval as a small picture: its range, a tick at 0 (in the middle without one)."""

    def place(score: float) -> str:
        return f"{100 * (min(max(score, low), high) - low) / (high - low):.1f}"

    zero = place(0.5 if (low, high) == (0, 1) else 0.0)
    lines = ['<line class="frame" x1="0" x2="100" y1="4" y2="4"/>']
    lines.append(f'<line class="tick" x1="{zero}" x2="{zero}" y1="0" y2="8"/>')
    if interval is not None:
        lines.append(f'<line x1="{place(interval[0])}" x2="{place(interval[1])}" y1="4" y2="4"/>')
    lines.append(f'<line class="value" x1="{place(value)}" x2="{place(value)}" y1="1" y2="7"/>')
    return Markup(
        f'<svg class="strip" viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true">{"".join(lines)}</svg>'
    )


def _shade(value: float) -> str:
    """Return the background of a rank correlation: the stronger, the further from 0."""
    color = WELL if value >= 0 else BADLY
    return f"{color}{round(0x99 * min(abs(value), 1.0)):02x}"
