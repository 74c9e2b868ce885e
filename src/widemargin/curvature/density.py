"""The spectrum of the curvature as a density, and integrals against it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from widemargin.curvature.lanczos import KrylovSpace
from widemargin.curvature.products import CurvatureProduct, Matrix
from widemargin.errors import InvalidInputError
from widemargin.parameters import Normalization
from widemargin.results import Estimate
from widemargin.trained_model import TrainedModel

__all__ = ["SpectralDensity", "spectral_density"]

Doubles: TypeAlias = NDArray[np.float64]

MAX_DENSE = 4096
"""Up to so many parameters the whole matrix may be built."""


@dataclass(frozen=True, eq=False)
class SpectralDensity:
    """How the eigenvalues of a symmetric matrix are distributed.

    Attributes:
        nodes: Where the mass lies as each probe sees it [loss per squared unit of a step].
        weights: How much of it; each row sums to 1.
        coarse_nodes: The same after half of the steps, to see whether there were enough.
        coarse_weights: Their weights.
        num_eigenvalues: How many eigenvalues there are: the number of parameters that move.
        is_exact: Whether the nodes are the eigenvalues themselves.
        num_products: How many products with the matrix it took.
        caveats: Sentences on when not to believe the density.
    """

    nodes: Float[Doubles, "probes nodes"]
    weights: Float[Doubles, "probes nodes"]
    coarse_nodes: Float[Doubles, "probes coarse"]
    coarse_weights: Float[Doubles, "probes coarse"]
    num_eigenvalues: int
    is_exact: bool
    num_products: int
    caveats: tuple[str, ...] = ()

    @classmethod
    def of(
        cls, product: CurvatureProduct, *, num_probes: int, num_steps: int, max_exact: int, seed: int
    ) -> "SpectralDensity":
        """Return the density of a matrix's eigenvalues; call it while the network is borrowed.

        Args:
            product: The matrix.
            num_probes: How many random probes the density is averaged over.
            num_steps: How many Lanczos steps, hence nodes, each probe is given.
            max_exact: Up to so many parameters that move, the eigenvalues themselves are computed.
            seed: Seed of the probes.

        Raises:
            InvalidInputError: Fewer than two probes or steps; and what :class:`CurvatureProduct` raises.
        """
        if num_probes < 2 or num_steps < 2:
            raise InvalidInputError(
                f"num_probes and num_steps must be at least 2, got {num_probes} and {num_steps}. Errors come from "
                "the differences between probes and between steps."
            )
        num_free = int(product.is_free.sum())
        if is_exact := num_free <= max_exact:
            nodes = torch.linalg.eigvalsh(product.dense()).cpu().numpy()[None]
            fine = coarse = nodes, np.full_like(nodes, 1 / num_free)
        else:
            fine, coarse = _quadratures(product, num_probes, num_steps, seed)
        return cls(*fine, *coarse, num_free, is_exact, product.num_products, product.caveats)

    def integral(self, function: Callable[[Doubles], Doubles]) -> Estimate:
        """Return Σ f(λ) over all eigenvalues: the trace of f(H).

        The standard error is that of the probes; where too few steps matter more, a caveat says so.

        Args:
            function: The f, of an array of any shape; ``lambda x: np.log(x + 1e-3)`` makes it log det(H + 10⁻³).

        Raises:
            InvalidInputError: The function is not finite on the spectrum.
        """
        values = function(self.nodes)
        if not np.isfinite(values).all():
            raise InvalidInputError(
                f"function must be finite from {self.nodes.min():.4g} to {self.nodes.max():.4g}, where the spectrum "
                "lies, got NaN or infinity. Shift it, or clip the eigenvalues inside of it."
            )
        sums = self.num_eigenvalues * (self.weights * values).sum(axis=1)
        if self.is_exact:
            return Estimate(float(sums[0]), caveats=self.caveats)
        standard_error = float(sums.std(ddof=1)) / len(sums) ** 0.5
        coarse = self.num_eigenvalues * (self.coarse_weights * function(self.coarse_nodes)).sum(axis=1)
        shift = abs(float((sums - coarse).mean()))
        caveats = self.caveats
        if shift > max(standard_error, 1e-6 * abs(float(sums.mean()))):
            caveats += (
                f"The second half of the Lanczos steps still moved the integral by {shift:.3g}, more than its "
                f"standard error of {standard_error:.3g}. Raise num_steps.",
            )
        return Estimate(float(sums.mean()), standard_error, caveats=caveats)

    def moment(self, order: int) -> Estimate:
        """Return the mean of λ to the power ``order``."""
        total = self.integral(lambda x: x**order)
        error = None if total.standard_error is None else total.standard_error / self.num_eigenvalues
        return Estimate(total.value / self.num_eigenvalues, error, caveats=total.caveats)

    def smoothed(self, grid: Float[Doubles, " points"], bandwidth: float) -> Float[Doubles, " points"]:
        """Return the density at points of a grid, each node widened to a Gaussian; its integral is 1.

        Args:
            grid: Points on the axis of eigenvalues.
            bandwidth: Standard deviation of the Gaussians, in units of the eigenvalues.

        Raises:
            InvalidInputError: The bandwidth is not positive.
        """
        if not bandwidth > 0:
            raise InvalidInputError(f"bandwidth must be positive, got {bandwidth}. Try a hundredth of the range.")
        deviations = (grid[:, None] - self.nodes.ravel()) / bandwidth
        kernels = np.exp(-(deviations**2) / 2) / (bandwidth * (2 * np.pi) ** 0.5)
        density: Doubles = kernels @ self.weights.ravel() / len(self.weights)
        return density


def spectral_density(
    trained: TrainedModel,
    *,
    num_probes: int = 10,
    num_steps: int = 80,
    matrix: Matrix = "hessian",
    normalization: Normalization = "none",
    seed: int = 0,
) -> SpectralDensity:
    """Return the density of the curvature's eigenvalues by stochastic Lanczos quadrature.

    Where that would take more products than there are parameters (4,096 at most), the eigenvalues are computed
    exactly.

    Args:
        trained: The network with its training data.
        num_probes: How many random probes the density is averaged over.
        num_steps: How many Lanczos steps, hence nodes, each probe is given.
        matrix: ``"hessian"`` or ``"gauss-newton"``.
        normalization: ``"filter"`` or ``"layer"`` for the spectrum of D H D among the parameters that move; see
            :func:`top_eigenvalues`.
        seed: Seed of the probes.

    Raises:
        InvalidInputError: Fewer than two probes or steps; and what :class:`CurvatureProduct` raises.

    Source: Ubaru, Chen and Saad 2017, Fast estimation of tr(f(A)) via stochastic Lanczos quadrature.

    Example:
        >>> trained = TrainedModel(
        ...     torch.nn.Linear(2, 2), (torch.eye(2), torch.tensor([0, 1])),
        ...     loss=lambda logits, labels: 4 * logits[:, 1] ** 2,
        ... )
        >>> density = spectral_density(trained)
        >>> density.nodes.round(6).tolist()
        [[0.0, 0.0, 0.0, 0.0, 4.0, 12.0]]
        >>> f"log det(1 + H) = log {np.exp(density.integral(np.log1p).value):.2f}"
        'log det(1 + H) = log 65.00'
    """
    with trained.borrowed(), torch.no_grad():
        return SpectralDensity.of(
            CurvatureProduct.normalized(trained, matrix, normalization),
            num_probes=num_probes,
            num_steps=num_steps,
            max_exact=min(num_probes * num_steps, MAX_DENSE),
            seed=seed,
        )


def _quadratures(
    product: CurvatureProduct, num_probes: int, num_steps: int, seed: int
) -> tuple[tuple[Doubles, Doubles], tuple[Doubles, Doubles]]:
    """Return nodes and weights for each probe, after all and after half of the steps."""
    generator = torch.Generator().manual_seed(seed)
    matrices = []
    for probe in product.signs(num_probes, generator):
        krylov = KrylovSpace(product, num_steps, generator, probe)
        while krylov.size < num_steps and krylov.expand():
            pass  # stops early where the probe lies in an invariant space: the quadrature is exact then
        matrices.append(krylov.matrix)
    return _stacked(matrices, num_steps), _stacked(matrices, num_steps // 2)


def _stacked(matrices: list[Tensor], num_nodes: int) -> tuple[Doubles, Doubles]:
    """Return nodes and weights of the leading parts; missing nodes have no weight."""
    nodes, weights = np.empty((2, len(matrices), num_nodes))
    for row, matrix in enumerate(matrices):
        leading = matrix[:num_nodes, :num_nodes]
        values, vectors = np.linalg.eigh(leading.cpu().numpy())
        missing = num_nodes - len(values)
        nodes[row] = np.pad(values, (0, missing), mode="edge")
        weights[row] = np.pad(vectors[0] ** 2, (0, missing))
    return nodes, weights
