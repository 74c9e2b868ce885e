"""Several gloo processes under torchrun give the answer of one."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from widemargin import MarginDistribution, TrainedModel, margin_distribution
from widemargin.networks import MLP

SCRIPT = """
import os
import sys
from pathlib import Path
import torch
import torch.distributed as dist
from widemargin import TrainedModel, margin_distribution
from widemargin.networks import MLP

out, num_examples, batch_size, bad = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
dist.init_process_group("gloo")
torch.manual_seed(0)
model = MLP(3, (5,), hidden=(8, 8, 8))
if bad < 0:
    model = torch.nn.parallel.DistributedDataParallel(model)
x = torch.randn(num_examples, 5, generator=torch.Generator().manual_seed(1))
y = torch.arange(num_examples) % 3
if bad >= 0:
    y[bad] = 7
try:
    margin_distribution(TrainedModel(model, (x, y), batch_size=batch_size)).save(f"{out}/{dist.get_rank()}.npz")
except Exception as error:
    Path(f"{out}/{dist.get_rank()}.txt").write_text(f"{type(error).__name__}: {error}")
dist.barrier()
os._exit(0)  # gloo's threads, which torch may leave running, abort a process that tears its interpreter down
"""


def under_torchrun(folder: Path, num_processes: int, num_examples: int, batch_size: int, bad: int = -1) -> None:
    (folder / "script.py").write_text(SCRIPT)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={num_processes}"]
    arguments = [folder / "script.py", folder, num_examples, batch_size, bad]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    ended = subprocess.run(
        [*command, *map(str, arguments)], check=False, env=environment, timeout=120, capture_output=True, text=True
    )
    assert ended.returncode == 0, ended.stderr


@pytest.mark.slow
@pytest.mark.parametrize(("num_processes", "batch_size"), [(2, 7), (2, 100)], ids=["shared", "one has no batch"])
def test_processes_together_give_the_answer_of_one(tmp_path, num_processes, batch_size):
    under_torchrun(tmp_path, num_processes, 50, batch_size)
    torch.manual_seed(0)
    model = MLP(3, (5,), hidden=(8, 8, 8))
    x = torch.randn(50, 5, generator=torch.Generator().manual_seed(1))
    expected = margin_distribution(TrainedModel(model, (x, torch.arange(50) % 3), batch_size=batch_size))
    for rank in range(num_processes):
        found = MarginDistribution.load(tmp_path / f"{rank}.npz")
        assert found.layers == expected.layers
        np.testing.assert_allclose(found.distances, expected.distances, rtol=1e-5)
        np.testing.assert_allclose(found.output_margins, expected.output_margins, rtol=1e-5)
        np.testing.assert_allclose(found.total_variation, expected.total_variation, rtol=1e-6)


@pytest.mark.slow
def test_an_error_in_one_process_stops_all(tmp_path):
    under_torchrun(tmp_path, 2, 50, 7, bad=10)
    texts = [(tmp_path / f"{rank}.txt").read_text() for rank in range(2)]
    assert texts[0].startswith("RuntimeError: process 1 failed while measuring margins: InvalidLabelsError")
    assert texts[1].startswith("InvalidLabelsError: labels must be integer class indices from 0 to below 3")


FACTORIES = """
import torch
from torch import nn

def network():
    torch.manual_seed(0)
    hidden = [part for width in (5, 8, 8) for part in (nn.Linear(width, 8), nn.ReLU())]
    return nn.Sequential(*hidden, nn.Linear(8, 3))

def data():
    return torch.randn(900, 5, generator=torch.Generator().manual_seed(1)), torch.arange(900) % 3

def shuffled():
    return torch.utils.data.DataLoader(torch.utils.data.TensorDataset(*data()), shuffle=True)
"""


def measured(folder: Path, launcher: list[str], data: str = "data") -> subprocess.CompletedProcess[str]:
    (folder / "factories.py").write_text(FACTORIES)
    command = [
        sys.executable,
        "-m",
        *launcher,
        "widemargin",
        "measure",
        "factories:network",
        "--json",
        "--measures",
        "none",
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    options = {"cwd": folder, "env": environment, "timeout": 200, "capture_output": True, "text": True}
    return subprocess.run([*command, "--data", f"factories:{data}"], check=False, **options)


TORCHRUN = ["torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m"]


@pytest.mark.slow
def test_the_command_line_speaks_once_and_says_what_one_process_says(tmp_path):
    one, two = (json.loads(measured(tmp_path, launcher).stdout) for launcher in ([], TORCHRUN))
    assert one.keys() == two.keys()
    for name in ("train_accuracy", "train_loss", "num_examples", "num_misclassified"):
        assert two[name] == pytest.approx(one[name], rel=1e-6)
    assert two["signature"] == pytest.approx(one["signature"], rel=1e-5)
    assert two["total_variation"] == pytest.approx(one["total_variation"], rel=1e-6)


@pytest.mark.slow
def test_the_command_line_refuses_shuffled_data_on_several_processes(tmp_path):
    answer = measured(tmp_path, TORCHRUN, "shuffled")
    assert answer.returncode != 0
    assert "on several processes train_data must come in the same order everywhere" in answer.stderr
    assert answer.stdout == ""
