"""scikit-learn's 1,797 digits, which come with its installation."""

from __future__ import annotations

import functools
from importlib.metadata import distribution, version

import numpy as np

from trainables.data.sources.class_mapping import mapped
from trainables.data.sources.source import Reader, Source, select, with_labels
from trainables.recipe.data_config import DataConfig


def open_digits(config: DataConfig) -> Source:
    """Opens the digits."""
    mapping = config.labels
    pixels, digits = _digit_images()
    found = mapped(tuple("0123456789"), digits, mapping)
    key = f"digits of scikit-learn {version('scikit-learn')}"
    return Source(
        with_labels(key, found, mapping),
        found.classes,
        found.labels,
        lambda: select(Reader(1, pixels.__getitem__), found),
        notes=found.notes,
    )


@functools.cache
def _digit_images() -> tuple[np.ndarray, np.ndarray]:
    # The file of `sklearn.datasets.load_digits`, whose import takes two seconds.
    table = np.loadtxt(
        str(distribution("scikit-learn").locate_file("sklearn/datasets/data/digits.csv.gz")), delimiter=","
    )
    return np.rint(table[:, :-1].reshape(-1, 8, 8, 1) * (255 / 16)).astype(np.uint8), table[:, -1].astype(np.int64)
