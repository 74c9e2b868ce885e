"""Networks ranked by measures that are taken of them."""

import pandas as pd
import pytest
import torch
from torch import nn

from widemargin import TrainedModel
from widemargin.errors import InvalidInputError
from widemargin.measures import CHEAP_MEASURES, MEASURES, measure_all, rank_by_measures, total_cost
from widemargin.prediction import GapPredictor, rank_measured

GENERATOR = torch.Generator().manual_seed(0)
INPUTS = torch.randn(80, 4, generator=GENERATOR)
LABELS = (INPUTS[:, 0] > 0).long()


def network(scale: float) -> nn.Module:
    net = nn.Linear(4, 2)
    with torch.no_grad():
        net.weight.copy_(scale * torch.tensor([[-1.0, 0, 0, 0.1], [1.0, 0, 0.1, 0]]))
        net.bias.zero_()
    return net


def fitted(*names: str) -> GapPredictor:
    rows = pd.DataFrame({name: torch.randn(30, generator=GENERATOR).tolist() for name in names})
    return GapPredictor("identity", "ridge").fit(rows, rows.sum(axis=1).to_numpy())


def test_ranks_by_the_measures_that_the_predictor_takes() -> None:
    predictor = fitted("log stable_rank", "training_loss")
    models = [network(1.0), network(3.0)]
    names = ["stable_rank", "training_loss", "training_accuracy"]
    values = {
        f"network {i}": measure_all(TrainedModel(model, (INPUTS, LABELS)), names)["value"].to_dict()
        for i, model in enumerate(models, 1)
    }
    found = rank_by_measures(models, (INPUTS, LABELS), predictor=predictor)
    assert found.as_dict() == rank_measured(values, predictor).as_dict()


def test_a_network_that_cannot_be_measured_is_listed_with_its_reason() -> None:
    predictor = fitted("log stable_rank", "training_loss")
    wrong = TrainedModel(network(1.0), (INPUTS, LABELS + 5))
    found = rank_by_measures({"good": network(1.0), "wrong": wrong}, (INPUTS, LABELS), predictor=predictor)
    assert [each.name for each in found.networks] == ["good"]
    assert "labels" in found.left_out["wrong"]


def test_predictors_of_other_features_are_refused() -> None:
    with pytest.raises(InvalidInputError, match=r"must be fitted on measures, and takes signatures\. Rank with rank"):
        rank_by_measures([network(1.0)], (INPUTS, LABELS), predictor=fitted("input/q1"))
    with pytest.raises(InvalidInputError, match="measures of the catalogue, and takes my_norm"):
        rank_by_measures([network(1.0)], (INPUTS, LABELS), predictor=fitted("my_norm"))


def test_cheap_measures_take_two_passes_at_most_and_need_nothing() -> None:
    assert {"training_accuracy", "mixup_accuracy", "constrained_margin"} <= set(CHEAP_MEASURES)
    assert not {"hessian_trace", "basin_radius", "distance_from_initialization"} & set(CHEAP_MEASURES)
    for name in CHEAP_MEASURES:
        cost = total_cost(MEASURES[name])
        assert max(cost.train, cost.sample) <= 2
