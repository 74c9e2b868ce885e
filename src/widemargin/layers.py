"""Choosing layers of a borrowed network by name, and tapping what flows through them.

A layer is one call of a module, named by the module's dotted path; where a module is called several times
in one forward pass, its calls are ``path@1``, ``path@2``, … . The network's input is the layer ``input``.
"""

import copy
import difflib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import Node

from widemargin.batches import Batch
from widemargin.errors import LayerNotFoundError
from widemargin.trained_model import TrainedModel, checked_logits

__all__ = ["INPUT", "LayerChoice", "choose_layers", "network_input", "tapped"]

INPUT = "input"
"""Name of the layer that is the network's input."""

NUM_HIDDEN_POINTS = 3
"""Hidden points that "auto" chooses (Jiang et al. 2019, section 4)."""


@dataclass(frozen=True)
class LayerChoice:
    """Layers that have a margin, in the order of the forward pass, and those that were left out.

    Attributes:
        names: Names of the chosen layers.
        skipped: For each matching layer that was left out, the reason.
    """

    names: tuple[str, ...]
    skipped: Mapping[str, str]


def choose_layers(trained: TrainedModel, layers: str | Sequence[str] = "auto") -> LayerChoice:
    """Return the layers that a request names.

    Args:
        trained: The borrowed network; its first training examples are sent through it once.
        layers: ``"auto"``, or one or several dotted names and globs. ``"auto"`` is what the network names in
            its attribute ``margin_layers``; without one, the input and three hidden points that all
            information passes through, equally spaced over the depth counted in weight layers.

    Raises:
        LayerNotFoundError: A name or glob matches nothing, a layer that was named exactly has no margin,
            or none of the matches has one.

    Example:
        >>> import torch
        >>> net = torch.nn.Sequential(torch.nn.Linear(2, 5), torch.nn.ReLU(), torch.nn.Linear(5, 3))
        >>> trained = TrainedModel(net, (torch.randn(6, 2), torch.arange(6) % 3))
        >>> choose_layers(trained).names
        ('input', '1')
    """
    if layers == "auto":
        layers = getattr(trained.network, "margin_layers", "auto")
    survey = _survey(trained, finds_cuts=layers == "auto")
    if layers == "auto":
        return _equally_spaced(survey)
    patterns = (layers,) if isinstance(layers, str) else tuple(layers)
    if not patterns:
        raise LayerNotFoundError('layers must name at least one layer, got none. Use "auto" to have them chosen.')
    matched: set[str] = set()
    for pattern in patterns:
        matches = [name for name in survey.reasons if _matches(name, pattern)]
        if not matches:
            raise LayerNotFoundError(_no_match(pattern, survey))
        if len(matches) == 1 and matches[0] == pattern and survey.reasons[pattern]:
            raise LayerNotFoundError(f"layer {pattern!r} has no margin: {survey.reasons[pattern]}.")
        matched.update(matches)
    names = tuple(name for name, reason in survey.reasons.items() if name in matched and not reason)
    skipped = {name: reason for name, reason in survey.reasons.items() if name in matched and reason}
    if not names:
        told = "; ".join(f"{name}: {reason}" for name, reason in skipped.items())
        raise LayerNotFoundError(f"none of the layers that match {', '.join(patterns)} has a margin: {told}.")
    return LayerChoice(names, skipped)


@contextmanager
def tapped(network: nn.Module, names: Sequence[str]) -> Iterator[dict[str, Tensor]]:
    """Fill the yielded mapping with the activation of each named layer at every forward pass.

    Each activation belongs to its point alone: what flows on is a copy, so that in-place operations
    behind a point change neither its value nor its gradient. The hooks come off on leaving.
    """
    activations: dict[str, Tensor] = {}
    calls: Counter[str] = Counter()

    def tap(name: str, value: Tensor) -> Tensor:
        point = value if value.requires_grad and name != INPUT else value.detach().requires_grad_(True)
        activations[name] = point
        return point.clone()

    def begin(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any] | None:
        calls.clear()
        activations.clear()
        if INPUT not in names:
            return None
        value = _inputs(args, kwargs)[0]
        return _exchanged(args, kwargs, {id(value): tap(INPUT, value)})

    def hook_of(path: str) -> Callable[[nn.Module, Any, Any], Any]:
        def hook(_: nn.Module, __: Any, output: Any) -> Any:
            calls[path] += 1
            for name in (path, f"{path}@{calls[path]}"):
                if name in names and (value := _first_floating(output)) is not None:
                    return _replaced(output, value, tap(name, value))
            return None

        return hook

    paths = {name.partition("@")[0] for name in names}
    with ExitStack() as stack:
        stack.callback(activations.clear)
        stack.enter_context(network.register_forward_pre_hook(begin, with_kwargs=True))
        for path, module in _modules(network):
            if path in paths:
                stack.enter_context(module.register_forward_hook(hook_of(path)))
        yield activations


def network_input(trained: TrainedModel, batch: Batch) -> Tensor | None:
    """Return what the network is first called with on a batch, without running it; None where that is no number.

    Call it while the network is borrowed.
    """

    def stop(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        found = _inputs(args, kwargs)
        raise _CalledWith(found[0] if found else None)

    value = None
    with trained.network.register_forward_pre_hook(stop, with_kwargs=True):
        try:
            trained.logits(batch)
        except _CalledWith as call:
            value = call.value
    return value if value is not None and value.is_floating_point() else None


class _CalledWith(BaseException):  # no Exception, which a user's forward may catch
    """Ends a forward pass of which only the input is wanted."""

    def __init__(self, value: Tensor | None) -> None:
        self.value = value


@dataclass
class _Survey:
    """What one forward pass of a few examples shows of a network's layers."""

    reasons: dict[str, str] = field(default_factory=dict)  # layer → why it has no margin; "" where it has one
    depths: dict[str, int] = field(default_factory=dict)  # layer → weight layers up to and with it
    cuts: list[str] = field(default_factory=list)  # layers that every path from input to logits crosses
    total_depth: int = 0  # weight layers up to the logits


@dataclass(frozen=True)
class _Call:
    """One call of a module: what came out of it, and after how many weight layers."""

    path: str
    depth: int
    shape: torch.Size | None  # of the first floating-point tensor in the output
    node: Node | None  # of that tensor in the autograd graph


@dataclass
class _Recording:
    """What was seen during one forward pass."""

    num_examples: int
    calls: list[_Call] = field(default_factory=list)
    inputs: list[Tensor | None] = field(default_factory=list)  # of each call of the network
    sources: list[Tensor] = field(default_factory=list)  # leaves where information comes in; the first is the input
    paths: list[str] = field(default_factory=list)  # of all modules, called or not
    depth: int = 0

    def as_source(self, value: Tensor) -> Tensor:
        self.sources.append(value.detach().requires_grad_(True))
        return self.sources[-1].clone()

    def begin(self, _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any]:
        found = _inputs(args, kwargs)
        self.inputs.append(found[0] if found else None)
        return _exchanged(
            args, kwargs, {id(each): self.as_source(each) for each in found if each.is_floating_point()}
        )

    def hook_of(self, path: str, module: nn.Module) -> Callable[[nn.Module, Any, Any], Any]:
        is_weight_layer = any(weight is not None and weight.ndim >= 2 for weight in module._parameters.values())

        def hook(_: nn.Module, __: Any, output: Any) -> Any:
            self.depth += is_weight_layer
            value = _first_floating(output)
            if value is None:
                self.calls.append(_Call(path, self.depth, None, None))
                return None
            # A copy gives the call a node of its own, which in-place operations behind it leave alone.
            fresh = value.clone() if self.sources and value.requires_grad else self.as_source(value)
            self.calls.append(_Call(path, self.depth, fresh.shape, fresh.grad_fn))
            return _replaced(output, value, fresh)

        return hook


def _record(trained: TrainedModel) -> tuple[_Recording, Tensor]:
    """Send the first two training examples through the network and return what was seen, and the logits."""
    with trained.borrowed() as network, torch.enable_grad(), ExitStack() as stack:
        batch, labels = next(trained.batches("train"))
        seen = _Recording(num_examples=min(len(labels), 2))
        batch = _first_examples(batch, len(labels), seen.num_examples)
        stack.enter_context(network.register_forward_pre_hook(seen.begin, with_kwargs=True))
        for path, module in _modules(network):
            if path:
                seen.paths.append(path)
                stack.enter_context(module.register_forward_hook(seen.hook_of(path, module)))
        logits = trained.logits(batch)
    checked_logits(logits, labels[: seen.num_examples])
    return seen, logits


def _survey(trained: TrainedModel, *, finds_cuts: bool) -> _Survey:
    seen, logits = _record(trained)
    graph = _edges(logits)
    reached = _reachable(graph, logits.grad_fn, without=None)
    sources = {_node_of(leaf) for leaf in seen.sources} & reached
    total_depth = max((call.depth for call in seen.calls if call.node in reached), default=0)
    survey = _Survey(depths={INPUT: 0}, total_depth=total_depth)
    if not seen.inputs:
        survey.reasons[INPUT] = "the forward function does not call the network itself"
    elif seen.inputs[0] is None:
        survey.reasons[INPUT] = "the network is called without a tensor"
    elif not seen.inputs[0].is_floating_point():
        survey.reasons[INPUT] = "its integers (tokens, say) have no gradient"
    else:
        is_reached = _node_of(seen.sources[0]) in reached
        survey.reasons[INPUT] = _why_without_margin(seen.inputs[0].shape, seen.num_examples, is_reached)
    num_calls = Counter(call.path for call in seen.calls)
    so_far: Counter[str] = Counter()
    for call in seen.calls:
        so_far[call.path] += 1
        name = call.path if num_calls[call.path] == 1 else f"{call.path}@{so_far[call.path]}"
        survey.depths[name] = call.depth
        survey.reasons[name] = _why_without_margin(call.shape, seen.num_examples, call.node in reached)
        is_hidden = finds_cuts and not survey.reasons[name] and call.depth < total_depth
        if is_hidden and sources and not sources & _reachable(graph, logits.grad_fn, without=call.node):
            survey.cuts.append(name)
    for path in seen.paths:
        if path not in num_calls:
            survey.reasons[path] = "the forward pass does not call it"
    return survey


def _why_without_margin(shape: torch.Size | None, num_examples: int, is_reached: bool) -> str:
    """Return the reason why a tensor has no margin per example, "" where it has one."""
    if shape is None:
        return "it returns no floating-point tensor"
    if len(shape) == 0 or shape[0] != num_examples:
        return f"its shape is {list(shape)} for {num_examples} examples, which must come first"
    return "" if is_reached else "no gradient flows to it from the logits (unused, or behind detach or no_grad)"


def _equally_spaced(survey: _Survey) -> LayerChoice:
    """Return the input and, nearest to a quarter, half and three quarters of the depth, three cuts.

    Where the input has no margin, the first cut stands for it: what tokens are embedded to.
    """
    reason = survey.reasons[INPUT]
    cuts = [name for name in survey.cuts if survey.depths[name] > 0]
    first = cuts[:1] if reason else [INPUT]
    at_depth = {survey.depths[name]: name for name in cuts if name not in first}  # the last of each
    total = survey.total_depth
    chosen: set[int] = set()
    for point in range(1, NUM_HIDDEN_POINTS + 1):
        target = total * point / (NUM_HIDDEN_POINTS + 1)
        free = [depth for depth in at_depth if depth not in chosen]
        if free:
            chosen.add(min(free, key=lambda depth: (abs(depth - target), depth)))
    names = (*first, *(at_depth[depth] for depth in sorted(chosen)))
    if not reason:
        return LayerChoice(names, {})
    if not names:
        others = ", ".join(name for name, why in survey.reasons.items() if not why) or "none"
        raise LayerNotFoundError(
            f"no layer found to take margins at (input: {reason}). Name layers with layers=[…], or in the network's "
            f"attribute margin_layers; it has {others}."
        )
    return LayerChoice(names, {INPUT: reason})


def _matches(name: str, pattern: str) -> bool:
    return name == pattern or name.partition("@")[0] == pattern or fnmatchcase(name, pattern)


def _no_match(pattern: str, survey: _Survey) -> str:
    near = difflib.get_close_matches(pattern, survey.reasons, n=3)
    known = ", ".join(near) if near else ", ".join(list(survey.reasons)[:8])
    return (
        f"no layer matches {pattern!r}; expected a dotted module name, a glob or 'input'. "
        f"{'Did you mean' if near else 'The network has'}: {known}{'?' if near else '.'}"
    )


def _modules(network: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield every module with its dotted path, without the steps that wrappers put in."""
    for path, module in network.named_modules():
        if "_orig_mod" not in module._modules:
            yield ".".join(part for part in path.split(".") if part != "_orig_mod"), module


def _first_examples(batch: Batch, num_all: int, num_wanted: int) -> Batch:
    if isinstance(batch, Tensor):
        return batch[:num_wanted] if batch.ndim and len(batch) == num_all else batch
    if isinstance(batch, Mapping):
        return {key: _first_examples(value, num_all, num_wanted) for key, value in batch.items()}
    if isinstance(batch, tuple | list):
        return [_first_examples(value, num_all, num_wanted) for value in batch]
    return batch


def _inputs(args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Tensor]:
    """Return the tensors a network is called with, the one first that is its layer "input".

    Numbers come before integers; by keyword, what is named as an input stands for all, and masks are none.
    """
    named = [key for key in kwargs if key.startswith(("input", "pixel"))]
    wanted = named or [key for key in kwargs if "mask" not in key]
    found = [each for each in (*args, *(kwargs[key] for key in wanted)) if isinstance(each, Tensor)]
    return sorted(found, key=lambda each: not each.is_floating_point())


def _exchanged(
    args: tuple[Any, ...], kwargs: dict[str, Any], fresh: Mapping[int, Tensor]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return arguments with some tensors, known by their identity, exchanged."""
    return (
        tuple(fresh.get(id(entry), entry) for entry in args),
        {key: fresh.get(id(entry), entry) for key, entry in kwargs.items()},
    )


def _first_floating(output: Any) -> Tensor | None:
    if isinstance(output, Tensor):
        return output if output.is_floating_point() else None
    entries = output.values() if isinstance(output, Mapping) else output if isinstance(output, tuple | list) else ()
    return next((value for entry in entries if (value := _first_floating(entry)) is not None), None)


def _replaced(output: Any, old: Tensor, new: Tensor) -> Any:
    """Return the output with one tensor exchanged, in a container of the same type."""
    if output is old:
        return new
    if isinstance(output, Mapping):
        fresh = copy.copy(output)
        for key, entry in output.items():
            fresh[key] = _replaced(entry, old, new)  # type: ignore[index]  # outputs are dicts of some kind
        return fresh
    if isinstance(output, tuple | list):
        entries = [_replaced(entry, old, new) for entry in output]
        return type(output)(*entries) if hasattr(output, "_fields") else type(output)(entries)
    return output


def _node_of(leaf: Tensor) -> Node | None:
    """Return the node that collects a leaf's gradient."""
    with torch.inference_mode(False), torch.enable_grad():
        return leaf.view_as(leaf).grad_fn.next_functions[0][0]  # type: ignore[union-attr]  # it requires grad


def _edges(logits: Tensor) -> dict[Node, list[Node]]:
    graph: dict[Node, list[Node]] = {}
    waiting = [logits.grad_fn] if logits.grad_fn is not None else []
    while waiting:
        node = waiting.pop()
        if node not in graph:
            graph[node] = [following for following, _ in node.next_functions if following is not None]
            waiting.extend(graph[node])
    return graph


def _reachable(graph: Mapping[Node, Sequence[Node]], start: Node | None, without: Node | None) -> set[Node]:
    """Return the nodes that gradients starting at the logits reach when one node is taken out."""
    found: set[Node] = set()
    waiting = [start] if start is not None and start is not without else []
    while waiting:
        node = waiting.pop()
        if node not in found:
            found.add(node)
            waiting.extend(following for following in graph.get(node, ()) if following is not without)
    return found
