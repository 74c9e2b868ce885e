"""Radius and volume of basins against closed forms."""

import math

import pytest
import torch
from torch import nn

from measures.sharpness_cases import classifier, curve
from widemargin import TrainedModel
from widemargin.errors import MeasureNotApplicableError
from widemargin.measures.basins import basin_log10_volume, basin_radius
from widemargin.measures.quantities import Quantities


def parabola() -> TrainedModel:
    """The loss is (w − 2)², so that steps of the filter's norm are steps of 2."""
    network = nn.Linear(1, 2, bias=False)
    network.weight.data = torch.tensor([[2.0], [0.0]])
    data = (torch.ones(4, 1), torch.zeros(4, dtype=torch.long))
    return TrainedModel(network, data, loss=lambda logits, labels: (logits[:, 0] - 2) ** 2)


def test_a_parabola_has_its_radius():
    found = basin_radius(Quantities(parabola()))
    assert found.value == pytest.approx(math.sqrt(0.1) / 2, rel=1e-3)
    assert found.standard_error == pytest.approx(0, abs=1e-3)


def test_a_parabola_has_a_line_for_a_volume():
    found = basin_log10_volume(Quantities(parabola()))
    assert found.value == pytest.approx(math.log10(math.sqrt(0.1)), abs=1e-3)  # from −r to r


def test_a_volume_is_that_of_the_unit_ball_times_the_mean_power_of_the_radii():
    quantities = Quantities(classifier(sharp=30.0))
    radii, num = quantities.basin_radii.radii[:, 0], quantities.basin_radii.num_free
    assert radii.shape == (10,)
    mean = sum(float(r) ** num for r in radii) / len(radii)
    ball = math.pi ** (num / 2) / math.gamma(num / 2 + 1)
    assert basin_log10_volume(quantities).value == pytest.approx(math.log10(ball * mean))
    assert basin_radius(quantities).value == pytest.approx(float(radii.mean()))


def test_the_loss_exceeds_a_tenth_right_behind_the_radius():
    quantities = Quantities(classifier(sharp=30.0), seed=5)
    assert 0 < basin_radius(quantities).value < 1
    other = Quantities(classifier(sharp=30.0), seed=6)
    assert basin_radius(other).value != basin_radius(quantities).value


def test_an_error_that_few_directions_cannot_tell_is_infinite():
    found = basin_log10_volume(Quantities(classifier(sharp=30.0)))
    assert found.standard_error == math.inf
    assert any("directions count for" in caveat for caveat in found.caveats)


@pytest.mark.parametrize("measure", [basin_radius, basin_log10_volume])
def test_a_loss_near_the_cutoff_leaves_no_basin(measure):
    trained = parabola()
    trained.network.weight.data[0] = 2 + math.sqrt(0.095)
    with pytest.raises(MeasureNotApplicableError) as caught:
        measure(Quantities(trained))
    assert str(caught.value) == (
        "the loss on the sample, 0.095, leaves no room below the cutoff of 0.1 that bounds a basin."
    )


def test_a_network_without_filters_has_no_basin_in_their_units():
    with pytest.raises(MeasureNotApplicableError, match="the network has no filter"):
        basin_radius(Quantities(curve(torch.sin, 0.05)))
