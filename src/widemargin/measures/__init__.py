"""Measures of a trained network that may relate to its generalization gap."""

from widemargin.measures.outputs import Performance, performance
from widemargin.measures.spectral_margin import (
    input_frobenius_norm,
    spectral_complexity,
    spectrally_normalized_margins,
)

__all__ = [
    "Performance",
    "input_frobenius_norm",
    "performance",
    "spectral_complexity",
    "spectrally_normalized_margins",
]
