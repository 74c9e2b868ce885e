"""Margins while the trainer of transformers trains."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from widemargin.errors import InvalidInputError
from widemargin.integrations.monitor import MarginMonitor

INSTALL = "is not installed: pip install 'widemargin[transformers]'"
transformers = pytest.importorskip("transformers", reason=f"transformers {INSTALL}")
pytest.importorskip("accelerate", reason=f"accelerate {INSTALL}")

from widemargin.integrations.transformers import MarginCallback  # noqa: E402  # needs them

pytestmark = pytest.mark.filterwarnings("ignore")  # the trainer warns of what small trainings are not meant for

TOKENS = torch.randint(1, 20, (48, 7), generator=torch.Generator().manual_seed(1))
EXAMPLES = [{"input_ids": row, "attention_mask": torch.ones_like(row), "labels": int(row[0] % 3)} for row in TOKENS]


def classifier():
    config = transformers.BertConfig(
        vocab_size=20, hidden_size=16, num_hidden_layers=3, num_attention_heads=2, intermediate_size=32, num_labels=3,
        max_position_embeddings=7,
    )  # fmt: skip
    return transformers.BertForSequenceClassification(config)


def trained(folder, num_epochs=3, watch=None, **options):
    transformers.set_seed(0)
    arguments = transformers.TrainingArguments(
        output_dir=str(folder), num_train_epochs=num_epochs, per_device_train_batch_size=8, learning_rate=0.005,
        use_cpu=True, report_to="none", save_strategy="no", disable_tqdm=True,
        **{"logging_strategy": "epoch"} | options,
    )  # fmt: skip
    trainer = transformers.Trainer(classifier(), arguments, train_dataset=EXAMPLES)
    callback = None if watch is None else MarginCallback(trainer, **{"budget": None} | watch)
    if callback is not None:
        trainer.add_callback(callback)
    trainer.train()
    return trainer, callback


def logged(trainer):
    return [entry for entry in trainer.state.log_history if "widemargin/train_accuracy" in entry]


def test_numbers_go_to_the_trainers_own_log(tmp_path):
    trainer, _ = trained(tmp_path, watch={"num_examples": 40})
    entries = logged(trainer)
    assert [entry["epoch"] for entry in entries] == [1, 2, 3]
    assert [entry["step"] for entry in entries] == [6, 12, 18]
    expected = MarginMonitor(trainer.get_train_dataloader(), num_examples=40)(trainer.model).metrics
    assert "widemargin/margin/bert.embeddings.word_embeddings" in expected
    assert {name: entries[-1][name] for name in expected} == pytest.approx(expected, rel=1e-5)


def test_the_trainers_own_entries_stay(tmp_path):
    alone, _ = trained(tmp_path)
    watched, _ = trained(tmp_path, watch={})
    own = [[entry["loss"] for entry in each.state.log_history if "loss" in entry] for each in (alone, watched)]
    assert len(own[0]) == 3
    assert own[0] == own[1]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"gradient_accumulation_steps": 4},
        {"bf16": True},
        {"torch_compile": True, "torch_compile_backend": "aot_eager"},
    ],
    ids=["plain", "accumulated gradients", "mixed precision", "compiled"],
)
def test_a_training_ends_at_the_same_weights_with_and_without(tmp_path, options):
    alone, _ = trained(tmp_path, **options)
    watched, callback = trained(tmp_path, watch={"measures": ["sam_sharpness", "top_hessian_eigenvalue"]}, **options)
    assert callback.monitor.num_calls == round(watched.state.epoch)  # before 4.53 they are fewer where accumulated
    assert "widemargin/top_hessian_eigenvalue" in logged(watched)[-1]
    weights = watched.model.state_dict()
    assert all(torch.equal(value, weights[name]) for name, value in alone.model.state_dict().items())


def test_mixed_precision_is_measured_in_whole_precision(tmp_path):
    trainer, _ = trained(tmp_path, watch={}, bf16=True)
    plain = classifier()
    plain.load_state_dict(trainer.model.state_dict())
    expected = MarginMonitor(trainer.get_train_dataloader())(plain).metrics
    entry = logged(trainer)[-1]
    assert {name: entry[name] for name in expected} == pytest.approx(expected, rel=1e-5)


def test_what_is_skipped_is_counted(tmp_path):
    trainer, callback = trained(tmp_path, watch={"budget": 1e-9})
    assert len(logged(trainer)) == 1
    assert (callback.monitor.num_calls, callback.monitor.num_skipped) == (3, 2)


def test_a_trainer_that_hands_over_no_loader_is_asked_for_it(tmp_path):
    trainer, callback = trained(tmp_path, watch={}, num_epochs=1)
    callback.on_train_begin(trainer.args, trainer.state, trainer.control)
    assert callback.monitor.train_data.dataset is trainer.train_dataset


def test_options_are_refused_before_the_training_begins(tmp_path):
    with pytest.raises(InvalidInputError, match="every must be at least 1, got 0"):
        trained(tmp_path, watch={"every": 0})


@pytest.mark.slow
def test_two_processes_log_what_one_would(tmp_path):
    script = """
import os
import sys
import torch
from integrations.test_transformers import logged, trained

trainer, _ = trained(sys.argv[1], watch={"num_examples": 40}, num_epochs=2)
rank = trainer.args.process_index
torch.save(logged(trainer), f"{sys.argv[1]}/log{rank}.pt")
torch.save(trainer.model.state_dict(), f"{sys.argv[1]}/weights{rank}.pt")
torch.distributed.barrier()
os._exit(0)  # gloo's threads, which torch may leave running, abort a process that tears its interpreter down
"""
    (tmp_path / "script.py").write_text(script)
    paths = os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    ended = subprocess.run(
        [*launcher, str(tmp_path / "script.py"), str(tmp_path)],
        check=False, timeout=200, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    model = classifier()
    model.load_state_dict(torch.load(tmp_path / "weights0.pt"))
    loader = torch.utils.data.DataLoader(EXAMPLES, batch_size=8, collate_fn=transformers.default_data_collator)
    expected = MarginMonitor(loader, num_examples=40)(model).metrics
    for rank in range(2):
        entries = torch.load(tmp_path / f"log{rank}.pt")
        assert len(entries) == 2
        assert {name: entries[-1][name] for name in expected} == pytest.approx(expected, rel=1e-4)
