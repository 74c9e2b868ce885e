"""Measures of margins at the output, the input and hidden layers, over the whole training data."""

import math

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from widemargin.errors import (
    EmptyDataError,
    InvalidInputError,
    InvalidLabelsError,
    InvalidLogitsError,
    MeasureNotApplicableError,
    TooFewExamplesError,
)
from widemargin.layers import INPUT
from widemargin.margins import MarginDistribution, output_margins
from widemargin.measures.quantities import Quantities
from widemargin.measures.spectral_margin import spectrally_normalized_margins
from widemargin.results import Estimate

__all__ = [
    "input_margin",
    "inverse_margin",
    "normalized_margin",
    "normalized_margin_first_quartile",
    "output_margin",
    "spectrally_normalized_margin",
]

LOW = 0.1
"""The quantile of the margins that stands for the smallest of them."""


def output_margin(quantities: Quantities) -> Estimate:
    """Return the median of f_y − max_{k≠y} f_k over the training examples [logits].

    Source: Jiang et al. 2019 (arXiv 1810.00113), section 3, before any normalization.

    Example:
        >>> import torch
        >>> from widemargin import TrainedModel
        >>> net = torch.nn.Linear(1, 2, bias=False)
        >>> _ = net.weight.data.copy_(torch.tensor([[0.0], [1.0]]))
        >>> trained = TrainedModel(net, (torch.tensor([[-1.0], [2.0], [5.0]]), torch.tensor([1, 1, 1])))
        >>> output_margin(Quantities(trained)).value
        2.0
    """
    return Estimate(float(np.median(_output_margins(quantities))))


def inverse_margin(quantities: Quantities) -> Estimate:
    """Return 1/γ², γ the 10 % quantile of the output margins [1/logits²].

    A margin bound holds for γ > 0. Published studies square γ whatever its sign; so does this, with a caveat.

    Raises:
        MeasureNotApplicableError: γ is 0.

    Source: Jiang et al. 2020 (arXiv 1912.02178): the minimum margin made robust.
    """
    low = float(np.quantile(_output_margins(quantities), LOW))
    if low == 0:
        raise MeasureNotApplicableError("the inverse margin is infinite, because the 10 % quantile of margins is 0.")
    caveats = (
        f"More than 10 % of the training examples are misclassified (γ = {low:.3g} < 0): the larger γ² is, the worse "
        "the network, so the order is reversed among such networks.",
    )
    return Estimate(low**-2, caveats=caveats if low < 0 else ())


def spectrally_normalized_margin(quantities: Quantities) -> Estimate:
    """Return the median of the output margins over R · ‖X‖_F / n, R the spectral complexity.

    Raises:
        MeasureNotApplicableError: The network has other weights than linear maps, its inputs have no norm, or its
            spectral complexity is 0.

    Source: Bartlett, Foster, Telgarsky 2017 (arXiv 1706.08498), section 2.
    """
    complexity, norm, margins = quantities.spectral_complexity, quantities.input_norm, _output_margins(quantities)
    if not math.isfinite(complexity.value):
        raise MeasureNotApplicableError(f"the spectral complexity is 0: {' '.join(complexity.caveats)}")
    normalized = spectrally_normalized_margins(margins, complexity.value, norm)
    return Estimate(float(np.median(normalized)), caveats=complexity.caveats)


def input_margin(quantities: Quantities) -> Estimate:
    """Return the median first-order distance of training inputs to the decision boundary [input units].

    Raises:
        MeasureNotApplicableError: The input is no layer with a margin (tokens, say), or its gradient vanishes.

    Source: Jiang et al. 2019 (arXiv 1810.00113), equation 3 at the input.
    """
    margins = layer_margins(quantities)
    if INPUT not in margins.layers:
        reason = margins.skipped.get(INPUT, "the network names other layers for its margins")
        raise MeasureNotApplicableError(f"there are no distances in input space, because {reason}.")
    return Estimate(finite_median(margins.distances[:, margins.layers.index(INPUT)], INPUT), caveats=margins.caveats)


def normalized_margin(quantities: Quantities) -> Estimate:
    """Return the mean over hidden layers of the logarithm of the median normalized margin [natural logarithm].

    Raises:
        MeasureNotApplicableError: There is no hidden layer that all information passes through, one of them is dead,
            or fewer than four training examples are classified correctly.

    Source: Jiang et al. 2019 (arXiv 1810.00113), sections 3.2 and 3.3: correctly classified examples only.
    """
    return _log_normalized(quantities, "median")


def normalized_margin_first_quartile(quantities: Quantities) -> Estimate:
    """Return the mean over hidden layers of the logarithm of the lower quartile of normalized margins.

    Raises:
        MeasureNotApplicableError: As for :func:`normalized_margin`.

    Source: Jiang et al. 2019 (arXiv 1810.00113), sections 3.2 and 3.3.
    """
    return _log_normalized(quantities, "q1")


def layer_margins(quantities: Quantities) -> MarginDistribution:
    """Return the margins of the training data at all layers.

    Raises:
        MeasureNotApplicableError: The network has no such layers, or ones whose size depends on the batch.
    """
    try:
        return quantities.margins
    except (EmptyDataError, InvalidLabelsError, InvalidLogitsError):
        raise  # nothing can be measured
    except InvalidInputError as error:
        raise MeasureNotApplicableError(str(error)) from error


def hidden_layers(margins: MarginDistribution) -> dict[str, int]:
    """Return the column of each hidden layer.

    Raises:
        MeasureNotApplicableError: There is none.
    """
    hidden = {layer: column for column, layer in enumerate(margins.layers) if layer != INPUT}
    if not hidden:
        raise MeasureNotApplicableError("there are no hidden layers that all information passes through.")
    return hidden


def finite_median(distances: Float[NDArray[np.float64], " examples"], layer: str) -> float:
    """Return the median of the distances that are not infinite.

    Raises:
        MeasureNotApplicableError: All are.
    """
    finite = distances[np.isfinite(distances)]
    if not len(finite):
        raise MeasureNotApplicableError(f"there are no distances at {layer}, because all gradients vanish there.")
    return float(np.median(finite))


def _output_margins(quantities: Quantities) -> Float[NDArray[np.float64], " examples"]:
    outputs = quantities.outputs
    margins: NDArray[np.float64] = output_margins(outputs.logits, outputs.labels).cpu().numpy()
    return margins


def _log_normalized(quantities: Quantities, statistic: str) -> Estimate:
    margins = layer_margins(quantities)
    hidden = hidden_layers(margins)
    try:
        signature = margins.signature()
    except (InvalidInputError, TooFewExamplesError) as error:
        raise MeasureNotApplicableError(str(error)) from error
    per_layer = {layer: math.log(signature[f"{layer}/{statistic}"]) for layer in hidden}
    return Estimate(float(np.mean(list(per_layer.values()))), per_layer=per_layer, caveats=margins.caveats)
