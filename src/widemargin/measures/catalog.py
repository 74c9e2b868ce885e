"""The catalogue: every measure that ships, by name."""

from collections.abc import Mapping
from types import MappingProxyType

from widemargin.measures.basins import BASIN_MEASURES
from widemargin.measures.convolution_spectra import OPERATOR_MEASURES
from widemargin.measures.gradient_spread import GRADIENT_MEASURES
from widemargin.measures.loss_curvature import CURVATURE_MEASURES
from widemargin.measures.margin_catalog import MARGIN_MEASURES
from widemargin.measures.measure import Measure
from widemargin.measures.norms import NORM_MEASURES
from widemargin.measures.optimization import HISTORY_MEASURES
from widemargin.measures.pac_bayes import PAC_BAYES_MEASURES
from widemargin.measures.paths import PATH_MEASURES
from widemargin.measures.sharpness import SHARPNESS_MEASURES
from widemargin.measures.spectra import SPECTRUM_MEASURES
from widemargin.measures.training_outputs import OUTPUT_MEASURES

__all__ = ["MEASURES"]

MEASURES: Mapping[str, Measure] = MappingProxyType(
    {
        measure.name: measure
        for measure in (
            *NORM_MEASURES,
            *OPERATOR_MEASURES,
            *PATH_MEASURES,
            *BASIN_MEASURES,
            *GRADIENT_MEASURES,
            *CURVATURE_MEASURES,
            *MARGIN_MEASURES,
            *PAC_BAYES_MEASURES,
            *SHARPNESS_MEASURES,
            *HISTORY_MEASURES,
            *OUTPUT_MEASURES,
            *SPECTRUM_MEASURES,
        )
    }
)
"""Every measure that ships, by name; command line, documentation and report are made from it."""
