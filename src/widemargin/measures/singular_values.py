"""Singular values of a matrix, from its Gram matrix."""

import torch
from jaxtyping import Float
from torch import Tensor

from widemargin.parameters import NUMBERS_AT_ONCE

__all__ = ["singular_values", "spectral_norm"]


def singular_values(matrix: Float[Tensor, "outputs inputs"]) -> Float[Tensor, " rank"]:
    """Return all singular values, descending, in double precision.

    They are the roots of the eigenvalues of the smaller of M Mᵀ and MᵀM, which is summed up from parts of the
    matrix: beside the matrix itself only that one and a copy of it are held, in double precision. What is within the
    rounding of those eigenvalues, a singular value of less than about 10⁻⁷ of the largest, is 0; single precision
    holds no more of a matrix.

    Example:
        >>> singular_values(torch.tensor([[3.0, 0.0, 0.0], [0.0, 4.0, 0.0]]))
        tensor([4., 3.], dtype=torch.float64)
    """
    short = matrix.detach() if matrix.shape[0] <= matrix.shape[1] else matrix.detach().T
    gram = torch.zeros(len(short), len(short), dtype=torch.float64, device=matrix.device)
    for part in torch.split(short, max(1, NUMBERS_AT_ONCE // len(short)), dim=1):
        doubles = part.double()
        gram.addmm_(doubles, doubles.T)
    eigenvalues = torch.linalg.eigvalsh(gram)
    rounding = len(gram) * torch.finfo(torch.float64).eps * eigenvalues[-1:]
    return torch.where(eigenvalues > rounding, eigenvalues, 0.0).sqrt().flip(0)


def spectral_norm(matrix: Float[Tensor, "outputs inputs"]) -> float:
    """Return the largest singular value."""
    return float(singular_values(matrix)[0])
