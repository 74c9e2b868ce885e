import copy
import warnings

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

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
from widemargin.errors import EmptyDataError, InvalidInputError, InvalidLabelsError, InvalidLogitsError
from widemargin.landscape import evaluation as module
from widemargin.landscape.evaluation import Evaluation, PointValues


def around(trained: TrainedModel, num: int = 6, size: float = 0.3) -> torch.Tensor:
    center = flat(trained)
    return center + size * torch.randn(num, len(center), generator=generator(2)).to(center)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_is_the_mean_over_copies_with_edited_parameters(case):
    trained = case()
    points = around(trained)
    with trained.borrowed():
        evaluation = Evaluation(trained)
        found = evaluation.at(points)
    expected = np.array([naive_values(moved(trained, point)) for point in points])
    np.testing.assert_allclose(found.losses, expected[:, 0], rtol=1e-5)
    np.testing.assert_allclose(found.accuracies, expected[:, 1])
    assert evaluation.num_evaluations == len(points)
    assert (flat(trained) == evaluation.center).all()


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
@pytest.mark.parametrize("at_once", [1, 4])
def test_ignores_how_many_points_are_taken_at_once(case, at_once):
    trained = case()
    points = around(trained, num=10)
    with trained.borrowed():
        whole = Evaluation(trained)
        expected = whole.at(points)
        parts = Evaluation(trained)
        parts.points_at_once = at_once
        found = parts.at(points)
    np.testing.assert_allclose(found.losses, expected.losses, rtol=1e-5)
    np.testing.assert_allclose(found.accuracies, expected.accuracies)
    assert bool(whole.why_one_by_one) == (case is CASES["no vmap"])


def test_says_why_points_are_taken_one_by_one():
    trained = CASES["no vmap"]()
    with trained.borrowed():
        evaluation = Evaluation(trained)
        evaluation.at(around(trained))
    assert evaluation.why_one_by_one.startswith("RuntimeError: ")
    assert evaluation.points_at_once == 1


class OfSequences(nn.Module):
    """Attention with a kernel of its own, or a whole encoder layer that has one."""

    def __init__(self, with_encoder: bool):
        super().__init__()
        self.encoder = nn.TransformerEncoderLayer(4, 2, 8, batch_first=True) if with_encoder else None
        self.spread = nn.Linear(4, 12)
        self.head = nn.Linear(4, 3)

    def forward(self, inputs):
        sequences = self.spread(inputs).unflatten(1, (3, 4))
        if self.encoder is None:
            heads = sequences.unsqueeze(1)
            mixed = nn.functional.scaled_dot_product_attention(heads, heads, heads).squeeze(1)
        else:
            mixed = self.encoder(sequences)
        return self.head(mixed.mean(dim=1))


@pytest.mark.parametrize(("with_encoder", "reason"), [(False, ""), (True, "There is a performance drop")])
def test_attention_is_vectorized_or_taken_one_by_one_without_a_warning(with_encoder, reason):
    torch.manual_seed(0)
    trained = TrainedModel(OfSequences(with_encoder), (torch.randn(12, 4), torch.arange(12) % 3))
    points = around(trained)
    with trained.borrowed(), warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        evaluation = Evaluation(trained)
        found = evaluation.at(points)
    expected = np.array([naive_values(moved(trained, point)) for point in points])
    np.testing.assert_allclose(found.losses, expected[:, 0], rtol=1e-5)
    assert told == []
    assert reason in evaluation.why_one_by_one
    assert bool(reason) == bool(evaluation.why_one_by_one)


def test_a_bowl_has_its_closed_form():
    factor = torch.randn(4, 4, generator=generator(0), dtype=torch.float64)
    hessian, minimum = factor @ factor.T, torch.randn(4, generator=generator(1), dtype=torch.float64)
    trained = bowl(hessian, minimum)
    points = around(trained, num=20, size=2.0)
    with trained.borrowed():
        found = Evaluation(trained).at(points).losses
    for loss, point in zip(found, points, strict=True):
        step = point - minimum
        assert loss == pytest.approx(float(step @ hessian @ step / 2), rel=1e-12)


@pytest.mark.parametrize("batch_size", [1, 5, 100])
def test_ignores_how_data_is_batched(batch_size):
    trained = TrainedModel(mlp().double(), examples(), batch_size=batch_size)
    points = around(trained)
    with trained.borrowed():
        found = Evaluation(trained).at(points).losses
    np.testing.assert_allclose(found, [naive_values(moved(trained, point))[0] for point in points], rtol=1e-12)


def test_takes_the_split_that_is_named():
    trained = CASES["mlp"]()
    points = around(trained)
    with trained.borrowed():
        found = Evaluation(trained, split="test").at(points)
    np.testing.assert_allclose(found.losses, [naive_values(moved(trained, p), "test")[0] for p in points], rtol=1e-5)


@pytest.mark.parametrize("data", [(lambda x, y: DataLoader(TensorDataset(x, y), 5)), TensorDataset])
def test_data_that_is_too_large_to_hold_is_read_again(monkeypatch, data):
    trained = TrainedModel(mlp(), data(*examples()), batch_size=5)
    points = around(trained)
    with trained.borrowed():
        expected = Evaluation(trained).at(points).losses
        monkeypatch.setattr(module, "HELD_BYTES", 100)
        streamed = Evaluation(trained)
        assert streamed._held is None
        assert (streamed.at(points).losses == expected).all()


def naive_statistics(model: nn.Module, x: torch.Tensor, batch_size: int) -> nn.Module:
    """Write the means over batches into the first BatchNorm, by the definition; batches are of one size."""
    conv, norm = model[0], model[1]
    batches = [conv(part).detach() for part in x.split(batch_size)]
    norm.running_mean.copy_(torch.stack([part.mean(dim=(0, 2, 3)) for part in batches]).mean(dim=0))
    norm.running_var.copy_(torch.stack([part.var(dim=(0, 2, 3), correction=1) for part in batches]).mean(dim=0))
    return model


@pytest.mark.parametrize("batch_size", [4, 12])
@pytest.mark.parametrize("split", ["train", "test"])
def test_re_estimated_statistics_are_means_over_training_batches(batch_size, split):
    x, y = examples((1, 6, 6))
    trained = TrainedModel(convolution(), (x, y), (x[:5] + 1, y[:5]), batch_size=batch_size)
    points = around(trained)
    with trained.borrowed():
        found = Evaluation(trained, split=split, batch_norm="re-estimated").at(points)
        kept = Evaluation(trained, split=split).at(points)
    for loss, accuracy, point in zip(found.losses, found.accuracies, points, strict=True):
        naive = moved(trained, point)
        naive_statistics(naive.model, x, batch_size)
        expected = naive_values(naive, split)
        assert (loss, accuracy) == (pytest.approx(expected[0], rel=1e-5), pytest.approx(expected[1]))
    assert np.abs(found.losses - kept.losses).min() > 1e-4


def test_re_estimating_agrees_with_torchs_own_for_deep_networks():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(5, 6),
        nn.BatchNorm1d(6, momentum=0.3),
        nn.ReLU(),
        nn.Linear(6, 4),
        nn.BatchNorm1d(4),
        nn.Linear(4, 3),
    )
    trained = TrainedModel(model, examples(), batch_size=4)
    points = around(trained)
    with trained.borrowed():
        found = Evaluation(trained, batch_norm="re-estimated").at(points).losses
    for loss, point in zip(found, points, strict=True):
        copied = moved(trained, point)
        torch.optim.swa_utils.update_bn(DataLoader(TensorDataset(*examples()), 4), copied.model)
        copied.model.eval()
        assert loss == pytest.approx(naive_values(copied)[0], rel=1e-5)


def test_losses_that_are_not_finite_come_back_as_they_are():
    trained = TrainedModel(mlp(), examples())
    points = around(trained, num=3)
    points[1] = torch.nan
    points[2] = 1e30
    with trained.borrowed():
        found = Evaluation(trained).at(points)
    assert np.isfinite(found.losses[0])
    assert np.isnan(found.losses[1])
    assert not np.isfinite(found.losses[2])
    assert found.accuracies[1] == 0


def test_large_networks_are_taken_point_by_point():
    trained = TrainedModel(nn.Linear(5, 300), examples())
    with trained.borrowed():
        small = Evaluation(trained).points_at_once
    wide = TrainedModel(nn.Linear(1000, 9000), (torch.zeros(1, 1000), torch.zeros(1, dtype=torch.long)))
    with wide.borrowed():
        assert Evaluation(wide).points_at_once == 1
    assert small > 10


@pytest.mark.parametrize("batch_norm", ["kept", "re-estimated"])
def test_leaves_the_network_as_it_was(batch_norm):
    trained = interrupting(at_call=-1)
    before = snapshot(trained.model)
    with trained.borrowed():
        Evaluation(trained, batch_norm=batch_norm).at(around(trained))
    assert snapshot(trained.model) == before


@pytest.mark.parametrize("batch_norm", ["kept", "re-estimated"])
@pytest.mark.parametrize("at_call", [1, 2, 3, 5])
def test_leaves_the_network_as_it_was_after_ctrl_c(batch_norm, at_call):
    trained = interrupting(at_call)
    before = snapshot(trained.model)

    def evaluate():
        with trained.borrowed():
            evaluation = Evaluation(trained, batch_norm=batch_norm)
            evaluation.points_at_once = 1
            evaluation.at(around(trained))

    with pytest.raises(KeyboardInterrupt):
        evaluate()
    assert snapshot(trained.model) == before


def test_says_what_is_wrong_with_the_networks_own_outputs_or_the_data():
    x, y = examples()
    broken = copy.deepcopy(mlp())
    with torch.no_grad():
        broken[0].weight.fill_(torch.nan)
    for model, data, error, text in (
        (broken, (x, y), InvalidLogitsError, "logits must be finite"),
        (mlp(), (x, y + 1), InvalidLabelsError, "subtract 1"),
        (mlp(), [], EmptyDataError, "at least one example"),
        (nn.ReLU(), (x, y), InvalidInputError, "floating parameters to move, got none"),
    ):
        trained = TrainedModel(model, data)
        with pytest.raises(error, match=text), trained.borrowed():
            Evaluation(trained)


def test_losses_that_are_nan_or_infinite_are_counted():
    losses = np.array([0.5, np.nan, np.inf, -np.inf, 0.0])
    assert PointValues(losses, np.zeros(5)).num_not_finite == 3
