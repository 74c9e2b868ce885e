"""Margin distributions: distances to the decision boundary, total variation, signatures."""

from widemargin.margins.distribution import MarginDistribution, margin_distribution, output_margins
from widemargin.margins.total_variation import TotalVariation

__all__ = ["MarginDistribution", "TotalVariation", "margin_distribution", "output_margins"]
