"""What commands are about: a run's folder or a user's own network, with its data."""

import importlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from widemargin.errors import InvalidInputError, RunError, WidemarginError

if TYPE_CHECKING:
    from torch import nn

    from widemargin.trained_model import TrainedModel
    from widemargin.training import Poison
    from widemargin.zoo import Run, Zoo

__all__ = [
    "Data",
    "Device",
    "Images",
    "Labels",
    "Layers",
    "Target",
    "Weights",
    "ZooFolder",
    "existing_zoo",
    "load_weights",
    "one_sentence",
    "poison_of",
    "run_at",
    "said",
    "together",
    "trained_target",
    "wanted_layers",
]

Target = Annotated[str, typer.Argument(help="A run's folder, or module:factory of a network.", show_default=False)]
Weights = Annotated[Path | None, typer.Option(help="Parameters of the network, as .safetensors.")]
Data = Annotated[
    str | None,
    typer.Option(
        help="Training data: a data set's name, an .npz with inputs and labels, or module:factory; for a run, where "
        "its images are now."
    ),
]
Images = Annotated[
    str | None,
    typer.Option(help="The images: a folder of Parquet files or images, an .npz, or a hub name; default: the hub."),
]
Labels = Annotated[str | None, typer.Option(help="An .npz of training labels, where the study names some.")]
Layers = Annotated[str, typer.Option(help="auto, or layer names and globs, separated by commas.")]
Device = Annotated[str, typer.Option(help="auto: a CUDA device where there is one; or cpu, cuda, cuda:1.")]
ZooFolder = Annotated[
    str, typer.Argument(help="Folder of a zoo, or its address on a store such as s3://….", show_default=False)
]


@contextmanager
def one_sentence() -> Iterator[None]:
    """Turn whatever the user's network and data raise into an error of one sentence."""
    try:
        yield
    except WidemarginError:
        raise
    except Exception as error:
        raise InvalidInputError(f"the network must take the data, but: {said(error)}") from error


@contextmanager
def together() -> Iterator[bool]:
    """Join the other processes of a ``torchrun``, if there is one; yield whether this one speaks for all."""
    import torch

    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield True
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    torch.distributed.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")
    try:
        yield torch.distributed.get_rank() == 0
    finally:
        torch.distributed.destroy_process_group()


def existing_zoo(folder: str | Path) -> "Zoo":
    """Return the zoo in a folder.

    Raises:
        RunError: There is none.
    """
    from widemargin.zoo import Zoo

    zoo = Zoo(folder)
    if not zoo.runs_folder.is_dir() and zoo.study is None:
        raise RunError(
            f"{folder} must be a zoo's folder with runs in it, and is not. Train one with: widemargin zoo train "
            f"STUDY --out {folder}"
        )
    return zoo


def trained_target(target: str, weights: Path | None, data: str | None) -> "TrainedModel":
    """Return the network of a run's folder or of ``module:factory``, with its data."""
    import torch

    from widemargin.data import Sources
    from widemargin.trained_model import TrainedModel
    from widemargin.zoo import load_trained

    if (run := run_at(target)) is not None:
        trained = load_trained(run, sources=Sources(data))
        if weights is not None:
            load_weights(trained.network, weights)
        return trained
    if ":" not in target:
        raise InvalidInputError(
            f"{target!r} must be a run's folder or module:factory, and is neither. A factory is a function without "
            "arguments that returns the network."
        )
    if data is None:
        raise InvalidInputError("the training data is needed: name it with --data.")
    network = _called(target)
    if not isinstance(network, torch.nn.Module):
        raise InvalidInputError(f"{target!r} must return a torch.nn.Module, got {type(network).__name__}.")
    if weights is not None:
        load_weights(network, weights)
    train, test = _data(data)
    return TrainedModel(network, train, test)


def run_at(target: str) -> "Run | None":
    """Return the run in a folder or at an address on a store; None where the target is neither.

    Raises:
        RunError: There is a zoo, or nothing of the kind.
    """
    from widemargin.zoo import Run, Zoo

    if "://" not in target and not Path(target).is_dir():
        return None
    zoo = Zoo(target)
    if zoo.runs_folder.is_dir():
        raise RunError(f"{target} is a zoo; name one of its runs: {target.rstrip('/')}/runs/KEY.")
    return Run(zoo.folder)


def wanted_layers(layers: str) -> str | list[str]:
    """Return what ``--layers`` names."""
    return layers if layers == "auto" else [name.strip() for name in layers.split(",") if name.strip()]


def load_weights(network: "nn.Module", weights: Path) -> None:
    """Give the network the parameters in a ``.safetensors`` file.

    Raises:
        InvalidInputError: They do not fit, or there is no such file.
    """
    from safetensors.torch import load_file

    try:
        network.load_state_dict(load_file(weights))
    except Exception as error:  # the file system, safetensors and torch each have error types of their own
        advice = ". Write it with safetensors.torch.save_file(network.state_dict(), 'NAME.safetensors')."
        raise InvalidInputError(
            f"{weights} must fit the network, but: {error}{'' if weights.suffix == '.safetensors' else advice}"
        ) from None


def poison_of(target: str, data: str | None, poison_data: str | None, factor: float, num_examples: int) -> "Poison":
    """Return poison for a target: examples that were named, or what a known data set has outside its training set."""
    import torch

    from widemargin.data import DATASETS, Sources, load
    from widemargin.training import Poison
    from widemargin.zoo import examples_of_run

    if poison_data is not None:
        source, _ = _data(poison_data)
        if not (isinstance(source, tuple) and all(isinstance(part, torch.Tensor) for part in source)):
            raise InvalidInputError("--poison-data must be one pair of tensors (inputs, labels).")
        return Poison(factor, num_examples, source)
    if (run := run_at(target)) is not None:
        examples = examples_of_run(run, Sources(data))
    elif data is not None and data in DATASETS:
        examples = load(data)
    else:
        raise InvalidInputError(
            "poison is taken from outside the training data: name labeled examples with --poison-data."
        )
    if examples.draw is None and examples.extra_labels is None:
        raise InvalidInputError(
            f"all of {data or 'its data'} is trained on or tested: name other labeled examples with --poison-data."
        )
    return Poison.of(examples, factor, num_examples=num_examples, pool="fixed" if examples.draw is None else "fresh")


def _data(source: str) -> tuple[Any, Any]:
    """Return training and test data (or None) from a name, an .npz file or a factory."""
    import numpy as np
    import torch

    from widemargin.data import DATASETS, load

    if source in DATASETS:
        known = load(source)
        return (known.train_inputs, known.train_labels), (known.test_inputs, known.test_labels)
    if source.endswith(".npz"):
        try:
            with Path(source).open("rb") as stream, np.load(stream, allow_pickle=False) as file:
                labels = file["labels"]
                labels = labels.astype(np.int64) if labels.dtype.kind in "iu" else labels
                return (torch.from_numpy(file["inputs"]), torch.from_numpy(labels)), None
        except Exception as error:  # a damaged archive raises one of many kinds
            raise InvalidInputError(
                f"--data {source} must be an .npz with arrays inputs and labels, but: {said(error)}"
            ) from None
    if ":" in source:
        return _called(source), None
    raise InvalidInputError(
        f"--data must be one of {', '.join(DATASETS)}, an .npz file or module:factory, got {source!r}."
    )


def _called(reference: str) -> Any:
    """Import ``module:factory`` as seen from the current folder, and return what the factory returns."""
    module_name, _, name = reference.partition(":")
    sys.path.insert(0, here := str(Path.cwd()))
    try:
        return getattr(importlib.import_module(module_name), name)()
    except Exception as error:  # whatever the user's code raises
        raise InvalidInputError(
            f"{reference!r} must name a function without arguments that can be imported from here, but: {said(error)}"
        ) from error
    finally:
        sys.path.remove(here)


def said(error: Exception) -> str:
    """Return an error as its kind and its words."""
    return f"{type(error).__name__}: {error}"
