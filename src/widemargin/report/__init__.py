"""Reports: what a zoo shows, and why training finds good minima, in one HTML file."""

from widemargin.report.catalog_pages import catalog_pages, write_catalog_pages
from widemargin.report.comparison import Comparison, compared_regressions, comparison_of, zoo_comparison
from widemargin.report.comparison_verdict import comparison_verdict
from widemargin.report.explanation import Explanation, explain
from widemargin.report.findings import Findings, Portrait, zoo_findings
from widemargin.report.measured_network import MeasuredNetwork, measured_network
from widemargin.report.report import write_comparison, write_explanation, write_network, write_report
from widemargin.report.results_page import write_results_page

__all__ = [
    "Comparison",
    "Explanation",
    "Findings",
    "MeasuredNetwork",
    "Portrait",
    "catalog_pages",
    "compared_regressions",
    "comparison_of",
    "comparison_verdict",
    "explain",
    "measured_network",
    "write_catalog_pages",
    "write_comparison",
    "write_explanation",
    "write_network",
    "write_report",
    "write_results_page",
    "zoo_comparison",
    "zoo_findings",
]
