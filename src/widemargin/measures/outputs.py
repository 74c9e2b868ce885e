"""What the outputs alone tell: accuracy and loss."""

from dataclasses import dataclass

import torch

from widemargin.margins import output_margins
from widemargin.processes import gathered, own_share, place, refuse_shuffling
from widemargin.trained_model import TrainedModel, checked_logits

__all__ = ["Performance", "performance"]


@dataclass(frozen=True, slots=True)
class Performance:
    """Accuracy [share] and mean loss over a set of examples."""

    accuracy: float
    loss: float
    num_examples: int


def performance(trained: TrainedModel, split: str = "train") -> Performance:
    """Return accuracy and mean loss on the training or test examples, in evaluation mode.

    On training data with corrupted labels both are measured against the labels that were trained on. Under
    ``torchrun`` every process is given the same data, measures its share of the batches and returns the whole.

    Raises:
        EmptyDataError: There are no such examples.
        InvalidInputError: The loss is not one number per example.
        InvalidLogitsError: The network's output is no finite table of logits.
        InvalidLabelsError: Labels are out of range or not integers.
    """
    if place()[1] > 1:
        refuse_shuffling(trained.train_data if split == "train" else trained.test_data)
    num_correct = num_examples = 0
    loss = 0.0
    problem: Exception | None = None
    with trained.borrowed(), torch.no_grad():
        try:
            for _, (batch, labels) in own_share(trained.batches(split)):
                logits = checked_logits(trained.logits(batch), labels)
                num_correct += int((output_margins(logits, labels) > 0).sum())  # a tie is a mistake
                loss += float(trained.losses(logits, labels).double().sum())
                num_examples += len(labels)
        except Exception as error:
            problem = error  # other processes wait for this one: tell them before stopping
    shares = gathered((num_correct, loss, num_examples), problem, "measuring performance")
    num_correct, loss, num_examples = (sum(parts) for parts in zip(*shares, strict=True))
    return Performance(int(num_correct) / int(num_examples), loss / int(num_examples), int(num_examples))
