"""Margins in TensorBoard
======================

What a training of your own measures, and a zoo of networks, as TensorBoard's event files: curves, figures, and a
table of hyperparameters. To look at them: ``tensorboard --logdir FOLDER``.
"""

import tempfile
from pathlib import Path

import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils.data import DataLoader, TensorDataset
from torch.utils.tensorboard import SummaryWriter

from widemargin.data import load
from widemargin.integrations.monitor import MarginMonitor
from widemargin.integrations.tracking import send_run, tracker_named
from widemargin.networks import build
from widemargin.zoo import Study, train_zoo

folder = Path(tempfile.mkdtemp(prefix="widemargin-"))

# %%
# A loop of your own: the monitor measures at the end of each epoch, within 5 % of the training's time, and the
# writer takes what it says like any other numbers.

data = load("digits", num_train=300)
loader = DataLoader(TensorDataset(data.train_inputs, data.train_labels), batch_size=50, shuffle=True)
network = build("mlp", num_classes=10, input_shape=data.input_shape, seed=0, hidden=(32, 32, 32))
optimizer = torch.optim.AdamW(network.parameters(), lr=0.005)
monitor = MarginMonitor(loader, num_examples=200, budget=None)  # of so short a training it may take what it wants

with SummaryWriter(str(folder / "my training")) as writer:
    for epoch in range(10):
        for inputs, labels in loader:
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(network(inputs), labels).backward()
            optimizer.step()
        if record := monitor(network):  # the one line
            for name, value in record.metrics.items():
                writer.add_scalar(name, value, epoch)

# %%
# A zoo: each run is sent as it ends, once: configuration, curves, gap, margin signature, and a figure of its
# margins. ``widemargin zoo train STUDY.yaml --out ZOO --track tensorboard`` does the same; ``widemargin track ZOO
# --to tensorboard`` sends later what was not sent. Weights stay in the run's own folder: event files are not made
# for them.

study = Study(
    name="weight-decay",
    base={"data": {"name": "digits", "num_train": 200}, "network": {"name": "mlp", "hidden": [32, 32, 32]}},
    grid={"training": [{"num_steps": 100, "weight_decay": decay} for decay in (0.0, 1.0)]},
)
zoo = train_zoo(study, folder, jobs=1)
tracker = tracker_named("tensorboard", folder)
assert [send_run(zoo, run, tracker) for run in zoo.runs()] == [True, True]
assert [send_run(zoo, run, tracker) for run in zoo.runs()] == [False, False]  # they are there

# %%
# Read back as TensorBoard reads: the curve of a margin while training, and the gap and the figure of each run.

events = EventAccumulator(str(folder / "my training")).Reload()
curve = events.Scalars("widemargin/margin/input")
print(
    f"Median margin at the input: {curve[0].value:.3f} after the first epoch, {curve[-1].value:.3f} after the last."
)
assert [point.step for point in curve] == [*range(10)]

for run in zoo.runs():
    events = EventAccumulator(str(folder / "tensorboard" / run.folder.name)).Reload()
    (gap,), (figure,) = events.Scalars("gap"), events.Images("margins")
    print(f"{run.folder.name}: gap {gap.value:.3f}, a figure of {figure.width} x {figure.height} pixels")
    assert abs(gap.value - run.result["gap"]) < 1e-6  # event files keep single precision
print(f"10 epochs and {len(zoo.runs())} runs of a zoo were read back from {folder}.")
