"""Margins in Weights & Biases, offline
====================================

What a training of your own measures, and a zoo of networks, as offline runs in a folder. ``wandb sync`` sends them
to a server later; with ``WANDB_API_KEY`` set they go there at once.
"""

import json
import os
import struct
import tempfile
from pathlib import Path

import torch
import wandb
from torch.utils.data import DataLoader, TensorDataset
from wandb.proto.wandb_internal_pb2 import Record

from widemargin.data import load
from widemargin.integrations.monitor import MarginMonitor
from widemargin.integrations.tracking import send_run, tracker_named
from widemargin.networks import build
from widemargin.zoo import Study, train_zoo

folder = Path(tempfile.mkdtemp(prefix="widemargin-"))
os.environ["WANDB_MODE"] = "offline"

# %%
# A loop of your own: the monitor measures at the end of each epoch, within 5 % of the training's time, and the run
# logs what it says like any other numbers.

data = load("digits", num_train=300)
loader = DataLoader(TensorDataset(data.train_inputs, data.train_labels), batch_size=50, shuffle=True)
network = build("mlp", num_classes=10, input_shape=data.input_shape, seed=0, hidden=(32, 32, 32))
optimizer = torch.optim.AdamW(network.parameters(), lr=0.005)
monitor = MarginMonitor(loader, num_examples=200, budget=None)  # of so short a training it may take what it wants

quiet = wandb.Settings(silent=True, console="off", disable_git=True, disable_code=True, x_disable_stats=True)
with wandb.init(project="my-training", dir=str(folder), settings=quiet) as own_run:
    for epoch in range(10):
        for inputs, labels in loader:
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(network(inputs), labels).backward()
            optimizer.step()
        if record := monitor(network):  # the one line
            own_run.log(record.metrics, step=epoch)

# %%
# A zoo: each run is sent as it ends, once: configuration, curves, gap, margin signature, weights, and a figure of
# its margins. ``widemargin zoo train STUDY.yaml --out ZOO --track wandb`` does the same; ``widemargin track ZOO
# --to wandb`` sends later what was not sent.

study = Study(
    name="weight-decay",
    base={"data": {"name": "digits", "num_train": 200}, "network": {"name": "mlp", "hidden": [32, 32, 32]}},
    grid={"training": [{"num_steps": 100, "weight_decay": decay} for decay in (0.0, 1.0)]},
)
zoo = train_zoo(study, folder, jobs=1)
tracker = tracker_named("wandb", folder)
assert [send_run(zoo, run, tracker) for run in zoo.runs()] == [True, True]
assert [send_run(zoo, run, tracker) for run in zoo.runs()] == [False, False]  # they are there

# %%
# Read back: an offline run is a file of protocol buffers in LevelDB's log format, behind seven bytes: blocks of 32
# KiB, in them pieces with a header of checksum, length and kind, and kinds 1 and 4 end a record.


def records(run_id):
    """Yield the records of one offline run."""
    (file,) = folder.glob(f"wandb/offline-run-*/run-{run_id}.wandb")
    content, place, parts = file.read_bytes(), 7, b""
    while place + 7 <= len(content):
        if (left := -place % 32768) < 7:  # too little of the block for a header
            place += left
        _, length, kind = struct.unpack_from("<IHB", content, place)
        parts += content[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):
            yield Record.FromString(parts)
            parts = b""


def values(items):
    """Return the entries of a record by name."""
    return {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items}


history = [values(record.history.item) for record in records(own_run.id) if record.HasField("history")]
curve = [row["widemargin/margin/input"] for row in history]
print(f"Median margin at the input: {curve[0]:.3f} after the first epoch, {curve[-1]:.3f} after the last.")
assert len(curve) == 10

for run in zoo.runs():
    summary = {}
    for record in records(run.folder.name):
        summary |= values(record.summary.update) if record.HasField("summary") else {}
    print(f"{run.folder.name}: gap {summary['gap']:.3f}")
    assert summary["gap"] == run.result["gap"]
print(f"10 epochs and {len(zoo.runs())} runs of a zoo were read back from {folder}.")
