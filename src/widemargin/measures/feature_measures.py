"""Measures of what lies between training examples, and of how their features are spread: all on a sample."""

import math
from collections.abc import Mapping

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from widemargin.errors import InvalidInputError, MeasureNotApplicableError
from widemargin.layers import INPUT
from widemargin.measures.class_separation import davies_bouldin_index
from widemargin.measures.constrained_margins import constrained_distances, principal_components
from widemargin.measures.margin_measures import finite_median, hidden_layers, layer_margins
from widemargin.measures.quantities import Quantities
from widemargin.results import Estimate

__all__ = [
    "constrained_margin",
    "davies_bouldin",
    "davies_bouldin_mixup",
    "gradient_normalized_k_variance_margin",
    "k_variance_margin",
    "mixup_accuracy",
    "mixup_margin",
]


def k_variance_margin(quantities: Quantities) -> Estimate:
    """Return the median output margin over Σ_c p_c · W₁(half_c, half′_c) · Lip_c, the mean over hidden layers.

    Lip_c is the largest norm of the margin's gradient by the layer's activation over all training examples of the
    class, a lower bound of the Lipschitz constant. The standard error is that of the random halves; the sample stays.

    Raises:
        MeasureNotApplicableError: There is no hidden layer, or the sampled features of each class are the same.

    Source: Chuang et al. 2021 (arXiv 2106.03314), the k-variance normalized margin; the published experiments take
    one layer, shallow or deep.
    """
    margins = layer_margins(quantities)
    spreads, labels = quantities.class_spreads, quantities.outputs.labels.cpu().numpy()
    score, medians, slopes = margins.output_margins, {}, {}
    for layer, column in hidden_layers(margins).items():
        distances = margins.distances[:, column]
        norms = np.divide(score, distances, out=np.zeros_like(score), where=score != 0)
        medians[layer] = float(np.median(score))
        slopes[layer] = np.array([norms[labels == label].max() for label in spreads.classes])
    return _over_spread(quantities, medians, slopes)


def gradient_normalized_k_variance_margin(quantities: Quantities) -> Estimate:
    """Return the median distance to the decision boundary over Σ_c p_c · W₁(half_c, half′_c), over hidden layers.

    Each margin is divided by the norm of its own gradient, which leaves a Lipschitz constant of 1 to first order.
    The standard error is that of the random halves; the sample stays.

    Raises:
        MeasureNotApplicableError: There is no hidden layer, the sampled features of each class are the same, or all
            gradients vanish.

    Source: Chuang et al. 2021 (arXiv 2106.03314), the gradient-normalized form.
    """
    margins, spreads = layer_margins(quantities), quantities.class_spreads
    hidden = hidden_layers(margins)
    medians = {layer: finite_median(margins.distances[:, column], layer) for layer, column in hidden.items()}
    return _over_spread(quantities, medians, {layer: np.ones(len(spreads.classes)) for layer in hidden})


def constrained_margin(quantities: Quantities) -> Estimate:
    """Return the median distance to the decision boundary along the data's principal components [input units].

    Raises:
        MeasureNotApplicableError: Inputs are no floating-point numbers or all the same, or all gradients vanish.

    Source: Mouton, Theunissen, Davel 2023 (arXiv 2308.15466). To first order and the median here; the paper repeats
    the step until the class changes and takes the mean. Components are those of the sample.
    """
    features = quantities.features
    if features.inputs is None or features.input_gradients is None:
        raise MeasureNotApplicableError("there are no distances in input space, because inputs are no real numbers.")
    components = principal_components(features.inputs)
    distances = constrained_distances(features.output_margins, features.input_gradients, components)
    value = finite_median(distances, INPUT)
    return Estimate(
        value,
        standard_error=_median_error(distances) if quantities.sampled_share < 1 else None,
        caveats=(
            f"Principal components that count: {components.shape[1]}, of {len(features.inputs)} inputs.",
            *_of_sample(quantities),
        ),
    )


def mixup_accuracy(quantities: Quantities) -> Estimate:
    """Return the share of means of two training examples of one class that are given that class.

    The standard error counts half of the pairs as independent: each example is in two of them.

    Raises:
        MeasureNotApplicableError: Inputs cannot be mixed, or no class has two sampled examples.

    Source: Natekar and Sharma 2020 (arXiv 2012.02775), label-wise mixup.
    """
    margins = quantities.mixup_margins
    accuracy = float(np.mean(margins.output_margins > 0))
    error = math.sqrt(accuracy * (1 - accuracy) / (margins.num_examples / 2))
    return Estimate(accuracy, standard_error=error, caveats=_of_sample(quantities))


def mixup_margin(quantities: Quantities) -> Estimate:
    """Return the median signed normalized margin of means of two examples of one class, at the first hidden layer.

    Raises:
        MeasureNotApplicableError: Inputs cannot be mixed, no class has two sampled examples, or there is no hidden
            layer with activations that vary.

    Source: Natekar and Sharma 2020 (arXiv 2012.02775); their published code takes the mean of five order statistics
    for the median.
    """
    margins = quantities.mixup_margins
    hidden = hidden_layers(margins)
    try:
        normalized = margins.normalized
    except InvalidInputError as error:
        raise MeasureNotApplicableError(str(error)) from error
    per_layer = {layer: finite_median(normalized[:, column], layer) for layer, column in hidden.items()}
    first = next(iter(hidden))
    return Estimate(
        per_layer[first],
        standard_error=_median_error(normalized[:, hidden[first]]),
        per_layer=per_layer,
        caveats=(*margins.caveats, *_of_sample(quantities)),
    )


def davies_bouldin(quantities: Quantities) -> Estimate:
    """Return the Davies–Bouldin index of the classes in feature space, at the first hidden layer.

    Raises:
        MeasureNotApplicableError: There is no hidden layer, the sample holds one class only, or two classes have the
            same mean.

    Source: Natekar and Sharma 2020 (arXiv 2012.02775); their published code pools images and takes the mean over
    other classes for the maximum.
    """
    features = quantities.features
    if not features.squared_distances:
        raise MeasureNotApplicableError("there are no hidden layers that all information passes through.")
    per_layer = {
        layer: davies_bouldin_index(squared, features.labels) for layer, squared in features.squared_distances.items()
    }
    return Estimate(next(iter(per_layer.values())), per_layer=per_layer, caveats=_of_sample(quantities))


def davies_bouldin_mixup(quantities: Quantities) -> Estimate:
    """Return the Davies–Bouldin index times the share of mixtures within a class that are misclassified.

    Raises:
        MeasureNotApplicableError: One of the two does not exist.

    Source: Natekar and Sharma 2020 (arXiv 2012.02775), the solution that won.
    """
    index, accuracy = davies_bouldin(quantities), mixup_accuracy(quantities)
    return Estimate(
        index.value * (1 - accuracy.value),
        standard_error=index.value * accuracy.standard_error if accuracy.standard_error is not None else None,
        per_layer={layer: value * (1 - accuracy.value) for layer, value in index.per_layer.items()},
        caveats=_of_sample(quantities),
    )


def _over_spread(
    quantities: Quantities, medians: Mapping[str, float], slopes: Mapping[str, Float[NDArray[np.float64], " classes"]]
) -> Estimate:
    """Return margins over Σ_c p_c · W₁ · slope."""
    spreads, per_layer, by_split = quantities.class_spreads, {}, []
    for layer, median in medians.items():
        spread = spreads.costs[layer] @ (spreads.shares * slopes[layer])  # [splits]
        if not (spread > 0).all():
            raise MeasureNotApplicableError(
                f"margins cannot be compared with the spread of classes, because that is 0 at {layer}."
            )
        per_layer[layer] = median / float(spread.mean())
        by_split.append(median / spread)
    errors = np.mean(by_split, axis=0)
    return Estimate(
        float(np.mean(list(per_layer.values()))),
        standard_error=float(errors.std(ddof=1) / math.sqrt(len(errors))),
        per_layer=per_layer,
        caveats=(
            "The standard error is that of the random halves of classes, not of the sample.",
            *_of_sample(quantities),
        ),
    )


def _median_error(values: Float[NDArray[np.float64], " examples"]) -> float:
    """Return a standard error of the median: half the way between the ranks one standard deviation off it."""
    finite = values[np.isfinite(values)]
    low, high = np.quantile(finite, [0.5 - 0.5 / math.sqrt(len(finite)), 0.5 + 0.5 / math.sqrt(len(finite))])
    return float(high - low) / 2


def _of_sample(quantities: Quantities) -> tuple[str, ...]:
    if quantities.sampled_share == 1:
        return ()
    return (f"Measured on {quantities.num_sampled} of {quantities.num_examples} training examples, drawn at random.",)
