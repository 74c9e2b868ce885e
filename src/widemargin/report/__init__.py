"""Reports: what a zoo shows, in one HTML file."""

from widemargin.report.findings import Findings, Portrait, zoo_findings
from widemargin.report.report import write_report

__all__ = ["Findings", "Portrait", "write_report", "zoo_findings"]
