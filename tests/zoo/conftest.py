from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from widemargin.zoo import RunConfig, Study, Zoo, train_zoo
from widemargin.zoo.execution import one_torch_thread

SMALL = {
    "data": {"name": "digits", "num_train": 60},
    "network": {"name": "mlp", "hidden": [12, 12, 12]},
    "training": {"num_steps": 30, "batch_size": 20},
}


def nested(**options: Any) -> dict[str, Any]:
    """Return the small configuration with options such as ``training__lr`` laid over it."""
    config: dict[str, Any] = {part: dict(values) for part, values in SMALL.items()}
    for name, value in options.items():
        part, _, key = name.partition("__")
        if key:
            config[part][key] = value
        else:
            config[part] = value
    return config


@pytest.fixture(scope="package", autouse=True)
def _one_torch_thread() -> Iterator[None]:
    """Tiny networks on a busy machine wait for their second thread most of the time."""
    with one_torch_thread():
        yield


@pytest.fixture(scope="session")
def small_config() -> Callable[..., RunConfig]:
    return lambda **options: RunConfig.model_validate(nested(**options))


@pytest.fixture(scope="session")
def small_study() -> Callable[..., Study]:
    def study(grid: dict[str, list[Any]] | None = None, repeats: int = 1, **options: Any) -> Study:
        return Study(name="small", base=nested(**options), grid=grid or {}, repeats=repeats)

    return study


@pytest.fixture(scope="session")
def mixed_zoo(tmp_path_factory: pytest.TempPathFactory, small_study: Callable[..., Study]) -> Zoo:
    """Four networks: two well-behaved, one diverged, one right on too few examples. Not to be changed."""
    well = {"lr": 0.005, "num_steps": 60, "batch_size": 20}
    study = small_study(
        {
            "training": [
                well,
                well | {"num_steps": 40},
                well | {"optimizer": "sgd", "lr": 1e6},
                {"num_steps": 1, "lr": 1e-30},
            ]
        },
        data={"name": "digits", "num_train": 10, "label_corruption": 1.0},
    )
    return train_zoo(study, Path(tmp_path_factory.mktemp("mixed")) / "zoo", jobs=1)
