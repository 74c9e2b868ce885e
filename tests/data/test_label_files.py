import numpy as np
import pytest

from widemargin.data import labels_from_file
from widemargin.errors import InvalidInputError


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "labels.npz"
    np.savez(path, worse=np.array([0, 2, 1], dtype=np.int32), soft=np.ones(3), large=np.array([0, 1, 3]))
    return path


def test_reads_class_indices_in_their_order(path):
    assert labels_from_file(path, "worse", num_examples=3, num_classes=3).tolist() == [0, 2, 1]


@pytest.mark.parametrize(
    ("name", "num_examples", "sentence"),
    [
        ("clean", 3, "must hold an array 'clean', got worse, soft, large"),
        ("worse", 4, r"one integer class index for each of 4 training examples, got int32 of shape \[3\]"),
        ("soft", 3, "got float64 of shape"),
        ("large", 3, "from 0 to below 3, got a minimum of 0 and a maximum of 3"),
    ],
)
def test_refuses_labels_that_do_not_fit(path, name, num_examples, sentence):
    with pytest.raises(InvalidInputError, match=sentence):
        labels_from_file(path, name, num_examples=num_examples, num_classes=3)


def test_refuses_a_file_that_is_no_archive(tmp_path):
    path = tmp_path / "labels.npz"
    path.write_bytes(b"no archive")
    with pytest.raises(InvalidInputError, match=r"labels\.npz must be a readable \.npz, but: ValueError"):
        labels_from_file(path, "worse", num_examples=3, num_classes=3)
