"""Measures of a trained network that may relate to its generalization gap, and the catalogue of them."""

from widemargin.measures.catalog import MEASURES
from widemargin.measures.convolution_spectra import convolution_singular_values, operator_norm
from widemargin.measures.linear_maps import LinearMap, linear_maps
from widemargin.measures.measure import Measure
from widemargin.measures.measuring import cost_in_passes, cost_in_words, measure_all, total_cost
from widemargin.measures.outputs import Performance, performance
from widemargin.measures.quantities import Cost, Outputs, Quantities, quantity
from widemargin.measures.ranking import CHEAP_MEASURES, rank_by_measures
from widemargin.measures.spectra import PowerLaw, power_law
from widemargin.measures.spectral_margin import (
    input_frobenius_norm,
    spectral_complexity,
    spectrally_normalized_margins,
)

__all__ = [
    "CHEAP_MEASURES",
    "MEASURES",
    "Cost",
    "LinearMap",
    "Measure",
    "Outputs",
    "Performance",
    "PowerLaw",
    "Quantities",
    "convolution_singular_values",
    "cost_in_passes",
    "cost_in_words",
    "input_frobenius_norm",
    "linear_maps",
    "measure_all",
    "operator_norm",
    "performance",
    "power_law",
    "quantity",
    "rank_by_measures",
    "spectral_complexity",
    "spectrally_normalized_margins",
    "total_cost",
]
