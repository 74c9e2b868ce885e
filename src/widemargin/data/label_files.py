"""Training labels from a file, such as those that people gave by mistake."""

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from widemargin.errors import InvalidInputError

__all__ = ["labels_from_file"]


def labels_from_file(path: str | Path, name: str, *, num_examples: int, num_classes: int) -> Int[Tensor, " examples"]:
    """Return an array of class indices of an ``.npz`` file, one for each training example in its original order.

    Args:
        path: The file.
        name: Which of its arrays.
        num_examples: How many training examples there are, before any is left out.
        num_classes: How many classes there are.

    Raises:
        InvalidInputError: The file cannot be read, lacks the array, or it does not fit the training examples.

    Source: the human labels of CIFAR-10N and CIFAR-100N (Wei et al. 2022, arXiv 2110.12088) come in this form.
    """
    try:
        with Path(path).open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            arrays = {key: file[key] for key in file if key == name}
            known = ", ".join(file)
    except Exception as error:  # a damaged archive raises errors of many kinds
        raise InvalidInputError(f"{path} must be a readable .npz, but: {type(error).__name__}: {error}") from None
    if name not in arrays:
        raise InvalidInputError(f"{path} must hold an array {name!r}, got {known or 'none'}.")
    labels = arrays[name]
    if labels.shape != (num_examples,) or labels.dtype.kind not in "iu":
        raise InvalidInputError(
            f"{name!r} of {path} must be one integer class index for each of {num_examples} training examples, "
            f"got {labels.dtype} of shape {list(labels.shape)}. The whole training set is wanted, in its "
            "original order."
        )
    if labels.min() < 0 or labels.max() >= num_classes:
        raise InvalidInputError(
            f"{name!r} of {path} must be class indices from 0 to below {num_classes}, got a minimum of "
            f"{labels.min()} and a maximum of {labels.max()}."
        )
    return torch.from_numpy(labels.astype(np.int64))
