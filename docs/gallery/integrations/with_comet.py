"""Margins in Comet, offline
=========================

What a training of your own measures, and a zoo of networks, as archives in a folder. ``comet upload`` sends them
to Comet later; with ``COMET_API_KEY`` set they go there at once.
"""

import json
import tempfile
from pathlib import Path
from zipfile import ZipFile

import comet_ml
import torch
from torch.utils.data import DataLoader, TensorDataset

from widemargin.data import load
from widemargin.integrations.monitor import MarginMonitor
from widemargin.integrations.tracking import send_run, tracker_named
from widemargin.networks import build
from widemargin.zoo import Study, train_zoo

folder = Path(tempfile.mkdtemp(prefix="widemargin-"))

# %%
# A loop of your own: the monitor measures at the end of each epoch, within 5 % of the training's time, and the
# experiment logs what it says like any other numbers.

data = load("digits", num_train=300)
loader = DataLoader(TensorDataset(data.train_inputs, data.train_labels), batch_size=50, shuffle=True)
network = build("mlp", num_classes=10, input_shape=data.input_shape, seed=0, hidden=(32, 32, 32))
optimizer = torch.optim.AdamW(network.parameters(), lr=0.005)
monitor = MarginMonitor(loader, num_examples=200, budget=None)  # of so short a training it may take what it wants

quiet = comet_ml.ExperimentConfig(
    name="by hand",
    offline_directory=str(folder / "my training"), display_summary_level=0, log_code=False, log_graph=False,
    log_git_metadata=False, log_env_details=False, parse_args=False, auto_metric_logging=False,
)  # fmt: skip
experiment = comet_ml.start(online=False, project_name="my-training", experiment_config=quiet)
for epoch in range(10):
    for inputs, labels in loader:
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(network(inputs), labels).backward()
        optimizer.step()
    if record := monitor(network):  # the one line
        experiment.log_metrics(record.metrics, step=epoch)
experiment.end()

# %%
# A zoo: each run is sent as it ends, once: configuration, curves, gap, margin signature, weights, and a figure of
# its margins. ``widemargin zoo train STUDY.yaml --out ZOO --track comet`` does the same; ``widemargin track ZOO
# --to comet`` sends later what was not sent.

study = Study(
    name="weight-decay",
    base={"data": {"name": "digits", "num_train": 200}, "network": {"name": "mlp", "hidden": [32, 32, 32]}},
    grid={"training": [{"num_steps": 100, "weight_decay": decay} for decay in (0.0, 1.0)]},
)
zoo = train_zoo(study, folder, jobs=1)
tracker = tracker_named("comet", folder)
assert [send_run(zoo, run, tracker) for run in zoo.runs()] == [True, True]
assert [send_run(zoo, run, tracker) for run in zoo.runs()] == [False, False]  # they are there

# %%
# Read back: an archive holds the messages that the server will get, a line each, and the files.


def messages(archive, kind):
    """Return the messages of one kind that an archive holds."""
    with ZipFile(archive) as file:
        lines = [json.loads(line) for line in file.read("messages.json").decode().splitlines()]
    return [line["payload"] for line in lines if line["type"] == kind]


def metrics(archive):
    """Return name, step and value of everything measured."""
    logged = [payload["metric"] for payload in messages(archive, "metric_msg")]
    return [(metric["metricName"], metric["step"], metric["metricValue"]) for metric in logged]


(archive,) = (folder / "my training").glob("*.zip")
curve = [(step, value) for name, step, value in metrics(archive) if name == "widemargin/margin/input"]
print(f"Median margin at the input: {curve[0][1]:.3f} after the first epoch, {curve[-1][1]:.3f} after the last.")
assert [step for step, _ in curve] == [*range(10)]

gaps = {run.folder.name: run.result["gap"] for run in zoo.runs()}
for archive in (folder / "comet").glob("*.zip"):
    key = next(other["value"] for other in messages(archive, "log_other") if other["key"] == "widemargin.key")
    gap = next(value for name, _, value in metrics(archive) if name == "gap")
    files = [upload["upload_type"] for upload in messages(archive, "file_upload")]
    print(f"{key}: gap {gap:.3f}, files {files}")
    assert gap == gaps.pop(key)
    assert files == ["asset", "visualization"]  # weights, and the figure of margins
assert not gaps
print(f"10 epochs and {len(zoo.runs())} runs of a zoo were read back from {folder}.")
