"""Runs on stored images: where their data is, that it stays the same, and what becomes of it."""

import json

import numpy as np
import pytest
import torch

from data.stored import random_images, write_parquet
from widemargin import margin_distribution
from widemargin.data import Sources, cached
from widemargin.errors import InvalidInputError, RunError
from widemargin.zoo import Resources, RunConfig, Study, Zoo, carry_out, examples_of_run, load_trained, train_zoo
from widemargin.zoo.resources import settled

NUM = 40


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("WIDEMARGIN_CACHE", str(tmp_path / "cache"))


def write_set(folder, seed=0):
    write_parquet(folder, random_images(NUM, (8, 8, 3), seed), [number % 4 for number in range(NUM)])
    write_parquet(folder, random_images(8, (8, 8, 3), seed + 1), [number % 4 for number in range(8)], "test")
    return str(folder)


@pytest.fixture
def source(tmp_path):
    return write_set(tmp_path / "set")


@pytest.fixture
def labels(tmp_path):
    np.savez(tmp_path / "labels.npz", worse=np.arange(NUM) // 10)
    return str(tmp_path / "labels.npz")


def config(**parts):
    nested = {
        "data": {"name": "my/set"},
        "network": {"name": "nin", "width": 8 / 192},
        "training": {"num_steps": 6, "batch_size": 16},
    }
    for place, value in parts.items():
        part, _, name = place.partition("__")
        nested[part][name] = value
    return RunConfig.model_validate(nested)


def study(*configs):
    values = [one.model_dump(mode="json") for one in configs]
    grid = {"training.lr": [value["training"]["lr"] for value in values]}
    return Study(name="mine", base={key: value for key, value in values[0].items() if key != "seed"}, grid=grid)


def test_a_run_says_where_its_data_was_and_is_found_again(tmp_path, source, labels):
    zoo = Zoo(tmp_path / "zoo")
    run = carry_out(zoo, config(data__labels="worse"), Resources(Sources(source, labels)))
    assert run.result["data"]["source"] == source
    assert run.result["labels"]["source"] == labels
    assert run.result["num_corrupted"] == int((torch.arange(NUM) % 4 != torch.arange(NUM) // 10).sum())
    found = margin_distribution(load_trained(run))
    np.testing.assert_allclose(found.distances, run.margins.distances, rtol=1e-4, atol=1e-6)


def test_a_run_is_not_measured_on_other_images(tmp_path, source):
    run = carry_out(Zoo(tmp_path / "zoo"), config(), Resources(Sources(source)))
    other = write_set(tmp_path / "other", seed=5)
    with pytest.raises(RunError, match=r"was trained on other examples than .*other has now\. Put back"):
        load_trained(run, sources=Sources(other))
    moved = tmp_path / "moved"
    (tmp_path / "set").rename(moved)
    with pytest.raises(RunError, match=r"the data of .* cannot be read: .* If it has moved, say with --data where"):
        load_trained(run)
    assert len(examples_of_run(run, Sources(str(moved))).train_labels) == NUM


def test_a_run_is_not_measured_on_other_labels(tmp_path, source, labels):
    run = carry_out(Zoo(tmp_path / "zoo"), config(data__labels="worse"), Resources(Sources(source, labels)))
    np.savez(labels, worse=np.arange(NUM) % 2)
    with pytest.raises(RunError, match=r"was trained on other labels than .*labels\.npz has now"):
        load_trained(run)


def test_a_zoo_goes_on_where_some_runs_have_labels_of_a_file(tmp_path, source, labels):
    axis = Study(
        name="noise",
        base={"data": {"name": "my/set"}, "network": config().network.model_dump(), "training": {"num_steps": 4}},
        grid={"data.labels": [None, "worse"]},
    )
    train_zoo(axis, tmp_path / "zoo", jobs=1, resources=Resources(Sources(source, labels)))
    plain = next(run for run in Zoo(tmp_path / "zoo").runs() if run.config.data.labels is None)
    (plain.folder / "result.json").unlink()
    assert len(train_zoo(axis, tmp_path / "zoo", jobs=1).runs()) == 2


def test_labels_that_no_run_takes_are_refused(tmp_path, source, labels):
    with pytest.raises(InvalidInputError, match=r"takes no labels from a file \(data\.labels\): leave out --labels"):
        train_zoo(study(config()), tmp_path / "zoo", jobs=1, resources=Resources(Sources(source, labels)))


def test_augmentation_changes_the_training_and_not_the_measuring(tmp_path, source):
    zoo, resources = Zoo(tmp_path / "zoo"), Resources(Sources(source))
    plain, augmented = (
        carry_out(zoo, config(training__augmentation=name), resources) for name in ("none", "crop-and-flip")
    )
    first, second = (load_trained(run) for run in (plain, augmented))
    assert torch.equal(first.train_data[0], second.train_data[0])
    assert not torch.equal(first.network.head.weight, second.network.head.weight)


def test_a_zoo_goes_on_where_its_data_is(tmp_path, source):
    few, more = config(), config(training__lr=0.01)
    train_zoo(study(few), tmp_path / "zoo", jobs=1, resources=Resources(Sources(source)))
    zoo = train_zoo(study(few, more), tmp_path / "zoo", jobs=1)
    assert [run.result["data"]["source"] for run in zoo.runs()] == [source, source]


def test_a_zoo_is_not_continued_on_other_images(tmp_path, source):
    train_zoo(study(config()), tmp_path / "zoo", jobs=1, resources=Resources(Sources(source)))
    other = Resources(Sources(write_set(tmp_path / "other", seed=5)))
    with pytest.raises(RunError, match=r"trained on other images than .*other has\. Choose another folder"):
        train_zoo(study(config()), tmp_path / "zoo", jobs=1, resources=other)


def test_a_zoo_is_not_continued_with_other_labels(tmp_path, source, labels):
    noisy = config(data__labels="worse")
    train_zoo(study(noisy), tmp_path / "zoo", jobs=1, resources=Resources(Sources(source, labels)))
    np.savez(tmp_path / "other.npz", worse=np.zeros(NUM, dtype=int))
    with pytest.raises(RunError, match=r"trained on other labels than .*other\.npz has"):
        train_zoo(
            study(noisy), tmp_path / "zoo", jobs=1,
            resources=Resources(Sources(source, str(tmp_path / "other.npz"))),
        )  # fmt: skip


def test_faults_of_the_data_are_seen_before_the_first_training(tmp_path, source):
    with pytest.raises(InvalidInputError, match="the labels 'worse' are taken from"):
        train_zoo(study(config(data__labels="worse")), tmp_path / "zoo", jobs=1, resources=Resources(Sources(source)))
    assert Zoo(tmp_path / "zoo").runs() == []


@pytest.mark.parametrize(
    ("part", "value", "text"),
    [
        ("training__poison", {"factor": 0.5}, "fresh poison needs data whose"),
        (
            "training__poison",
            {"factor": 0.5, "pool": "fixed"},
            "needs examples that are neither",
        ),
        (
            "training__augmentation",
            "crop-and-flip",
            r"training\.augmentation needs stored images",
        ),
    ],
)
def test_what_the_data_does_not_allow_is_seen_before_the_first_training(tmp_path, part, value, text):
    points = {f"{split}_inputs": np.random.default_rng(0).normal(size=(NUM, 5)) for split in ("train", "test")}
    np.savez(tmp_path / "set.npz", **points, train_labels=np.arange(NUM) % 4, test_labels=np.arange(NUM) % 4)
    resources = Resources(Sources(str(tmp_path / "set.npz")))
    values = config(**{part: value}).model_dump(mode="json") | {"network": {"name": "mlp"}}
    with pytest.raises(InvalidInputError, match=text):
        train_zoo(study(RunConfig.model_validate(values)), tmp_path / "zoo", jobs=1, resources=resources)
    assert list((tmp_path / "zoo").glob("runs/*")) + list((tmp_path / "zoo").glob("failures/*")) == []


def test_data_of_which_only_a_part_is_trained_on_allows_a_fixed_pool(tmp_path, source):
    poisoned = config(training__poison={"factor": 0.5, "pool": "fixed", "num_examples": 8}, data__num_train=20)
    axis = study(config(), poisoned).model_copy(
        update={"grid": {"data.num_train": [None, 20], "training.lr": [0.01]}}
    )
    assert len(train_zoo(axis, tmp_path / "all", jobs=1, resources=Resources(Sources(source))).runs()) == 2
    assert len(train_zoo(study(poisoned), tmp_path / "zoo", jobs=1, resources=Resources(Sources(source))).runs()) == 1


def test_a_relative_path_is_understood_by_every_process(tmp_path, source, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = settled(Resources(Sources("set")), Zoo(tmp_path / "zoo"), [config()])
    assert found.sources.data == source


def test_torch_data_sets_train_a_zoo_by_their_name_in_the_cache(tmp_path):
    images = torch.from_numpy(random_images(NUM, (8, 8, 3))).permute(0, 3, 1, 2)
    data = torch.utils.data.TensorDataset(images, torch.arange(NUM) % 4)
    kept = cached((data, data))
    assert kept.source == cached((data, data)).source
    run = train_zoo(study(config()), tmp_path / "zoo", jobs=1, resources=Resources(Sources(kept.source))).runs()[0]
    assert run.result["data"] == {"source": kept.source, "checksum": kept.checksum}
    assert torch.equal(load_trained(run).train_data[1], torch.arange(NUM) % 4)


def test_one_source_serves_one_data_set(tmp_path, source):
    both = Study(
        name="both",
        base={"network": {"name": "nin", "width": 8 / 192}},
        grid={"data.name": ["my/set", "your/set"]},
    )
    with pytest.raises(InvalidInputError, match="several data sets takes each from the hub: leave out --data"):
        train_zoo(both, tmp_path / "zoo", jobs=1, resources=Resources(Sources(source)))


@pytest.mark.parametrize("device", ["gpu", "meta", "mps", "cuda:99"])
def test_refuses_a_device_that_is_not_there(device):
    with pytest.raises(InvalidInputError, match=f"a cuda or mps device of this machine, got '{device}'") as raised:
        _ = Resources(device=device).torch_device
    assert "\n" not in str(raised.value)


def test_bfloat16_is_written_down_where_it_was_used(tmp_path, source):
    run = carry_out(Zoo(tmp_path / "zoo"), config(training__precision="bfloat16"), Resources(Sources(source), "cpu"))
    has_it = torch.ops.mkldnn._is_mkldnn_bf16_supported()
    assert run.result["precision"] == ("bfloat16" if has_it else "float32")
    weights = load_trained(run).network.state_dict()
    assert {value.dtype for value in weights.values() if value.is_floating_point()} == {torch.float32}


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_run_trains_on_the_gpu_and_is_measured_there(tmp_path, source):
    run = carry_out(Zoo(tmp_path / "zoo"), config(), Resources(Sources(source)))
    assert run.result["device"] == "cuda"
    np.testing.assert_allclose(
        margin_distribution(load_trained(run)).distances, run.margins.distances, rtol=1e-3, atol=1e-4
    )


def test_later_fields_leave_old_keys_alone():
    old = {"data": {"name": "digits"}, "network": {"name": "mlp"}}
    assert (
        RunConfig.model_validate(old).key
        == RunConfig.model_validate(old | {"training": {"precision": "float32", "augmentation": "none"}}).key
    )
    other = RunConfig.model_validate(old | {"training": {"precision": "bfloat16"}})
    assert other.key != RunConfig.model_validate(old).key
    assert json.loads(other.model_dump_json())["training"]["precision"] == "bfloat16"
