"""What the history of a training tells, by hand."""

import pytest

from measures.networks import HISTORY, perceptron
from widemargin.errors import MeasureNotApplicableError
from widemargin.measures import MEASURES


def value(name: str, *history: object) -> float:
    return MEASURES[name](perceptron(), history=history or HISTORY).value


def test_steps_to_a_loss_are_those_of_the_first_record_at_or_below_it() -> None:
    assert value("steps_to_loss") == 30


def test_the_loss_after_one_epoch_is_that_of_the_first_record_from_there() -> None:
    assert value("loss_after_one_epoch") == 0.9


def test_the_mean_loss_weighs_records_by_their_steps() -> None:
    assert value("mean_loss_while_training") == pytest.approx((5 * 1.5 + 5 * 0.9 + 20 * 0.08) / 30)


def test_a_loss_that_was_never_reached_took_no_number_of_steps() -> None:
    with pytest.raises(MeasureNotApplicableError, match=r"the loss never fell to 0\.1 while it trained\."):
        value("steps_to_loss", HISTORY[0])


def test_less_than_an_epoch_has_no_loss_after_it() -> None:
    with pytest.raises(MeasureNotApplicableError, match=r"ended before one epoch"):
        value("loss_after_one_epoch", HISTORY[0])


def test_a_history_with_holes_is_named() -> None:
    with pytest.raises(MeasureNotApplicableError, match="must give a finite loss for every record, got None"):
        value("mean_loss_while_training", {"step": 1, "epoch": 1.0, "loss": None})
