"""`data` of a recipe: images, labels and their split."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from trainables.core.config_errors import Config, nearest
from trainables.core.vocabulary import Task
from trainables.recipe.data_settings.image_rules import ImageRules
from trainables.recipe.data_settings.image_settings import (
    Background,
    Fit,
    Frame,
    GivenSpacing,
    PerChannel,
    Spacing,
    Window,
)
from trainables.recipe.data_settings.label_names import Labels
from trainables.recipe.data_settings.table_columns import Columns
from trainables.recipe.data_settings.target_settings import TargetConfig, TimeAdjustment, Transform
from trainables.recipe.source_catalog import SOURCES, SourceName, source_names, source_spec
from trainables.recipe.torchvision_catalog import CATALOG
from trainables.storage.destination import refuse_password

DEFAULT_VALIDATION = 0.2
"""Share of each class used for validation if neither the config nor the source defines the split."""

SEARCHABLE = "searchable"
"""Mark of a field that changes how images look or which of them train, but not which are validated, nor as what: trials that differ
in it can be compared. No other field of `data` can be searched."""


class LongTail(Config):
    """Makes the training split long-tailed, for experiments: n_j = int(n_max · imbalance^(−j / (C − 1))) (Cao et al. 2019)."""

    imbalance: float = Field(ge=1)
    """Images of the largest class over images of the smallest."""
    largest: int | None = Field(None, ge=1)
    """Training images of the largest class (n_max); null: as many as possible so that every class j has at least its n_j."""


class DataConfig(ImageRules):
    """Images, their labels and how they are split."""

    source: SourceName = Field(
        description="Kind of data. " + "; ".join(f"`{spec.name}`: {spec.description}" for spec in SOURCES) + "."
    )
    task: Task = "classification"
    """`classification`: predict one of several classes for each image; `regression`: predict a number, given in a table's label
    column."""
    target: Annotated[TargetConfig | None, SEARCHABLE] = None
    """Scale on which the numbers of a regression are learned; null: their own."""
    adjust_time: TimeAdjustment | None = None
    """Adjustment of the numbers of a regression for the images' times; null: none."""
    path: str | None = Field(
        None,
        description="Place of the data. "
        + "; ".join(f"`{spec.name}`: the {spec.path}" for spec in SOURCES if spec.path)
        + f". {', '.join(source_names(lambda spec: spec.urls))} also take a URL, such as s3://bucket/photos.",
    )
    name: str | None = None
    """Name of the torchvision data set: CIFAR10, Flowers102, …"""
    columns: Columns | None = None
    """Names of a table's columns."""
    images: str | None = None
    """Folder or URL that a table's paths are relative to; null: the folder of the table."""
    labels: Labels | None = None
    """Class of each label, as in `{1: AB, 2: AB, 3: CD, 4: CD}`; images whose label has class null are dropped. null: each label
    is a class."""
    bits: Annotated[Literal[8, 16], SEARCHABLE] = 8
    """Bits of a grey value: 16 preserves the values of 16-bit PNG, TIFF, NPZ and DICOM files, 8 rounds them."""
    frame: Frame | None = None
    """Frame or page to read from files with several: a position counted from 0, or `middle`; null: such files are errors."""
    window: Annotated[Window | None, SEARCHABLE] = None
    """Range of values shown of grey images and volumes: `{center: 2048, width: 4096}` for 12 bits in 16-bit files. null: all values
    that a file can store; of DICOM files their own first window or look-up table, or else their darkest to brightest pixel (8-bit
    files are not changed); of NIfTI volumes their 0.5 to 99.5 percentile."""
    channels: Annotated[Literal[1, 3] | None, SEARCHABLE] = None
    """Channels that images are decoded to: 1, grey, or 3, colour; null: grey if all images are grey. A network for colours sees a
    grey image as three equal channels: the same as a network for grey whose first weights are summed over the colours."""
    mean: Annotated[PerChannel | None, SEARCHABLE] = None
    """Mean for normalising the network's input, (value − mean) / std, of values from 0 to 1: one number, or one for each channel.
    null: that of the images on which the network was pretrained."""
    std: Annotated[PerChannel | None, SEARCHABLE] = None
    """Standard deviation for normalising the network's input, like `mean`."""
    image_size: Annotated[int, SEARCHABLE] = Field(224, ge=8)
    """Side of the square images the network sees, in pixels; for volumes, height and width of the slices."""
    depth: Annotated[int | None, SEARCHABLE] = Field(None, ge=2)
    """Number of slices the network sees of each volume; the data are then volumes: NIfTI files or 3-D arrays of an NPZ file. The
    whole volume is resampled to depth × image_size × image_size voxels, unless `spacing_mm` is set. null: the data are images."""
    spacing_mm: Annotated[GivenSpacing | None, SEARCHABLE] = None
    """Distance between the voxels that the network sees, in mm: `[z, y, x]` (slices, rows, columns), or one number for all.
    NIfTI volumes are resampled to it, and their middle is then brought to depth × image_size × image_size voxels as `fit` says.
    null: each volume is resampled as a whole, whatever its spacing."""
    background: Annotated[Background, SEARCHABLE] = "black"
    """Black voxels of volumes for MedicalNet's networks. `black`: they stay black; `noise`: they are filled with normal noise, as
    MedicalNet's authors do; here it is the same for all volumes and epochs."""
    fit: Annotated[Fit, SEARCHABLE] = "crop"
    """Way to make images square. `crop`: the shorter side is resized to `image_size`, and the ends of the longer side are cut off;
    `pad`: the longer side is resized, and the rest is black; `stretch`: both sides are resized, whatever the proportions. For
    volumes with `spacing_mm`, `crop`: what exceeds the size is cut off, and what is missing is black; `pad`: a volume that exceeds
    the size is shrunk as a whole instead."""
    on_bad: Literal["fail", "skip"] = "fail"
    """Handling of images that cannot be read. `fail`: lists all of them, and nothing starts; `skip`: leaves them out before the
    split, with a warning that names the file that lists them."""
    on_conflict: Literal["error", "drop"] = "error"
    """Handling of images that contradict themselves: rows of a table with different labels, groups, weights or parts of the split,
    or one file in the folders of two classes. `error`: lists them, and nothing starts; `drop`: leaves them out before the split,
    with a warning that counts them."""
    duplicates: Literal["warn", "group"] = "warn"
    """Handling of images that show the same picture, up to compression and size. `warn`: warns if some are on both sides of the
    split; `group`: keeps them on one side, like a group. Cannot be `group` if the split is given."""
    folds: int | None = Field(None, ge=2, le=1000)
    """Cross-validation: number of folds the images are divided into, with the same class shares; one of them is for validation."""
    fold: int | None = Field(None, ge=0)
    """Fold used for validation, counted from 0; null: the first."""
    validation: float | None = Field(None, gt=0, lt=1)
    """Share of each class that is set aside for validation (in regression: of each tenth of the images ordered by target). Defaults
    to 0.2 if neither `folds` nor `columns.split` is given and the data have no split of their own, as `npz` and some of
    `torchvision` do. Groups stay whole, so the share is met as closely as whole groups allow."""
    test: float | None = Field(None, gt=0, lt=1)
    """Share of each class that is set aside for `thaw confirm`, before training and validation images are chosen. Cannot be given
    if the source has test images of its own."""
    seed: int = Field(0, ge=0)
    """Seed of the split and of `long_tail`. All trials of a search share it, whatever their own seed."""
    long_tail: Annotated[LongTail | None, SEARCHABLE] = None

    def at_size(self, image_size: int) -> DataConfig:
        """The same images and split at another image size."""
        return self if image_size == self.image_size else self.model_copy(update={"image_size": image_size})

    @property
    def spacing(self) -> Spacing | None:
        """`spacing_mm` of each axis."""
        given = self.spacing_mm
        if given is None:
            return None
        z, y, x = given if isinstance(given, tuple) else (given,) * 3
        return z, y, x

    @property
    def transform(self) -> Transform:
        """`target.transform`."""
        return "none" if self.target is None else self.target.transform

    @property
    def box(self) -> int | None:
        """Height and width of volumes after resampling to the spacing, in voxels; None: volumes are resized as a whole."""
        return None if self.spacing_mm is None else self.image_size

    # A frozen config may be a dictionary key, but its dicts have no hash of their own.
    def __hash__(self) -> int:
        return hash(self.model_dump_json())

    # Rules between fields are validators of one of them, so that an error can point to its place.

    @field_validator("path", "images")
    @classmethod
    def _no_password(cls, value: str | None) -> str | None:
        if value is not None:
            refuse_password(value)
        return value

    @field_validator("name")
    @classmethod
    def _a_known_name(cls, value: str | None, info: ValidationInfo) -> str | None:
        if info.data.get("source") != "torchvision" or value in CATALOG:
            return value
        if value is None:
            raise ValueError(f"is required with source 'torchvision': one of {', '.join(CATALOG)}")
        raise ValueError(f"{value!r} is not a torchvision data set that can be read; {nearest(value, list(CATALOG))}")

    @field_validator("columns")
    @classmethod
    def _columns_of_a_table(cls, value: Columns | None, info: ValidationInfo) -> Columns | None:
        source = info.data.get("source")
        return value or Columns() if source and "columns" in source_spec(source).supports else value

    @model_validator(mode="after")
    def _times_that_are_used(self) -> DataConfig:
        has_times = self.columns is not None and self.columns.time is not None
        if self.adjust_time is not None and not has_times:
            raise ValueError("adjust_time needs the times of the images; name their column in data.columns.time")
        if has_times and self.adjust_time is None:
            raise ValueError(
                "columns.time is used by adjust_time alone; set data.adjust_time: {by: ratio}, or remove it"
            )
        if self.adjust_time is not None and self.adjust_time.by == "difference" and self.transform.startswith("log"):
            raise ValueError(
                f"differences of adjust_time may be negative, without a {self.transform}; use by: ratio, or rank"
            )
        return self

    @field_validator("task")
    @classmethod
    def _a_task_that_the_source_has(cls, value: Task, info: ValidationInfo) -> Task:
        source = info.data.get("source")
        if source and value not in source_spec(source).tasks:
            some = " or ".join(map(repr, source_names(lambda spec: value in spec.tasks)))
            raise ValueError(f"{value!r} needs source {some} with a column of numbers; {source!r} has only classes")
        return value

    @field_validator("target", "adjust_time")
    @classmethod
    def _regression_only(cls, value: Any, info: ValidationInfo) -> Any:
        if value is not None and info.data.get("task") == "classification":
            raise ValueError("applies only to numbers, but data.task is 'classification'; remove it")
        return value

    @field_validator("labels", "long_tail")
    @classmethod
    def _classification_only(cls, value: Any, info: ValidationInfo) -> Any:
        if value is not None and info.data.get("task") == "regression":
            raise ValueError("applies only to classes, but data.task is 'regression'; remove it")
        return value

    @field_validator("fold")
    @classmethod
    def _one_of_the_folds(cls, value: int | None, info: ValidationInfo) -> int | None:
        if "folds" not in info.data:
            return value  # `folds` is invalid and reported by itself
        folds = info.data["folds"]
        if value is not None and folds is None:
            raise ValueError(f"{value}: there are no folds; set their number in data.folds, or remove it")
        if value is not None and value >= folds:
            raise ValueError(f"{value}: with {folds} folds it must be from 0 to {folds - 1}")
        return 0 if value is None and folds else value

    @field_validator("validation")
    @classmethod
    def _one_way_to_split(cls, value: float | None, info: ValidationInfo) -> float | None:
        folds, column = info.data.get("folds"), _split_column(info)
        if value is not None and folds:
            raise ValueError(f"{value:g}: one of the {folds} folds (data.folds) is for validation; keep one of the two")
        source = info.data.get("source")
        splits_itself = source is not None and source_spec(source).splits_itself
        return value if value is not None or folds or column or splits_itself else DEFAULT_VALIDATION

    @field_validator("test")
    @classmethod
    def _no_share_of_a_given_split(cls, value: float | None, info: ValidationInfo) -> float | None:
        if value is not None and (column := _split_column(info)):
            raise ValueError(
                f"{value:g}: the column {column!r} (data.columns.split) already gives the test rows; keep one of the two"
            )
        return value

    @model_validator(mode="after")
    def _a_path_where_one_is_read(self) -> DataConfig:
        if self.path is None and (what := source_spec(self.source).path):
            raise ValueError(f"source {self.source!r} needs `path`, the {what}")
        if self.path is not None and not source_spec(self.source).path:
            raise ValueError(
                f"source {self.source!r} reads no `path`, but {self.path} is given; remove it, or name another source"
            )
        return self


def _split_column(info: ValidationInfo) -> str | None:
    columns = info.data.get("columns")
    return columns.split if columns else None
