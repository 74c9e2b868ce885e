"""Margins while Lightning's trainer trains."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from measures.networks import blobs
from widemargin.errors import InvalidInputError
from widemargin.integrations.monitor import MarginMonitor

lightning = pytest.importorskip(
    "lightning.pytorch", reason="lightning is not installed: pip install 'widemargin[lightning]'"
)

from widemargin.integrations.lightning import MarginCallback  # noqa: E402  # needs it

pytestmark = pytest.mark.filterwarnings("ignore")  # Lightning warns of what small trainings are not meant for

DATA = blobs(60, 5)


class Module(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(5, 8),
            nn.BatchNorm1d(8),
            nn.ReLU(),
            nn.Dropout(0.2),
            nn.Linear(8, 8),
            nn.ReLU(),
            nn.Linear(8, 3),
        )

    def forward(self, inputs):
        return self.net(inputs)

    def training_step(self, batch):
        loss = nn.functional.cross_entropy(self(batch[0]), batch[1])
        self.log("loss", loss, on_epoch=True, on_step=False)
        return loss

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9)


class Quiet(Module):
    """Logs nothing while it is compiled, which torch cannot trace."""

    def training_step(self, batch):
        return nn.functional.cross_entropy(self(batch[0]), batch[1])


def trained(folder, *callbacks, num_epochs=3, compiles="", **options):
    lightning.seed_everything(0, verbose=False)
    module = Quiet() if compiles == "all" else Module()
    if compiles == "a part":
        module.net = torch.compile(module.net, backend="aot_eager")
    elif compiles:
        module = torch.compile(module, backend="aot_eager")
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(*DATA), batch_size=8, shuffle=True)
    trainer = lightning.Trainer(
        max_epochs=num_epochs, accelerator="cpu", devices=1, callbacks=list(callbacks), default_root_dir=folder,
        enable_progress_bar=False, enable_model_summary=False, **options,
    )  # fmt: skip
    trainer.fit(module, loader)
    return trainer, module


def logged(folder: Path) -> list[dict[str, float]]:
    """Return the rows of Lightning's own log that say something of margins."""
    (path,) = folder.rglob("metrics.csv")
    with path.open() as file:
        rows = [{name: float(value) for name, value in row.items() if value} for row in csv.DictReader(file)]
    return [row for row in rows if any(name.startswith("widemargin/") for name in row)]


def test_numbers_go_to_the_trainers_own_log(tmp_path):
    trainer, module = trained(tmp_path, MarginCallback(budget=None, num_examples=40))
    rows = logged(tmp_path)
    assert [row["epoch"] for row in rows] == [0, 1, 2]
    expected = MarginMonitor(DATA, num_examples=40)(module).metrics
    assert {name: rows[-1][name] for name in expected} == pytest.approx(expected, rel=1e-5)
    assert "loss" in rows[-1]
    assert trainer.callback_metrics["widemargin/train_accuracy"] == pytest.approx(
        expected["widemargin/train_accuracy"], rel=1e-6
    )


@pytest.mark.parametrize(
    "options",
    [{}, {"accumulate_grad_batches": 3}, {"precision": "bf16-mixed"}, {"compiles": "a part"}, {"compiles": "all"}],
    ids=["plain", "accumulated gradients", "mixed precision", "compiled part", "compiled"],
)
def test_a_training_ends_at_the_same_weights_with_and_without(tmp_path, options):
    callback = MarginCallback(budget=None, measures=["sam_sharpness"])
    _, alone = trained(tmp_path / "alone", **options)
    _, watched = trained(tmp_path / "watched", callback, **options)
    assert callback.monitor.num_calls == 3
    assert all(torch.equal(value, watched.state_dict()[name]) for name, value in alone.state_dict().items())


def test_data_of_the_users_choice_is_measured(tmp_path):
    other = blobs(30, 5, seed=5)
    _, module = trained(tmp_path, MarginCallback(other, budget=None), num_epochs=1)
    expected = MarginMonitor(other)(module).metrics
    (row,) = logged(tmp_path)
    assert {name: row[name] for name in expected} == pytest.approx(expected, rel=1e-5)


def test_only_every_kth_epoch_is_measured(tmp_path):
    trained(tmp_path, MarginCallback(budget=None, every=2), num_epochs=5)
    assert [row["epoch"] for row in logged(tmp_path)] == [1, 3]


def test_options_are_refused_before_the_training_begins(tmp_path):
    with pytest.raises(InvalidInputError, match="every must be at least 1, got 0"):
        trained(tmp_path, MarginCallback(every=0))


@pytest.mark.slow
def test_two_processes_log_what_one_would(tmp_path):
    script = """
import sys
from pathlib import Path
import torch
from integrations.test_lightning import DATA, Module, lightning
from widemargin.integrations.lightning import MarginCallback
from widemargin.integrations.monitor import MarginMonitor

lightning.seed_everything(0, verbose=False)
module, folder = Module(), Path(sys.argv[1])
loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(*DATA), batch_size=8, shuffle=True)
callback = MarginCallback(budget=None, num_examples=40, measures=["training_loss"])
trainer = lightning.Trainer(
    max_epochs=2, accelerator="cpu", devices=2, strategy="ddp", callbacks=[callback], default_root_dir=folder,
    enable_progress_bar=False, enable_model_summary=False,
)
trainer.fit(module, loader)
torch.save(dict(trainer.callback_metrics), folder / f"metrics{trainer.global_rank}.pt")
torch.save(module.state_dict(), folder / f"weights{trainer.global_rank}.pt")
"""
    (tmp_path / "script.py").write_text(script)
    paths = os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    ended = subprocess.run(
        [sys.executable, str(tmp_path / "script.py"), str(tmp_path)],
        check=False, timeout=200, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    module = Module()
    module.load_state_dict(torch.load(tmp_path / "weights0.pt"))
    expected = MarginMonitor(DATA, num_examples=40, measures=["training_loss"])(module).metrics
    for rank in range(2):
        found = torch.load(tmp_path / f"metrics{rank}.pt")
        assert {name: float(found[name]) for name in expected} == pytest.approx(expected, rel=1e-4)
