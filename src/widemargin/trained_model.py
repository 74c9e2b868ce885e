"""The borrowed network with the data it was trained on."""

import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.parameter import is_lazy
from torch.utils.data import DataLoader

from widemargin.batches import Batch, Fields, arguments, as_batches, as_mapping, contents, labels_of, transferred
from widemargin.errors import EmptyDataError, InvalidInputError, InvalidLabelsError, InvalidLogitsError

__all__ = ["TrainedModel"]

T = TypeVar("T")


def cross_entropy_per_example(logits: Tensor, labels: Tensor) -> Tensor:
    """Return −log p(label) of each example [nats]; for two classes as the logistic loss, which is far quicker."""
    logits = logits if logits.dtype == torch.float64 else logits.float()
    if logits.shape[1] == 2:
        return -nn.functional.logsigmoid((logits[:, 1] - logits[:, 0]) * (2 * labels.long() - 1))
    return nn.functional.cross_entropy(logits, labels.long(), reduction="none")


@dataclass(frozen=True, eq=False)
class TrainedModel:
    """A trained classifier, borrowed together with its data.

    Nothing that is called on this record changes the network: parameters, buffers, gradients,
    ``requires_grad``, train/eval mode, hooks and random state come back bit-identical, after an exception
    and after Ctrl-C too.

    Attributes:
        model: Any classifier; compiled and data-parallel wrappers are looked through.
        train_data: What the network was trained on, un-augmented, with the labels it was trained on:
            batches that can be iterated again and again (a ``DataLoader``, a list), a ``Dataset``, or
            tensors ``(inputs, labels)`` or ``(inputs, more inputs, labels)``. Batches are such tuples, too, or
            mappings or objects (dataclasses, say) with ``labels``, ``label`` or ``y``; objects become mappings.
        test_data: Fresh examples in any of the same forms, if there are any.
        loss: Function of logits [examples, classes] and labels [examples] that returns one number per
            example. A network with one logit z of the second class (shape [examples] or [examples, 1]) stands for
            the two logits (0, z) here as everywhere, so that cross-entropy is the logistic loss.
        forward: Function of the model and a batch that returns logits [examples, classes]; entries of mappings are
            attributes, too. Default: the network is called with what stands before the labels in a tuple; by keyword
            with the entries of a mapping but the labels, or with all of it where it does not take those; of the
            output a tensor, the ``logits`` of an object or mapping, or the first entry of a tuple.
        initial_parameters: The parameters by name before training, for measures that need them.
        batch_size: How many examples go through the network at once where the data is not batched yet.

    Raises:
        InvalidInputError: The model is no ``nn.Module`` with all of its parameters, or the data can be iterated only
            once.

    Example:
        >>> import torch
        >>> trained = TrainedModel(torch.nn.Linear(2, 3), (torch.randn(8, 2), torch.arange(8) % 3))
        >>> sum(len(labels) for _, labels in trained.batches("train"))
        8
    """

    model: nn.Module
    train_data: Any
    test_data: Any = None
    loss: Callable[[Tensor, Tensor], Tensor] = cross_entropy_per_example
    forward: Callable[[nn.Module, Batch], Tensor] | None = None
    initial_parameters: Mapping[str, Tensor] | None = None
    batch_size: int = 250

    def __post_init__(self) -> None:
        if not isinstance(self.model, nn.Module):
            raise InvalidInputError(
                f"model must be a torch.nn.Module, got {type(self.model).__name__}. Wrap other callables in "
                "a module whose forward calls them."
            )
        if isinstance(self.model, torch.jit.ScriptModule):
            raise InvalidInputError(
                "model must be an eager torch.nn.Module, got TorchScript, inside of which no layer can be tapped. "
                "Hand over the network that it was made from."
            )
        if any(is_lazy(value) for value in (*self.model.parameters(), *self.model.buffers())):
            raise InvalidInputError(
                "model must have all of its parameters, got lazy layers without any. Send a batch through it first."
            )
        for name in ("train_data", "test_data"):
            if isinstance(getattr(self, name), Iterator):
                raise InvalidInputError(
                    f"{name} must be iterable more than once, got an iterator, which is used up by its first "
                    "pass. Hand over the loader itself, or list(...) of it."
                )

    @property
    def network(self) -> nn.Module:
        """The module inside any ``torch.compile`` and data-parallel wrappers."""
        model = self.model
        while (inner := _wrapped(model)) is not None:
            model = inner
        return model

    @property
    def device(self) -> torch.device:
        """Where the network lives."""
        return _device_and_precision(self.network)[0]

    def batches(self, split: str = "train") -> Iterator[tuple[Batch, Tensor]]:
        """Yield ``(batch, labels)`` on the network's device.

        Floating inputs come in the network's precision, unless a ``forward`` function of the user's takes them.

        Args:
            split: ``"train"`` or ``"test"``.

        Raises:
            EmptyDataError: There is no such data, or no batch came out of it.
            InvalidInputError: The data or a batch has a form that is not understood.
        """
        data = self.train_data if split == "train" else self.test_data
        if data is None:
            raise EmptyDataError(f"{split}_data is needed for this, and none was handed over.")
        device, dtype = _device_and_precision(self.network)
        is_empty = True
        for batch in as_batches(data, self.batch_size):
            moved = transferred(as_mapping(batch), device, dtype if self.forward is None else None)
            labels = labels_of(self.network, moved)
            if labels.numel():
                is_empty = False
                yield moved, labels
        if is_empty:
            raise EmptyDataError(
                f"{split}_data must yield at least one example, got none. Check the dataset's length, "
                "drop_last on small data, and that no generator was used up before."
            )

    def logits(self, batch: Batch) -> Tensor:
        """Return the network's raw scores [examples, classes] for one batch as it stands now.

        Raises:
            InvalidLogitsError: What comes out is no tensor.
            InvalidInputError: The network does not take what the batch holds.
        """
        logits: object
        if self.forward is not None:
            logits = self.forward(self.network, Fields(batch) if isinstance(batch, Mapping) else batch)
        else:
            args, kwargs = arguments(self.network, batch)
            try:
                logits = _logits_of(self.network(*args, **kwargs))
            except TypeError as error:
                raise InvalidInputError(
                    f"the network must take what a batch holds beside its labels ({contents(batch)}), but: {error}. "
                    "Hand over forward=lambda model, batch: … that calls it."
                ) from error
        if not isinstance(logits, Tensor):
            raise InvalidLogitsError(
                f"the network must return logits as a tensor, got {type(logits).__name__}. Hand over "
                "forward=lambda model, batch: … that picks them out."
            )
        return two_logits(logits) if logits.ndim == 1 or logits.shape[1:] == (1,) else logits

    def logits_at(self, parameters: Mapping[str, Tensor], batch: Batch) -> Tensor:
        """Return the logits of one batch with other parameters in place of the network's own.

        The network is not edited: this is a function of the parameters, to be differentiated and vectorized. Call
        it while the network is :meth:`borrowed`.

        Args:
            parameters: Tensors by the names of ``network.named_parameters()`` and, where wanted,
                ``named_buffers()``; those not named stay the network's own.
            batch: One batch as :meth:`batches` yields it.
        """
        return self.with_parameters(parameters, lambda: self.logits(batch))

    def with_parameters(self, parameters: Mapping[str, Tensor], function: Callable[[], T]) -> T:
        """Return what a function returns while the network has other parameters in place of its own.

        Gradients belong in it, too: layers under ``torch.utils.checkpoint`` are computed again on the way back.

        Args:
            parameters: As for :meth:`logits_at`.
            function: Called once.
        """
        inner = {f"network.{name}": value for name, value in parameters.items()}
        return cast(T, functional_call(_Functional(self.network), inner, (function,)))

    def losses(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the loss of each example.

        Raises:
            InvalidInputError: The loss function does not return one number per example.
        """
        losses = self.loss(logits, labels)
        if losses.shape != labels.shape:
            raise InvalidInputError(
                f"loss must return one number per example, shape {[len(labels)]}, got {list(losses.shape)}. "
                'Use reduction="none".'
            )
        return losses

    @contextmanager
    def borrowed(self) -> Iterator[nn.Module]:
        """Lend the network in evaluation mode; put everything back afterwards, whatever happens."""
        network = self.network
        modes = [(module, module.training) for module in network.modules()]
        names = [(module, set(module._buffers)) for module in network.modules()]
        parameters = [(module, dict(module._parameters)) for module in network.modules()]
        buffers = [
            (module, name, buffer, None if buffer is None else buffer.detach().clone())
            for module in network.modules()
            for name, buffer in module._buffers.items()
        ]
        cuda = sorted({parameter.device.index for parameter in network.parameters() if parameter.is_cuda})
        python_state, numpy_state = random.getstate(), np.random.get_state()
        generators = [(generator, generator.get_state()) for generator in self._generators()]
        whole_precision = torch.autocast(self.device.type, enabled=False)
        own_forward = _own_forward(network)
        with torch.random.fork_rng(cuda), torch.inference_mode(False), _eager(network), whole_precision, own_forward:
            try:
                for module, _ in modes:
                    module.training = False
                yield network
            finally:
                for module, training in modes:
                    module.training = training
                for module, own in parameters:  # Ctrl-C may come while a function call has others in their place
                    module._parameters.update(own)
                for module, known in names:
                    for late in [name for name in module._buffers if name not in known]:
                        del module._buffers[late]
                for module, name, buffer, saved in buffers:
                    module._buffers[name] = buffer
                    if buffer is not None and saved is not None and not torch.equal(buffer, saved):
                        with torch.no_grad():
                            buffer.copy_(saved)
                random.setstate(python_state)
                np.random.set_state(numpy_state)
                for generator, state in generators:
                    generator.set_state(state)

    def _generators(self) -> list[torch.Generator]:
        """Return the random generators that the loaders hold."""
        holders = [
            part
            for data in (self.train_data, self.test_data)
            if isinstance(data, DataLoader)
            for part in (data, data.sampler)
        ]
        found = [getattr(holder, "generator", None) for holder in holders]
        return [generator for generator in found if isinstance(generator, torch.Generator)]


class _Functional(nn.Module):
    """A function that uses a network as a module, so that the network's parameters can be exchanged by name."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, function: Callable[[], T]) -> T:
        return function()


def two_logits(logits: Tensor) -> Tensor:
    """Return one logit of the second class, [examples] or [examples, 1], as the two logits (0, z)."""
    column = logits.reshape(-1, 1)
    return torch.cat([torch.zeros_like(column), column], dim=1)


def checked_logits(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the logits in at least single precision, or say what is wrong with them or the labels.

    Raises:
        InvalidLogitsError: Not a finite floating table [examples, classes] with two classes or more.
        InvalidLabelsError: Not one integer class index per example, or out of range.
    """
    if logits.ndim != 2 or not logits.is_floating_point():
        raise InvalidLogitsError(
            "logits must be floating numbers of shape [examples, classes], got "
            f"{str(logits.dtype).removeprefix('torch.')} of shape {list(logits.shape)}. Hand over "
            "forward=lambda model, batch: … that returns that table."
        )
    num_classes = logits.shape[1]
    if num_classes < 2:
        raise InvalidLogitsError(
            f"logits must have one column per class (or be one logit per example for two classes), got {num_classes} "
            "columns. Hand over forward=lambda model, batch: … that returns that table."
        )
    check_labels(labels, len(logits), num_classes)
    if not bool(torch.isfinite(logits).all()):
        bad = int((~torch.isfinite(logits)).any(dim=1).sum())
        raise InvalidLogitsError(
            f"logits must be finite, got NaN or infinity for {bad} of {len(logits)} examples in a batch. The "
            "network has diverged, overflows its precision, or its inputs are not finite."
        )
    return logits if logits.dtype == torch.float64 else logits.float()


def check_labels(labels: Tensor, num_examples: int, num_classes: int, what: str = "labels") -> None:
    """Refuse labels that are not one class index per example; ``what`` names them in the message.

    Raises:
        InvalidLabelsError: Not one integer class index per example, or out of range.
    """
    if labels.ndim != 1 or labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
        raise InvalidLabelsError(
            f"{what} must be one integer class index per example, got "
            f"{str(labels.dtype).removeprefix('torch.')} of shape {list(labels.shape)}. Turn labels 0.0 and 1.0 into "
            "integers with labels.long(), one-hot rows with labels.argmax(1); soft labels have no margin."
        )
    if len(labels) != num_examples:
        raise InvalidLabelsError(
            f"{what} must be as many as the examples ({num_examples}), got {len(labels)}. If the network returns one "
            "row per token, hand over a forward that pools them."
        )
    smallest, largest = int(labels.min()), int(labels.max())
    if smallest < 0 or largest >= num_classes:
        hint = (
            "Leave out examples whose label is a placeholder."
            if smallest < 0
            else "If the classes are numbered from 1, subtract 1."
        )
        raise InvalidLabelsError(
            f"{what} must be integer class indices from 0 to below {num_classes} (the number of logits), got "
            f"a minimum of {smallest} and a maximum of {largest}. {hint}"
        )


def _wrapped(model: nn.Module) -> nn.Module | None:
    if isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel):
        return cast(nn.Module, model.module)
    return model._modules.get("_orig_mod")


def _eager(network: nn.Module) -> AbstractContextManager[object]:
    """Run compiled parts of the network uncompiled: hooks inside them would not be called otherwise."""
    is_compiled = any(
        module._compiled_call_impl is not None
        or "_orig_mod" in module._modules
        or hasattr(vars(module).get("forward"), "_torchdynamo_orig_callable")  # put there by Lightning
        for module in network.modules()
    )
    return torch.compiler.set_stance("force_eager") if is_compiled else nullcontext()


@contextmanager
def _own_forward(network: nn.Module) -> Iterator[None]:
    """Put the network's forward back where accelerate has put one in its place that computes in mixed precision."""
    own = vars(network)
    prepared = own.get("forward")
    if is_prepared := "_original_forward" in own:
        own["forward"] = own["_original_forward"]
    try:
        yield
    finally:
        if is_prepared:
            own["forward"] = prepared


def _device_and_precision(network: nn.Module) -> tuple[torch.device, torch.dtype | None]:
    """Return where the network lives, and its floating precision if all of it has one and the same."""
    tensors = [*network.parameters(), *network.buffers()]
    dtypes = {parameter.dtype for parameter in network.parameters() if parameter.is_floating_point()}
    device = tensors[0].device if tensors else torch.device("cpu")
    return device, dtypes.pop() if len(dtypes) == 1 else None


def _logits_of(output: Any) -> Any:
    if hasattr(output, "logits"):
        output = output.logits
    elif isinstance(output, Mapping) and "logits" in output:
        output = output["logits"]
    elif isinstance(output, tuple | list) and output:
        output = output[0]
    return output
