"""Sources of images: what each is called, what a data config can ask of it, and where it is opened. Plain data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from trainables.core.vocabulary import Task

SourceName = Literal["digits", "folder", "idx", "npz", "table", "torchvision"]
"""`data.source`."""


@dataclass(frozen=True, kw_only=True)
class SourceSpec:
    """Declaration of a source."""

    name: SourceName
    description: str
    open: str
    """`module:function`, DataConfig -> `Source` of `trainables/data/sources/source.py`; raises ConfigError, ValueError, OSError."""
    open_test: str | None = None
    """`module:function`, DataConfig -> `Source` of the test images that the source marks, or None; None: it never marks any."""
    detect: str | None = None
    """`module:function`, Path and `Wishes` -> `Draft` of `trainables/data/detection/draft.py`, or None if the source cannot read
    what is there; None: nothing is ever detected."""
    looks_like: str | None = None
    """Data that `detect` recognises, in words."""
    path: str | None = "folder of the data"
    """Meaning of `data.path`; None: the source needs no path."""
    urls: bool = False
    """True where `data.path` can be a URL."""
    supports: frozenset[str] = frozenset()
    """Keys of `data` that it has, of those that not every source has (`SPECIAL_KEYS`)."""
    tasks: tuple[Task, ...] = ("classification",)
    splits_itself: bool = False
    """True where a split may come with the data."""


_FILES = frozenset({"bits", "frame", "window", "depth", "spacing_mm", "on_bad"})
"""Keys of sources of image files."""

SOURCES = (
    SourceSpec(
        name="table",
        description="a CSV, TSV or Parquet file of paths and labels",
        open="trainables.data.sources.kinds.table:open_table",
        open_test="trainables.data.sources.kinds.table:open_test_table",
        detect="trainables.data.detection.kinds.lists:detect_table_or_list",
        looks_like="a CSV, TSV or Parquet table of image files and labels",
        path="CSV, TSV or Parquet file",
        urls=True,
        supports=_FILES | {"columns", "images", "on_conflict"},
        tasks=("classification", "regression"),
    ),
    SourceSpec(
        name="npz",
        description="an NPZ file as MedMNIST has them",
        open="trainables.data.sources.kinds.npz_file:open_npz",
        open_test="trainables.data.sources.kinds.npz_file:open_test_npz",
        detect="trainables.data.detection.kinds.arrays:detect_npz",
        looks_like="an NPZ file like MedMNIST's",
        path="NPZ file",
        urls=True,
        supports=frozenset({"bits", "depth", "window"}),
        splits_itself=True,
    ),
    SourceSpec(
        name="idx",
        description="IDX files of the MNIST family",
        open="trainables.data.sources.kinds.idx_files:open_idx_files",
        detect="trainables.data.detection.kinds.arrays:detect_idx_files",
        looks_like="a folder with MNIST's IDX files",
    ),
    SourceSpec(
        name="folder",
        description="a folder of image files for each class",
        open="trainables.data.sources.kinds.class_folders:open_class_folders",
        open_test="trainables.data.sources.kinds.class_folders:open_test_folders",
        detect="trainables.data.detection.kinds.folders:detect_folder",
        looks_like="a folder with one sub-folder of images for each class",
        urls=True,
        supports=_FILES | {"on_conflict"},
        splits_itself=True,
    ),
    SourceSpec(
        name="torchvision",
        description="a torchvision data set that is on disk",
        open="trainables.data.sources.kinds.torchvision_set:open_torchvision_set",
        detect="trainables.data.detection.kinds.arrays:detect_torchvision_set",
        looks_like="a folder that torchvision downloaded a data set to",
        supports=frozenset({"name"}),
        splits_itself=True,
    ),
    SourceSpec(
        name="digits",
        description="scikit-learn's 1,797 digits",
        open="trainables.data.sources.kinds.digits:open_digits",
        path=None,
    ),
)
"""Every source, in the order in which `thaw init` asks them what a path holds. A new one is its name in `SourceName`, a declaration
here, and a file in `data/sources/kinds/` that opens it."""

SPECIAL_KEYS = tuple(sorted({key for spec in SOURCES for key in spec.supports}))
"""Keys of `data` that not every source has."""

_BY_NAME = {spec.name: spec for spec in SOURCES}


def source_spec(name: SourceName) -> SourceSpec:
    """Declaration of a source."""
    return _BY_NAME[name]


def source_names(chosen: Callable[[SourceSpec], bool]) -> tuple[str, ...]:
    """Names of some sources, sorted."""
    return tuple(sorted(spec.name for spec in SOURCES if chosen(spec)))


def sources_with(key: str) -> tuple[str, ...]:
    """Names of the sources that have one of `SPECIAL_KEYS`, sorted."""
    return source_names(lambda spec: key in spec.supports)
