"""The margin distribution of a trained network: one forward and one backward pass per batch."""

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor, nn
from upath import UPath

from widemargin.errors import InvalidInputError, InvalidLogitsError, RunError
from widemargin.layers import NUM_HIDDEN_POINTS, choose_layers, tapped
from widemargin.margins.signature import Fences, Keep, Statistics, summarized
from widemargin.margins.total_variation import TotalVariation
from widemargin.processes import gathered, own_share, place, refuse_shuffling
from widemargin.trained_model import TrainedModel, checked_logits

__all__ = ["MarginDistribution", "margin_distribution", "output_margins"]

Doubles: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class MarginDistribution:
    """Signed first-order distances to the decision boundary, for every training example and layer.

    Attributes:
        layers: Names of the layers in the order of the forward pass.
        distances: Signed distances [activation units], negative where misclassified; infinite where the
            gradient vanishes.
        total_variation: Σ over units of the variance of each layer's activations [squared activation units].
        output_margins: f_y − max_{k≠y} f_k of each example [logits].
        norm: The p of the norm that distances are measured in.
        skipped: For each layer that was asked for and has no margin, the reason.
        caveats: Sentences on when not to believe the numbers.
    """

    layers: tuple[str, ...]
    distances: Float[Doubles, "examples layers"]
    total_variation: Float[Doubles, " layers"]
    output_margins: Float[Doubles, " examples"]
    norm: float
    skipped: Mapping[str, str]
    caveats: tuple[str, ...] = ()

    @property
    def num_examples(self) -> int:
        """How many examples were measured."""
        return len(self.output_margins)

    @property
    def num_misclassified(self) -> int:
        """How many examples have no positive margin (a tie counts as misclassified)."""
        return int((self.output_margins <= 0).sum())

    @property
    def normalized(self) -> Float[Doubles, "examples layers"]:
        """Distances over the root of the layer's total variation; blind to a rescaling of layers.

        Raises:
            InvalidInputError: A layer's activation is the same for every example.
        """
        constant = [name for name, value in zip(self.layers, self.total_variation, strict=True) if value <= 0]
        if constant:
            raise InvalidInputError(
                f"normalized margins need activations that vary, but {', '.join(constant)} is the same for every "
                "example. The network is dead there, or the data holds one example only; leave the layer out."
            )
        return self.distances / np.sqrt(self.total_variation)

    def signature(
        self,
        statistics: Statistics = "quartiles",
        fences: Fences = "whiskers",
        keep: Keep = "correct",
        *,
        normalized: bool = True,
    ) -> dict[str, float]:
        """Return five numbers per layer, named ``layer/statistic``: 20 for four layers.

        Args:
            statistics: ``"quartiles"``: lower fence, Q1, median, Q3, upper fence. ``"moments"``: the mean and
                the k-th central moment to the power 1/k, k = 2 … 5.
            fences: ``"whiskers"``: the outermost margins within 1.5 interquartile ranges of the quartiles;
                ``"raw"``: those limits themselves.
            keep: ``"correct"``: positive margins only, as in the paper; ``"all"``: misclassified ones too.
            normalized: Whether distances are divided by the root of the layer's total variation.

        Raises:
            InvalidInputError: An option is unknown, or a layer is constant.
            TooFewExamplesError: Fewer than four margins are left.

        Source: Jiang et al. 2019 (arXiv 1810.00113), section 3.3.
        """
        columns = (self.normalized if normalized else self.distances).T
        return {
            f"{layer}/{name}": value
            for layer, column in zip(self.layers, columns, strict=True)
            for name, value in summarized(
                column, statistics=statistics, fences=fences, keep=keep, of=f"margins at {layer}"
            ).items()
        }

    def save(self, path: str | Path) -> None:
        """Write everything to one ``.npz`` file, which loads without pickles."""
        skipped = np.array(list(self.skipped.items()), dtype=str).reshape(-1, 2)
        with Path(path).open("wb") as file:
            np.savez(
                file,
                layers=np.array(self.layers, dtype=str),
                distances=self.distances,
                total_variation=self.total_variation,
                output_margins=self.output_margins,
                norm=np.array(self.norm),
                skipped=skipped,
                caveats=np.array(self.caveats, dtype=str),
            )

    @classmethod
    def load(cls, path: str | Path | UPath) -> "MarginDistribution":
        """Read what :meth:`save` wrote.

        Raises:
            RunError: The file is missing or damaged.
        """
        try:
            with UPath(path).open("rb") as opened, np.load(opened, allow_pickle=False) as file:
                return cls(
                    layers=tuple(map(str, file["layers"])),
                    distances=file["distances"],
                    total_variation=file["total_variation"],
                    output_margins=file["output_margins"],
                    norm=float(file["norm"]),
                    skipped={str(layer): str(reason) for layer, reason in file["skipped"]},
                    caveats=tuple(map(str, file["caveats"])),
                )
        except Exception as error:  # a damaged archive raises one of many kinds
            raise RunError(f"{path} must be a margin file, but cannot be read ({error}). Measure again.") from error


def output_margins(
    logits: Float[Tensor, "examples classes"], labels: Int[Tensor, " examples"]
) -> Float[Tensor, " examples"]:
    """Return f_y − max_{k≠y} f_k of each example [logits]; its gradient follows the one pair (y, k)."""
    if logits.shape[1] == 2:
        return (logits[:, 1] - logits[:, 0]) * (2 * labels - 1)
    true = labels.long().unsqueeze(1)
    rival = logits.detach().scatter(1, true, -torch.inf).argmax(dim=1, keepdim=True)
    return (logits.gather(1, true) - logits.gather(1, rival)).squeeze(1)


def margin_distribution(
    trained: TrainedModel,
    layers: str | Sequence[str] = "auto",
    norm: float = 2,
    *,
    epsilon: float = 0.0,
) -> MarginDistribution:
    """Return the signed first-order distance of every training example to the decision boundary.

    At layer l, d = (f_y − f_j) / ‖∇_l (f_y − f_j)‖_q with j the strongest other class and 1/p + 1/q = 1. All
    layers come out of one forward and one backward pass per batch; no gradient of a parameter is computed.
    Under ``torchrun`` every process gets the same data and measures its share of the batches; all of them
    return the same result as one process would.

    Args:
        trained: The network with its training data.
        layers: ``"auto"``, or dotted names and globs; see :func:`widemargin.layers.choose_layers`.
        norm: The p ≥ 1 of the norm that distances are measured in; ``float("inf")`` is allowed.
        epsilon: Added to Σ g² under the root (norm 2 only); the paper's published code has 1e-6.

    Raises:
        EmptyDataError: No example came out of the data.
        InvalidInputError: A norm below 1, or a layer whose activations change their shape between batches.
        InvalidLabelsError: Labels are out of range, not integers, or not one per example.
        InvalidLogitsError: The output is no finite table [examples, classes] with two classes or more.
        LayerNotFoundError: No layer matches, or none of the matches has a margin.

    Source: Jiang et al. 2019 (arXiv 1810.00113), equations 3 to 5. The published code takes the named norm of
    the gradient itself where the dual belongs; here it is the dual.

    Example:
        >>> import torch
        >>> net = torch.nn.Linear(2, 2, bias=False)
        >>> _ = net.weight.data.copy_(torch.tensor([[1.0, 0.0], [-1.0, 0.0]]))
        >>> trained = TrainedModel(net, (torch.tensor([[3.0, 7.0], [-2.0, 0.0]]), torch.tensor([0, 0])))
        >>> margin_distribution(trained, layers="input").distances.ravel().tolist()
        [3.0, -2.0]
    """
    if not norm >= 1:
        raise InvalidInputError(f"norm must be the p ≥ 1 of a p-norm, got {norm}. Use 2, or float('inf').")
    if not epsilon >= 0 or (epsilon > 0 and norm != 2):
        raise InvalidInputError(f"epsilon must be 0, or positive with norm 2, got {epsilon} with norm {norm}.")
    dual = 1.0 if norm == torch.inf else torch.inf if norm == 1 else norm / (norm - 1)
    choice = choose_layers(trained, layers)
    num_processes = place()[1]
    if num_processes > 1:
        refuse_shuffling(trained.train_data)
    variations = [TotalVariation() for _ in choice.names]
    shapes: dict[str, torch.Size] = {}
    measured = _Rows(1 + len(choice.names))  # output margin and distances
    problem: Exception | None = None
    with trained.borrowed() as network, tapped(network, choice.names) as activations, torch.enable_grad():
        was_searched = layers == "auto" and not hasattr(network, "margin_layers")
        caveats = _caveats(network, choice.names if was_searched else None)
        try:
            for index, (batch, labels) in own_share(trained.batches("train")):
                logits = checked_logits(trained.logits(batch), labels)
                measured.are_probabilities &= _look_like_probabilities(logits)
                score = output_margins(logits, labels)
                points = [_checked_point(name, activations, shapes, len(labels)) for name in choice.names]
                gradients = torch.autograd.grad(score.sum(), points)
                columns = [score.detach().double()]
                for point, gradient, variation in zip(points, gradients, variations, strict=True):
                    variation.update(point)
                    columns.append(_distances(columns[0], gradient, dual, epsilon))
                measured.append(index, torch.stack(columns, dim=1))
                del logits, score, points, gradients, columns
                activations.clear()
        except Exception as error:
            if num_processes == 1:
                raise
            problem = error  # the others wait for this process: tell them before stopping
    if num_processes > 1:
        table, are_probabilities = _gathered(measured, problem)
        total_variation = [variation.all_reduced(trained.device) for variation in variations]
    else:
        table, are_probabilities = measured.table(), measured.are_probabilities
        total_variation = [variation.value for variation in variations]
    if are_probabilities:
        caveats += (
            "The network's outputs look like probabilities; margins belong to logits. Hand over a forward that stops "
            "in front of the softmax.",
        )
    vanishing = int(np.isinf(table[:, 1:]).any(axis=1).sum())
    if vanishing:
        caveats += (
            f"For {vanishing} of {len(table)} examples the gradient vanishes at some layer: their distance is "
            "infinite to first order, and statistics leave them out.",
        )
    return MarginDistribution(
        layers=choice.names,
        distances=table[:, 1:],
        total_variation=np.array(total_variation),
        output_margins=table[:, 0],
        norm=float(norm),
        skipped=choice.skipped,
        caveats=caveats,
    )


def _distances(score: Tensor, gradient: Tensor, order: float, epsilon: float) -> Tensor:
    """Return score over gradient norm [examples] in float64; 0 on the boundary itself."""
    flat = gradient.flatten(1)
    if flat.dtype in (torch.float16, torch.bfloat16):
        flat = flat.float()
    norms = torch.linalg.vector_norm(flat, ord=order, dim=1).double()
    if bool((extreme := (norms < 1e-15) | (norms > 1e15)).any()):  # squares of single precision end near there
        norms[extreme] = torch.linalg.vector_norm(flat[extreme].double(), ord=order, dim=1)
    if not bool(torch.isfinite(norms).all()):
        raise InvalidLogitsError(
            f"gradients of the logits must be finite, got NaN or infinity for {int((~torch.isfinite(norms)).sum())} "
            f"of {len(norms)} examples in a batch. The network overflows its precision: measure it in float32."
        )
    if epsilon:
        norms = torch.sqrt(norms**2 + epsilon)
    return torch.where(score == 0, score, score / norms)


def _checked_point(
    name: str, activations: Mapping[str, Tensor], shapes: dict[str, torch.Size], num_examples: int
) -> Tensor:
    point = activations.get(name)
    if point is None:
        raise InvalidInputError(
            f"layer {name!r} must be reached in every forward pass, but a later batch did not reach it. Leave it "
            "out, or hand over data that takes one path through the network."
        )
    shape = shapes.setdefault(name, point.shape[1:])
    if len(point) != num_examples or point.shape[1:] != shape:
        raise InvalidInputError(
            f"the activation of layer {name!r} must have the shape {[num_examples, *shape]} in every batch, got "
            f"{list(point.shape)}. Pad sequences and crop images to one size for the whole data."
        )
    return point


def _look_like_probabilities(logits: Tensor) -> bool:
    sums = logits.detach().sum(dim=1)
    return bool((logits >= 0).all()) and bool(torch.allclose(sums, torch.ones_like(sums), atol=1e-3))


def _caveats(network: nn.Module, chosen: tuple[str, ...] | None) -> tuple[str, ...]:
    """Return what is to be said of a network, and of its layers where those were searched for."""
    caveats = []
    by_batch = [
        name
        for name, module in network.named_modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_mean is None
    ]
    if by_batch:
        caveats.append(
            f"{', '.join(by_batch)} normalize by the statistics of each batch (track_running_stats=False): margins "
            "depend on how the data is batched."
        )
    if any(parameter.dtype in (torch.float16, torch.bfloat16) for parameter in network.parameters()):
        caveats.append("The network computes in half precision: margins near 0 are rounding. Measure model.float().")
    num_hidden = NUM_HIDDEN_POINTS if chosen is None else len(chosen) - 1  # the first is the input, or stands for it
    if num_hidden < NUM_HIDDEN_POINTS:
        caveats.append(
            f"Only {num_hidden} of {NUM_HIDDEN_POINTS} hidden points were found that all information passes through, "
            "so the signature is shorter than 20 numbers. Name more with layers=[…], or in the network's attribute "
            "margin_layers."
        )
    return tuple(caveats)


class _Rows:
    """Rows of numbers, batch by batch, in one growing block of 8 bytes each.

    Thousands of small arrays would keep the memory that is freed between them from being used again.
    """

    def __init__(self, num_columns: int) -> None:
        self.num_columns = num_columns
        self.values = array("d")
        self.batches: list[tuple[int, int]] = []  # number of the batch, and of its rows
        self.are_probabilities = True  # as far as was seen

    def append(self, batch: int, rows: Float[Tensor, "examples columns"]) -> None:
        self.values.frombytes(rows.cpu().numpy().tobytes())
        self.batches.append((batch, len(rows)))

    def table(self) -> Float[Doubles, "examples columns"]:
        return np.frombuffer(self.values, dtype=np.float64).reshape(-1, self.num_columns)


def _gathered(measured: _Rows, problem: Exception | None) -> tuple[Doubles, bool]:
    """Return all rows in the order of the batches, and whether all saw probabilities; raise if a process failed."""
    shares = gathered((measured.batches, measured.table(), measured.are_probabilities), problem, "measuring margins")
    by_batch: dict[int, Doubles] = {}
    for batches, table, _ in shares:
        ends = np.cumsum([num_rows for _, num_rows in batches])[:-1]
        by_batch |= {batch: rows for (batch, _), rows in zip(batches, np.split(table, ends), strict=False)}
    table = np.concatenate([by_batch[batch] for batch in sorted(by_batch)])
    return table, all(seen for _, _, seen in shares)
