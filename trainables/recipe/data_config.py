"""`data` of a recipe: images, labels, how they are split; and how training images are varied and mixed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator, model_validator

from trainables.core.config_errors import Config, nearest
from trainables.core.vocabulary import Task
from trainables.recipe.source_catalog import SOURCES, SPECIAL_KEYS, SourceName, source_names, source_spec, sources_with
from trainables.recipe.torchvision_catalog import CATALOG

DEFAULT_VALIDATION = 0.2
"""Share of each class that judges, where neither the config nor the source says who does."""

Frame = Annotated[int, Field(ge=0)] | Literal["middle"]
"""Of a file with several frames or pages, the one that is meant, counted from 0."""


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
    """`train`, `val` or `test`, where the split is given. Rows of `test` are left alone until `thaw confirm` reads them."""
    weight: str | None = None
    """How much an image counts in the training loss: numbers from 0."""

    @model_validator(mode="after")
    def _a_column_says_one_thing(self) -> Columns:
        names = [name for name in (self.path, self.label, self.group, self.split, self.weight) if name is not None]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"one column cannot say two things: {', '.join(map(repr, twice))}")
        return self

    def named(self) -> dict[str, str]:
        """Each role that has a column -> the column's name."""
        return {role: name for role, name in self if name is not None}


class Window(Config):
    """What a grey DICOM image or a NIfTI volume shows, in its units after rescaling: Hounsfield units of a CT, say."""

    center: float
    width: float = Field(gt=0)
    """From black, at center − width / 2, to white."""


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

    source: SourceName = Field(description="; ".join(f"`{spec.name}`: {spec.description}" for spec in SOURCES) + ".")
    task: Task = "classification"
    """`classification`: one class of several for each image; `regression`: a number, which a table's label column holds."""
    path: str | None = Field(
        None,
        description="; ".join(f"`{spec.name}`: the {spec.path}" for spec in SOURCES if spec.path)
        + f". Of {', '.join(source_names(lambda spec: spec.urls))} also a URL, such as s3://bucket/photos.",
    )
    name: str | None = None
    """Of a data set of torchvision: CIFAR10, Flowers102, …"""
    columns: Columns | None = None
    """Of a table, what each column says."""
    images: str | None = None
    """The folder that a table's paths start from, or its URL; null: the table's own."""
    labels: Labels | None = None
    """The class of each label, as in `{1: AB, 2: AB, 3: CD, 4: CD}`; a label of class null drops its images. null: each
    label is a class."""
    bits: Literal[8, 16] = 8
    """Of a grey value: 16 keeps what 16-bit PNG, TIFF, NPZ and DICOM files hold, 8 rounds it."""
    frame: Frame | None = None
    """Which frame or page is read of files with several: a position counted from 0, or `middle`; null: such files are mistakes."""
    window: Window | None = None
    """Of grey DICOM images and NIfTI volumes; null: the first window or look-up table that a DICOM file names, else from its
    darkest to its brightest pixel (8-bit files as they are), and of a volume its 0.5 and 99.5 percentiles."""
    image_size: int = Field(224, ge=8)
    """Side of the square images the network sees, in pixels; of volumes, height and width of their slices."""
    depth: int | None = Field(None, ge=2)
    """Makes them volumes, NIfTI files or the 3-D arrays of an NPZ file, and says how many slices the network sees of each. The
    whole volume is resampled to depth × image_size × image_size voxels. null: they are images."""
    on_bad: Literal["fail", "skip"] = "fail"
    """What happens if images cannot be read. `fail`: all are named, and nothing starts; `skip`: they are left out before the
    split, with a warning that says where they are listed."""
    folds: int | None = Field(None, ge=2)
    """Cross-validation: images are parted into this many folds, alike in their classes, and one of them judges the run."""
    fold: int | None = Field(None, ge=0)
    """The fold that judges, counted from 0; null: the first."""
    validation: float | None = Field(None, gt=0, lt=1)
    """Share of each class (in regression: of each tenth of the images by their number) that is set aside to judge the run; 0.2
    where neither `folds` nor `columns.split` is given and no split comes with the data, as it does with `npz` and some of
    `torchvision`. Where groups stay together, as near to it as whole groups come."""
    test: float | None = Field(None, gt=0, lt=1)
    """Share of each class that neither trains nor judges, set aside before all else for `thaw confirm`; not where the source has
    test images of its own."""
    seed: int = Field(0, ge=0)
    """Seed of the split and of `long_tail`: trials of one search share it, whatever their own seed is."""
    long_tail: LongTail | None = None

    def at_size(self, image_size: int) -> DataConfig:
        """The same images and split at another size."""
        return self if image_size == self.image_size else self.model_copy(update={"image_size": image_size})

    # Frozen as a config is, it may be a key; a dict is none.
    def __hash__(self) -> int:
        return hash(self.model_dump_json())

    # Rules between fields are rules of one of them, so that a mistake has a place to point to.

    @field_validator(*SPECIAL_KEYS)
    @classmethod
    def _a_key_that_the_source_has(cls, value: Any, info: ValidationInfo) -> Any:
        key, source = info.field_name, info.data.get("source")
        assert key is not None
        if source is None or key in source_spec(source).supports or value == cls.model_fields[key].default:
            return value
        some = sources_with(key)
        if len(some) == 1:
            raise ValueError(f"only source {some[0]!r} has it, {source!r} has none; remove it")
        has_no = "has no volumes" if key == "depth" else "has none"
        raise ValueError(f"source {source!r} {has_no}; only {', '.join(some)} may; remove it")

    @field_validator("name")
    @classmethod
    def _a_known_name(cls, value: str | None, info: ValidationInfo) -> str | None:
        if info.data.get("source") != "torchvision" or value in CATALOG:
            return value
        if value is None:
            raise ValueError(f"says which data set of torchvision is meant: {', '.join(CATALOG)}")
        raise ValueError(f"{value!r} is no data set of torchvision that can be read; {nearest(value, list(CATALOG))}")

    @field_validator("columns")
    @classmethod
    def _columns_of_a_table(cls, value: Columns | None, info: ValidationInfo) -> Columns | None:
        source = info.data.get("source")
        return value or Columns() if source and "columns" in source_spec(source).supports else value

    @field_validator("task")
    @classmethod
    def _a_task_that_the_source_has(cls, value: Task, info: ValidationInfo) -> Task:
        source = info.data.get("source")
        if source and value not in source_spec(source).tasks:
            some = " or ".join(map(repr, source_names(lambda spec: value in spec.tasks)))
            raise ValueError(f"{value!r} takes source {some} with its column of numbers; {source!r} has classes")
        return value

    @field_validator("labels", "long_tail")
    @classmethod
    def _of_classes_only(cls, value: Any, info: ValidationInfo) -> Any:
        if value is not None and info.data.get("task") == "regression":
            raise ValueError("is about classes, and data.task is 'regression'; remove it")
        return value

    @field_validator("depth")
    @classmethod
    def _no_frame_of_a_volume(cls, value: int | None, info: ValidationInfo) -> int | None:
        if value is not None and info.data.get("frame") is not None:
            raise ValueError(
                f"{value}: a volume is read whole, and data.frame chooses one of its slices; remove one of them"
            )
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
        source = info.data.get("source")
        splits_itself = source is not None and source_spec(source).splits_itself
        return value if value is not None or folds or column or splits_itself else DEFAULT_VALIDATION

    @field_validator("test")
    @classmethod
    def _no_share_of_a_given_split(cls, value: float | None, info: ValidationInfo) -> float | None:
        if value is not None and (column := _split_column(info)):
            raise ValueError(
                f"{value:g}: the column {column!r} (data.columns.split) says which rows are of the test; keep one of the two"
            )
        return value

    @model_validator(mode="after")
    def _a_source_on_disk_needs_a_path(self) -> DataConfig:
        if self.path is None and (what := source_spec(self.source).path):
            raise ValueError(f"source {self.source!r} needs `path`, the {what}")
        return self


def _split_column(info: ValidationInfo) -> str | None:
    columns = info.data.get("columns")
    return columns.split if columns else None
