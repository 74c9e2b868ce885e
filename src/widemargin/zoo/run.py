"""One run: configuration in, trained and measured network in a folder out."""

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import load, save_file
from torch import nn
from upath import UPath

from widemargin import __version__, networks
from widemargin.data import ClassificationData, Sources
from widemargin.errors import InvalidLogitsError, MeasureNotApplicableError, RunError
from widemargin.margins import MarginDistribution, margin_distribution
from widemargin.measures import input_frobenius_norm, performance, spectral_complexity
from widemargin.trained_model import TrainedModel
from widemargin.training import Fit, fit, train_stack
from widemargin.zoo.resources import (
    Resources,
    augmentation_of,
    examples_of,
    examples_of_run,
    on_device,
    poison_of,
    provenance,
)
from widemargin.zoo.store import Run, Zoo
from widemargin.zoo.study import RunConfig

__all__ = ["carry_out", "carry_out_together", "fits_of", "load_trained", "measurements", "network_of"]

CHECKPOINT_SECONDS = 120.0
"""How much training time a run that is stopped loses at most, about [s]."""


def carry_out(zoo: Zoo, config: RunConfig, resources: Resources | None = None) -> Run:
    """Train and measure one network and return its folder; a finished run is returned as it is.

    A network whose loss or outputs are not finite is written down as diverged.
    """
    return carry_out_together(zoo, [config], resources)[0]


def carry_out_together(
    zoo: Zoo,
    configs: Sequence[RunConfig],
    resources: Resources | None = None,
    on_share: Callable[[float], None] | None = None,
) -> list[Run]:
    """Train runs of one ``stack_key`` at once, then measure them one by one; as :func:`carry_out` does each alone.

    Args:
        zoo: Where they go.
        configs: What they are.
        resources: What they are carried out with.
        on_share: Called with the share of the training that is done, now and then.
    """
    resources = resources or Resources()
    runs = [Run(zoo.runs_folder / config.key) for config in configs]
    missing = [config for config, run in zip(configs, runs, strict=True) if not (run.folder / "result.json").exists()]
    if not missing:
        return runs
    device = resources.torch_device
    examples = on_device(examples_of(missing[0], resources.sources), device)
    origin = provenance(missing[0], examples, resources)
    built = [network_of(config, examples).to(device) for config in missing]
    with ExitStack() as stack:
        folders = [stack.enter_context(zoo.writing(config)) for config in missing]
        initials = [{name: value.detach().clone() for name, value in n.state_dict().items()} for n in built]
        for folder, initial in zip(folders, initials, strict=True):
            save_file(initial, folder / "initial.safetensors")
        begun = time.perf_counter()
        checkpoint = zoo.checkpoint(missing[0])
        fits = fits_of(missing, built, examples, checkpoint, on_share or (lambda _: None))
        training_seconds = (time.perf_counter() - begun) / len(missing)
        for folder, network, initial, fitted in zip(folders, built, initials, fits, strict=True):
            own = origin | {
                "num_classes": examples.num_classes,
                "num_corrupted": examples.num_corrupted,
                "training_seconds": training_seconds,
            }
            _write(folder, _trained(network, examples, initial), fitted, own)
    return runs


def fits_of(
    configs: Sequence[RunConfig],
    built: Sequence[nn.Module],
    examples: ClassificationData,
    checkpoint: Path | None = None,
    on_share: Callable[[float], None] = lambda _: None,
) -> Sequence[Fit]:
    """Train the networks of runs that can be trained at once, and return how it went."""
    trainings = [config.training for config in configs]
    shared = trainings[0].model_dump(exclude={"lr", "weight_decay", "poison", "augmentation", "precision"})
    lrs, decays = [training.lr for training in trainings], [training.weight_decay for training in trainings]
    poisons, seeds = [poison_of(config, examples) for config in configs], [c.seed for c in configs]
    inputs, labels = examples.train_inputs, examples.train_labels
    if len(configs) > 1:
        each: dict[str, Any] = {"lr": lrs, "weight_decay": decays, "poison": poisons, "seed": seeds}
        num_steps = shared["num_steps"]
        stack = train_stack(built, inputs, labels, **each, **shared, on_step=lambda step: on_share(step / num_steps))
        return stack.fits
    (network,) = built
    stored, augment = augmentation_of(configs[0], examples)
    return [
        fit(
            network,
            inputs if stored is None else stored,
            labels,
            **shared,
            lr=lrs[0],
            weight_decay=decays[0],
            poison=poisons[0],
            augment=augment,
            precision=trainings[0].precision,
            seed=seeds[0],
            on_record=lambda record: on_share(record.step / shared["num_steps"]),
            checkpoint=checkpoint,
            checkpoint_seconds=CHECKPOINT_SECONDS,
        )
    ]


def _write(folder: Path, trained: TrainedModel, fitted: Fit, own: Mapping[str, Any]) -> None:
    """Measure a trained network and write what became of it, ``result.json`` last."""
    state = {name: value.contiguous() for name, value in trained.network.state_dict().items()}
    save_file(state, folder / "weights.safetensors")
    records = [_without_nan(record.as_dict()) for record in fitted.history]
    (folder / "history.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    result: dict[str, Any] = {"status": "diverged"}
    begun = time.perf_counter()
    if not fitted.has_diverged and (measured := _measured(trained)):
        margins, values = measured
        margins.save(folder / "margins.npz")
        result = {"status": "finished", **values}
    measuring_seconds = time.perf_counter() - begun
    result |= {
        **own,
        "num_steps": fitted.num_steps,
        "measuring_seconds": measuring_seconds,
        "seconds": own["training_seconds"] + measuring_seconds,
        "versions": {"widemargin": __version__, "torch": torch.__version__},
    }
    (folder / "result.json").write_text(json.dumps(result, indent=2, allow_nan=False))


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


def load_trained(
    run: Run, which: Literal["weights", "initial"] = "weights", sources: Sources | None = None
) -> TrainedModel:
    """Return a run's network with the data it was trained on.

    Args:
        run: The run's folder.
        which: The network after training, or before.
        sources: Where its data is now; default: where it was when the run was trained.

    Raises:
        RunError: The run is unfinished or damaged, or the data is not what it was trained on.
        InvalidInputError: The data cannot be read.
    """
    config = run.config
    examples = examples_of_run(run, sources)
    network = network_of(config, examples).eval()
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


def network_of(config: RunConfig, examples: ClassificationData) -> nn.Module:
    """Return a run's network as it is before training."""
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


def _parameters(path: Path | UPath) -> dict[str, torch.Tensor]:
    try:
        return load(path.read_bytes())
    except Exception as error:  # safetensors raises an error type of its own, the file system others
        raise RunError(f"{path} must be a safetensors file, but cannot be read ({error}).") from None
