import io

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset, TensorDataset

from data.stored import png, random_images, write_bare_parquet, write_parquet
from widemargin.data import HubName, read_source
from widemargin.errors import InvalidInputError

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the library and its progress bars


@pytest.fixture
def parquet(tmp_path):
    write_parquet(tmp_path / "set", random_images(6), [0, 1, 2, 0, 1, 2])
    write_parquet(tmp_path / "set", random_images(3, seed=1), [2, 1, 0], "test")
    return tmp_path / "set"


def as_stored(images):
    return torch.from_numpy(images).permute(0, 3, 1, 2)


def test_parquet_of_the_hub_gives_back_every_pixel_and_label(parquet):
    found = read_source(parquet)
    assert torch.equal(found.splits["train"][0], as_stored(random_images(6)))
    assert torch.equal(found.splits["test"][0], as_stored(random_images(3, seed=1)))
    assert found.splits["train"][1].tolist() == [0, 1, 2, 0, 1, 2]
    assert found.splits["test"][1].tolist() == [2, 1, 0]
    assert found.num_classes == 3


def test_an_extra_split_is_kept(parquet):
    write_parquet(parquet, random_images(4, seed=2), [0, 1, 2, 0], "extra")
    found = read_source(parquet)
    assert torch.equal(found.splits["extra"][0], as_stored(random_images(4, seed=2)))


def test_grey_images_have_one_channel(tmp_path):
    images = random_images(4, (5, 5))
    for split in ("train", "test"):
        write_parquet(tmp_path, images, [0, 1, 0, 1], split, image_column="image")
    assert torch.equal(read_source(tmp_path).splits["train"][0], torch.from_numpy(images).unsqueeze(1))


def test_a_validation_split_stands_in_for_a_missing_test_split(tmp_path):
    write_parquet(tmp_path, random_images(2), [0, 1])
    write_parquet(tmp_path, random_images(2, seed=3), [1, 0], "validation")
    assert read_source(tmp_path).splits["test"][1].tolist() == [1, 0]


def test_the_label_column_may_be_known(tmp_path):
    for split in ("train", "test"):
        write_parquet(tmp_path, random_images(2), [0, 1], split, label_column="fine")
    found = read_source(tmp_path, HubName("owner/name", None, "fine"))
    assert found.splits["train"][1].tolist() == [0, 1]


def test_folders_of_images_are_classes_by_name(tmp_path):
    for split in ("train", "test"):
        for label, name in enumerate(("cat", "dog")):
            folder = tmp_path / split / name
            folder.mkdir(parents=True)
            for number, pixels in enumerate(random_images(2, seed=label)):
                Image.fromarray(pixels).save(folder / f"{number}.png")
    found = read_source(tmp_path)
    images, labels = found.splits["train"]
    assert (found.num_classes, sorted(labels.tolist())) == (2, [0, 0, 1, 1])
    assert torch.equal(images[labels == 1], as_stored(random_images(2, seed=1)))


@pytest.mark.parametrize("layout", ["channels last", "channels first", "grey"])
def test_arrays_of_images_have_their_channels_first(tmp_path, layout):
    images = random_images(4)
    expected = as_stored(images)
    if layout == "grey":
        images, expected = images[..., 0], expected[:, :1]
    if layout == "channels first":
        images = images.transpose(0, 3, 1, 2)
    labels = np.array([0, 1, 1, 0])
    path = tmp_path / "set.npz"
    np.savez(path, train_inputs=images, train_labels=labels, test_inputs=images, test_labels=labels)
    found = read_source(path)
    assert torch.equal(found.splits["train"][0], expected)
    assert found.splits["train"][1].tolist() == [0, 1, 1, 0]


def test_arrays_that_are_no_images_stay_as_they_are(tmp_path):
    inputs, labels = np.random.default_rng(0).normal(size=(4, 5)).astype(np.float32), np.array([0, 1, 1, 0])
    np.savez(tmp_path / "set.npz", train_inputs=inputs, train_labels=labels, test_inputs=inputs, test_labels=labels)
    assert torch.equal(read_source(tmp_path / "set.npz").splits["test"][0], torch.from_numpy(inputs))


class Plain(Dataset):
    """A map-style data set as people write them: one tensor and one number."""

    def __len__(self):
        return 5

    def __getitem__(self, index):
        return torch.full((2,), float(index)), index % 2


@pytest.mark.parametrize(
    "make",
    [
        Plain,
        lambda: DataLoader(Plain(), batch_size=2),
        lambda: (torch.arange(5.0).repeat(2, 1).T, torch.arange(5) % 2),
        lambda: TensorDataset(torch.arange(5.0).repeat(2, 1).T, torch.arange(5) % 2),
    ],
    ids=["data set", "loader", "tensors", "tensor data set"],
)
def test_torch_data_is_stacked_in_its_order(make):
    found = read_source((make(), make()))
    assert found.splits["train"][0][:, 0].tolist() == [0, 1, 2, 3, 4]
    assert found.splits["test"][1].tolist() == [0, 1, 0, 1, 0]


def write_images(folder, encoded):
    """Write images as they are encoded, labeled in turn, as both splits."""
    from datasets import ClassLabel, Dataset, Features
    from datasets import Image as ImageFeature

    features = Features({"image": ImageFeature(), "label": ClassLabel(names=["a", "b"])})
    rows = {"image": [{"bytes": one, "path": None} for one in encoded], "label": [0, 1]}
    for split in ("train", "test"):
        Dataset.from_dict(rows, features=features).to_parquet(folder / f"{split}.parquet")


def image_of(height, width):
    return png(random_images(1, (height, width, 3))[0])


def test_refuses_images_of_several_sizes(tmp_path):
    write_images(tmp_path, [image_of(8, 8), image_of(8, 9)])
    with pytest.raises(InvalidInputError, match=r"must be of one size, got 9x8 in row 1 after 8x8 before\. Resize"):
        read_source(tmp_path)


def test_names_the_row_of_a_damaged_image(tmp_path):
    write_images(tmp_path, [image_of(8, 8), b"damaged"])
    with pytest.raises(InvalidInputError, match="split train: the image of row 1 must be readable, but: Unid"):
        read_source(tmp_path)


def test_one_color_image_makes_all_of_them_color(tmp_path):
    grey, color = png(random_images(1, (8, 8))[0]), image_of(8, 8)
    write_images(tmp_path, [grey, color])
    images, _ = read_source(tmp_path).splits["train"]
    assert torch.equal(images[0], torch.from_numpy(random_images(1, (8, 8))[0]).expand(3, -1, -1))
    assert torch.equal(images[1], as_stored(random_images(1, (8, 8, 3)))[0])


def test_a_grey_split_beside_a_color_one_is_color(tmp_path):
    write_parquet(tmp_path, random_images(2), [0, 1], image_column="image")
    write_parquet(tmp_path, random_images(2, (8, 8)), [0, 1], "test", image_column="image")
    assert read_source(tmp_path).splits["test"][0].shape == (2, 3, 8, 8)


def test_refuses_images_of_sixteen_bits(tmp_path):
    stream = io.BytesIO()
    Image.fromarray(np.full((8, 8), 40_000, dtype=np.uint16)).save(stream, "PNG")
    write_images(tmp_path, [stream.getvalue(), image_of(8, 8)])
    with pytest.raises(InvalidInputError, match="row 0 must be readable, but: ValueError: its mode is I;16; eight"):
        read_source(tmp_path)


def test_refuses_a_damaged_file(parquet):
    file = next(parquet.glob("train-*"))
    file.write_bytes(file.read_bytes()[:200])
    with pytest.raises(InvalidInputError, match="must be a folder of readable Parquet files or images, but"):
        read_source(parquet)


def test_asks_for_a_test_split(tmp_path):
    write_parquet(tmp_path, random_images(2), [0, 1])
    with pytest.raises(InvalidInputError, match="must have a split train and a split test, got train"):
        read_source(tmp_path)


def test_asks_for_labels(tmp_path):
    from datasets import Dataset, Features
    from datasets import Image as ImageFeature

    features = Features({"image": ImageFeature()})
    rows = Dataset.from_dict({"image": [{"bytes": image_of(8, 8), "path": None}]}, features=features)
    for split in ("train", "test"):
        rows.to_parquet(tmp_path / f"{split}.parquet")
    with pytest.raises(InvalidInputError, match="must have a column label of class indices, got image"):
        read_source(tmp_path)


def test_asks_for_images(tmp_path):
    for split in ("train", "test"):
        write_bare_parquet(tmp_path / f"{split}.parquet", {"text": ["a", "b"], "label": [0, 1]})
    with pytest.raises(InvalidInputError, match="must have one column of images, got none among text, label"):
        read_source(tmp_path)


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("nowhere", "or a hub name owner/name, got nowhere, which does not exist"),
        (7, r"or a pair \(training, test\) of torch data sets, got int"),
    ],
)
def test_refuses_what_is_no_source(source, sentence):
    with pytest.raises(InvalidInputError, match=sentence):
        read_source(source)


def test_refuses_a_file_of_another_kind(tmp_path):
    (tmp_path / "set.csv").write_text("1,2")
    with pytest.raises(InvalidInputError, match=r"got .*set\.csv, which is neither"):
        read_source(tmp_path / "set.csv")


def test_says_what_to_do_without_network(monkeypatch):
    import datasets

    def unreachable(*args, **kwargs):
        raise ConnectionError("no\nnetwork")

    monkeypatch.setattr(datasets, "load_dataset", unreachable)
    with pytest.raises(InvalidInputError, match=r"owner/name could not be .*no network.* put its Parquet"):
        read_source("owner/name")


def test_takes_the_configuration_of_a_known_hub_name(monkeypatch):
    import datasets

    asked = []

    def seen(path, name):
        asked.append((path, name))
        raise ConnectionError

    monkeypatch.setattr(datasets, "load_dataset", seen)
    with pytest.raises(InvalidInputError):
        read_source("ufldl-stanford/svhn", HubName("ufldl-stanford/svhn", "cropped_digits"))
    assert asked == [("ufldl-stanford/svhn", "cropped_digits")]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"test_labels": None}, "must hold the arrays train_inputs, .*, got train_inputs, train_labels, test_inputs"),
        ({"train_labels": np.array([0.0, 1.0])}, "one integer class index per example, got float64"),
        ({"train_labels": np.array([0, 1, 1])}, "as many labels as inputs are needed, .* got 2 inputs and 3 labels"),
        ({"test_labels": np.array([0, -1])}, "class indices from 0 to below 2, got a minimum of -1"),
        ({"test_inputs": np.ones((2, 4))}, r"test must have inputs of the shape of train, \[3\], got \[4\]"),
    ],
)
def test_refuses_arrays_that_cannot_be_classified(tmp_path, change, sentence):
    arrays = {"train_inputs": np.ones((2, 3)), "train_labels": np.array([0, 1]), "test_inputs": np.ones((2, 3))}
    arrays |= {"test_labels": np.array([0, 1])} | change
    np.savez(tmp_path / "set.npz", **{name: value for name, value in arrays.items() if value is not None})
    with pytest.raises(InvalidInputError, match=sentence):
        read_source(tmp_path / "set.npz")


def test_refuses_an_archive_that_is_none(tmp_path):
    (tmp_path / "set.npz").write_bytes(b"no archive")
    with pytest.raises(InvalidInputError, match=r"set\.npz must be a readable \.npz, but: ValueError"):
        read_source(tmp_path / "set.npz")


def test_says_what_a_torch_data_set_lacks():
    class Pictures(Plain):
        def __getitem__(self, index):
            return Image.new("L", (2, 2)), 0

    with pytest.raises(InvalidInputError, match="the training data must yield pairs of an input tensor and a class"):
        read_source((Pictures(), Pictures()))
