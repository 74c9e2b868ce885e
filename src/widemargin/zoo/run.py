"""One run: configuration in, trained and measured network in a folder out."""

import json
import math
import time
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from widemargin import __version__, data, networks
from widemargin.data import ClassificationData
from widemargin.errors import InvalidLogitsError, MeasureNotApplicableError, RunError
from widemargin.margins import MarginDistribution, margin_distribution
from widemargin.measures import input_frobenius_norm, performance, spectral_complexity
from widemargin.trained_model import TrainedModel
from widemargin.training import fit
from widemargin.zoo.store import Run, Zoo
from widemargin.zoo.study import RunConfig

__all__ = ["carry_out", "load_trained", "measurements"]


def carry_out(zoo: Zoo, config: RunConfig) -> Run:
    """Train and measure one network and return its folder; a finished run is returned as it is.

    A network whose loss or outputs are not finite is written down as diverged.
    """
    run = Run(zoo.runs_folder / config.key)
    if (run.folder / "result.json").exists():
        return run
    started = time.perf_counter()
    examples = _examples(config)
    network = _network(config, examples)
    with zoo.writing(config) as folder:
        initial = {name: parameter.detach().clone() for name, parameter in network.state_dict().items()}
        save_file(initial, folder / "initial.safetensors")
        begun = time.perf_counter()
        fitted = fit(
            network,
            examples.train_inputs,
            examples.train_labels,
            seed=config.seed,
            **config.training.model_dump(),
        )
        training_seconds = time.perf_counter() - begun
        save_file(network.state_dict(), folder / "weights.safetensors")
        records = [_without_nan(record.as_dict()) for record in fitted.history]
        (folder / "history.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
        result: dict[str, Any] = {"status": "diverged"}
        begun = time.perf_counter()
        if not fitted.has_diverged and (measured := _measured(_trained(network, examples, initial))):
            margins, values = measured
            margins.save(folder / "margins.npz")
            result = {"status": "finished", **values}
        result |= {
            "num_corrupted": examples.num_corrupted,
            "num_steps": fitted.num_steps,
            "training_seconds": training_seconds,
            "measuring_seconds": time.perf_counter() - begun,
            "seconds": time.perf_counter() - started,
            "versions": {"widemargin": __version__, "torch": torch.__version__},
        }
        (folder / "result.json").write_text(json.dumps(result, indent=2, allow_nan=False))
    return run


def measurements(trained: TrainedModel) -> dict[str, Any]:
    """Return accuracies, losses, the gap and the spectral complexity of a network with test data."""
    train, test = performance(trained, "train"), performance(trained, "test")
    values: dict[str, Any] = {
        "train_accuracy": train.accuracy,
        "test_accuracy": test.accuracy,
        "gap": train.accuracy - test.accuracy,
        "train_loss": train.loss,
        "test_loss": test.loss,
        "num_train": train.num_examples,
        "num_test": test.num_examples,
        "num_parameters": sum(parameter.numel() for parameter in trained.network.parameters()),
    }
    try:
        complexity = spectral_complexity(trained)
        if not math.isfinite(complexity.value):
            raise MeasureNotApplicableError(f"the spectral complexity is 0: {' '.join(complexity.caveats)}")
        values["input_frobenius_norm"] = input_frobenius_norm(trained)
        values["log_spectral_complexity"] = complexity.value
    except MeasureNotApplicableError as reason:
        values["spectral_complexity_not_applicable"] = str(reason)
    return values


def load_trained(run: Run, which: Literal["weights", "initial"] = "weights") -> TrainedModel:
    """Return a run's network with the data it was trained on.

    Raises:
        RunError: The run is unfinished or damaged.
    """
    config = run.config
    examples = _examples(config)
    network = _network(config, examples).eval()
    initial = _parameters(run.folder / "initial.safetensors")
    state = initial if which == "initial" else _parameters(run.folder / "weights.safetensors")
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise RunError(f"the weights in {run.folder} do not fit its configuration: {error}") from None
    return _trained(network, examples, initial)


def _measured(trained: TrainedModel) -> tuple[MarginDistribution, dict[str, Any]] | None:
    """Return margins and measurements; None where parameters are finite, but what they lead to is not."""
    try:
        margins, values = margin_distribution(trained), measurements(trained)
    except InvalidLogitsError:
        return None
    return (margins, values) if math.isfinite(values["train_loss"] + values["test_loss"]) else None


def _without_nan(record: dict[str, float]) -> dict[str, float | None]:
    """Return the record with None for what JSON has no number for."""
    return {name: value if math.isfinite(value) else None for name, value in record.items()}


def _examples(config: RunConfig) -> ClassificationData:
    return data.load(**config.data.model_dump())


def _network(config: RunConfig, examples: ClassificationData) -> nn.Module:
    return networks.build(
        num_classes=examples.num_classes,
        input_shape=examples.input_shape,
        seed=config.seed,
        **config.network.model_dump(),
    )


def _trained(network: nn.Module, examples: ClassificationData, initial: dict[str, torch.Tensor]) -> TrainedModel:
    return TrainedModel(
        network,
        (examples.train_inputs, examples.train_labels),
        (examples.test_inputs, examples.test_labels),
        initial_parameters=initial,
    )


def _parameters(path: Path) -> dict[str, torch.Tensor]:
    try:
        return load_file(path)
    except Exception as error:  # safetensors raises an error type of its own, the file system others
        raise RunError(f"{path} must be a safetensors file, but cannot be read ({error}).") from None
