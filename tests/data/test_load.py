"""Stored images as they come out of the one function that everything above the data room calls."""

import numpy as np
import pytest
import torch

from data.stored import random_images, write_parquet
from widemargin import data
from widemargin.data import Sources
from widemargin.errors import InvalidInputError

NUM = 40


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("WIDEMARGIN_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def images():
    return random_images(NUM)


@pytest.fixture
def source(tmp_path, images):
    write_parquet(tmp_path / "set", images, [number % 4 for number in range(NUM)])
    write_parquet(tmp_path / "set", random_images(8, seed=1), [number % 4 for number in range(8)], "test")
    return str(tmp_path / "set")


@pytest.fixture
def labels(tmp_path):
    wrong = np.arange(NUM) % 4
    wrong[:10] = (wrong[:10] + 1) % 4
    np.savez(tmp_path / "labels.npz", worse=wrong)
    return str(tmp_path / "labels.npz")


def as_stored(images):
    return torch.from_numpy(images).permute(0, 3, 1, 2)


def test_images_are_standardized_and_their_stored_values_kept(source, images):
    loaded = data.load("my/set", sources=Sources(source))
    assert torch.equal(loaded.stored_train_inputs, as_stored(images))
    torch.testing.assert_close(loaded.train_inputs, data.standardized_images(as_stored(images)))
    torch.testing.assert_close(loaded.preparation(loaded.stored_train_inputs), loaded.train_inputs)


def test_channels_are_normalized_by_the_whole_training_set(source, images):
    loaded = data.load("my/set", num_train=8, standardization="per-channel", sources=Sources(source))
    mean, std = images.mean((0, 1, 2)), images.std((0, 1, 2))
    expected = (loaded.stored_train_inputs.numpy() - mean.reshape(1, 3, 1, 1)) / std.reshape(1, 3, 1, 1)
    np.testing.assert_allclose(loaded.train_inputs.numpy(), expected, atol=1e-5)


def test_a_subset_leaves_the_rest_as_it_is_stored(source, images):
    loaded = data.load("my/set", num_train=12, sources=Sources(source))
    assert loaded.train_labels.bincount().tolist() == [3, 3, 3, 3]
    assert loaded.extra_inputs.dtype == torch.uint8
    everything = torch.cat([loaded.stored_train_inputs, loaded.extra_inputs]).flatten(1)
    assert sorted(map(bytes, everything.numpy())) == sorted(map(bytes, as_stored(images).flatten(1).numpy()))


def test_an_extra_split_stays_the_extra_examples(source, tmp_path):
    write_parquet(tmp_path / "set", random_images(5, seed=7), [0, 1, 2, 3, 0], "extra")
    loaded = data.load("my/set", num_train=12, sources=Sources(source))
    assert torch.equal(loaded.extra_inputs, as_stored(random_images(5, seed=7)))
    assert loaded.extra_labels.tolist() == [0, 1, 2, 3, 0]


def test_labels_of_a_file_go_with_their_images_and_the_left_over_ones_stay_clean(source, labels, images):
    clean = data.load("my/set", num_train=20, sources=Sources(source))
    noisy = data.load("my/set", num_train=20, labels="worse", sources=Sources(source, labels))
    assert torch.equal(noisy.train_inputs, clean.train_inputs)
    assert torch.equal(noisy.extra_labels, clean.extra_labels)
    by_image = {bytes(image): label for image, label in zip(as_stored(images).numpy(), np.load(labels)["worse"])}  # noqa: B905
    for image, label in zip(noisy.stored_train_inputs.numpy(), noisy.train_labels.tolist(), strict=True):
        assert by_image[bytes(image)] == label
    assert noisy.num_corrupted == int((noisy.train_labels != clean.train_labels).sum()) > 0


def test_random_wrong_labels_come_on_top_of_those_of_a_file(source, labels):
    both = data.load("my/set", labels="worse", label_corruption=0.5, sources=Sources(source, labels))
    clean = data.load("my/set", sources=Sources(source))
    assert both.num_corrupted == int((both.train_labels != clean.train_labels).sum()) > 20


def test_asks_for_the_file_of_labels(source):
    with pytest.raises(InvalidInputError, match=r"the labels 'worse' are taken from an \.npz file: name it with --l"):
        data.load("my/set", labels="worse", sources=Sources(source))


def test_a_missing_file_of_labels_has_no_checksum(source, tmp_path):
    with pytest.raises(InvalidInputError, match=r"none\.npz must be a readable \.npz: No such file"):
        _ = Sources(source, str(tmp_path / "none.npz")).labels_checksum


def test_refuses_another_data_set_under_a_known_name(source):
    with pytest.raises(InvalidInputError, match=r"cifar10 has inputs of shape \[3, 32, 32\] in 10 classes, but"):
        data.load("cifar10", sources=Sources(source))


def test_refuses_files_for_what_needs_none(source):
    with pytest.raises(InvalidInputError, match="digits needs no files: leave out --data"):
        data.load("digits", sources=Sources(source))


def test_refuses_an_unknown_standardization(source, monkeypatch):
    monkeypatch.setattr("jaxtyping.config.jaxtyping_disable", True)
    with pytest.raises(InvalidInputError, match="standardization must be one of per-image, per-channel, got 'none'"):
        data.load("my/set", standardization="none", sources=Sources(source))


@pytest.mark.shared_data
@pytest.mark.parametrize(
    ("name", "folder", "nums"),
    [("cifar10", "cifar10", (50_000, 10_000)), ("cifar100", "cifar100", (20_000, 5_000)),
     ("fashion-mnist", "fashion_mnist", (60_000, 10_000)), ("svhn", "svhn_grey", (16_868, 5_000))],
)  # fmt: skip
def test_reads_the_real_images(name, folder, nums, shared_data):
    loaded = data.load(name, sources=Sources(str(shared_data / folder)))
    known = data.DATASETS[name]
    assert (len(loaded.train_labels), len(loaded.test_labels)) == nums
    assert (loaded.input_shape, loaded.num_classes) == (known.input_shape, known.num_classes)
