"""What is installed here, what each missing extra would give, and what the machine has."""

import os
import platform
from importlib import metadata
from importlib.metadata import PackageNotFoundError
from typing import Any

from packaging.requirements import Requirement

from widemargin import __version__
from widemargin.cli.output import AsJson, print_json

__all__ = ["doctor"]

GIVES = {
    "ray": "zoos over the nodes of a cluster: zoo train --backend ray",
    "comet": "zoos in Comet: zoo train --track comet, track ZOO --to comet",
    "mlflow": "zoos in MLflow: --track mlflow, --to mlflow",
    "tensorboard": "zoos in TensorBoard: --track tensorboard, --to tensorboard",
    "wandb": "zoos in Weights & Biases: --track wandb, --to wandb",
    "lightning": "margins while Lightning trains: MarginCallback",
    "transformers": "margins while transformers' Trainer trains: MarginCallback",
    "docs": "this documentation, built: make docs",
}
"""What each extra is for; an extra that is not named here is for those who work on widemargin."""


def doctor(as_json: AsJson = False) -> None:
    """Say what is installed, what each missing extra would give, and which device, threads and folders are used."""
    found = _found()
    if as_json:
        print_json(found)
        return
    for name, value in found["versions"].items():
        print(f"{name:13} {value}")
    print(f"{'device':13} {found['device']}")
    print(f"{'threads':13} {found['threads']} of torch, {found['cores']} cores")
    print(f"{'images':13} {found['cache']}")
    for name, extra in found["extras"].items():
        told = ", ".join(f"{package} {version}" for package, version in extra["installed"].items())
        if extra["installed"] and not extra["missing"]:
            print(f"[{name}]  installed: {told}")
        else:
            print(f"[{name}]  pip install 'widemargin[{name}]'")
        print(f"{'':13} {extra['gives']}")


def _found() -> dict[str, Any]:
    import torch

    from widemargin.data.cache import cache_folder

    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu (torch finds no CUDA device)"
    return {
        "versions": {
            "widemargin": __version__,
            "python": platform.python_version(),
            **{name: metadata.version(name) for name in ("torch", "numpy", "scikit-learn", "datasets")},
        },
        "device": device,
        "threads": torch.get_num_threads(),
        "cores": os.cpu_count(),
        "cache": str(cache_folder()),
        "extras": {name: _extra(name) for name in GIVES},
    }


def _extra(name: str) -> dict[str, Any]:
    requirements = [Requirement(text) for text in metadata.requires("widemargin") or ()]
    wanted = [each.name for each in requirements if each.marker and each.marker.evaluate({"extra": name})]
    versions = {package: _version(package) for package in wanted}
    return {
        "gives": GIVES[name],
        "installed": {package: version for package, version in versions.items() if version},
        "missing": [package for package, version in versions.items() if not version],
    }


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except PackageNotFoundError:
        return None
