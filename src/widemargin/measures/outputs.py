"""What the outputs alone tell: accuracy and loss."""

from dataclasses import dataclass

import torch

from widemargin.margins import output_margins
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

    On training data with corrupted labels both are measured against the labels that were trained on.

    Raises:
        EmptyDataError: There are no such examples.
        InvalidInputError: The loss is not one number per example.
        InvalidLogitsError: The network's output is no finite table of logits.
        InvalidLabelsError: Labels are out of range or not integers.
    """
    num_correct = num_examples = 0
    loss = 0.0
    with trained.borrowed(), torch.no_grad():
        for batch, labels in trained.batches(split):
            logits = checked_logits(trained.logits(batch), labels)
            num_correct += int((output_margins(logits, labels) > 0).sum())  # a tie is a mistake
            loss += float(trained.losses(logits, labels).double().sum())
            num_examples += len(labels)
    return Performance(num_correct / num_examples, loss / num_examples, num_examples)
