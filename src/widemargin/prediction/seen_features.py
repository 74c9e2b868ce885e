"""What a regression was fitted on, and what lies outside of it."""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray
from scipy import linalg

__all__ = ["SeenFeatures", "location_and_spread"]

Doubles = NDArray[np.float64]

SLACK = 0.1
"""How far beyond the range of what was seen a feature may lie, as a share of that range."""

RANK_TOLERANCE = 1e-10
"""Least variance along a direction, as a share of the greatest; below, nothing varied there."""


@dataclass(frozen=True, eq=False)
class SeenFeatures:
    """Location, spread and limits of the (transformed) features that a regression was fitted on.

    The leverage of a network is 1/n + d²/n with d its Mahalanobis distance from the mean of the n that were seen: the
    weight that least squares would give to its own gap.

    Attributes:
        num_networks: How many networks were seen.
        mean: Of each feature.
        std: Of each feature; 0 where it does not vary.
        minimum: Of each feature.
        maximum: Of each feature.
        correlation: Of features that vary; rows and columns of 0 for the others.
        greatest_leverage: Of the networks seen, each against all others; infinite where there are too few to tell.
    """

    num_networks: int
    mean: Float[Doubles, " features"]
    std: Float[Doubles, " features"]
    minimum: Float[Doubles, " features"]
    maximum: Float[Doubles, " features"]
    correlation: Float[Doubles, "features features"]
    greatest_leverage: float

    @classmethod
    def of(cls, features: Float[Doubles, "networks features"], *, rounding: float = 0.0) -> "SeenFeatures":
        """Return what is to be known of features.

        Args:
            features: As the regression takes them, logarithms say.
            rounding: Size of numbers whose relative rounding counts as no variation, however small the mean.
        """
        mean, std = location_and_spread(features, rounding)
        standard = (features - mean) * _inverse(std)
        correlation = standard.T @ standard / len(features)
        seen = cls(len(features), mean, std, features.min(axis=0), features.max(axis=0), correlation, np.inf)
        greatest = seen.leverages(features).max()
        return replace(seen, greatest_leverage=float(greatest / (1 - greatest)) if greatest < 1 - 1e-9 else np.inf)

    def standardized(self, features: Float[Doubles, "networks features"]) -> Float[Doubles, "networks features"]:
        """Return features in standard deviations from the mean; 0 where nothing varied."""
        return (features - self.mean) * _inverse(self.std)

    def leverages(self, features: Float[Doubles, "networks features"]) -> Float[Doubles, " networks"]:
        """Return the leverage of each network; infinite where it leaves the directions in which anything varied."""
        standard = self.standardized(features)
        variances, directions = linalg.eigh(self.correlation)
        varied = variances > RANK_TOLERANCE * variances.max(initial=0.0)
        along = standard @ directions
        squares = (along[:, varied] ** 2 / variances[varied]).sum(axis=1)
        strays = np.abs(along[:, ~varied]).max(axis=1, initial=0.0) > 1e-3
        return np.where(strays, np.inf, (1 + squares) / self.num_networks)

    def strangers(self, features: Float[Doubles, "networks features"]) -> NDArray[np.bool_]:
        """Return which features of each network lie more than a tenth of the seen range beyond it."""
        size = np.maximum(np.abs(self.minimum), np.abs(self.maximum))
        slack = SLACK * (self.maximum - self.minimum) + 1e-9 * size
        return (features < self.minimum - slack) | (features > self.maximum + slack)


def location_and_spread(
    features: Float[Doubles, "networks features"], rounding: float
) -> tuple[Float[Doubles, " features"], Float[Doubles, " features"]]:
    """Return mean and standard deviation of each feature; see :meth:`SeenFeatures.of`."""
    mean, std = features.mean(axis=0), features.std(axis=0)
    # A column that is constant but for rounding carries nothing; it must not be blown up to unit spread.
    return mean, np.where(std > 1e-12 * np.maximum(np.abs(mean), rounding), std, 0.0)


def _inverse(std: Float[Doubles, " features"]) -> Float[Doubles, " features"]:
    return np.divide(1.0, std, out=np.zeros_like(std), where=std > 0)
