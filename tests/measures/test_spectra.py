"""Power laws against numbers drawn from one, and against the package powerlaw."""

import math
import warnings

import numpy as np
import pytest
import torch
from torch import nn

from measures.networks import blobs, perceptron
from widemargin.errors import MeasureNotApplicableError
from widemargin.measures import MEASURES, power_law
from widemargin.trained_model import TrainedModel


def drawn(exponent: float, num: int, seed: int = 0) -> torch.Tensor:
    uniform = torch.rand(num, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return 2.0 * (1 - uniform) ** (-1 / (exponent - 1))


@pytest.mark.parametrize("exponent", [2.0, 3.5])
def test_finds_the_exponent_that_numbers_were_drawn_with(exponent: float) -> None:
    found = [power_law(drawn(exponent, 600, seed)) for seed in range(12)]
    errors = [(fit.exponent - exponent) / fit.standard_error for fit in found]
    assert abs(np.mean(errors)) < 1.5
    assert np.std(errors) < 2.5


def eigenvalues(num: int) -> torch.Tensor:
    return torch.linalg.svdvals(torch.randn(num, 2 * num, generator=torch.Generator().manual_seed(1))).double() ** 2


@pytest.mark.parametrize(("num", "is_given"), [(20, True), (150, False)])
def test_agrees_with_the_package_powerlaw(num: int, is_given: bool) -> None:
    """Whose distance is one-sided, which may choose another minimum among few numbers."""
    powerlaw = pytest.importorskip("powerlaw")
    found = power_law(eigenvalues(num))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        reference = powerlaw.Fit(
            eigenvalues(num).numpy(),
            xmin=found.minimum if is_given else None,
            parameter_ranges={"alpha": [1, 50]},
            verbose=False,
        )
    assert found.minimum == pytest.approx(reference.xmin)
    assert found.exponent == pytest.approx(reference.power_law.alpha, rel=1e-6)


def test_ignores_the_unit_of_the_numbers() -> None:
    values = drawn(2.5, 80)
    assert power_law(7 * values).exponent == pytest.approx(power_law(values).exponent)


def test_needs_two_different_numbers() -> None:
    with pytest.raises(MeasureNotApplicableError, match="two different eigenvalues above 0"):
        power_law(torch.tensor([3.0, 3.0, 0.0]))


def test_measures_are_means_over_layers_with_enough_eigenvalues() -> None:
    trained = perceptron()
    linears = {name: m for name, m in trained.network.named_modules() if isinstance(m, nn.Linear)}
    eigenvalues = {
        name: np.linalg.svd(m.weight.detach().double().numpy(), compute_uv=False) ** 2 for name, m in linears.items()
    }
    large = {name: values for name, values in eigenvalues.items() if len(values) >= 10}
    assert 0 < len(large) < len(eigenvalues)
    exponents = {name: power_law(torch.from_numpy(values)).exponent for name, values in large.items()}
    found = MEASURES["power_law_exponent"](trained)
    assert found.value == pytest.approx(np.mean([*exponents.values()]))
    weighted = [exponents[name] * math.log10(values[0]) for name, values in large.items()]
    assert MEASURES["weighted_power_law_exponent"](trained).value == pytest.approx(np.mean(weighted))
    norms = [math.log10(values[0]) for values in eigenvalues.values()]
    assert MEASURES["log_spectral_norm"](trained).value == pytest.approx(np.mean(norms))


def test_small_layers_have_no_tail() -> None:
    trained = TrainedModel(nn.Linear(3, 2), blobs(6, 3, num_classes=2))
    with pytest.raises(MeasureNotApplicableError, match="a layer with 10 eigenvalues above 0 at least, and there is"):
        MEASURES["power_law_exponent"](trained)
