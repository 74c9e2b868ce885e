"""Curvature of the loss: Hessian products, eigenvalues, trace, spectral density."""
