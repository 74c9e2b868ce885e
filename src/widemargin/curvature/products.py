"""Products of vectors with the curvature of the training loss."""

import copy
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property, partial
from typing import Literal, TypeAlias, TypeVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge, saved_tensors_hooks
from torch.nn.attention import SDPBackend, sdpa_kernel

from widemargin.batches import Batch
from widemargin.curvature.second_derivatives import TwiceDifferentiable
from widemargin.errors import InvalidInputError
from widemargin.gradients import Receive, each_part, leaf, nodes_behind
from widemargin.parameters import Normalization, ParameterGroups, ParameterSpace
from widemargin.trained_model import TrainedModel, checked_logits

__all__ = ["CurvatureProduct", "Matrix", "check_finite"]

Matrix: TypeAlias = Literal["hessian", "gauss-newton"]
"""The Hessian, or JᵀH_loss J with J the Jacobian of the logits and H_loss the Hessian of the loss in the logits."""

ROWS_AT_ONCE = 256
"""Rows of a whole matrix that are computed in one call: as many copies of a vector are held a few times."""

KEPT_BYTES = 2**30
"""Autograd graphs up to this size stay in memory between products; larger ones are made anew for each call."""

GRAPH_OVER_FORWARD = 3
"""Memory of forward and first backward pass together in units of what the forward pass saves: measured 2 to 3."""

T = TypeVar("T")
Linear: TypeAlias = Callable[[Sequence[Tensor], Receive], None]
"""Takes the tensors of a vector and hands on the parts of the product."""


class CurvatureProduct:
    """The linear map v → diag(s) H diag(s) v, with H the curvature of the mean training loss.

    Call it while the network is :meth:`~widemargin.TrainedModel.borrowed`. Sums over batches are taken in float64, so
    that the batch size does not matter. Several vectors in one call share the forward and the first backward pass. If
    the autograd graphs of the whole data fit into 1 GiB, or the data is one batch, they are kept, and a product costs
    the second backward pass only.

    Args:
        trained: The network with its training data.
        matrix: ``"hessian"``, or ``"gauss-newton"`` for its part that ignores the curvature of the network.
        scale: The s; ``None`` for ones.
        at: Where to differentiate: parameters by name, and buffers where wanted, as
            :meth:`~widemargin.TrainedModel.logits_at` takes them; those not named are the network's own.

    Attributes:
        space: The flat vectors that are multiplied.
        num_products: How many vectors have been multiplied so far.
        caveats: Sentences on when not to believe the curvature.

    Raises:
        InvalidInputError: An unknown matrix, a loss that is not one number per example, or one whose second
            derivative is not finite or not known to torch.
        EmptyDataError: There is no training example.
        InvalidLogitsError: The network's output is no finite table of logits.
        InvalidLabelsError: Labels are out of range or not integers.

    Source: Pearlmutter 1994, Fast exact multiplication by the Hessian; Schraudolph 2002 for Gauss–Newton.

    Example:
        >>> trained = TrainedModel(
        ...     torch.nn.Linear(1, 2, bias=False), (torch.ones(4, 1), torch.tensor([0, 0, 0, 1])),
        ...     loss=lambda logits, labels: logits[:, 1] ** 2 + 3 * logits[:, 0],
        ... )
        >>> with trained.borrowed():
        ...     CurvatureProduct(trained)(torch.eye(2)).tolist()
        [[0.0, 0.0], [0.0, 2.0]]
    """

    def __init__(
        self,
        trained: TrainedModel,
        *,
        matrix: Matrix = "hessian",
        scale: Float[Tensor, " parameters"] | None = None,
        at: Mapping[str, Tensor] | None = None,
    ) -> None:
        if matrix not in LINEAR_MAPS:
            raise InvalidInputError(f"matrix must be one of {', '.join(LINEAR_MAPS)}, got {matrix!r}.")
        self.trained = trained
        self.space = ParameterSpace.of(trained.network)
        self._scale = scale
        self.groups: ParameterGroups | None = None
        self.num_products = 0
        self.caveats = _caveats(trained.network)
        self._of_batch = LINEAR_MAPS[matrix]
        tensors = {**dict(trained.network.named_parameters()), **(at or {})}
        self._fixed = {name: value for name, value in (at or {}).items() if name not in self.space.names}
        self._leaves = {name: leaf(tensors[name]) for name in self.space.names}  # the network's own may be frozen
        self._kept: list[tuple[Linear, int]] = []
        self._bytes_per_example: float | None = None

    @classmethod
    def normalized(
        cls,
        trained: TrainedModel,
        matrix: Matrix,
        normalization: Normalization,
        at: Mapping[str, Tensor] | None = None,
    ) -> "CurvatureProduct":
        """Return the product in coordinates whose unit is the norm of each filter or layer at the point.

        Raises:
            InvalidInputError: An unknown normalization, or no weight with two dimensions that is not 0.
        """
        return cls(trained, matrix=matrix, at=at).in_units(normalization)

    def in_units(self, normalization: Normalization) -> "CurvatureProduct":
        """Return the product in coordinates whose unit is the norm of each filter or layer; graphs are shared.

        Raises:
            InvalidInputError: An unknown normalization, or no weight with two dimensions that is not 0.
        """
        product = copy.copy(self)
        product.num_products = 0
        if normalization != "none":
            product.groups = self.space.groups(self.space.flat(self._leaves), normalization)
            product._scale = None
            product.caveats += product.groups.caveats
        return product

    @property
    def scale(self) -> Float[Tensor, " parameters"] | None:
        """The s; ``None`` for ones."""
        if self._scale is None and self.groups is not None:
            self._scale = self.groups.norms.double()
        return self._scale

    @property
    def num_parameters(self) -> int:
        """How many numbers a vector has."""
        return self.space.num_parameters

    @property
    def is_free(self) -> Bool[Tensor, " parameters"]:
        """Which parameters move: all whose scale is not 0."""
        if self.scale is not None:
            return self.scale != 0
        return torch.ones(self.num_parameters, dtype=torch.bool, device=next(iter(self._leaves.values())).device)

    def dense(self) -> Float[Tensor, "free free"]:
        """Return the whole matrix among the parameters that move, in float64; as many products as it has rows."""
        free = self.is_free.nonzero().squeeze(1)
        units = (nn.functional.one_hot(some, self.num_parameters) for some in torch.split(free, ROWS_AT_ONCE))
        rows = torch.cat([self(some.double())[:, free] for some in units])
        return (rows + rows.T) / 2

    def signs(self, num: int, generator: torch.Generator) -> Float[Tensor, "{num} parameters"]:
        """Return probes of random signs for the free parameters, 0 for the others."""
        is_free = self.is_free
        signs = torch.randint(0, 2, (num, len(is_free)), generator=generator).to(is_free.device)
        return (2.0 * signs.double() - 1.0) * is_free

    def __call__(self, vectors: Float[Tensor, "*vectors parameters"]) -> Float[Tensor, "*vectors parameters"]:
        """Return the products, in the shape and precision of the vectors."""
        rows = vectors.detach().reshape(-1, self.num_parameters)
        if self.scale is not None:
            rows = rows * self.scale
        named = [list(self.space.named(row).values()) for row in rows]
        products = torch.zeros(rows.shape, dtype=torch.float64, device=rows.device)
        num_examples = 0
        for linear, batch_size in self._linear_maps():
            for total, vector in zip(products, named, strict=True):
                views = list(self.space.views(total).values())
                linear(vector, lambda index, part, views=views: views[index].add_(part))  # type: ignore[misc]  # bound now
            num_examples += batch_size
        products /= num_examples
        self.num_products += len(rows)
        check_finite(float(products.sum()))
        if self.scale is not None:
            products *= self.scale
        return products.reshape(vectors.shape).to(vectors.dtype)

    def each_part(self, vector: Float[Tensor, " parameters"], receive: Receive) -> None:
        """Hand on the product of H, without any s, with one vector; for networks too large for more copies.

        Args:
            vector: In parameters.
            receive: Takes the number of a tensor of parameters, and a part of the product there; the parts of all
                batches add up to it, times the number of examples.
        """
        named = list(self.space.named(vector).values())
        for linear, _ in self._linear_maps():
            linear(named, receive)
        self.num_products += 1

    @cached_property
    def num_examples(self) -> int:
        """How many training examples there are."""
        return sum(len(labels) for _, labels in self.trained.batches("train"))

    def _linear_maps(self) -> Iterator[tuple[Linear, int]]:
        """Yield the curvature of each batch's summed loss, and the number of its examples."""
        if self._kept:
            yield from self._kept
            return
        kept: list[tuple[Linear, int]] = []
        num_examples = 0
        for batch, labels in self.trained.batches("train"):
            if num_examples and self._bytes_per_example is None:  # a single batch is held in any case
                forward_bytes = self._computed(partial(self._forward_bytes, batch, labels))
                self._bytes_per_example = GRAPH_OVER_FORWARD * forward_bytes / len(labels)
            linear = self._computed(partial(self._linear_map, batch, labels))
            num_examples += len(labels)
            if num_examples * (self._bytes_per_example or 0) <= KEPT_BYTES:
                kept.append((linear, len(labels)))
            else:
                kept.clear()
            yield linear, len(labels)
        self._kept += kept

    def _computed(self, function: Callable[[], T]) -> T:
        """Call a function that computes with the network, or goes back through it, at the point of this product."""
        # Other kernels of attention have no second derivative, nor have some operations.
        with sdpa_kernel(SDPBackend.MATH), TwiceDifferentiable():
            return self.trained.with_parameters({**self._leaves, **self._fixed}, function)

    @torch.enable_grad()
    def _linear_map(self, batch: Batch, labels: Tensor) -> Linear:
        linear = self._of_batch(*self._forward(batch, labels), list(self._leaves.values()))
        return lambda vectors, receive: self._computed(partial(linear, vectors, receive))

    def _forward(self, batch: Batch, labels: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """Return the logits of a batch, and its summed loss as a function of them."""

        def loss(logits: Tensor) -> Tensor:
            return self.trained.losses(logits, labels).sum()

        return checked_logits(self.trained.logits(batch), labels), loss

    @torch.enable_grad()
    def _forward_bytes(self, batch: Batch, labels: Tensor) -> int:
        """Return how much a forward pass saves for the backward pass, beside the parameters."""
        own = {value.untyped_storage().data_ptr() for value in self._leaves.values()}
        storages: dict[int, int] = {}

        def pack(saved: Tensor) -> None:
            storage = saved.untyped_storage()
            if storage.data_ptr() not in own:
                storages[storage.data_ptr()] = storage.nbytes()

        with saved_tensors_hooks(pack, lambda _: torch.empty(0)):
            logits, loss = self._forward(batch, labels)
            loss(logits)
        return sum(storages.values())


def _caveats(network: nn.Module) -> tuple[str, ...]:
    by_batch = [
        name
        for name, module in network.named_modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_mean is None
    ]
    if not by_batch:
        return ()
    return (
        f"{', '.join(by_batch)} normalize by the statistics of each batch (track_running_stats=False): curvature "
        "depends on how the data is batched.",
    )


def check_finite(number: float) -> None:
    """Refuse second derivatives that are NaN or infinite.

    Raises:
        InvalidInputError: This one is.
    """
    if not math.isfinite(number):
        raise InvalidInputError(
            "the loss must have finite second derivatives, got NaN or infinity. Look for roots, norms and divisions "
            "at 0 in the network and the loss, or measure in float64."
        )


def _hessian(logits: Tensor, loss: Callable[[Tensor], Tensor], parameters: Sequence[Tensor]) -> Linear:
    return _GradientGraph([loss(logits)], parameters).derivative(parameters)


def _once_differentiable(reason: str) -> InvalidInputError:
    return InvalidInputError(
        f"the network must consist of operations that can be differentiated twice, but: {reason}. Write that "
        "operation with others that can be, or measure what needs first derivatives only."
    )


@contextmanager
def _telling_what_is_once_differentiable() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        if "is not implemented" not in str(error):
            raise
        raise _once_differentiable(str(error).rstrip(".")) from error


def _gauss_newton(logits: Tensor, loss: Callable[[Tensor], Tensor], parameters: Sequence[Tensor]) -> Linear:
    weights = torch.zeros_like(logits, requires_grad=True)  # Jᵀw is linear in w: its derivative is J, whatever w
    jacobian = _GradientGraph([logits], parameters, [weights]).derivative([weights])
    outputs = logits.detach().requires_grad_()
    of_loss = _GradientGraph([loss(outputs)], [outputs]).derivative([outputs])

    def linear(vectors: Sequence[Tensor], receive: Receive) -> None:
        changes, products = torch.zeros_like(logits), torch.zeros_like(logits)
        jacobian(vectors, lambda _, part: changes.add_(part))
        of_loss([changes], lambda _, part: products.add_(part))
        if logits.requires_grad:
            each_part([logits], parameters, receive, weights=[products], retain_graph=True)

    return linear


LINEAR_MAPS: Mapping[str, Callable[[Tensor, Callable[[Tensor], Tensor], Sequence[Tensor]], Linear]] = {
    "hessian": _hessian,
    "gauss-newton": _gauss_newton,
}


class _GradientGraph:
    """Where in the graph of autograd the parts of gradients are made; the gradients themselves are not kept."""

    def __init__(
        self, outputs: Sequence[Tensor], inputs: Sequence[Tensor], weights: Sequence[Tensor] | None = None
    ) -> None:
        self.edges: list[tuple[GradientEdge, int]] = []
        if any(output.requires_grad for output in outputs):
            with _telling_what_is_once_differentiable():
                each_part(outputs, inputs, self._note, weights=weights, create_graph=True)
        if any(node.name() == "torch::autograd::Error" for node in nodes_behind(edge.node for edge, _ in self.edges)):
            raise _once_differentiable("a function of the network's own is marked with @once_differentiable")

    def derivative(self, inputs: Sequence[Tensor]) -> Linear:
        """Return the linear map from weights of the gradients to the gradients of their weighted sum."""

        def linear(vectors: Sequence[Tensor], receive: Receive) -> None:
            if self.edges:
                edges, numbers = zip(*self.edges, strict=True)
                with _telling_what_is_once_differentiable():
                    each_part(edges, inputs, receive, weights=[vectors[each] for each in numbers], retain_graph=True)

        return linear

    def _note(self, index: int, part: Tensor) -> None:
        if part.requires_grad:
            self.edges.append((get_gradient_edge(part), index))
