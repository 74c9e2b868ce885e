import pytest
import torch
from torch import nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from widemargin import TrainedModel, hessian_trace, measure_all
from widemargin.curvature import CurvatureProduct
from widemargin.curvature.second_derivatives import TwiceDifferentiable
from widemargin.errors import InvalidInputError

POINTS = torch.linspace(-4, 4, 4001)
DATA = torch.randn(40, 3, 6, 6, generator=torch.Generator().manual_seed(0)), torch.arange(40) % 3


def test_values_are_the_same_bits_and_slopes_the_same():
    for points in (POINTS, POINTS.double()):
        leaf = points.clone().requires_grad_()
        expected = functional.hardsigmoid(leaf)
        with TwiceDifferentiable():
            found = functional.hardsigmoid(leaf)
        assert torch.equal(found, expected)
        slopes = [torch.autograd.grad(each.sum(), leaf)[0] for each in (found, expected)]
        torch.testing.assert_close(*slopes, rtol=1e-6, atol=0)


@pytest.mark.parametrize("call", [torch._C._nn.hardsigmoid_, lambda x: functional.hardsigmoid(x, inplace=True)])
def test_edits_its_input_where_asked_to(call):
    values = POINTS.clone()
    with TwiceDifferentiable():
        assert call(values) is values
    assert torch.equal(values, functional.hardsigmoid(POINTS))


class Gate(nn.Module):
    """Squeeze and excitation, as mobile networks have it."""

    def __init__(self, gate: nn.Module, inplace: bool) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(4, 2, 1), nn.ReLU(inplace), nn.Conv2d(2, 4, 1), gate
        )

    def forward(self, inputs):
        return self.layers(inputs) * inputs


class WrittenOut(nn.Module):
    """The same function by operations that need no help."""

    def forward(self, inputs):
        return (inputs + 3).clamp(0, 6) / 6


def mobile(gate: nn.Module, inplace: bool = False) -> TrainedModel:
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Hardswish(inplace), Gate(gate, inplace), nn.Conv2d(4, 4, 3),
        nn.ReLU(inplace), nn.Flatten(), nn.Linear(16, 8), nn.Hardswish(inplace), nn.Dropout(0.2, inplace),
        nn.Linear(8, 3),
    )  # fmt: skip
    return TrainedModel(network.double(), DATA)


@pytest.mark.parametrize("inplace", [False, True])
def test_a_network_with_gates_has_a_hessian(inplace):
    found = hessian_trace(mobile(nn.Hardsigmoid(inplace), inplace))
    assert found.value == pytest.approx(hessian_trace(mobile(WrittenOut())).value, rel=1e-9)


@pytest.mark.parametrize("inplace", [False, True])
def test_no_measure_fails_for_want_of_a_derivative(inplace):
    frame = measure_all(mobile(nn.Hardsigmoid(inplace), inplace), num_sampled=20)
    assert not [reason for reason in frame["reason"] if "Error" in reason or "differentiated" in reason]
    assert frame.loc["top_hessian_eigenvalue", "status"] == "measured"


class Normalized(nn.Module):
    """Weight normalization written out."""

    def __init__(self, dim: int | None) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, length, direction):
        others = None if self.dim is None else 1 - self.dim
        return length * direction / torch.linalg.vector_norm(direction, dim=others, keepdim=True)


@pytest.mark.parametrize("dim", [0, 1, None])
@pytest.mark.parametrize("style", [nn.utils.parametrizations.weight_norm, nn.utils.weight_norm])
@pytest.mark.filterwarnings("ignore:.*weight_norm.* is deprecated:FutureWarning")
def test_a_weight_that_is_normalized_has_the_hessian_of_its_definition(style, dim):
    torch.manual_seed(0)
    plain = style(nn.Linear(3, 2), dim=dim).double()
    written = nn.utils.parametrizations.weight_norm(nn.Linear(3, 2), dim=dim).double()
    written.parametrizations.weight[0] = Normalized(dim)
    for own, other in zip(plain.parameters(), written.parameters(), strict=True):
        other.data.copy_(own)
    data = torch.randn(9, 3), torch.arange(9) % 2
    found, expected = (CurvatureProduct(TrainedModel(network, data)) for network in (plain, written))
    units = torch.eye(found.num_parameters, dtype=torch.float64)
    torch.testing.assert_close(found(units), expected(units))


class Distances(nn.Linear):
    def forward(self, inputs):
        return -torch.cdist(inputs, self.weight, p=1)


class Once(torch.autograd.Function):
    @staticmethod
    def forward(ctx, inputs):
        ctx.save_for_backward(inputs)
        return inputs**2

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        return 2 * ctx.saved_tensors[0] * gradient


class Squared(nn.Linear):
    def forward(self, inputs):
        return Once.apply(super().forward(inputs))


@pytest.mark.parametrize(("kind", "named"), [(Distances, "_cdist_backward"), (Squared, "once_differentiable")])
def test_what_cannot_be_differentiated_twice_is_named(kind, named):
    trained = TrainedModel(kind(2, 3), (torch.randn(9, 2), torch.arange(9) % 3))
    pattern = (
        rf"^the network must consist of operations that can be differentiated twice, but: .*{named}[^.]*\. Write "
        r"that operation with others that can be, or measure what needs first derivatives only\.$"
    )
    with pytest.raises(InvalidInputError, match=pattern):
        hessian_trace(trained)
    frame = measure_all(trained, ["hessian_trace", "sam_sharpness"])
    assert "differentiated twice" in frame.loc["hessian_trace", "reason"]
    assert frame.loc["sam_sharpness", "status"] == "measured"
