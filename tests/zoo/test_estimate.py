import pytest

from widemargin.zoo import RunConfig, estimate, estimated_seconds

IMAGES = {
    "data": {"name": "cifar10", "num_train": 1000},
    "network": {"name": "nin", "width": 4 / 192},
    "training": {"num_steps": 500, "batch_size": 8, "augmentation": "crop-and-flip"},
}


def configs(num, **training):
    nested = IMAGES | {"training": IMAGES["training"] | training}
    return [RunConfig.model_validate(nested | {"seed": seed}) for seed in range(num)]


@pytest.mark.parametrize(("num", "num_workers", "expected"), [(1, 1, 1000), (6, 1, 6000), (6, 2, 3000), (1, 4, 1000)])
def test_time_goes_with_steps_and_is_shared_by_workers(monkeypatch, num, num_workers, expected):
    monkeypatch.setattr(estimate, "_seconds", lambda runs, examples, num_steps: 5.0 + 2.0 * num_steps)
    assert estimated_seconds(configs(num), num_workers) == pytest.approx(expected)


def test_larger_networks_count_by_their_operations(monkeypatch):
    monkeypatch.setattr(estimate, "_seconds", lambda runs, examples, num_steps: 2.0 * num_steps)
    small, twice = configs(1)[0], configs(1, num_steps=1000)[0]
    assert estimated_seconds([small, twice], 1) == pytest.approx(1000 + 2000)


@pytest.mark.parametrize(
    "nested",
    [
        IMAGES,
        IMAGES | {"training": {"batch_size": 8, "poison": {"factor": 0.1, "num_examples": 4, "pool": "fixed"}}},
        IMAGES | {"data": {"name": "my/set"}},
        {"data": {"name": "swiss-roll"}, "network": {"name": "mlp", "hidden": [5]}},
    ],
    ids=["augmented", "poisoned", "unknown", "toy"],
)
def test_needs_no_data_on_disk(nested):
    assert 0 <= estimated_seconds([RunConfig.model_validate(nested)], 2) < 1e6
