"""Several gloo processes under torchrun give the answer of one."""

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
import sys
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
    open(f"{out}/{dist.get_rank()}.txt", "w").write(f"{type(error).__name__}: {error}")
dist.destroy_process_group()
"""


def under_torchrun(folder: Path, num_processes: int, num_examples: int, batch_size: int, bad: int = -1) -> None:
    (folder / "script.py").write_text(SCRIPT)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={num_processes}"]
    arguments = [folder / "script.py", folder, num_examples, batch_size, bad]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([*command, *map(str, arguments)], check=True, env=environment, timeout=120, capture_output=True)


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
