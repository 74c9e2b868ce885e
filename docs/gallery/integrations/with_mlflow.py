"""Margins in MLflow, in a file
============================

What a training of your own measures, and a zoo of networks, logged to MLflow's SQLite store. No server is needed:
the store is a file, and ``mlflow ui`` shows it.
"""

import tempfile
from pathlib import Path

import mlflow
import torch
from torch.utils.data import DataLoader, TensorDataset

from widemargin.data import load
from widemargin.integrations.monitor import MarginMonitor
from widemargin.integrations.tracking import send_run, tracker_named
from widemargin.networks import build
from widemargin.zoo import Study, train_zoo

folder = Path(tempfile.mkdtemp(prefix="widemargin-"))
store = f"sqlite:///{folder}/mlflow.db"

# %%
# A loop of your own: the monitor measures at the end of each epoch, within 5 % of the training's time, and MLflow
# logs what it says like any other numbers.

data = load("digits", num_train=300)
loader = DataLoader(TensorDataset(data.train_inputs, data.train_labels), batch_size=50, shuffle=True)
network = build("mlp", num_classes=10, input_shape=data.input_shape, seed=0, hidden=(32, 32, 32))
optimizer = torch.optim.AdamW(network.parameters(), lr=0.005)
monitor = MarginMonitor(loader, num_examples=200, budget=None)  # of so short a training it may take what it wants

mlflow.set_tracking_uri(store)
mlflow.set_experiment("my training")
with mlflow.start_run():
    for epoch in range(10):
        for inputs, labels in loader:
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(network(inputs), labels).backward()
            optimizer.step()
        if record := monitor(network):  # the one line
            mlflow.log_metrics(record.metrics, step=epoch)

# %%
# A zoo: each run is sent as it ends, once: configuration, curves, gap, margin signature, weights, and a figure of
# its margins. ``widemargin zoo train STUDY.yaml --out ZOO --track mlflow`` does the same; ``widemargin track ZOO
# --to mlflow`` sends later what was not sent.

study = Study(
    name="weight-decay",
    base={"data": {"name": "digits", "num_train": 200}, "network": {"name": "mlp", "hidden": [32, 32, 32]}},
    grid={"training": [{"num_steps": 100, "weight_decay": decay} for decay in (0.0, 1.0)]},
)
zoo = train_zoo(study, folder, jobs=1)
tracker = tracker_named("mlflow", folder)
assert [send_run(zoo, run, tracker) for run in zoo.runs()] == [True, True]
assert [send_run(zoo, run, tracker) for run in zoo.runs()] == [False, False]  # they are there

# %%
# Read back, through MLflow's own client: the curve of a margin while training, and the gap of each run of the zoo.

client = mlflow.MlflowClient(store)
experiments = {experiment.name: experiment.experiment_id for experiment in client.search_experiments()}
(own,) = client.search_runs([experiments["my training"]])
curve = client.get_metric_history(own.info.run_id, "widemargin/margin/input")
print(
    f"Median margin at the input: {curve[0].value:.3f} after the first epoch, {curve[-1].value:.3f} after the last."
)
assert [point.step for point in curve] == [*range(10)]

sent = client.search_runs([experiments["weight-decay"]])
gaps = {run.folder.name: run.result["gap"] for run in zoo.runs()}
assert {run.data.tags["widemargin.key"]: run.data.metrics["gap"] for run in sent} == gaps
for run in sent:
    files = sorted(file.path for file in client.list_artifacts(run.info.run_id))
    print(
        f"weight decay {run.data.params['training.weight_decay']}: gap {run.data.metrics['gap']:.3f}, files {files}"
    )
    assert files == ["margins.png", "weights.safetensors"]
print(f"10 epochs and {len(sent)} runs of a zoo were read back from {store}.")
