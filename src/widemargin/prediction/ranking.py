"""Networks in the order of their expected generalization, from their training data alone."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np
import pandas as pd
from jaxtyping import Float
from numpy.typing import NDArray
from scipy import stats
from torch import nn

from widemargin.errors import InvalidInputError, WidemarginError
from widemargin.margins import MarginDistribution, margin_distribution
from widemargin.prediction.familiarity import layers_of, what_is_unseen
from widemargin.prediction.gap_predictor import GapPredictor
from widemargin.prediction.intervals import LEVEL, Interval
from widemargin.prediction.margin_score import SCORE_CAVEAT, margin_score, probability_of_order, train_accuracy
from widemargin.trained_model import TrainedModel

__all__ = ["RankedNetwork", "Ranking", "rank", "rank_margins", "ranked_by"]

Doubles = NDArray[np.float64]

SURE = 0.9
"""Probability from which on a pair counts as surely ordered."""


@dataclass(frozen=True, slots=True)
class RankedNetwork:
    """One network of a ranking.

    Attributes:
        name: What the caller calls it.
        score: What it is ordered by: the expected test accuracy [share] with a predictor, else the margin score.
        interval: Where the test accuracy lies at 95 %, cut to 0 and 1; None without a predictor.
        train_accuracy: Share of the training examples that are classified correctly.
        warnings: Sentences on why not to trust its place.
    """

    name: str
    score: float
    interval: Interval | None
    train_accuracy: float
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Ranking:
    """Networks, the best first.

    Attributes:
        by: ``"predictor"`` or ``"margins"``: what the order rests on.
        networks: Those that could be ranked; equals stay in the caller's order.
        probabilities: How probably the network of the row has a greater test accuracy than that of the column.
        left_out: Of each network that could not be ranked, the reason.
        caveats: Sentences on when not to believe the order.
    """

    by: Literal["predictor", "margins"]
    networks: tuple[RankedNetwork, ...]
    probabilities: Float[Doubles, "networks networks"]
    left_out: Mapping[str, str] = field(default_factory=dict)
    caveats: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return everything as plain lists and mappings."""
        return {
            "by": self.by,
            "networks": [asdict(network) for network in self.networks],
            "probabilities": self.probabilities.tolist(),
            "left_out": dict(self.left_out),
            "caveats": list(self.caveats),
        }


def rank(
    models: Mapping[str, nn.Module | TrainedModel] | Sequence[nn.Module | TrainedModel],
    train_data: Any = None,
    *,
    predictor: GapPredictor | None = None,
    layers: str | Sequence[str] = "auto",
) -> Ranking:
    """Return networks ordered by their expected test accuracy, without any example they were not trained on.

    With a predictor the expected test accuracy is the training accuracy less the predicted gap; without one, networks
    are ordered by :func:`widemargin.prediction.margin_score`. A network that cannot be measured is not lost but
    listed with its reason.

    Args:
        models: Networks by name, or in a sequence, then called ``network 1`` and so on; a :class:`TrainedModel`
            brings its own data.
        train_data: What the others were trained on, in any form that :class:`TrainedModel` takes.
        predictor: Fitted on signatures, by :func:`widemargin.prediction.signature_predictor` say, or loaded.
        layers: As for :func:`widemargin.margin_distribution`; with a predictor as many as it was fitted on.

    Raises:
        InvalidInputError: No network, none that can be ranked, or a predictor of other features.
        TooFewExamplesError: The predictor has no residuals to judge by.

    Example:
        >>> import torch
        >>> inputs = torch.randn(200, 4, generator=torch.Generator().manual_seed(0))
        >>> clear = torch.nn.Linear(4, 2, bias=False)
        >>> _ = clear.weight.data.copy_(torch.tensor([[1.0, 0, 0, 0], [-1.0, 0, 0, 0]]))
        >>> blurred = torch.nn.Linear(4, 2, bias=False)
        >>> _ = blurred.weight.data.copy_(torch.tensor([[1.0, 0, 0, 0], [-1.0, 3, 0, 0]]))
        >>> ranking = rank({"blurred": blurred, "clear": clear}, (inputs, (inputs[:, 0] < 0).long()))
        >>> [network.name for network in ranking.networks]
        ['clear', 'blurred']
    """
    named = models if isinstance(models, Mapping) else {f"network {i}": model for i, model in enumerate(models, 1)}
    measured, left_out = {}, {}
    for name, model in named.items():
        trained = model if isinstance(model, TrainedModel) else TrainedModel(model, train_data)
        try:
            measured[name] = margin_distribution(trained, layers)
        except WidemarginError as reason:
            left_out[name] = str(reason)
    return rank_margins(measured, predictor=predictor, left_out=left_out)


def rank_margins(
    measured: Mapping[str, MarginDistribution],
    *,
    predictor: GapPredictor | None = None,
    left_out: Mapping[str, str] | None = None,
) -> Ranking:
    """Return the ranking of networks whose margins were measured; see :func:`rank`.

    Args:
        measured: Margin distributions on the training data, by name.
        predictor: As for :func:`rank`.
        left_out: Of networks that could not be measured, the reason.

    Raises:
        InvalidInputError: No network, none that can be ranked, or a predictor of other features.
        TooFewExamplesError: The predictor has no residuals to judge by.
    """
    known_layers = None if predictor is None else layers_of(predictor)
    reasons, usable, signatures = dict(left_out or {}), {}, {}
    for name, distribution in measured.items():
        try:
            signature = distribution.signature()
        except WidemarginError as reason:
            reasons[name] = str(reason)
            continue
        if known_layers is not None and len(distribution.layers) != len(known_layers):
            reasons[name] = (
                f"its margins were measured at {len(distribution.layers)} layers, and the predictor was fitted on "
                f"{len(known_layers)}. Name as many layers, or rank without a predictor."
            )
            continue
        usable[name], signatures[name] = distribution, list(signature.values())
    if not usable:
        told = " ".join(dict.fromkeys(reasons.values())) or "Hand over networks."
        raise InvalidInputError(
            f"a ranking needs at least one network that can be measured, got {len(reasons)} that cannot. {told}"
        )
    differences = _differences(usable, known_layers)
    if predictor is None:
        return _ordered("margins", *_by_margins(usable), reasons, (*differences, SCORE_CAVEAT))
    features = pd.DataFrame(signatures, index=list(predictor.feature_names_in_)).T
    accuracies = [train_accuracy(distribution) for distribution in usable.values()]
    return ranked_by(predictor, features, accuracies, left_out=reasons, caveats=differences)


def ranked_by(
    predictor: GapPredictor,
    features: pd.DataFrame,
    accuracies: Sequence[float],
    *,
    left_out: Mapping[str, str],
    warnings: Mapping[str, Sequence[str]] | None = None,
    caveats: Sequence[str] = (),
) -> Ranking:
    """Return the ranking of networks by expected test accuracy: training accuracy less the predicted gap.

    Args:
        predictor: The predictor.
        features: What it takes, one row a network, by name.
        accuracies: Training accuracy of each.
        left_out: Of networks that could not be ranked, the reason.
        warnings: Of networks, sentences on why not to trust their place, beside what is unlike those that were seen.
        caveats: Sentences on when not to believe the order.

    Raises:
        TooFewExamplesError: The predictor has no residuals to judge by.
    """
    gaps, scale = predictor.predict_jointly(features)
    expected, freedom = np.asarray(accuracies) - gaps, predictor.degrees_of_freedom_
    half = stats.t.ppf((1 + LEVEL) / 2, freedom) * np.sqrt(np.diagonal(scale))
    low, middle, high = (np.clip(ends, 0, 1).tolist() for ends in (expected - half, expected, expected + half))
    unseen = what_is_unseen(predictor, features)
    networks = [
        RankedNetwork(
            str(name),
            middle[i],
            (low[i], high[i]),
            float(accuracies[i]),
            (*(warnings or {}).get(name, ()), *unseen[i]),
        )
        for i, name in enumerate(features.index)
    ]
    probabilities = order_probabilities(expected, scale, freedom)
    return _ordered("predictor", expected, networks, probabilities, left_out, (*caveats, _origin_caveat(predictor)))


def _ordered(
    by: Literal["predictor", "margins"],
    values: Doubles,
    networks: Sequence[RankedNetwork],
    probabilities: Doubles,
    left_out: Mapping[str, str],
    caveats: tuple[str, ...],
) -> Ranking:
    order = np.argsort(-values, kind="stable")
    return Ranking(by, tuple(networks[i] for i in order), probabilities[np.ix_(order, order)], left_out, caveats)


def order_probabilities(
    expected: Float[Doubles, " networks"], scale: Float[Doubles, "networks networks"], degrees_of_freedom: float
) -> Float[Doubles, "networks networks"]:
    """Return how probably the row's value is the greater, where all follow a joint Student t distribution.

    Of a joint t with scale S the difference i − j is t about eᵢ − eⱼ with the squared scale Sᵢᵢ + Sⱼⱼ − 2Sᵢⱼ: what
    two predictions share in their errors cancels, the noise of each network does not.

    Args:
        expected: Location of each value.
        scale: The matrix S.
        degrees_of_freedom: Of the distribution.

    Example:
        >>> order_probabilities(np.array([0.9, 0.8]), 0.01 * np.eye(2), 1e9).round(3).tolist()
        [[0.5, 0.76], [0.24, 0.5]]
    """
    own = np.diagonal(scale)
    spread = np.sqrt(own[:, None] + own[None, :] - 2 * scale)
    differences = expected[:, None] - expected[None, :]
    standard = np.divide(differences, spread, out=np.zeros_like(scale), where=spread > 0)
    return np.asarray(stats.t.cdf(standard, degrees_of_freedom))


def _by_margins(measured: Mapping[str, MarginDistribution]) -> tuple[Doubles, list[RankedNetwork], Doubles]:
    scores = np.array([margin_score(distribution) for distribution in measured.values()])
    networks = [
        RankedNetwork(name, float(score), None, train_accuracy(distribution))
        for (name, distribution), score in zip(measured.items(), scores, strict=True)
    ]
    return scores, networks, probability_of_order(scores[:, None] - scores[None, :])


def _origin_caveat(predictor: GapPredictor) -> str:
    name, num_sure, num_right = (predictor.origin_.get(key) for key in ("name", "sure_pairs", "sure_pairs_right"))
    told = (
        f"The predictor was fitted on {predictor.seen_.num_networks} networks{f' of {name}' if name else ''}; its "
        "numbers hold for networks of the same kind, trained in the same ways on as many examples of the same data."
    )
    if not num_sure or num_right is None:
        return told
    return (
        f"{told} Of {num_sure} pairs left out of its fit that it gave {SURE:g} or more, {num_right / num_sure:.0%} "
        "were in that order."
    )


def _differences(measured: Mapping[str, MarginDistribution], known_layers: tuple[str, ...] | None) -> list[str]:
    """Return what about the networks differs so that they can hardly be compared."""
    told = []
    sizes = sorted({distribution.num_examples for distribution in measured.values()})
    if len(sizes) > 1:
        told.append(
            f"The networks were measured on {', '.join(map(str, sizes))} training examples: the order is meant for "
            "networks trained on the same data."
        )
    kinds: dict[tuple[str, ...], list[str]] = {}
    for name, distribution in measured.items():
        kinds.setdefault(distribution.layers if known_layers else distribution.layers[:1], []).append(name)
    if known_layers is None and len(kinds) > 1:
        told.append(
            "Scores take the margins at the first layer measured, and that differs; between such networks they can "
            f"hardly be compared: {'; '.join(map(_at, kinds.values(), kinds))}."
        )
    others = {layers: names for layers, names in kinds.items() if layers != known_layers}
    if known_layers is not None and others:
        told.append(
            f"The predictor was fitted on layers of other names, {', '.join(known_layers)}; taken for these, in "
            f"their order: {'; '.join(map(_at, others.values(), others))}."
        )
    return told


def _at(names: Sequence[str], layers: Sequence[str]) -> str:
    return f"{', '.join(layers)} of {', '.join(names)}"
