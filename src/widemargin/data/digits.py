"""The handwritten digits that scikit-learn ships."""

import torch

from widemargin.data.classification_data import ClassificationData
from widemargin.data.images import standardized_images

__all__ = ["digits"]

NUM_TEST = 797
SPLIT_SEED = 0


def digits() -> ClassificationData:
    """Return 1,797 images of 8x8 grey values in 10 classes: 1,000 to train on, 797 to test, always the same.

    The split is stratified by class; each image is standardized by itself.

    Source: the test part of "Optical Recognition of Handwritten Digits" (Alpaydin and Kaynak, UCI).
    """
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    images, labels = load_digits(return_X_y=True)
    train, test, train_labels, test_labels = train_test_split(
        images.reshape(-1, 1, 8, 8).astype("float32"),
        labels,
        test_size=NUM_TEST,
        random_state=SPLIT_SEED,
        stratify=labels,
    )
    return ClassificationData(
        train_inputs=standardized_images(torch.from_numpy(train)),
        train_labels=torch.from_numpy(train_labels).long(),
        test_inputs=standardized_images(torch.from_numpy(test)),
        test_labels=torch.from_numpy(test_labels).long(),
        num_classes=10,
    )
