"""Small data sets on disk in the layouts that people keep them in."""

import io
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image


def random_images(num: int, size: tuple[int, ...] = (8, 8, 3), seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (num, *size), dtype=np.uint8)


def png(pixels: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def write_parquet(
    folder: Path,
    images: np.ndarray,
    labels: list[int],
    split: str = "train",
    *,
    image_column: str = "img",
    label_column: str = "label",
) -> None:
    """Write one split as the hub stores it: a column of encoded images and one of class indices."""
    from datasets import ClassLabel, Dataset, Features
    from datasets import Image as ImageFeature

    folder.mkdir(parents=True, exist_ok=True)
    classes = ClassLabel(names=[str(number) for number in range(max(labels) + 1)])
    rows = {image_column: [{"bytes": png(pixels), "path": None} for pixels in images], label_column: labels}
    features = Features({image_column: ImageFeature(), label_column: classes})
    Dataset.from_dict(rows, features=features).to_parquet(folder / f"{split}-00000-of-00001.parquet")


def write_bare_parquet(path: Path, columns: dict[str, list[object]]) -> None:
    """Write a table without the library's own description of its columns."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(columns).to_parquet(path)
