"""Gradients one by one against autograd's own."""

import pytest
import torch
from torch import nn

from widemargin.gradients import each_gradient, leaf


def test_they_are_those_of_autograd():
    network = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    parameters, found = list(network.parameters()), {}
    loss = network(torch.randn(5, 3)).square().sum()
    expected = torch.autograd.grad(loss, parameters, retain_graph=True)
    each_gradient([loss], parameters, lambda index, gradient: found.update({index: gradient.clone()}))
    torch.testing.assert_close([found[index] for index in range(4)], list(expected))


def test_weights_and_inputs_that_nothing_depends_on():
    first, unused = torch.tensor([1.0, 2.0], requires_grad=True), torch.ones(3, requires_grad=True)
    found = {}
    each_gradient([first**2], [unused, first], found.__setitem__, weights=[torch.tensor([1.0, 10.0])])
    assert {index: gradient.tolist() for index, gradient in found.items()} == {1: [2.0, 40.0]}


def test_hooks_do_not_stay_after_an_error():
    weight = torch.ones(2, requires_grad=True)

    def fail(index, gradient):
        raise KeyError(index)

    with pytest.raises(KeyError):
        each_gradient([weight.sum()], [weight], fail)
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
