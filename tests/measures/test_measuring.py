"""All measures of one network: what is shared, what fits a budget, what is an answer and what an error."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from measures.networks import HISTORY, blobs, of_tokens, perceptron
from widemargin.errors import InvalidInputError, InvalidLabelsError
from widemargin.measures import MEASURES, Cost, Measure, Quantities, cost_in_passes, measure_all, quantity
from widemargin.results import Estimate
from widemargin.trained_model import TrainedModel


def own(function, name: str = "mine", **facts: object) -> Measure:
    texts = ("unit", "formula", "An idea. And why.", "When it misleads.", "reference")
    return Measure(name, "outputs", function, 1, *texts, **facts)


def test_gives_each_measure_as_it_is_alone() -> None:
    frame = measure_all(perceptron(), ["stable_rank", "training_loss", "steps_to_loss"], history=HISTORY)
    assert [*frame.index] == ["stable_rank", "training_loss", "steps_to_loss"]
    for name in frame.index:
        assert frame.loc[name, "value"] == MEASURES[name](perceptron(), history=HISTORY).value
    assert frame.loc["stable_rank", "per_layer"] == MEASURES["stable_rank"](perceptron()).per_layer
    assert {*frame["status"]} == {"measured"}


def test_what_is_shared_is_computed_once() -> None:
    calls: list[int] = []

    class Counting(nn.Linear):
        def forward(self, inputs: Tensor) -> Tensor:
            calls.append(len(inputs))
            return super().forward(inputs)

    trained = TrainedModel(Counting(3, 2), blobs(10, 3, num_classes=2))
    names = ("training_loss", "training_accuracy", "output_entropy", "calibration_error")
    frame = measure_all(trained, names)
    assert calls == [10]
    assert set(frame.attrs["shared_seconds"]) == {"outputs"}


def test_what_does_not_apply_says_why() -> None:
    frame = measure_all(of_tokens())
    assert frame.loc["log_path_norm", "status"] == "not applicable"
    assert "LayerNorm" in frame.loc["log_path_norm", "reason"] or "norm" in frame.loc["log_path_norm", "reason"]
    assert frame.loc["parameter_norm", "status"] == "measured"


def test_takes_records_of_the_users_own() -> None:
    frame = measure_all(perceptron(), [own(lambda quantities: Estimate(float(quantities.num_examples)))])
    assert frame.loc["mine", "value"] == 60
    assert "mine" not in MEASURES


def test_whatever_a_measure_raises_costs_only_itself() -> None:
    def broken(quantities: Quantities) -> Estimate:
        raise RuntimeError("no such derivative")

    frame = measure_all(perceptron(), [own(broken), "stable_rank"])
    assert frame.loc["mine", "reason"] == (
        "the network must compute as this measure asks it to, and fails with RuntimeError: no such derivative. Look "
        "for operations that edit their input, or that cannot be differentiated; other measures are not concerned."
    )
    assert frame.loc["stable_rank", "status"] == "measured"


def test_labels_that_nothing_can_be_measured_with_are_an_error() -> None:
    inputs, labels = perceptron().train_data
    with pytest.raises(InvalidLabelsError, match="from 0 to below 3"):
        measure_all(replace(perceptron(), train_data=(inputs, labels + 1)))


def test_a_budget_leaves_out_what_does_not_fit() -> None:
    dear = own(lambda quantities: Estimate(0.0), "dear", cost=Cost(train=1e12))
    frame = measure_all(perceptron(), [dear, "num_parameters"], budget=60)
    assert [*frame["status"]] == ["over budget", "measured"]
    assert "are left of the budget" in frame.loc["dear", "reason"]


def test_a_budget_changes_no_value() -> None:
    names = ("stable_rank", "training_loss")
    assert measure_all(perceptron(), names, budget=600)["value"].equals(measure_all(perceptron(), names)["value"])


class Shared(Quantities):
    """Has one dear quantity that is computed from another."""

    @quantity(train=2, uses=["outputs"])
    def dear(self) -> float:
        return float(self.outputs.losses.sum())


def test_costs_count_what_is_not_known_yet() -> None:
    quantities = Quantities(perceptron(), num_sampled=30)
    measure = own(lambda _: Estimate(0.0), uses=("outputs", "singular_values"), cost=Cost(train=1, sample=4))
    assert cost_in_passes(measure, quantities) == pytest.approx(1 / 3 + 1 + 4 * 0.5)
    _ = quantities.outputs
    assert cost_in_passes(measure, quantities) == pytest.approx(1 + 4 * 0.5)


def test_seconds_of_a_quantity_are_without_those_of_what_it_uses(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(float(number) for number in range(100))
    monkeypatch.setattr("time.perf_counter", lambda: next(clock))
    quantities = Shared(perceptron())
    _ = quantities.dear
    assert quantities.seconds["dear"] + quantities.seconds["outputs"] == 3
    assert quantities.asked == {"dear"}


@pytest.mark.parametrize("budget", [0, -1, float("nan")])
def test_a_budget_is_a_number_of_seconds(budget: float) -> None:
    with pytest.raises(InvalidInputError, match="budget must be a number of seconds above 0"):
        measure_all(perceptron(), budget=budget)


def test_an_unknown_measure_is_told_what_is_like_it() -> None:
    with pytest.raises(InvalidInputError, match=r"'stable_rnk' must be a measure .* Like it: stable_rank"):
        measure_all(perceptron(), ["stable_rnk"])


def test_a_measure_is_asked_for_once() -> None:
    with pytest.raises(InvalidInputError, match="asked for once, got stable_rank twice"):
        measure_all(perceptron(), ["stable_rank", "stable_rank"])


def test_uses_must_be_quantities() -> None:
    with pytest.raises(InvalidInputError, match="must be quantities, got 'seconds'"):
        measure_all(perceptron(), [own(lambda _: Estimate(0.0), uses=("seconds",))], budget=9)


def test_a_sample_is_two_examples_at_least() -> None:
    with pytest.raises(InvalidInputError, match="num_sampled must be at least 2 examples, got 1"):
        Quantities(perceptron(), num_sampled=1)


def test_the_sample_is_drawn_from_whatever_batches_there_are() -> None:
    inputs, labels = perceptron().train_data
    ragged = [(inputs[:7], labels[:7]), (inputs[7:40], labels[7:40]), (inputs[40:], labels[40:])]
    for data in ((inputs, labels), ragged):
        found = [*Quantities(replace(perceptron(), train_data=data), num_sampled=25).sample.batches("train")]
        drawn = torch.cat([batch[0] for batch, _ in found])
        assert len(drawn) == 25
        assert all((row == inputs).all(dim=1).sum() == 1 for row in drawn)
        if data is not ragged:
            expected = drawn
    assert torch.equal(drawn, expected)


def test_a_sample_of_mappings_keeps_their_entries() -> None:
    found = [*Quantities(of_tokens(), num_sampled=12).sample.batches("train")]
    assert sum(len(labels) for _, labels in found) == 12
    assert all(len(batch["tokens"]) == len(labels) for batch, labels in found)
