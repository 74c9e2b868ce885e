"""A zoo on a Ray cluster
======================

The networks of a study are trained over the nodes of a cluster. Here the cluster is this machine; on another one
``address="auto"`` and a folder that all nodes see are all that changes.
"""

import os
import tempfile
from pathlib import Path

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"

import ray

from widemargin.zoo import Study, damages, train_zoo, zoo_table

folder = Path(tempfile.mkdtemp(prefix="widemargin-"))

# %%
# A grid of four configurations with two seeds each.

study = Study(
    name="on-a-cluster",
    base={
        "data": {"name": "digits", "num_train": 200},
        "network": {"name": "mlp", "hidden": [32, 32, 32]},
        "training": {"num_steps": 300, "lr": 0.005, "batch_size": 50},
    },
    grid={"training.weight_decay": [0.0, 1.0], "data.label_corruption": [0.0, 0.3]},
    repeats=2,
)

# %%
# A cluster of this machine's cores. ``widemargin zoo train STUDY.yaml --out ZOO --backend ray --address auto``
# joins one that runs already, and ``--gpus-per-run .25`` has four networks share a GPU.

ray.init(num_cpus=2, include_dashboard=False, object_store_memory=80 << 20, log_to_driver=False)
zoo = train_zoo(study, folder, backend="ray", jobs=2)
finished = {run.folder: (run.folder / "result.json").stat().st_mtime_ns for run in zoo.runs()}
print(f"{len(finished)} networks trained; {len(zoo.failures())} failed.")

# %%
# Asked again, it trains nothing: finished runs are never trained twice, whoever trained them, here or on a cluster.

train_zoo(study, folder, backend="local", jobs=1)
assert {run.folder: (run.folder / "result.json").stat().st_mtime_ns for run in zoo.runs()} == finished
ray.shutdown()

# %%
# Read back: every run's folder is checked against its checksums, and makes a row of the table.

assert len(finished) == len(study.runs()) == 8
assert damages(zoo) == []
table = zoo_table(zoo)
print(table[["hp.training.weight_decay", "hp.data.label_corruption", "train_accuracy", "gap"]].round(3).to_string())
gaps = table.groupby("hp.data.label_corruption")["gap"].mean()
assert gaps[0.3] > gaps[0.0]
print(f"{len(table)} runs were read back from {folder}, all of them whole.")
