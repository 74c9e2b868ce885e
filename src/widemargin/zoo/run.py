"""One run: configuration in, trained and measured network in a folder out."""

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import load, save_file
from torch import Tensor, nn
from upath import UPath

from widemargin import __version__, data, networks
from widemargin.data import ClassificationData, CropAndFlip, Sources
from widemargin.errors import InvalidInputError, InvalidLogitsError, MeasureNotApplicableError, RunError
from widemargin.margins import MarginDistribution, margin_distribution
from widemargin.measures import input_frobenius_norm, performance, spectral_complexity
from widemargin.trained_model import TrainedModel
from widemargin.training import Fit, Poison, fit, has_bfloat16, train_stack
from widemargin.zoo.store import Run, Zoo
from widemargin.zoo.study import PoisonConfig, RunConfig

__all__ = [
    "Resources",
    "carry_out",
    "carry_out_together",
    "examples_of",
    "examples_of_run",
    "fits_of",
    "load_trained",
    "measurements",
    "network_of",
    "settled",
    "sources_of",
]


CHECKPOINT_SECONDS = 120.0
"""How much training time a run that is stopped loses at most, about [s]."""


@dataclass(frozen=True, slots=True)
class Resources:
    """What runs are carried out with; none of it decides what becomes of them.

    Attributes:
        sources: Where the data is.
        device: ``"auto"`` for a CUDA device where there is one, else the processor; or a device's name.
    """

    sources: Sources = field(default_factory=Sources)
    device: str = "auto"

    @property
    def torch_device(self) -> torch.device:
        """The device itself.

        Raises:
            InvalidInputError: There is no such device here.
        """
        if self.device == "auto":
            return torch.device("cuda" if torch.cuda.is_available() else "cpu")
        try:
            if not self.device.startswith(("cpu", "cuda", "mps")):
                raise RuntimeError("no such kind")
            return torch.ones(1, device=self.device).add(1).device
        except (RuntimeError, AssertionError, NotImplementedError) as error:
            said = str(error).partition("\n")[0]
            raise InvalidInputError(
                f"device must be auto, cpu, or a cuda or mps device of this machine, got {self.device!r}: {said}"
            ) from None


def settled(resources: Resources, zoo: Zoo, configs: Sequence[RunConfig]) -> Resources:
    """Return resources with every source named and read once, before any run is trained.

    What is not named is where the zoo's finished runs have it from, else at the data set's own place on the hub.

    Raises:
        InvalidInputError: A source is missing or cannot be read, a zoo of several data sets is given one source, or
            there is no such device.
        RunError: Finished runs were trained on other images or labels.
    """
    done, given = zoo.runs(), resources.sources
    firsts = {(config.data.name, config.data.labels): config for config in reversed(configs)}
    has_one_set = len({name for name, _ in firsts}) == 1
    if given.data is not None and not has_one_set:
        raise InvalidInputError("a study of several data sets takes each from the hub: leave out --data.")
    if given.labels is not None and not any(labels for _, labels in firsts):
        raise InvalidInputError("the study takes no labels from a file (data.labels): leave out --labels.")
    before = {
        name: next((run.result[name]["source"] for run in done if name in run.result), None)
        for name in ("data", "labels")
    }
    data_source = given.data or (before["data"] if has_one_set else None)
    settled = replace(resources, sources=Sources(data_source, given.labels or before["labels"]))
    for config in firsts.values():
        now = _provenance(config, examples_of(config, settled.sources), settled)
        for run in done:
            for name, what in (("data", "images"), ("labels", "labels")):
                is_like = run.config.data.name == config.data.name and name in now and name in run.result
                if is_like and now[name]["checksum"] != run.result[name]["checksum"]:
                    raise RunError(
                        f"{zoo.folder} holds runs that were trained on other {what} than {now[name]['source']} has. "
                        "Choose another folder with --out."
                    )
    return settled


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
    provenance = _provenance(missing[0], examples, resources)
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
            own = provenance | {
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
    poisons, seeds = [_poison(training.poison, examples) for training in trainings], [c.seed for c in configs]
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


def augmentation_of(config: RunConfig, examples: ClassificationData) -> tuple[Tensor | None, CropAndFlip | None]:
    """Return the inputs that a run's augmentation works on, and the augmentation; nothing where it has none.

    Raises:
        InvalidInputError: The data is not stored as images.
    """
    if config.training.augmentation == "none":
        return None, None
    if examples.stored_train_inputs is None or examples.preparation is None:
        raise InvalidInputError(f"training.augmentation needs stored images, and {config.data.name} has none.")
    return examples.stored_train_inputs, CropAndFlip(examples.preparation)


def on_device(examples: ClassificationData, device: torch.device) -> ClassificationData:
    """Return the data with what training and measuring touch on the device; extra examples stay where they are."""
    names = ("train_inputs", "train_labels", "test_inputs", "test_labels", "stored_train_inputs")
    held = {name: value for name in names if (value := getattr(examples, name)) is not None}
    return replace(examples, **{name: value.to(device) for name, value in held.items()})


def _provenance(config: RunConfig, examples: ClassificationData, resources: Resources) -> dict[str, Any]:
    """Return what a result says of where its data came from and what it was computed with."""
    device, sources = resources.torch_device, resources.sources
    narrow = config.training.precision == "bfloat16" and has_bfloat16(device)
    provenance: dict[str, Any] = {"device": device.type, "precision": "bfloat16" if narrow else "float32"}
    if examples.source is not None:
        provenance["data"] = {"source": examples.source, "checksum": examples.checksum}
    if config.data.labels is not None and sources.labels is not None:
        file = str(Path(sources.labels).resolve())
        provenance["labels"] = {"source": file, "checksum": sources.labels_checksum}
    return provenance


def _poison(config: PoisonConfig, examples: ClassificationData) -> Poison | None:
    return Poison.of(examples, **config.model_dump()) if config.factor > 0 else None


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


def examples_of(config: RunConfig, sources: Sources | None = None) -> ClassificationData:
    """Return the data of a run."""
    return data.load(**config.data.model_dump(), sources=sources)


def sources_of(run: Run) -> Sources:
    """Return where a run's data was when it was trained."""
    named = {name: run.result.get(name, {}).get("source") for name in ("data", "labels")}
    return Sources(**named)


def examples_of_run(run: Run, sources: Sources | None = None) -> ClassificationData:
    """Return the data that a run was trained on.

    Raises:
        RunError: The run is damaged, or the data is not what it was trained on.
        InvalidInputError: The data cannot be read.
    """
    before = sources_of(run)
    sources = Sources((sources and sources.data) or before.data, (sources and sources.labels) or before.labels)
    try:
        examples, labels_checksum = examples_of(run.config, sources), sources.labels_checksum
    except InvalidInputError as error:
        raise RunError(
            f"the data of {run.folder} cannot be read: {error} If it has moved, say with --data where it is now."
        ) from None
    for name, what, checksum, source in (
        ("data", "examples", examples.checksum, examples.source),
        ("labels", "labels", labels_checksum, sources.labels),
    ):
        if checksum != run.result.get(name, {}).get("checksum"):
            raise RunError(
                f"{run.folder} was trained on other {what} than {source} has now. Put back what it was trained on, "
                "or say with --data where that is."
            )
    return examples


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
