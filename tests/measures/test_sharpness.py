"""Sharpness against hand-worked linear losses, naive perturbations and random search."""

import copy
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from measures.sharpness_cases import classifier, curve, linear
from widemargin import TrainedModel
from widemargin.measures.quantities import Quantities
from widemargin.measures.sharpness import adaptive_sharpness, keskar_sharpness, sam_sharpness


def loss_with(trained: TrainedModel, change: Callable[[str, Tensor], Tensor]) -> float:
    """The mean loss of a copy whose parameters w are replaced by change(name, w)."""
    network = copy.deepcopy(trained.network)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            parameter.copy_(change(name, parameter))
        inputs, labels = trained.train_data
        return float(trained.loss(network(inputs), labels).mean())


def test_linear_losses_have_closed_forms():
    quantities = Quantities(linear([2.0, -1.0], [[3.0, 1.0]]))  # loss 2·3 − 1·1 = 5, gradient (3, 1)
    assert keskar_sharpness(quantities).value == pytest.approx(100 * (0.003 * 3 + 0.002 * 1) / 6)
    assert adaptive_sharpness(quantities).value == pytest.approx(0.5 * math.hypot(2 * 3, 1 * 1))
    assert sam_sharpness(quantities).value == pytest.approx(0.05 * math.hypot(3, 1))


def test_the_highest_loss_on_the_way_counts():
    quantities = Quantities(curve(lambda theta: torch.sin(24 * theta), 1.0))  # steps to 1.5, 0.5, 1.5, …
    assert adaptive_sharpness(quantities).value == pytest.approx(math.sin(12) - math.sin(24))


def test_the_network_itself_counts_where_every_step_goes_down():
    quantities = Quantities(curve(lambda theta: torch.sin(14 * theta), 1.0))
    assert sam_sharpness(quantities).value < 0
    assert adaptive_sharpness(quantities).value == 0


def test_sam_is_a_step_along_the_gradient():
    trained = classifier(num_wrong=3)
    network = copy.deepcopy(trained.network)
    inputs, labels = trained.train_data
    trained.loss(network(inputs), labels).mean().backward()
    gradients = {name: parameter.grad for name, parameter in network.named_parameters()}
    length = math.sqrt(sum(float((g**2).sum()) for g in gradients.values()))
    moved = loss_with(trained, lambda name, w: w + 0.05 * gradients[name] / length)
    expected = moved - loss_with(trained, lambda name, w: w)
    assert sam_sharpness(Quantities(trained)).value == pytest.approx(expected)


def in_box(w: Tensor, generator: torch.Generator) -> Tensor:
    """The corners of Keskar's box, at random."""
    return w + 1e-3 * (w.abs() + 1) * (2.0 * torch.randint(0, 2, w.shape, generator=generator) - 1)


def test_keskar_finds_more_than_random_search_and_no_more_than_the_slope_allows():
    trained, generator = classifier(num_wrong=3), torch.Generator().manual_seed(0)
    loss = loss_with(trained, lambda name, w: w)
    searched = max(loss_with(trained, lambda name, w: in_box(w, generator)) for _ in range(300))
    quantities = Quantities(trained)
    found = keskar_sharpness(quantities).value * (1 + loss) / 100
    linear_part = 1e-3 * float(
        ((quantities.space.flat(trained.network).abs() + 1) * quantities.slope.gradient.abs()).sum()
    )
    assert found > searched - loss
    assert found == pytest.approx(linear_part, rel=0.05)  # the box is small


def test_adaptive_sharpness_finds_more_than_random_search_and_than_its_first_step():
    trained, generator = classifier(num_wrong=3), torch.Generator().manual_seed(0)
    loss = loss_with(trained, lambda name, w: w)
    quantities = Quantities(trained)
    found = adaptive_sharpness(quantities).value
    num = quantities.space.num_parameters
    for _ in range(300):
        step = torch.randn(num, generator=generator, dtype=torch.float64)
        named = quantities.space.named(0.5 * step / step.norm())
        assert loss_with(trained, lambda name, w, named=named: w + w.abs() * named[name]) - loss < found
    magnitudes = quantities.space.flat(trained.network).abs()
    first = magnitudes * quantities.slope.gradient
    named = quantities.space.named(0.5 * first / first.norm())
    assert loss_with(trained, lambda name, w: w + w.abs() * named[name]) - loss <= found + 1e-12


def test_sharpness_is_measured_on_the_sample():
    trained = linear([1.0, 1.0], [[float(i), 0.0] for i in range(9)])
    quantities = Quantities(trained, num_sampled=4)
    ((inputs, _),) = quantities.sample.train_data
    assert len(inputs) == 4
    assert sam_sharpness(quantities).value == pytest.approx(0.05 * float(inputs[:, 0].mean()))
