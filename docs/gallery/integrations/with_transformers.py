"""Margins while transformers' Trainer trains
==========================================

One callback, and the margins of a text classifier are in its trainer's log. The network is built from its
configuration: nothing is downloaded.
"""

import json
import tempfile
from pathlib import Path

import torch
from sklearn.datasets import load_digits
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    PrinterCallback,
    Trainer,
    TrainingArguments,
    set_seed,
)

from widemargin import TrainedModel, measure_all
from widemargin.integrations.transformers import MarginCallback

folder = Path(tempfile.mkdtemp(prefix="widemargin-"))

# %%
# Handwritten digits as a language: the 17 grey values are its words, an image of 8 x 8 pixels is a sentence of 64
# of them.

images, digits = load_digits(return_X_y=True)
words = torch.from_numpy(images).long() + 1  # 0 is for padding
examples = [
    {"input_ids": row, "attention_mask": torch.ones_like(row), "labels": int(digit)}
    for row, digit in zip(words[:400], digits[:400], strict=True)
]

# %%
# The callback goes to the trainer like any other. By default it takes 5 % of the training's time at most and skips
# epochs to keep to that; in so short a training it may take what it wants.


def trained(**watch):
    """Train a small BERT for ten epochs; return its trainer and the callback."""
    set_seed(0)
    config = BertConfig(
        vocab_size=18, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
        max_position_embeddings=64, num_labels=10, initializer_range=0.1,
        hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
    )  # fmt: skip
    arguments = TrainingArguments(
        output_dir=str(folder), num_train_epochs=10, per_device_train_batch_size=20, learning_rate=0.005,
        use_cpu=True, logging_strategy="epoch", report_to="none", save_strategy="no", disable_tqdm=True,
    )  # fmt: skip
    trainer = Trainer(BertForSequenceClassification(config), arguments, train_dataset=examples)
    trainer.remove_callback(PrinterCallback)  # its log is read below
    callback = MarginCallback(trainer, **watch) if watch else None
    if callback is not None:
        trainer.add_callback(callback)
    trainer.train()
    return trainer, callback


trainer, callback = trained(num_examples=100, budget=None)

# %%
# Words have no margin: there is no way between two of them. Their embeddings stand for the input.

trainer.save_state()
state = json.loads((folder / "trainer_state.json").read_text())
entries = [entry for entry in state["log_history"] if "widemargin/train_accuracy" in entry]
for entry in entries:
    numbers = {name.removeprefix("widemargin/"): value for name, value in entry.items()}
    print(", ".join(f"{name} {value:.3g}" for name, value in numbers.items()))
assert [entry["epoch"] for entry in entries] == [*range(1, 11)]
assert "widemargin/margin/bert.embeddings.word_embeddings" in entries[-1]
assert entries[-1]["widemargin/train_accuracy"] > 0.3  # chance is .1

# %%
# The trained network is measured like any other: batches are dictionaries, and the answer is an object with logits.

model = TrainedModel(trainer.model, trainer.get_train_dataloader())
print(measure_all(model, ["training_accuracy", "normalized_margin", "sam_sharpness", "parameter_norm"])["value"])

# %%
# Watching changes nothing: the same training without the callback ends at the same weights, to the bit.

alone, _ = trained()
assert all(torch.equal(*pair) for pair in zip(alone.model.parameters(), trainer.model.parameters(), strict=True))
monitor = callback.monitor
print(f"{monitor.num_calls} epochs were measured in {monitor.seconds:.2f} s, and read back from {folder}.")
