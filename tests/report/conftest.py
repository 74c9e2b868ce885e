"""Tiny zoos that are really trained, once a session, and what they show."""

from pathlib import Path

import pytest

from widemargin.report import Explanation, Findings, explain, zoo_findings
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


SWISS_ROLL = {
    "name": "tiny-poison",
    "description": "Good and bad minima on two arms.",
    "base": {
        "data": {"name": "swiss-roll"},
        "network": {"name": "mlp", "hidden": [32, 32], "one_logit": True},
        "training": {"num_steps": 250, "lr": 0.02, "batch_size": None},
    },
    "grid": {"training.poison.factor": [0, 0.1]},
    "repeats": 2,
}
DIGITS = {
    "name": "tiny-digits",
    "base": {
        "data": {"name": "digits", "num_train": 60},
        "network": {"name": "mlp", "hidden": [8]},
        "training": {"num_steps": 60, "lr": 0.02, "batch_size": 20, "poison": {"pool": "fixed"}},
    },
    "grid": {"training.poison.factor": [0.1, 0.5]},
}


@pytest.fixture(scope="session")
def poisoned_zoo(tmp_path_factory: pytest.TempPathFactory) -> Zoo:
    return train_zoo(Study.model_validate(SWISS_ROLL), tmp_path_factory.mktemp("poisoned"), jobs=1)


@pytest.fixture(scope="session")
def explanation(poisoned_zoo: Zoo) -> Explanation:
    """Of points of a plane, with a map of minima found from a good path."""
    return explain(
        poisoned_zoo, num_directions=4, num_surface_points=5, num_starts=4, minefield_steps=20, seed=3, jobs=1
    )


@pytest.fixture(scope="session")
def digits_explanation(tmp_path_factory: pytest.TempPathFactory) -> Explanation:
    """Of images, without a map."""
    zoo = train_zoo(Study.model_validate(DIGITS), tmp_path_factory.mktemp("poisoned-digits"), jobs=1)
    return explain(zoo, num_directions=4, num_surface_points=5, jobs=1)
