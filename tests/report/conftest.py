"""A tiny zoo that is really trained, once a session, and its findings."""

from pathlib import Path

import pytest

from widemargin.report import Findings, zoo_findings
from widemargin.zoo import Study, Zoo, train_zoo

STUDY = {
    "name": "tiny",
    "description": "Small multilayer perceptrons on few digits.",
    "base": {
        "data": {"name": "digits"},
        "network": {"name": "mlp", "hidden": [8, 8, 8]},
        "training": {"num_steps": 60, "lr": 0.02, "batch_size": 20},
    },
    "grid": {"data.num_train": [40, 80], "data.label_corruption": [0.0, 0.3]},
    "repeats": 2,
}


@pytest.fixture(scope="session")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Zoo:
    return train_zoo(Study.model_validate(STUDY), tmp_path_factory.mktemp("zoo"), jobs=1)


@pytest.fixture(scope="session")
def findings(zoo: Zoo) -> Findings:
    return zoo_findings(zoo)


@pytest.fixture(scope="session")
def deserted_zoo(tmp_path_factory: pytest.TempPathFactory) -> Zoo:
    folder: Path = tmp_path_factory.mktemp("deserted")
    return Zoo(folder)
