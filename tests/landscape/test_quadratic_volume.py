import math
import statistics
import sys

import pytest
import torch

from landscape.cases import CASES, bowl, generator, interrupting, snapshot
from widemargin import TrainedModel
from widemargin.errors import InvalidInputError
from widemargin.landscape.quadratic_volume import quadratic_volume
from widemargin.landscape.volume import basin_volume

LN10 = math.log(10)


def rotated_bowl(spectrum: torch.Tensor) -> TrainedModel:
    n = len(spectrum)
    rotation = torch.linalg.qr(torch.randn(n, n, generator=generator(0), dtype=torch.float64)).Q
    return bowl(rotation @ spectrum.double().diag() @ rotation.T, torch.randn(n, generator=generator(1)))


def log10_ellipsoid(spectrum: torch.Tensor, cutoff: float) -> float:
    n = len(spectrum)
    log_volume = n / 2 * math.log(2 * math.pi * cutoff) - math.lgamma(1 + n / 2) - float(spectrum.log().sum()) / 2
    return log_volume / LN10


@pytest.mark.parametrize("n", [50, 200, 1000])
def test_is_exact_on_a_rotated_bowl(n):
    spectrum = torch.logspace(-3, 3, n, dtype=torch.float64)
    found = quadratic_volume(rotated_bowl(spectrum), cutoff=0.1, normalization="none", cap=1e5)
    assert found.value == pytest.approx(log10_ellipsoid(spectrum, 0.1), abs=0.01)
    assert found.standard_error is None


def test_the_quadrature_is_within_its_standard_error(monkeypatch):
    monkeypatch.setattr(sys.modules[quadratic_volume.__module__], "MAX_EXACT", 0)
    spectrum = torch.logspace(-2, 2, 200, dtype=torch.float64)
    trained, expected = rotated_bowl(spectrum), log10_ellipsoid(spectrum, 0.1)
    options = {"cutoff": 0.1, "normalization": "none", "cap": 1e5, "num_probes": 8}
    found = [quadratic_volume(trained, seed=seed, **options) for seed in range(6)]
    scores = [abs(one.value - expected) / one.standard_error for one in found]
    assert 0.2 < statistics.median(scores) < 1.5  # 0.71 for seven degrees of freedom
    assert max(scores) < 4


def test_the_quadrature_is_exact_where_few_curvatures_differ(monkeypatch):
    monkeypatch.setattr(sys.modules[quadratic_volume.__module__], "MAX_EXACT", 0)
    spectrum = torch.full((40,), 2.0).double()
    found = quadratic_volume(rotated_bowl(spectrum), cutoff=0.1, normalization="none", cap=1e5)
    assert found.value == pytest.approx(log10_ellipsoid(spectrum, 0.1), abs=1e-6)


def test_a_flat_loss_gives_the_ball_of_the_cap():
    found = quadratic_volume(bowl(torch.zeros(3, 3), torch.zeros(3)), cutoff=0.1, normalization="none", cap=2.0)
    assert found.value == pytest.approx(math.log10(4 / 3 * math.pi * 8))


def test_the_loss_of_the_minimum_itself_is_taken_off():
    found = quadratic_volume(
        _lifted(bowl(torch.eye(3), torch.zeros(3)), 0.06), cutoff=0.1, normalization="none", cap=1e5
    )
    assert found.value == pytest.approx(log10_ellipsoid(torch.ones(3), 0.04), abs=1e-6)


def _lifted(trained: TrainedModel, loss: float) -> TrainedModel:
    return TrainedModel(trained.model, trained.train_data, loss=lambda logits, labels: logits[:, 1] + loss)


def test_negative_curvature_counts_as_flat_and_is_named():
    found = quadratic_volume(
        bowl(torch.diag(torch.tensor([-1.0, 2.0])), torch.zeros(2)), cutoff=0.1, normalization="none", cap=1.0
    )
    half_axes = 1.0, (0.2 / 2.2) ** 0.5
    assert found.value == pytest.approx(math.log10(math.pi * half_axes[0] * half_axes[1]))
    assert found.caveats[-1] == "There are directions of negative curvature: they count as flat."


def test_agrees_with_the_preconditioned_volume_in_filter_coordinates():
    trained = _around(CASES["float64"]())
    found = quadratic_volume(trained, cutoff=1e-4)
    measured = basin_volume(trained, cutoff=1e-4, preconditioner="full", num_directions=20)
    assert found.value == pytest.approx(measured.log10_volume, abs=0.1)


def _around(trained: TrainedModel) -> TrainedModel:
    """The same network with a loss that is quadratic in all of its parameters."""
    anchors = {name: value.detach().clone() for name, value in trained.model.named_parameters()}

    def forward(model, batch):
        height = sum(((value - anchors[name]) ** 2).sum() for name, value in model.named_parameters())
        return torch.stack([torch.zeros_like(height), height, height]).expand(len(batch[1]), 3)

    return TrainedModel(trained.model, trained.train_data, forward=forward, loss=lambda logits, labels: logits[:, 1])


def test_zero_filters_are_named():
    trained = CASES["mlp"]()
    with torch.no_grad():
        trained.model[0].weight[2] = 0
    assert quadratic_volume(trained, cutoff=3.0).caveats[0] == "1 filters are 0: they stay fixed, as biases do."


def test_says_when_more_steps_would_still_move_the_determinant(monkeypatch):
    monkeypatch.setattr(sys.modules[quadratic_volume.__module__], "MAX_EXACT", 0)
    trained = rotated_bowl(torch.logspace(-3, 3, 200))
    found = quadratic_volume(trained, cutoff=0.1, normalization="none", cap=1e5, num_steps=4)
    assert "Raise num_steps." in found.caveats[0]


def test_too_few_probes_or_steps_are_refused():
    with pytest.raises(InvalidInputError, match="num_probes and num_steps must be at least 2, got 1 and 80"):
        quadratic_volume(CASES["mlp"](), cutoff=3.0, num_probes=1)


def test_a_minimum_above_the_cutoff_has_no_volume():
    with pytest.raises(InvalidInputError, match="must be below the cutoff for there to be a basin"):
        quadratic_volume(CASES["mlp"](), cutoff=0.5)


@pytest.mark.parametrize("options", [{"cutoff": -1.0}, {"cap": math.inf}])
def test_numbers_out_of_range_are_refused(options):
    with pytest.raises(InvalidInputError, match="must be positive"):
        quadratic_volume(CASES["mlp"](), **{"cutoff": 3.0} | options)


@pytest.mark.parametrize("at_call", [0, 3])
def test_the_network_comes_back_untouched_after_ctrl_c_too(at_call):
    trained = interrupting(at_call)
    before = snapshot(trained.model)
    if at_call:
        with pytest.raises(KeyboardInterrupt):
            quadratic_volume(trained, cutoff=9.0)
    else:
        quadratic_volume(trained, cutoff=9.0)
    assert snapshot(trained.model) == before
