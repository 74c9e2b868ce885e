import pytest
import torch
from torch import nn

from widemargin.networks import MLP, has_stacked_forward, stacked_logits
from widemargin.parameters import ParameterSpace


def points(network: nn.Module, num: int = 4) -> tuple[ParameterSpace, torch.Tensor]:
    space = ParameterSpace.of(network)
    return space, torch.randn(num, space.num_parameters, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("one_logit", [False, True])
@pytest.mark.parametrize("are_shared", [False, True])
@pytest.mark.parametrize(
    "make",
    [
        lambda one_logit: MLP(2, (2, 3), hidden=(5, 4), one_logit=one_logit),
        lambda one_logit: nn.Sequential(nn.Flatten(), nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 2 - one_logit)),
    ],
)
def test_gives_what_each_network_gives_alone(make, are_shared, one_logit):
    torch.manual_seed(0)
    network = make(one_logit)
    space, stack = points(network)
    inputs = torch.randn(7, 2, 3) if are_shared else torch.randn(4, 7, 2, 3)
    found = stacked_logits(network, space, stack, inputs, are_shared=are_shared)
    for index, point in enumerate(stack):
        with torch.no_grad():
            for name, value in space.named(point).items():
                network.get_parameter(name).copy_(value)
            expected = network(inputs if are_shared else inputs[index])
        torch.testing.assert_close(found[index], expected, rtol=1e-4, atol=1e-5)


def test_its_gradients_are_those_of_vectorizing(monkeypatch):
    torch.manual_seed(0)
    network = MLP(3, (4,), hidden=(6, 5))
    space, stack = points(network)
    inputs = torch.randn(9, 4)
    gradients = []
    for own in (True, False):
        monkeypatch.setattr(MLP, "can_be_stacked", own)
        leaf = stack.clone().requires_grad_()
        logits = stacked_logits(network, space, leaf, inputs, are_shared=True)
        gradients.append(torch.autograd.grad((logits**2).sum(), leaf)[0])
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-4)


class Tripled(MLP):
    def forward(self, inputs):
        return 3 * super().forward(inputs)


def changed(change) -> MLP:
    network = MLP(3, (4,), hidden=(6, 5))
    change(network)
    return network


@pytest.mark.parametrize(
    "make",
    [
        lambda: Tripled(3, (4,), hidden=(6, 5)),
        lambda: changed(lambda network: setattr(network, "activation", nn.Tanh())),
        lambda: changed(lambda network: network.head.register_forward_hook(lambda *call: 3 * call[2])),
        lambda: changed(lambda network: setattr(network, "dropout", nn.Dropout(0.5))),
    ],
)
def test_a_changed_network_is_taken_as_it_is(make):
    network = make().eval()
    assert not has_stacked_forward(network)
    space, inputs = ParameterSpace.of(network), torch.randn(5, 4)
    found = stacked_logits(network, space, space.flat(network).repeat(2, 1), inputs, are_shared=True)
    torch.testing.assert_close(found[1], network(inputs))


def test_only_plain_perceptrons_bring_their_own_way():
    assert has_stacked_forward(MLP())
    assert not has_stacked_forward(MLP(batch_norm=True))
    assert not has_stacked_forward(MLP(dropout=0.1))
    assert not has_stacked_forward(nn.Linear(2, 2))
