"""What measures are computed from: each quantity once, however many measures want it."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Generic, Literal, TypeVar, cast, overload

import torch
from jaxtyping import Float, Int
from torch import Tensor

from widemargin.curvature import CurvatureProduct
from widemargin.errors import InvalidInputError, MeasureNotApplicableError
from widemargin.landscape import BasinRadii
from widemargin.margins import MarginDistribution, margin_distribution, output_margins
from widemargin.measures.ascent import Slope, slope
from widemargin.measures.basin_search import radii_of_basin
from widemargin.measures.class_separation import ClassSpreads, class_spreads
from widemargin.measures.dominant_curvature import DominantCurvature, dominant_curvature
from widemargin.measures.features import Features, sampled_features
from widemargin.measures.gradient_noise import GradientNoise, gradient_noise
from widemargin.measures.linear_maps import LinearMap, initial_value, linear_maps
from widemargin.measures.mixup import mixed_within_classes
from widemargin.measures.noise_tolerance import NoiseTolerance, noise_tolerance
from widemargin.measures.sample import sampled
from widemargin.measures.singular_values import singular_values
from widemargin.measures.spectral_margin import input_frobenius_norm, spectral_complexity
from widemargin.parameters import LARGE, ParameterSpace
from widemargin.results import Estimate
from widemargin.trained_model import TrainedModel, checked_logits

__all__ = ["FORWARD", "Cost", "Outputs", "Quantities", "Quantity", "quantity"]

T = TypeVar("T")
FORWARD = 1 / 3
"""Share of a pass that the way forward takes: the way back costs twice as much."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What something costs, in passes: forward and backward, over so many examples.

    Attributes:
        train: Passes over the training data.
        sample: Passes over the sample of it that sharpness is measured on.
    """

    train: float = 0.0
    sample: float = 0.0

    def passes(self, share: float) -> float:
        """Return the cost in passes over the training data, where the sample is that share of it."""
        return self.train + share * self.sample


@dataclass(frozen=True, eq=False)
class Outputs:
    """The network's outputs on its training data, in double precision."""

    logits: Float[Tensor, "examples classes"]
    labels: Int[Tensor, " examples"]
    losses: Float[Tensor, " examples"]

    @property
    def margins(self) -> Float[Tensor, " examples"]:
        """f_y − max_{k≠y} f_k of each example [logits]."""
        return output_margins(self.logits, self.labels)


class Quantity(Generic[T]):
    """A quantity of :class:`Quantities`: computed when first asked for, then remembered, failures too."""

    def __init__(
        self, function: Callable[["Quantities"], T], cost: Cost, uses: Sequence[str], is_kept: Callable[[Any], bool]
    ) -> None:
        self.function, self.cost, self.uses, self.is_kept = function, cost, tuple(uses), is_kept
        self.__doc__ = function.__doc__

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @overload
    def __get__(self, owner: None, kind: type) -> "Quantity[T]": ...
    @overload
    def __get__(self, owner: "Quantities", kind: type) -> T: ...
    def __get__(self, owner: "Quantities | None", kind: type) -> "Quantity[T] | T":
        return self if owner is None else cast(T, owner.value_of(self))


def quantity(
    *,
    train: float = 0.0,
    sample: float = 0.0,
    uses: Sequence[str] = (),
    is_kept: Callable[[Any], bool] = lambda value: True,
) -> Callable[[Callable[["Quantities"], T]], Quantity[T]]:
    """Make a method of :class:`Quantities` a quantity.

    Args:
        train: Passes over the training data that it takes, without those of what it uses.
        sample: Passes over the sample.
        uses: The quantities that it is computed from.
        is_kept: Whether a value is remembered, and not computed anew when it is asked for again.
    """
    return lambda function: Quantity(function, Cost(train, sample), uses, is_kept)


class Quantities:
    """Everything that measures are computed from, each quantity when first asked for.

    Args:
        trained: The network with its training data.
        history: Records of its training by step, as a run's ``history.jsonl`` holds them, where there are any.
        num_sampled: Examples of the training data that sharpness is measured on, drawn at random.
        seed: Seed of that draw and of all probes and perturbations.

    Attributes:
        seconds: How long each quantity took that has been asked for, without what it used.
        asked: Names of the quantities that have been asked for since this set was last emptied.
    """

    def __init__(
        self,
        trained: TrainedModel,
        *,
        history: Sequence[Mapping[str, float | None]] | None = None,
        num_sampled: int = 500,
        seed: int = 0,
    ) -> None:
        if num_sampled < 2:
            raise InvalidInputError(f"num_sampled must be at least 2 examples, got {num_sampled}.")
        self.trained, self.seed, self.num_sampled = trained, seed, num_sampled
        self._history = history
        self._values: dict[str, Any] = {}
        self.seconds: dict[str, float] = {}
        self.asked: set[str] = set()
        self._depth = 0
        self._nested = 0.0  # seconds that quantities took which the one under way asked for

    def value_of(self, quantity: Quantity[Any]) -> Any:
        """Return a quantity.

        Raises:
            Exception: It does not exist for this network; the same one whenever it is asked for.
        """
        if self._depth == 0:
            self.asked.add(quantity.name)
        if quantity.name not in self._values:
            before, self._nested = self._nested, 0.0
            self._depth += 1
            begun = time.perf_counter()
            try:
                self._values[quantity.name] = quantity.function(self)
            except Exception as error:  # whatever the user's network raises
                self._values[quantity.name] = error
            finally:
                self._depth -= 1
                took = time.perf_counter() - begun
                self.seconds[quantity.name] = took - self._nested
                self._nested = before + took
        value = self._values[quantity.name]
        if isinstance(value, Exception):
            raise value
        if not quantity.is_kept(value):
            del self._values[quantity.name]
        return value

    def is_known(self, name: str) -> bool:
        """Return whether a quantity has been computed already."""
        return name in self._values

    @cached_property
    def num_examples(self) -> int:
        """How many training examples there are."""
        return sum(len(labels) for _, labels in self.trained.batches("train"))

    @property
    def sampled_share(self) -> float:
        """Size of the sample as a share of the training data."""
        return min(1.0, self.num_sampled / self.num_examples)

    @quantity(train=FORWARD)
    def outputs(self) -> Outputs:
        """Logits, labels and losses of all training examples."""
        logits, labels, losses = [], [], []
        with self.trained.borrowed(), torch.no_grad():
            for batch, given in self.trained.batches("train"):
                found = checked_logits(self.trained.logits(batch), given)
                logits.append(found.double())
                labels.append(given)
                losses.append(self.trained.losses(found, given).double())
        return Outputs(torch.cat(logits), torch.cat(labels), torch.cat(losses))

    @quantity(train=1)
    def margins(self) -> MarginDistribution:
        """Distances to the decision boundary at the input and three hidden layers."""
        return margin_distribution(self.trained)

    @quantity()
    def linear_maps(self) -> list[LinearMap]:
        """The matrices of linear layers and convolutions."""
        return linear_maps(self.trained)

    @quantity(uses=["linear_maps"])
    def singular_values(self) -> Mapping[str, Float[Tensor, " rank"]]:
        """Singular values of each linear map, descending."""
        return {each.name: singular_values(each.weight) for each in self.linear_maps}

    @quantity()
    def space(self) -> ParameterSpace:
        """The parameters as one vector."""
        return ParameterSpace.of(self.trained.network)

    @quantity(uses=["space"])
    def parameters(self) -> Mapping[str, Tensor]:
        """The trained parameters."""
        named = dict(self.trained.network.named_parameters())
        return {name: named[name].detach() for name in self.space.names}

    @quantity(uses=["parameters"])
    def initial_parameters(self) -> Mapping[str, Tensor]:
        """The parameters before training."""
        initial = self.trained.initial_parameters
        if initial is None:
            raise MeasureNotApplicableError("the initial parameters are needed, and are not known.")
        return {name: initial_value(initial, name, value) for name, value in self.parameters.items()}

    @quantity()
    def history(self) -> Sequence[Mapping[str, float | None]]:
        """Records of the training, by step."""
        if not self._history:
            raise MeasureNotApplicableError("the history of the training is needed, and is not known.")
        return self._history

    @quantity()
    def sample(self) -> TrainedModel:
        """The network with a sample of its training data."""
        return sampled(self.trained, self.num_sampled, num_examples=self.num_examples, seed=self.seed)

    @quantity(uses=["linear_maps", "singular_values"])
    def spectral_complexity(self) -> Estimate:
        """Logarithm of the spectral complexity."""
        norms = {name: float(values[0]) for name, values in self.singular_values.items()}
        return spectral_complexity(self.trained, self.linear_maps, norms)

    @quantity()
    def input_norm(self) -> float:
        """Frobenius norm of all training inputs."""
        return input_frobenius_norm(self.trained)

    @quantity(sample=1, uses=["sample"])
    def features(self) -> Features:
        """What the layers make of the sample."""
        return sampled_features(self.sample)

    @quantity(uses=["features"])
    def class_spreads(self) -> ClassSpreads:
        """How much the features of each class vary."""
        return class_spreads(self.features, seed=self.seed)

    @quantity(sample=1, uses=["sample"])
    def mixup_margins(self) -> MarginDistribution:
        """Margins of means of two sampled examples of one class."""
        return margin_distribution(mixed_within_classes(self.sample, seed=self.seed))

    @quantity(uses=["parameters"])
    def has_filters(self) -> Literal[True]:
        """That there is a filter to measure steps by."""
        if not any(bool(value.any()) for value in self.parameters.values() if value.ndim >= 2):
            raise MeasureNotApplicableError(
                "the network has no filter, a weight of two dimensions or more, beside 0."
            )
        return True

    @quantity(sample=1, uses=["sample"], is_kept=lambda slope: len(slope.gradient) <= LARGE)
    def slope(self) -> Slope:
        """Loss and gradient on the sample."""
        with self.sample.borrowed():
            return slope(self.sample)

    @quantity(sample=3, uses=["sample"])
    def hessian(self) -> CurvatureProduct:
        """Products with the Hessian of the loss on the sample; its graphs are made at the first and kept."""
        return CurvatureProduct(self.sample)

    @quantity(sample=15, uses=["hessian"])
    def dominant_curvature(self) -> DominantCurvature:
        """Largest eigenvalue of the Hessian."""
        return dominant_curvature(self.hessian, seed=self.seed)

    @quantity(sample=24, uses=["hessian", "has_filters"])
    def normalized_dominant_curvature(self) -> DominantCurvature:
        """The same where the unit of each weight is the norm of its filter, and biases stay fixed."""
        _ = self.has_filters  # raises where there are none
        return dominant_curvature(self.hessian.in_units("filter"), seed=self.seed)

    @quantity(sample=11, uses=["sample"])
    def noise_tolerance(self) -> NoiseTolerance:
        """Standard deviation of noise, equal for all parameters, that costs 0.1 of the accuracy."""
        return noise_tolerance(self.sample, unit=torch.ones_like, seed=self.seed)

    @quantity(sample=11, uses=["sample"])
    def relative_noise_tolerance(self) -> NoiseTolerance:
        """The same in units of each parameter's own magnitude."""
        return noise_tolerance(self.sample, unit=torch.abs, seed=self.seed)

    @quantity(sample=5, uses=["sample"])
    def gradient_noise(self) -> GradientNoise:
        """Mean and spread of the gradients of single examples of the sample."""
        return gradient_noise(self.sample)

    @quantity(sample=30, uses=["sample", "slope", "has_filters"])
    def basin_radii(self) -> BasinRadii:
        """How far the loss on the sample stays low along random directions."""
        _ = self.has_filters  # no basin in their units without them
        return radii_of_basin(self.sample, loss=self.slope.loss, seed=self.seed)
