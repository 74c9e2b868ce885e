"""Reading examples from where people keep them: the hub, Parquet and image folders, .npz, torch data sets."""

import io
import logging
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from widemargin.errors import InvalidInputError

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict

__all__ = ["HubName", "StoredData", "read_source"]

TEST_SPLITS = ("test", "validation", "val", "valid")
LABEL_COLUMNS = ("label", "labels", "fine_label")
GREY_MODES, COLOR_MODES = ("1", "L", "LA"), ("RGB", "RGBA", "P", "CMYK", "YCbCr", "HSV", "LAB")


@dataclass(frozen=True, slots=True)
class HubName:
    """Where a data set is on the Hugging Face hub.

    Attributes:
        name: ``owner/name``.
        configuration: Which of its configurations; ``None`` for the only one.
        label_column: The column of class indices; ``None`` to find it by its name.
    """

    name: str
    configuration: str | None = None
    label_column: str | None = None


@dataclass(frozen=True, eq=False)
class StoredData:
    """Examples as a source holds them.

    Attributes:
        splits: Inputs and class indices by the split's name: ``train``, ``test`` and perhaps ``extra``; images are
            uint8 [examples, channels, height, width].
        num_classes: How many classes there are.
    """

    splits: Mapping[str, tuple[Tensor, Tensor]]
    num_classes: int


def read_source(source: Any, hub: HubName | None = None) -> StoredData:
    """Return all examples of a source, decoded.

    Args:
        source: A folder of Parquet files or of images in the layout of the Hugging Face hub; an ``.npz`` with
            ``train_inputs``, ``train_labels``, ``test_inputs`` and ``test_labels``; a hub name ``owner/name``; or a
            pair (training, test) of torch data sets, loaders, or pairs of tensors.
        hub: What is known of the data set that the source is to be, if anything.

    Raises:
        InvalidInputError: The source is none of these, cannot be reached, or holds what cannot be classified: no test
            split, no labels, images of several sizes, damaged files.
    """
    if isinstance(source, tuple | list) and len(source) == 2:
        return _checked({"train": _stacked(source[0], "training"), "test": _stacked(source[1], "test")}, "the data")
    if not isinstance(source, str | Path):
        raise InvalidInputError(
            "data must be a folder, an .npz file, a hub name or a pair (training, test) of torch data sets, got "
            f"{type(source).__name__}."
        )
    path = Path(source)
    if path.suffix == ".npz":
        return _checked(_from_npz(path), str(source))
    if path.is_dir():
        with tempfile.TemporaryDirectory() as scratch:  # the library keeps a second copy of what it reads
            found = _loaded(str(source), str(path), cache_dir=scratch, **_files_with_extra(path))
            return _decoded(found, str(source), hub)
    if path.exists() or str(source).count("/") != 1:
        raise InvalidInputError(
            f"data must be a folder of Parquet files or images, an .npz file, or a hub name owner/name, got {source}"
            f"{', which is neither' if path.exists() else ', which does not exist'}."
        )
    known = hub if hub is not None and hub.name == str(source) else HubName(str(source))
    return _decoded(_loaded(str(source), known.name, name=known.configuration), str(source), known)


def _files_with_extra(folder: Path) -> dict[str, Any]:
    """Name each split's files where there is a split ``extra``, which the library does not look for itself."""
    patterns = {split: f"{split}-*.parquet" for split in ("train", *TEST_SPLITS, "extra")}
    files = {split: pattern for split, pattern in patterns.items() if any(folder.glob(pattern))}
    return {"data_files": files} if "extra" in files else {}


def _loaded(source: str, path: str, **options: Any) -> "DatasetDict":
    import datasets

    try:
        with _quietly():
            found = datasets.load_dataset(path, **options)
    except Exception as error:  # the library raises errors of many other libraries
        said = " ".join(str(error).split())
        if Path(path).is_dir():
            raise InvalidInputError(
                f"{source} must be a folder of readable Parquet files or images, but: {type(error).__name__}: {said}"
            ) from error
        raise InvalidInputError(
            f"{source} could not be fetched from the Hugging Face hub ({type(error).__name__}: {said}). On a machine "
            "without network, put its Parquet files (train-….parquet, test-….parquet) into a folder and name the "
            "folder with --data, or point HF_HOME to a cache that holds it."
        ) from error
    if not isinstance(found, datasets.DatasetDict):
        raise InvalidInputError(f"{source} must hold splits train and test, got {type(found).__name__}.")
    return found


@contextmanager
def _quietly() -> Iterator[None]:
    """Keep the libraries' progress bars and their talk of retries off the terminal; errors are said here."""
    import datasets

    logger = logging.getLogger("huggingface_hub")
    level, were_off = logger.level, datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
        if not were_off:
            datasets.enable_progress_bars()


def _decoded(found: "DatasetDict", source: str, hub: HubName | None) -> StoredData:
    test = next((name for name in TEST_SPLITS if name in found), None)
    if "train" not in found or test is None:
        raise InvalidInputError(
            f"{source} must have a split train and a split test, got {', '.join(found)}. Name files train-….parquet "
            "and test-….parquet, folders of images train/CLASS/… and test/CLASS/…."
        )
    names = {"train": "train", "test": test} | ({"extra": "extra"} if "extra" in found else {})
    features = found["train"].features
    image_column = _image_column(features, source)
    label_column = _label_column(features, source, hub)
    splits = {
        name: (
            _images(found[split], image_column, f"{source}, split {split}"),
            torch.as_tensor(np.asarray(found[split].with_format("numpy")[label_column][:])).long(),
        )
        for name, split in names.items()
    }
    if any(inputs.shape[1] == 3 for inputs, _ in splits.values()):  # some splits may be grey throughout
        splits = {name: (inputs.expand(-1, 3, -1, -1), labels) for name, (inputs, labels) in splits.items()}
    num_classes = getattr(features[label_column], "num_classes", None)
    return _checked(splits, source, num_classes)


def _image_column(features: Mapping[str, Any], source: str) -> str:
    import datasets

    found = [name for name, feature in features.items() if isinstance(feature, datasets.Image)]
    if len(found) != 1:
        raise InvalidInputError(
            f"{source} must have one column of images, got {', '.join(found) or 'none'} among {', '.join(features)}."
        )
    return found[0]


def _label_column(features: Mapping[str, Any], source: str, hub: HubName | None) -> str:
    import datasets

    if hub is not None and hub.label_column is not None and hub.label_column in features:
        return hub.label_column
    named = [name for name in LABEL_COLUMNS if name in features]
    classes = [name for name, feature in features.items() if isinstance(feature, datasets.ClassLabel)]
    if not named and len(classes) != 1:
        raise InvalidInputError(
            f"{source} must have a column label of class indices, got {', '.join(features)}. Name it label, or put "
            "images of a class into a folder of its name."
        )
    return named[0] if named else classes[0]


def _images(rows: "Dataset", column: str, where: str) -> Tensor:
    import datasets
    from PIL import Image

    encoded = rows.select_columns([column]).cast_column(column, datasets.Image(decode=False))
    images: np.ndarray[Any, Any] | None = None
    for index, row in enumerate(encoded):
        cell = row[column]
        try:
            with Image.open(io.BytesIO(cell["bytes"]) if cell["bytes"] else cell["path"]) as image:
                if image.mode not in GREY_MODES + COLOR_MODES:
                    raise ValueError(f"its mode is {image.mode}; eight bits a channel are wanted")
                pixels = np.asarray(image.convert("L" if image.mode in GREY_MODES else "RGB"))
        except Exception as error:  # damaged images raise errors of many kinds
            raise InvalidInputError(
                f"{where}: the image of row {index} must be readable, but: {type(error).__name__}: {error}"
            ) from None
        if images is None:
            images = np.empty((len(rows), *pixels.shape), dtype=np.uint8)
        if pixels.shape[:2] != images.shape[1:3]:
            raise InvalidInputError(
                f"{where}: all images must be of one size, got {pixels.shape[1]}x{pixels.shape[0]} in row {index} "
                f"after {images.shape[2]}x{images.shape[1]} before. Resize them first."
            )
        if images.ndim == 3 and pixels.ndim == 3:  # the first color image after grey ones
            images = np.repeat(images[..., None], 3, axis=3)
        images[index] = pixels if images.ndim == 3 or pixels.ndim == 3 else pixels[..., None]
    if images is None:
        raise InvalidInputError(f"{where}: at least one image is needed, got none.")
    return _channels_first(torch.from_numpy(images))


def _channels_first(images: Tensor) -> Tensor:
    """Return [examples, height, width] or […, channels] as [examples, channels, height, width]."""
    return images.unsqueeze(1) if images.ndim == 3 else images.permute(0, 3, 1, 2).contiguous()


def _from_npz(path: Path) -> dict[str, tuple[Tensor, Tensor]]:
    wanted = ("train_inputs", "train_labels", "test_inputs", "test_labels")
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            missing = [name for name in wanted if name not in file]
            arrays = {} if missing else {name: torch.from_numpy(file[name]) for name in wanted}
            names = ", ".join(file) or "none"
    except Exception as error:  # a damaged archive raises errors of many kinds
        raise InvalidInputError(f"{path} must be a readable .npz, but: {type(error).__name__}: {error}") from None
    if missing:
        raise InvalidInputError(f"{path} must hold the arrays {', '.join(wanted)}, got {names}.")
    return {split: (_as_inputs(arrays[f"{split}_inputs"]), arrays[f"{split}_labels"]) for split in ("train", "test")}


def _as_inputs(inputs: Tensor) -> Tensor:
    """Return uint8 images with their channels first, anything else as it is."""
    is_channels_last = inputs.ndim == 4 and inputs.shape[3] in (1, 3) and inputs.shape[1] not in (1, 3)
    if inputs.dtype == torch.uint8 and (inputs.ndim == 3 or is_channels_last):
        return _channels_first(inputs)
    return inputs.float() if inputs.dtype == torch.float64 else inputs


def _stacked(data: Any, what: str) -> tuple[Tensor, Tensor]:
    """Return a torch data set, a loader or a pair of tensors as one pair of tensors."""
    if isinstance(data, tuple | list) and len(data) == 2 and all(isinstance(part, Tensor) for part in data):
        return _as_inputs(data[0]), data[1]
    loader: Iterable[Any] = data if isinstance(data, DataLoader) else DataLoader(data, batch_size=256)
    try:
        batches = [(batch[0], batch[1]) for batch in loader]
        inputs, labels = (torch.cat(parts) for parts in zip(*batches, strict=True))
    except Exception as error:  # whatever the user's data set raises
        raise InvalidInputError(
            f"the {what} data must yield pairs of an input tensor and a class index, but: {type(error).__name__}: "
            f"{error} Give the data set a transform that makes tensors of one size."
        ) from error
    return _as_inputs(inputs), labels


def _checked(splits: dict[str, tuple[Tensor, Tensor]], source: str, num_classes: int | None = None) -> StoredData:
    for name, (inputs, labels) in splits.items():
        if labels.is_floating_point() or labels.ndim != 1 or labels.dtype == torch.bool:
            raise InvalidInputError(
                f"{source}, {name}: labels must be one integer class index per example, got "
                f"{str(labels.dtype).removeprefix('torch.')} of shape {list(labels.shape)}."
            )
        if len(inputs) != len(labels) or len(labels) == 0:
            raise InvalidInputError(
                f"{source}, {name}: as many labels as inputs are needed, at least one, got {len(inputs)} inputs and "
                f"{len(labels)} labels."
            )
        if inputs.shape[1:] != splits["train"][0].shape[1:]:
            raise InvalidInputError(
                f"{source}: {name} must have inputs of the shape of train, {list(splits['train'][0].shape[1:])}, got "
                f"{list(inputs.shape[1:])}."
            )
    largest = max(int(labels.max()) for _, labels in splits.values())
    smallest = min(int(labels.min()) for _, labels in splits.values())
    if smallest < 0 or (num_classes is not None and largest >= num_classes):
        raise InvalidInputError(
            f"{source}: labels must be class indices from 0 to below {num_classes or largest + 1}, got a minimum of "
            f"{smallest} and a maximum of {largest}. Leave out examples without a label."
        )
    return StoredData(
        {name: (inputs, labels.long()) for name, (inputs, labels) in splits.items()}, num_classes or largest + 1
    )
