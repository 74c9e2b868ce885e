"""Margins while Lightning's ``Trainer`` trains; needs ``pip install 'widemargin[lightning]'``."""

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from widemargin.integrations.monitor import MarginMonitor

__all__ = ["MarginCallback"]


class MarginCallback(Callback):  # type: ignore[misc]  # mypy is not to need the library
    """Measures margins at the end of epochs and logs them with the module's own metrics.

    Names begin with ``widemargin/``; a ``ModelCheckpoint`` can watch them, too. It works in several processes that
    each hold the whole network (DDP), with accumulated gradients, mixed precision and compiled modules.

    Args:
        train_data: What to measure on; default: the trainer's own training data.
        **options: As for :class:`~widemargin.integrations.monitor.MarginMonitor`. ``forward``, where the module's
            ``forward`` does not take the first entry of a batch.

    Attributes:
        monitor: What measures, from the start of the training on: how often it was skipped, what it cost.

    Raises:
        InvalidInputError: When the training starts: what the monitor refuses.

    Example::

        Trainer(callbacks=[MarginCallback()]).fit(module, loader)
    """

    monitor: MarginMonitor

    def __init__(self, train_data: Any = None, **options: Any) -> None:
        self.train_data, self.options = train_data, options

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        data = trainer.train_dataloader if self.train_data is None else self.train_data
        self.monitor = MarginMonitor(data, **self.options)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measure and log, if it is time."""
        if record := self.monitor(pl_module):
            pl_module.log_dict(record.metrics, sync_dist=True)  # all processes log the same numbers
