"""The regression from a signature to the generalization gap."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike, NDArray
from scipy import stats
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from widemargin.errors import InvalidInputError, TooFewExamplesError
from widemargin.prediction.seen_features import SeenFeatures, location_and_spread

__all__ = ["GapPredictor", "Regression"]

Doubles = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Regression:
    """A line through transformed features.

    Attributes:
        alpha: Chosen ridge strength on standardized features; 0 for least squares.
        slopes: Weight of each transformed feature.
        intercept: The gap where all are 0.
        shrinkage: Share of each principal direction's slope that ridge leaves.
        to_hat: Maps a standardized feature vector to its row of the hat matrix.
    """

    alpha: float
    slopes: Float[Doubles, " features"]
    intercept: float
    shrinkage: Float[Doubles, " directions"]
    to_hat: Float[Doubles, "features directions"]


class GapPredictor(RegressorMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn ships no types
    """Linear regression of the generalization gap on (the logarithm of) margin statistics.

    ĝ = aᵀφ(θ) + b with θ the signature; g = train accuracy − test accuracy.

    Args:
        feature_transform: ``"log"`` takes the natural logarithm of every feature, as the paper does; ``"identity"``
            takes features as they are.
        regularization: ``None``: ordinary least squares, as the paper does. ``"ridge"``: ridge regression
            on standardized features, its strength chosen by leave-one-out cross-validation.
        alphas: Strengths that ``"ridge"`` chooses from.

    Attributes:
        coef_: Weight of each transformed feature.
        intercept_: The gap at φ = 0.
        alpha_: Chosen ridge strength on standardized features; 0 for least squares.
        num_parameters_: Effective number of fitted slopes (the rank, or the trace of the ridge's hat matrix).
        residual_std_: Standard deviation of the residuals [gap], degrees of freedom taken off; NaN if none
            are left.
        degrees_of_freedom_: Networks less fitted numbers.
        slope_covariance_: Covariance of the slopes of standardized features, in units of the residual variance.
        seen_: What it was fitted on, to tell what lies outside of it.
        origin_: Where the networks came from, in the words of who fitted it; a mapping that its file keeps.

    Source: Jiang et al. 2019 (arXiv 1810.00113), equations 6 and 7; the ridge form is ours.

    Example:
        >>> import numpy as np
        >>> theta = np.exp(np.arange(12.0).reshape(6, 2) ** 0.5)
        >>> gap = 0.1 * np.log(theta[:, 0]) + 0.05
        >>> predictor = GapPredictor().fit(theta, gap)
        >>> bool(np.allclose(predictor.predict(theta), gap))
        True
    """

    def __init__(
        self,
        feature_transform: Literal["log", "identity"] = "log",
        regularization: Literal["ridge"] | None = None,
        alphas: tuple[float, ...] = tuple(np.logspace(-4, 3, 22)),
    ) -> None:
        self.feature_transform = feature_transform
        self.regularization = regularization
        self.alphas = alphas

    def fit(self, X: ArrayLike, y: ArrayLike) -> "GapPredictor":
        """Fit to networks with known gaps.

        Args:
            X: Features [networks, features]; a DataFrame keeps its column names.
            y: Generalization gaps [networks].

        Raises:
            InvalidInputError: An unknown option, or a feature without a logarithm.
        """
        features, y = self.checked(X, y)
        self.seen_ = SeenFeatures.of(features, rounding=self._rounding)
        found = self.regression(features, y)
        self.alpha_, self.coef_, self.intercept_ = found.alpha, found.slopes, found.intercept
        self.num_parameters_ = float(found.shrinkage.sum())
        freedom = float(len(y) - 1 - self.num_parameters_)
        residuals = y - features @ self.coef_ - self.intercept_
        self.residual_std_ = float(np.sqrt(residuals @ residuals / freedom)) if freedom > 1e-9 else np.nan
        self.degrees_of_freedom_ = freedom
        self.slope_covariance_ = found.to_hat @ found.to_hat.T
        self.origin_: Mapping[str, Any] = {}
        return self

    def checked(self, X: ArrayLike, y: ArrayLike) -> tuple[Doubles, Doubles]:
        """Return transformed features and gaps that a regression can be fitted to.

        Raises:
            InvalidInputError: An unknown option, or a feature without a logarithm.
        """
        if self.feature_transform not in ("log", "identity"):
            raise InvalidInputError(f"feature_transform must be 'log' or 'identity', got {self.feature_transform!r}.")
        if self.regularization not in (None, "ridge"):
            raise InvalidInputError(f"regularization must be None or 'ridge', got {self.regularization!r}.")
        X, y = validate_data(self, X, y, y_numeric=True, dtype=np.float64, ensure_min_samples=2)
        return self._transformed(X), np.asarray(y, dtype=np.float64)

    def regression(self, features: Doubles, gap: Doubles) -> "Regression":
        """Return the regression on transformed features, without looking at them: what cross-validation repeats."""
        mean, std = location_and_spread(features, self._rounding)
        varies = std > 0
        standard = (features - mean) * np.divide(1.0, std, out=np.zeros_like(std), where=varies)
        left, singular, right = np.linalg.svd(standard, full_matrices=False)
        kept = singular > singular.max(initial=0.0) * max(standard.shape) * np.finfo(float).eps
        left, singular, right = left[:, kept], singular[kept], right[kept]
        alpha = 0.0 if self.regularization is None else _best_alpha(self.alphas, left, singular, gap)
        shrinkage = singular**2 / (singular**2 + alpha)
        slopes = right.T @ (shrinkage / singular * (left.T @ (gap - gap.mean())))
        slopes = np.divide(slopes, std, out=np.zeros_like(slopes), where=varies)
        to_hat = right.T * (shrinkage / singular)
        return Regression(alpha, slopes, float(gap.mean() - mean @ slopes), shrinkage, to_hat)

    @property
    def _rounding(self) -> float:
        """Logarithms round by the feature's own relative error, however close to 0 they are."""
        return 1.0 if self.feature_transform == "log" else 0.0

    def predict(self, X: ArrayLike) -> Doubles:
        """Return the predicted gap of each network [networks].

        Raises:
            InvalidInputError: A feature without a logarithm.
        """
        return self.transformed(X) @ self.coef_ + self.intercept_

    def predict_interval(self, X: ArrayLike, level: float = 0.9) -> tuple[Doubles, Doubles]:
        """Return lower and upper ends of an interval that holds a new network's gap with the given probability.

        The interval of normal linear regression: exact for least squares with normal noise; for ridge it uses
        the effective number of parameters and leaves the shrinkage bias out.

        Raises:
            InvalidInputError: The level is not between 0 and 1.
            TooFewExamplesError: As many parameters as networks, so that no residual is left to judge by.
        """
        if not 0 < level < 1:
            raise InvalidInputError(f"level must be between 0 and 1, got {level}.")
        predicted, scale = self.predict_jointly(X)
        half = stats.t.ppf((1 + level) / 2, self.degrees_of_freedom_) * np.sqrt(np.diagonal(scale))
        return predicted - half, predicted + half

    def predict_jointly(self, X: ArrayLike) -> tuple[Doubles, Doubles]:
        """Return the predicted gaps [networks] and the scale [networks, networks] of their joint distribution.

        ĝ(x) is the mean of n gaps plus zᵀβ̂ with z the standardized features, and a new gap adds noise of its own:
        cov(gᵢ − ĝᵢ, gⱼ − ĝⱼ) = σ²(δᵢⱼ + 1/n + zᵢᵀCzⱼ), C the slopes' covariance. With σ estimated, they are jointly
        Student's t with ``degrees_of_freedom_``. It is exact and approximate where :meth:`predict_interval` is.

        Raises:
            InvalidInputError: A feature without a logarithm.
            TooFewExamplesError: As many parameters as networks, so that no residual is left to judge by.
        """
        predicted = self.predict(X)
        if np.isnan(self.residual_std_):
            raise TooFewExamplesError(
                f"intervals need more networks than fitted numbers, got {self.seen_.num_networks} networks for "
                f"{self.num_parameters_ + 1:.0f} numbers. Fit on more networks or with regularization='ridge'."
            )
        standard = self.seen_.standardized(self.transformed(X))
        shared = 1 / self.seen_.num_networks + standard @ self.slope_covariance_ @ standard.T
        return predicted, self.residual_std_**2 * (np.eye(len(predicted)) + shared)

    def transformed(self, X: ArrayLike) -> Doubles:
        """Return the features as the regression takes them [networks, features].

        Raises:
            InvalidInputError: A feature without a logarithm.
        """
        check_is_fitted(self)
        return self._transformed(validate_data(self, X, reset=False, dtype=np.float64))

    def _transformed(self, X: Any) -> Doubles:
        if self.feature_transform == "identity":
            return cast(Doubles, X)
        bad = np.flatnonzero((X <= 0).any(axis=0))
        if len(bad):
            names = getattr(self, "feature_names_in_", None)
            which = names[bad[0]] if names is not None else f"number {bad[0]}"
            raise InvalidInputError(
                f"features must be positive to have a logarithm, but feature {which} goes down to "
                f"{X[:, bad[0]].min():.3g}. Keep correct examples only (keep='correct', fences='whiskers'), or use "
                "feature_transform='identity'."
            )
        return cast(Doubles, np.log(X))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.positive_only = self.feature_transform == "log"
        return tags


def _best_alpha(alphas: Sequence[float], left: Doubles, singular: Doubles, y: Doubles) -> float:
    """Return the ridge strength of least squared error on networks left out one at a time, in closed form."""
    centered = y - y.mean()
    shrinkage = singular**2 / (singular**2 + np.array(alphas)[:, None])
    residuals = centered - (shrinkage * (left.T @ centered)) @ left.T
    leverages = 1 / len(y) + shrinkage @ (left**2).T
    return float(alphas[int(((residuals / (1 - leverages)) ** 2).sum(axis=1).argmin())])
