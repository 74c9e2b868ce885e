"""Gradients one by one against autograd's own."""

import pytest
import torch
from torch import nn

from curvature.known_curvature import NETWORKS, trained_network
from widemargin import gradients
from widemargin.gradients import each_part, leaf


@pytest.fixture(autouse=True, params=["small", "large"])
def _size(request, monkeypatch):
    monkeypatch.setattr(gradients, "BYTES_AT_ONCE", 2**25 if request.param == "small" else 0)


@pytest.mark.parametrize("name", NETWORKS)
def test_their_sums_are_those_of_autograd(name):
    trained = trained_network(name)
    parameters = [parameter for parameter in trained.network.parameters() if parameter.requires_grad]
    found = [torch.zeros_like(parameter) for parameter in parameters]
    batch, labels = next(trained.batches())
    loss = trained.losses(trained.logits(batch), labels).sum()
    expected = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True, materialize_grads=True)
    each_part([loss], parameters, lambda index, part: found[index].add_(part))
    torch.testing.assert_close(found, list(expected))


@pytest.mark.parametrize("view", [lambda w: w, lambda w: w.T, lambda w: w.view(6), lambda w: w.unsqueeze(0)])
def test_a_large_weight_that_is_used_twice_has_two_parts(view, monkeypatch):
    monkeypatch.setattr(gradients, "BYTES_AT_ONCE", 0)
    weight, parts = torch.randn(2, 3, requires_grad=True), []
    outputs = [(view(weight) ** 2).sum() + (view(weight).flatten()[:2] ** 3).sum()]
    (expected,) = torch.autograd.grad(outputs, [weight], retain_graph=True)
    each_part(outputs, [weight], lambda index, part: parts.append(part.clone()))
    assert len(parts) == 2
    torch.testing.assert_close(sum(parts), expected)


def test_weights_and_inputs_that_nothing_depends_on():
    first, unused = torch.tensor([1.0, 2.0], requires_grad=True), torch.ones(3, requires_grad=True)
    found = {}
    each_part([first**2], [unused, first], found.__setitem__, weights=[torch.tensor([1.0, 10.0])])
    assert {index: gradient.tolist() for index, gradient in found.items()} == {1: [2.0, 40.0]}


def test_hooks_do_not_stay_after_an_error():
    weight = torch.ones(2, requires_grad=True)

    def fail(index, gradient):
        raise KeyError(index)

    with pytest.raises(KeyError):
        each_part([weight.sum()], [weight], fail)
    assert not weight._backward_hooks


def test_a_leaf_shares_the_memory_of_what_it_stands_for():
    weight = nn.Parameter(torch.ones(2), requires_grad=False)
    assert leaf(weight).data_ptr() == weight.data_ptr()
    assert leaf(weight).requires_grad
    assert not weight.requires_grad


def test_a_leaf_of_an_inference_tensor_is_a_copy():
    with torch.inference_mode():
        weight = torch.ones(2)
    assert leaf(weight).requires_grad


def test_an_output_may_be_a_view_of_an_input():
    weight, found = torch.randn(2, 3, requires_grad=True), torch.zeros(2, 3)
    weights = torch.randn(3, 2)
    each_part([weight.T], [weight], lambda index, part: found.add_(part), weights=[weights])
    torch.testing.assert_close(found, weights.T)
