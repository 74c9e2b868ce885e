"""Margins while the ``Trainer`` of transformers trains; needs ``pip install 'widemargin[transformers]'``."""

from typing import Any

from torch import nn
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from widemargin.integrations.monitor import MarginMonitor

__all__ = ["MarginCallback"]


class MarginCallback(TrainerCallback):  # type: ignore[misc]  # mypy is not to need the library
    """Measures margins at the end of epochs and logs them through the trainer, to wherever it reports.

    Names begin with ``widemargin/``. It works in several processes that each hold the whole network (DDP), with
    accumulated gradients, mixed precision and compiled models.

    Args:
        trainer: Whose log the numbers go to.
        train_data: What to measure on; default: the trainer's own training data.
        **options: As for :class:`~widemargin.integrations.monitor.MarginMonitor`.

    Attributes:
        monitor: What measures, from the start of the training on: how often it was skipped, what it cost.

    Raises:
        InvalidInputError: When the training starts: what the monitor refuses.

    Example::

        trainer.add_callback(MarginCallback(trainer))
    """

    monitor: MarginMonitor

    def __init__(self, trainer: Trainer, train_data: Any = None, **options: Any) -> None:
        self.trainer, self.train_data, self.options = trainer, train_data, options

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        train_dataloader: Any = None,
        **kwargs: Any,
    ) -> None:
        """Start the clock."""
        own = self.trainer.get_train_dataloader() if train_dataloader is None else train_dataloader  # None in 4.49
        self.monitor = MarginMonitor(own if self.train_data is None else self.train_data, **self.options)

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, model: nn.Module, **kwargs: Any
    ) -> None:
        """Measure and log, if it is time."""
        if record := self.monitor(model):
            should_log = control.should_log
            self.trainer.log(dict(record.metrics))
            control.should_log = should_log  # which that took for its own
