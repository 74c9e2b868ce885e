"""Margins while Lightning trains
==============================

One callback, and the margins of a ``LightningModule`` are among its own metrics: in its log, and for its other
callbacks to act on.
"""

import csv
import tempfile
from pathlib import Path

import torch
from lightning.pytorch import LightningModule, Trainer, seed_everything
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from torch.utils.data import DataLoader, TensorDataset

from widemargin.data import load
from widemargin.integrations.lightning import MarginCallback
from widemargin.networks import build

folder = Path(tempfile.mkdtemp(prefix="widemargin-"))

# %%
# A module like any other; nothing in it knows of margins.


class Digits(LightningModule):
    """A small multilayer perceptron on the handwritten digits."""

    def __init__(self):
        super().__init__()
        self.network = build("mlp", num_classes=10, input_shape=(1, 8, 8), seed=0, hidden=(32, 32, 32))

    def forward(self, images):
        """Return the logits."""
        return self.network(images)

    def training_step(self, batch):
        """Return the loss."""
        inputs, labels = batch
        loss = torch.nn.functional.cross_entropy(self(inputs), labels)
        self.log("loss", loss, on_step=False, on_epoch=True)
        return loss

    def configure_optimizers(self):
        """Return the optimizer."""
        return torch.optim.AdamW(self.parameters(), lr=0.005)


# %%
# The callback measures at the end of each epoch on 200 training examples, always the same. By default it takes 5 %
# of the training's time at most and skips epochs to keep to that; in so short a training it may take what it wants.
# It comes before the checkpoint, which keeps the weights with the widest margin.


def trained(name, *callbacks):
    """Train the module for ten epochs; return it."""
    seed_everything(0, verbose=False)
    data = load("digits", num_train=300)
    loader = DataLoader(TensorDataset(data.train_inputs, data.train_labels), batch_size=50, shuffle=True)
    module = Digits()
    trainer = Trainer(
        max_epochs=10, accelerator="cpu", logger=CSVLogger(folder, name), callbacks=[*callbacks], log_every_n_steps=1,
        default_root_dir=folder, enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(module, loader)
    return module


margins = MarginCallback(budget=None, num_examples=200, measures=["sam_sharpness"])
widest = ModelCheckpoint(folder / "widest", monitor="widemargin/margin/input", mode="max")
watched = trained("watched", margins, widest)

# %%
# Read back from Lightning's own log, a row an epoch.

with (folder / "watched" / "version_0" / "metrics.csv").open() as file:
    rows = [row for row in csv.DictReader(file) if row["widemargin/margin/input"]]
for row in rows:
    numbers = {name.removeprefix("widemargin/"): float(value) for name, value in row.items() if value}
    print(", ".join(f"{name} {value:.3g}" for name, value in sorted(numbers.items())))
assert [int(row["epoch"]) for row in rows] == [*range(10)]
assert float(widest.best_model_score) > max(float(row["widemargin/margin/input"]) for row in rows) - 1e-6
print(f"The checkpoint with the widest margin: {Path(widest.best_model_path).name}")

# %%
# Watching changes nothing: the same training without the callback ends at the same weights, to the bit.

alone = trained("alone")
assert all(torch.equal(*pair) for pair in zip(alone.parameters(), watched.parameters(), strict=True))
monitor = margins.monitor
print(f"{monitor.num_calls} epochs were measured in {monitor.seconds:.2f} s, and read back from {folder}.")
