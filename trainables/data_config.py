"""`data` of a recipe: images, labels, how they are split; and how training images are varied."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator, model_validator

from trainables.layout import Task
from trainables.problems import Config


class LongTail(Config):
    """Makes the training split long-tailed, for experiments: n_j = int(n_max · imbalance^(−j / (C − 1))) (Cao et al. 2019)."""

    imbalance: float = Field(ge=1)
    """Images of the largest class over images of the smallest."""
    largest: int | None = Field(None, ge=1)
    """Training images of the largest class (n_max); null: as many as leave every class j its n_j."""


class Columns(Config):
    """Names of a table's columns."""

    path: str = "path"
    """Image files, relative to `data.images`, else to the table's folder."""
    label: str = "label"
    """Names or numbers; in regression the targets."""
    group: str | None = None
    """What must stay on one side of the split: a patient, a video, a device."""
    split: str | None = None
    """`train`, `val` or `test`, where the split is given. Rows of `test` are left alone."""

    @model_validator(mode="after")
    def _a_column_says_one_thing(self) -> Columns:
        names = [name for name in (self.path, self.label, self.group, self.split) if name is not None]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"one column cannot say two things: {', '.join(map(repr, twice))}")
        return self

    def named(self) -> dict[str, str]:
        """Each role that has a column -> the column's name."""
        return {role: name for role, name in self if name is not None}


def label_name(label: object) -> str:
    """One name for what means one label, however YAML, CSV and Parquet write it: 1, "1", 1.0 and "1.0 " are `1`.

    Raises:
        ValueError: for what is neither text nor a number; YAML reads `yes` and `no` as booleans.
    """
    if isinstance(label, bool) or not isinstance(label, str | int | float):
        raise ValueError(f"{label!r} is neither a name nor a number; put quotes around it if it is meant as a name")
    text = str(label).strip()
    return re.sub(r"(?<=\d)\.0*$", "", text) if re.fullmatch(r"-?\d+\.0*", text) else text


def _label_names(given: object) -> object:
    if not isinstance(given, Mapping):
        return given  # pydantic tells
    named: dict[str, str | None] = {}
    for label, target in given.items():
        if (name := label_name(label)) in named:
            raise ValueError(f"{name!r} stands twice")
        named[name] = None if target is None else label_name(target)
    return dict(sorted(named.items()))  # equal configs have equal hashes, whatever the order of their labels


Labels = Annotated[
    dict[str, str | None],
    BeforeValidator(_label_names, json_schema_input_type=dict[str, str | int | float | None]),
    Field(min_length=1),
]


class DataConfig(Config):
    """Images, their labels and how they are split."""

    source: Literal["digits", "folder", "idx", "table"]
    """`folder`: one folder of image files a class; `table`: a CSV, TSV or Parquet file of paths and labels; `idx`: the
    MNIST family's files; `digits`: scikit-learn's 1,797 digits."""
    task: Task = "classification"
    """`classification`: one class of several for each image; `regression`: a number, which a table's label column holds."""
    path: str | None = None
    """The table, or the folder that holds the class folders or the IDX files; not needed for `digits`."""
    columns: Columns | None = None
    """Of a table, what each column says."""
    images: str | None = None
    """The folder that a table's paths start from; null: the table's own."""
    labels: Labels | None = None
    """The class of each label, as in `{1: AB, 2: AB, 3: CD, 4: CD}`; a label of class null drops its images. null: each
    label is a class."""
    image_size: int = Field(224, ge=8)
    """Side of the square images the network sees, in pixels."""
    folds: int | None = Field(None, ge=2)
    """Cross-validation: images are parted into this many folds, alike in their classes, and one of them judges the run."""
    fold: int | None = Field(None, ge=0)
    """The fold that judges, counted from 0; null: the first."""
    validation: float | None = Field(None, gt=0, lt=1)
    """Share of each class (in regression: of each tenth of the images by their number) that is set aside to judge the run; 0.2
    where neither `folds` nor `columns.split` is given. Where groups stay together, as near to it as whole groups come."""
    seed: int = Field(0, ge=0)
    """Seed of the split and of `long_tail`: trials of one search share it, whatever their own seed is."""
    long_tail: LongTail | None = None

    # Frozen as a config is, it may be a key; a dict is none.
    def __hash__(self) -> int:
        return hash(self.model_dump_json())

    # Rules between fields are rules of one of them, so that a mistake has a place to point to.

    @field_validator("task")
    @classmethod
    def _numbers_come_from_tables(cls, value: Task, info: ValidationInfo) -> Task:
        if value == "regression" and info.data.get("source") not in {None, "table"}:
            raise ValueError(
                f"'regression' takes source 'table' with its column of numbers; {info.data['source']!r} has classes"
            )
        return value

    @field_validator("labels", "long_tail")
    @classmethod
    def _of_classes_only(cls, value: Any, info: ValidationInfo) -> Any:
        if value is not None and info.data.get("task") == "regression":
            raise ValueError("is about classes, and data.task is 'regression'; remove it")
        return value

    @field_validator("columns", "images")
    @classmethod
    def _of_tables_only(cls, value: Any, info: ValidationInfo) -> Any:
        if info.data.get("source") not in {None, "table"} and value is not None:
            raise ValueError(f"only source 'table' has it, {info.data['source']!r} has none; remove it")
        if info.data.get("source") == "table" and info.field_name == "columns":
            return value or Columns()
        return value

    @field_validator("folds")
    @classmethod
    def _no_folds_of_a_given_split(cls, value: int | None, info: ValidationInfo) -> int | None:
        if value and (column := _split_column(info)):
            raise ValueError(f"the column {column!r} (data.columns.split) gives the split already; keep one of the two")
        return value

    @field_validator("fold")
    @classmethod
    def _one_of_the_folds(cls, value: int | None, info: ValidationInfo) -> int | None:
        if "folds" not in info.data:
            return value  # a mistake of its own
        folds = info.data["folds"]
        if value is not None and folds is None:
            raise ValueError(f"{value}: there are no folds; say how many in data.folds, or remove it")
        if value is not None and value >= folds:
            raise ValueError(f"{value}: {folds} folds are counted from 0 to {folds - 1}")
        return 0 if value is None and folds else value

    @field_validator("validation")
    @classmethod
    def _one_way_to_split(cls, value: float | None, info: ValidationInfo) -> float | None:
        folds, column = info.data.get("folds"), _split_column(info)
        if value is not None and folds:
            raise ValueError(f"{value:g}: each of data.folds' {folds} folds holds its share; keep one of the two")
        if value is not None and column:
            raise ValueError(
                f"{value:g}: the column {column!r} (data.columns.split) gives the split; keep one of the two"
            )
        return value if value is not None or folds or column else 0.2

    @model_validator(mode="after")
    def _a_source_on_disk_needs_a_path(self) -> DataConfig:
        if self.source != "digits" and self.path is None:
            what = "CSV, TSV or Parquet file" if self.source == "table" else "folder that holds it"
            raise ValueError(f"source {self.source!r} needs `path`, the {what}")
        return self


def _split_column(info: ValidationInfo) -> str | None:
    columns = info.data.get("columns")
    return columns.split if columns else None


# --- augmentation ---------------------------------------------------------------------------------------------------


class Crop(Config):
    """Random resized crop: a rectangle of the image becomes the whole image."""

    min_scale: float = Field(0.7, gt=0, le=1)
    """Smallest share of the image's area; the share is drawn from here to 1."""
    max_ratio: float = Field(4 / 3, ge=1)
    """Longer side over shorter one, at most; 1 keeps the proportions."""


class Erase(Config):
    """Random erasing (Zhong et al. 2020): a rectangle takes the mean colour of the image."""

    probability: float = Field(0.25, ge=0, le=1)
    """Share of the images that lose a rectangle."""
    max_scale: float = Field(0.33, ge=0.02, le=1)
    """Largest share of the image's area that is lost; the share is drawn from 0.02 to here."""


class Augment(Config):
    """Variations of the training images, drawn for each image by itself. Each is off unless given.

    Pixels from beyond the border are mirrored ones.
    """

    views: int | None = Field(None, ge=1)
    """Number of versions of each image: epoch e shows version (e − 1) mod `views`, and the next ones where the image comes again in
    the same epoch; null: always a new one."""
    horizontal_flip: float = Field(0.0, ge=0, le=1)
    """Probability that left and right change places."""
    crop: Crop | None = None
    rotate_degrees: float = Field(0.0, ge=0, le=180)
    """Largest angle, either way."""
    translate: float = Field(0.0, ge=0, le=0.5)
    """Largest shift along each side, either way, as a share of the side."""
    zoom: float = Field(0.0, ge=0, le=1)
    """Largest change of scale: by a factor from 1 / (1 + zoom) to 1 + zoom, log-uniform."""
    brightness: float = Field(0.0, ge=0, le=1)
    """Colours are multiplied by a factor from 1 − brightness to 1 + brightness."""
    contrast: float = Field(0.0, ge=0, le=1)
    """Distances from the image's mean grey are multiplied by a factor from 1 − contrast to 1 + contrast."""
    saturation: float = Field(0.0, ge=0, le=1)
    """Distances of colours from grey are multiplied by a factor from 1 − saturation to 1 + saturation."""
    erase: Erase | None = None

    @property
    def moves_pixels(self) -> bool:
        """Whether images are cropped, turned, shifted or zoomed."""
        return self.crop is not None or any((self.rotate_degrees, self.translate, self.zoom))
