"""How often 95 % intervals of R² hold the R² of the population, on drawn zoos whose truth is known.

A zoo has so many configurations with two or three repeats, correlated features, and gaps that are linear in them but
for noise, a part of which repeats share. The adjusted R² is for that of the best linear predictor, the grouped k-fold
R² for that of predictors fitted to nine tenths of so many configurations, on new ones. Beside the intervals used
(every network keeps the error of the prediction made for it) stands the bootstrap that fits again to copies.

    python benchmarks/intervals_hold_the_truth.py [--zoos 400] [--out benchmarks/results/….json]
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from record import record

from widemargin.prediction import (
    GapPredictor,
    Interval,
    Resamples,
    adjusted_r2,
    r2_interval,
    resamples_of,
)
from widemargin.prediction.scores import partitioned_predictions

Doubles = NDArray[np.float64]
NUM_RESAMPLES, NUM_PARTITIONS, NUM_FITS, NUM_NEW = 600, 3, 200, 1000


@dataclass(frozen=True)
class Population:
    """Where zoos are drawn from; the features' weights make the explained variance 1."""

    num_configurations: int
    repeats: int
    num_features: int
    r2: float
    shared: float
    is_heavy: bool = False

    def drawn(self, num_configurations: int, rng: np.random.Generator) -> tuple[Doubles, Doubles, NDArray[np.int64]]:
        """Return features, gaps and configurations."""
        configurations = np.repeat(np.arange(num_configurations), self.repeats)
        common = rng.normal(size=(num_configurations, 1))
        own = rng.normal(size=(num_configurations, self.num_features))
        X = (0.9**0.5 * common + 0.1**0.5 * own)[configurations]
        X = X + 0.1 * rng.normal(size=X.shape)
        noise = (1 - self.r2) / self.r2
        together = (
            rng.standard_t(4, num_configurations) / 2**0.5 if self.is_heavy else rng.normal(size=num_configurations)
        )
        gap = X @ self._weights() + (noise * self.shared) ** 0.5 * together[configurations]
        return X, gap + (noise * (1 - self.shared)) ** 0.5 * rng.normal(size=len(gap)), configurations

    def left_out_r2(self, rng: np.random.Generator) -> float:
        """Return the R² on new configurations of a predictor fitted to nine tenths of a zoo."""
        errors = []
        for _ in range(NUM_FITS):
            X, gap, _ = self.drawn(round(0.9 * self.num_configurations), rng)
            new, actual, _ = self.drawn(NUM_NEW, rng)
            errors.append(((actual - GapPredictor("identity").fit(X, gap).predict(new)) ** 2).mean())
        return float(1 - np.mean(errors) * self.r2)

    def _weights(self) -> Doubles:
        weights = np.random.default_rng(1).normal(size=self.num_features)
        variance = 0.9 * weights.sum() ** 2 + (0.1 + 0.01) * weights @ weights
        return weights / variance**0.5


POPULATIONS = (
    Population(108, 2, 20, r2=0.9, shared=0.5),
    Population(48, 2, 20, r2=0.9, shared=0.5),
    Population(108, 2, 20, r2=0.5, shared=0.5),
    Population(48, 2, 5, r2=0.9, shared=0.8),
    Population(108, 2, 20, r2=0.9, shared=0.9, is_heavy=True),
    Population(128, 3, 1, r2=0.3, shared=0.7),
    Population(12, 2, 2, r2=0.7, shared=0.5),
)


def refitted_interval(X: Doubles, gap: Doubles, resamples: Resamples) -> Interval | None:
    """Return the interval of adjusted R² from fits to the copies themselves."""
    design = np.column_stack([np.ones(len(X)), X])
    scores = []
    for weights in resamples.counts[:, resamples.which]:
        root = np.sqrt(weights)
        coefficients = np.linalg.lstsq(design * root[:, None], gap * root, rcond=None)[0]
        rows = np.repeat(np.arange(len(gap)), weights.astype(int))
        scores.append(adjusted_r2(gap[rows], (design @ coefficients)[rows], X.shape[1]))
    return resamples.interval(np.array(scores))


def coverage(population: Population, num_zoos: int, rng: np.random.Generator) -> dict[str, float]:
    left_out = population.left_out_r2(rng)
    truths = {"adjusted": population.r2, "adjusted, refitted": population.r2, "grouped k-fold": left_out}
    held = dict.fromkeys(truths, 0)
    for _ in range(num_zoos):
        X, gap, configurations = population.drawn(population.num_configurations, rng)
        resamples = resamples_of(configurations, num_resamples=NUM_RESAMPLES, seed=int(rng.integers(2**32)))
        predictor = GapPredictor("identity")
        predictions = partitioned_predictions(predictor, X, gap, groups=configurations, num_partitions=NUM_PARTITIONS)
        fitted = r2_interval(gap, (gap - predictor.fit(X, gap).predict(X)) ** 2, resamples)
        factor = (len(gap) - 1) / (len(gap) - X.shape[1] - 1)
        intervals = {
            "adjusted": None if fitted is None else tuple(1 - (1 - end) * factor for end in fitted),
            "adjusted, refitted": refitted_interval(X, gap, resamples),
            "grouped k-fold": r2_interval(gap, ((gap - predictions) ** 2).mean(axis=0), resamples),
        }
        for name, interval in intervals.items():
            low, high = interval or (np.nan, np.nan)
            held[name] += bool(low <= truths[name] <= high)
    return {"left_out_r2": round(left_out, 4)} | {name: round(num / num_zoos, 3) for name, num in held.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--zoos", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    rng = np.random.default_rng(arguments.seed)
    shares = {str(population): coverage(population, arguments.zoos, rng) for population in POPULATIONS}
    record({"zoos": arguments.zoos, "share_of_intervals_that_hold": shares}, arguments.out)


if __name__ == "__main__":
    main()
