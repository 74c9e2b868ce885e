import numpy as np
import pytest
import torch
from torch import nn

from landscape.cases import (
    CASES,
    bowl,
    convolution,
    examples,
    flat,
    generator,
    interrupting,
    mlp,
    moved,
    naive_values,
    snapshot,
)
from widemargin import TrainedModel
from widemargin.errors import InvalidInputError
from widemargin.landscape.between import loss_between


def other(trained: TrainedModel) -> TrainedModel:
    step = torch.randn(len(flat(trained)), generator=generator(5)).to(flat(trained))
    return moved(trained, flat(trained) + step)


@pytest.mark.parametrize("batch_norm", ["kept", "re-estimated"])
@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_the_ends_are_the_two_networks(case, batch_norm):
    first, second = case(), other(case())
    if "BatchNorm" in str(first.model):
        with torch.no_grad():  # statistics of its own
            second.model[1].running_mean += 1
            second.model[1].running_var *= 2
    path = loss_between(first, second, num_points=5, batch_norm=batch_norm)
    assert path.coefficients.tolist() == [0.0, 0.25, 0.5, 0.75, 1.0]
    assert path.num_evaluations == 5
    if batch_norm == "re-estimated" and "BatchNorm" in str(first.model):
        for trained in (first, second):
            torch.optim.swa_utils.update_bn([x for x, _ in (b for b, _ in first.batches())], trained.model)
    for end, trained in ((0, first), (-1, second)):
        trained.model.eval()
        loss, accuracy = naive_values(trained)
        assert path.losses[end] == pytest.approx(loss, rel=1e-4)
        assert path.accuracies[end] == pytest.approx(accuracy)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_points_on_the_way_are_interpolated_networks(case):
    first, second = case(), other(case())
    path = loss_between(first, second, num_points=4, beyond=0.5)
    np.testing.assert_allclose(path.coefficients, np.arange(-2, 6) / 3)
    for c, loss in zip(path.coefficients, path.losses, strict=True):
        point = (1 - c) * flat(first) + c * flat(second)
        assert loss == pytest.approx(naive_values(moved(first, point))[0], rel=1e-4)


def test_kept_statistics_are_interpolated_too():
    first = TrainedModel(convolution(), examples((1, 6, 6)))
    second = other(first)
    with torch.no_grad():
        second.model[1].running_mean += 1
        second.model[1].running_var *= 2
    path = loss_between(first, second, num_points=3)
    halfway = moved(first, (flat(first) + flat(second)) / 2)
    with torch.no_grad():
        halfway.model[1].running_mean.add_(0.5)
        halfway.model[1].running_var.mul_(1.5)
    assert path.losses[1] == pytest.approx(naive_values(halfway)[0], rel=1e-5)


def test_beyond_goes_on_in_the_same_steps_and_at_least_as_far():
    trained = TrainedModel(mlp(), examples())
    for beyond, num in ((0.0, 0), (0.1, 1), (0.25, 1), (0.3, 2), (1.0, 4)):
        path = loss_between(trained, other(trained), num_points=5, beyond=beyond)
        np.testing.assert_allclose(path.coefficients, np.linspace(-num / 4, 1 + num / 4, 5 + 2 * num))


def test_a_bowl_between_has_its_closed_form_and_no_barrier():
    hessian, minimum = torch.eye(3, dtype=torch.float64), torch.zeros(3, dtype=torch.float64)
    first, second = bowl(hessian, minimum), bowl(hessian, minimum)
    with torch.no_grad():
        first.model.theta.copy_(torch.tensor([1.0, 0, 0]))
        second.model.theta.copy_(torch.tensor([0, 2.0, 0]))
    path = loss_between(first, second)
    c = path.coefficients
    np.testing.assert_allclose(path.losses, ((1 - c) ** 2 + 4 * c**2) / 2)
    assert path.barrier == 0


def test_the_barrier_is_the_largest_rise_above_the_line_between_the_ends():
    class Height(nn.Module):
        def __init__(self, at: float) -> None:
            super().__init__()
            self.theta = nn.Parameter(torch.tensor([at], dtype=torch.float64))

        def forward(self, x):
            height = (torch.pi * self.theta[0]).sin() + 3 * self.theta[0]
            return torch.stack([torch.zeros_like(height), height]).expand(len(x), 2)

    data = torch.zeros(2, 1), torch.tensor([0, 1])
    first, second = (TrainedModel(Height(at), data, loss=lambda logits, labels: logits[:, 1]) for at in (0.0, 1.0))
    path = loss_between(first, second, beyond=4.0)
    np.testing.assert_allclose(path.losses, np.sin(np.pi * path.coefficients) + 3 * path.coefficients, atol=1e-9)
    assert path.barrier == pytest.approx(1.0)  # beyond the ends the sine rises as high, but that is not between


def test_a_loss_that_is_not_finite_leaves_no_finite_barrier():
    first, second = TrainedModel(mlp(), examples()), TrainedModel(mlp(), examples())
    with torch.no_grad():
        second.model[0].weight.fill_(1e30)
        second.model[2].weight.fill_(1e30)
    path = loss_between(first, second, num_points=3)
    assert not np.isfinite(path.losses[1:]).any()
    assert not np.isfinite(path.barrier)
    assert path.num_not_finite == 2
    assert "2 of 3 losses are NaN or infinite." in path.caveats


def test_from_a_network_to_itself_nothing_changes():
    trained = CASES["convolution with BatchNorm"]()
    path = loss_between(trained, trained, num_points=3)
    assert len(set(path.losses)) == 1
    assert path.barrier == 0


def test_takes_the_first_networks_split():
    first = CASES["mlp"]()
    path = loss_between(first, TrainedModel(mlp(), []), num_points=2, split="test")
    assert path.losses[0] == pytest.approx(naive_values(first, "test")[0])


@pytest.mark.parametrize("at_call", [-1, 1, 2, 6])
@pytest.mark.parametrize("batch_norm", ["kept", "re-estimated"])
def test_leaves_both_networks_as_they_were(at_call, batch_norm):
    first, second = interrupting(at_call), interrupting(-1)
    with torch.no_grad():
        second.model.norm.running_mean += 1
        second.model.inner.bias += 1
    before = snapshot(first.model), snapshot(second.model)
    if at_call == -1:
        loss_between(first, second, batch_norm=batch_norm)
    else:
        with pytest.raises(KeyboardInterrupt):
            loss_between(first, second, batch_norm=batch_norm)
    assert (snapshot(first.model), snapshot(second.model)) == before


def test_says_which_parameter_differs_first():
    def network(width: int) -> TrainedModel:
        return TrainedModel(nn.Sequential(nn.Linear(5, width), nn.ReLU(), nn.Linear(width, 3)), examples())

    def linear(bias: bool) -> TrainedModel:
        return TrainedModel(nn.Linear(5, 3, bias=bias), examples())

    def normalized(is_tracking: bool) -> TrainedModel:
        model = nn.Sequential(nn.BatchNorm1d(5, track_running_stats=is_tracking), nn.Linear(5, 3))
        return TrainedModel(model, examples())

    for first, second, text in (
        (network(4), network(6), r"'0.weight' the first has shape \[4, 5\] and the second shape \[6, 5\]"),
        (linear(True), linear(False), r"'bias' the first has shape \[3\] and the second no such tensor"),
        (linear(False), linear(True), r"'bias' the first has no such tensor and the second shape \[3\]"),
        (normalized(True), normalized(False), r"'0.running_mean' the first has shape \[5\]"),
    ):
        with pytest.raises(InvalidInputError, match=text):
            loss_between(first, second)


def test_says_what_a_path_needs():
    trained = TrainedModel(mlp(), examples())
    with pytest.raises(InvalidInputError, match="num_points must be 2 or more, both ends included, got 1"):
        loss_between(trained, trained, num_points=1)
    for beyond in (-0.1, float("nan"), float("inf")):
        with pytest.raises(InvalidInputError, match="beyond must be 0 or more and finite"):
            loss_between(trained, trained, beyond=beyond)


class Offset(nn.Module):
    """Has a floating buffer that no BatchNorm would re-estimate."""

    def __init__(self, offset: float) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.inner = nn.Linear(5, 3)
        self.register_buffer("offset", torch.tensor([offset, 0.0, 0.0]))

    def forward(self, x):
        return self.inner(x) + self.offset


@pytest.mark.parametrize("batch_norm", ["kept", "re-estimated"])
def test_other_floating_buffers_are_interpolated_whatever_becomes_of_statistics(batch_norm):
    first, second = (TrainedModel(Offset(offset), examples()) for offset in (0.0, 4.0))
    path = loss_between(first, second, num_points=3, batch_norm=batch_norm)
    expected = [naive_values(TrainedModel(Offset(offset), examples()))[0] for offset in (0.0, 2.0, 4.0)]
    np.testing.assert_allclose(path.losses, expected, rtol=1e-5)
