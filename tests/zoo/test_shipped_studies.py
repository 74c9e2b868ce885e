"""The studies that ship: as many networks as they say, and the axes of the papers."""

import pytest

from widemargin.data import DATASETS
from widemargin.networks import build
from widemargin.zoo import load_study, shipped_studies

NUM_RUNS = {
    "demogen-nin-cifar10": 216,
    "demogen-resnet32-cifar10": 216,
    "demogen-resnet32-cifar100": 324,
    "digits-demo": 192,
    "digits-poison": 45,
    "nin-cifar10-poison": 32,
    "nin-cifar10-small": 108,
    "poison-svhn": 18,
    "poison-svhn-small": 12,
    "resnet-cifar10-small": 48,
    "swiss-roll-demo": 40,
    "swiss-roll-poison": 120,
}


def test_every_shipped_study_is_known_here():
    assert shipped_studies().keys() == NUM_RUNS.keys()


@pytest.mark.parametrize(("name", "num_runs"), NUM_RUNS.items())
def test_a_study_has_as_many_networks_as_it_says_and_all_can_be_built(name, num_runs):
    runs = load_study(name).runs()
    assert len({run.key for run in runs}) == num_runs
    for options in {run.network.model_dump_json(): run for run in runs}.values():
        known = DATASETS[options.data.name]
        if options.network.name == "mlp" or getattr(options.network, "width", 1) <= 0.5:
            build(
                num_classes=known.num_classes, input_shape=known.input_shape, seed=0, **options.network.model_dump()
            )


def axis(name, key):
    return load_study(name).grid[key]


def test_the_paper_zoos_have_the_paper_axes():
    assert axis("demogen-nin-cifar10", "network.width") == [1.0, 1.5, 2.0]
    assert axis("demogen-nin-cifar10", "network.dropout") == [0.0, 0.2, 0.5]
    assert axis("demogen-nin-cifar10", "training.weight_decay") == [0.0, 0.001, 0.005]
    for name, lrs in (("demogen-resnet32-cifar10", [0.01, 0.001]), ("demogen-resnet32-cifar100", [0.1, 0.01, 0.001])):
        assert axis(name, "network.width") == [1.0, 2.0, 4.0]
        assert axis(name, "network.norm") == ["batch", "group"]
        assert sorted(axis(name, "training.weight_decay")) == [0.0, 0.002, 0.02]
        assert axis(name, "training.lr") == lrs
        assert load_study(name).repeats == 3
    for name in ("demogen-nin-cifar10", "demogen-resnet32-cifar10", "demogen-resnet32-cifar100"):
        assert axis(name, "training.augmentation") == ["none", "crop-and-flip"]
        assert {run.training.num_steps for run in load_study(name).runs()} == {150_000}
        assert {run.data.num_train for run in load_study(name).runs()} == {None}


def test_the_small_zoos_have_the_same_axes():
    for name, other in (
        ("nin-cifar10-small", "demogen-nin-cifar10"),
        ("resnet-cifar10-small", "demogen-resnet32-cifar10"),
    ):
        assert load_study(name).grid.keys() == load_study(other).grid.keys()
        assert {run.data.num_train for run in load_study(name).runs()} == {5000}
    assert axis("nin-cifar10-small", "training.weight_decay") == axis("demogen-nin-cifar10", "training.weight_decay")


def test_the_poisoned_networks_are_the_natural_ones_but_for_their_poison():
    natural = {
        run.model_dump_json(exclude={"seed": True, "training": {"poison"}}) for run in runs("nin-cifar10-small")
    }
    poisoned = {
        run.model_dump_json(exclude={"seed": True, "training": {"poison"}}) for run in runs("nin-cifar10-poison")
    }
    assert poisoned < natural


def runs(name):
    return load_study(name).runs()
