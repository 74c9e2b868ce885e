"""Curvature of the loss: Hessian products, eigenvalues, trace, spectral density."""

from widemargin.curvature.density import SpectralDensity, spectral_density
from widemargin.curvature.eigenvalues import Eigenvalues, top_eigenvalues
from widemargin.curvature.products import CurvatureProduct, Matrix
from widemargin.curvature.trace import Diagonal, hessian_diagonal, hessian_trace

__all__ = [
    "CurvatureProduct",
    "Diagonal",
    "Eigenvalues",
    "Matrix",
    "SpectralDensity",
    "hessian_diagonal",
    "hessian_trace",
    "spectral_density",
    "top_eigenvalues",
]
