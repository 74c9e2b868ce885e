import pytest
import torch
from sklearn.datasets import load_digits

from widemargin import data
from widemargin.errors import InvalidInputError


def test_digits_are_the_images_of_scikit_learn_split_once_for_all():
    digits = data.load("digits")
    assert digits.train_inputs.shape == (1000, 1, 8, 8)
    assert digits.test_inputs.shape == (797, 1, 8, 8)
    assert torch.equal(digits.train_inputs, data.load("digits", seed=5).train_inputs)
    original = data.standardized_images(torch.from_numpy(load_digits().images).float()).flatten(1)
    found = torch.cat([digits.train_inputs, digits.test_inputs]).flatten(1)
    assert torch.equal(found.sum(1).sort().values, original.sum(1).sort().values)
    assert len({tuple(row.tolist()) for row in found}) == len({tuple(row.tolist()) for row in original})


def test_split_is_stratified():
    digits = data.load("digits")
    train, test = digits.train_labels.bincount() / 1000, digits.test_labels.bincount() / 797
    assert (train - test).abs().max() < 0.003


def test_the_table_of_data_sets_tells_the_truth():
    for name, known in data.DATASETS.items():
        if known.make is None:
            continue
        read = data.load(name)
        assert (len(read.train_labels), read.num_classes, read.input_shape) == (
            known.num_train,
            known.num_classes,
            known.input_shape,
        )


def test_standardizes_each_image_by_itself():
    images = torch.rand(5, 1, 4, 4) * 10
    found = data.standardized_images(images)
    for one, standard in zip(images, found, strict=True):
        torch.testing.assert_close(standard, (one - one.mean()) / one.std(correction=0))
    assert (data.standardized_images(torch.ones(1, 1, 4, 4)) == 0).all()


@pytest.mark.parametrize("num_train", [10, 37, 250, 999])
def test_subsets_are_balanced(num_train):
    counts = data.load("digits", num_train=num_train).train_labels.bincount(minlength=10)
    assert int(counts.sum()) == num_train
    assert num_train > 960 or int(counts.max() - counts.min()) <= 1


def test_subsets_of_one_seed_are_nested_and_of_another_differ():
    def rows(num_train: int, seed: int) -> set[tuple[float, ...]]:
        subset = data.load("digits", num_train=num_train, seed=seed)
        return {tuple(row.tolist()) for row in subset.train_inputs.flatten(1)}

    assert rows(40, 3).issubset(rows(200, 3))
    assert rows(40, 3) != rows(40, 4)


@pytest.mark.parametrize("num_train", [9, 1001])
def test_refuses_impossible_subsets(num_train):
    with pytest.raises(InvalidInputError, match=f"from 10 .* to 1000 .* got {num_train}"):
        data.load("digits", num_train=num_train)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.333, 1.0])
def test_corruption_exchanges_exactly_the_share_for_another_class(share):
    clean, corrupted = data.load("digits"), data.load("digits", label_corruption=share)
    assert int((clean.train_labels != corrupted.train_labels).sum()) == round(1000 * share)
    assert corrupted.num_corrupted == round(1000 * share)
    assert torch.equal(clean.test_labels, corrupted.test_labels)
    assert set(corrupted.train_labels.tolist()) <= set(range(10))


def test_wrong_labels_are_spread_evenly_over_the_other_classes():
    clean, corrupted = data.load("digits"), data.load("digits", label_corruption=1.0)
    shifts = ((corrupted.train_labels - clean.train_labels) % 10).bincount(minlength=10)
    assert shifts[0] == 0
    assert int(shifts[1:].min()) > 80
    assert int(shifts[1:].max()) < 145


@pytest.mark.parametrize("share", [-0.1, 1.5])
def test_refuses_what_is_no_share(share):
    with pytest.raises(InvalidInputError, match="must be a share from 0 to 1"):
        data.corrupt_labels(data.load("digits"), share, seed=0)


def test_refuses_an_unknown_name():
    with pytest.raises(InvalidInputError, match=r"one of digits, .*, mnist, or owner/name, got 'emnist'"):
        data.load("emnist")
