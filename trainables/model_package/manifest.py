"""`model.json`: all that must be known to use a trained model's weights. Plain data, without torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import ConfigDict, Field, ValidationError

from trainables.core.atomic_write import replacing
from trainables.core.config_errors import Config, dotted, problems_of
from trainables.core.vocabulary import Task
from trainables.recipe.data_config import Frame, Window
from trainables.run_folder.layout import PackageLayout

PACKAGE_SCHEMA = 1
"""Of a package's files; a reader refuses newer ones."""


class PackageError(ValueError):
    """A model that cannot be made, read or used as asked. Its text is all that a person needs."""


class Input(Config):
    """How a file becomes what the network takes."""

    image_size: int
    """Side of the square image, in pixels; of volumes, height and width of their slices."""
    depth: int | None
    """Slices of a volume; null: it takes images."""
    resize: str
    """The rule in words."""
    channels: Literal[1, 3]
    """1: images are decoded as grey; where the network takes three channels, they are repeated."""
    bits: Literal[8, 16]
    """Of a grey value; what is normalised is the value over 255 or 65535."""
    frame: Frame | None
    """Which frame or page is read of files with several."""
    window: Window | None
    """What is black and white in grey DICOM images and NIfTI volumes; null: as the file says."""
    mean: tuple[float, ...]
    """One value for each channel of the network: (value − mean) / std is what it takes."""
    std: tuple[float, ...]
    standardises: bool
    """Each volume is brought to mean 0 and deviation 1 of its voxels that are not black, instead."""


class Inference(Config):
    """How validation ran the network; the same again gives the same bits on CPU."""

    cut: int
    """Blocks up to here go `prefix_batch` images at a time."""
    prefix_batch: int
    prefix_dtype: Literal["fp32", "bf16"]
    batch_size: int
    precision: Literal["fp32", "bf16", "fp16"]
    cpu_threads: int
    device: str


class Target(Config):
    """Of regression: a prediction is mean + std · output."""

    mean: float
    std: float


class OnnxFacts(Config):
    """What was found when the ONNX file was compared with the network."""

    sha256: str
    images: int
    """Validation images that went through both."""
    largest_difference: float
    """Of a probability; in regression of a prediction, in standard deviations of the training targets."""


class Manifest(Config):
    """A trained model."""

    model_config = ConfigDict(populate_by_name=True, serialize_by_alias=True)

    version: int = Field(PACKAGE_SCHEMA, alias="schema", ge=1, le=PACKAGE_SCHEMA)
    task: Task
    backbone: str
    """See `model.backbone` of a recipe."""
    blocks: tuple[str, ...]
    """From input to head."""
    head: Literal["linear", "cosine"]
    """cosine: outputs are `cosine_scale` · cosines between features and class directions, as LDAM trains them."""
    cosine_scale: float | None
    classes: tuple[str, ...]
    """In the order of the outputs; none in regression."""
    labels: dict[str, str | None] | None
    """The class of each label in the data it was trained on, where they are not the same."""
    target: Target | None
    learned_prior: tuple[float, ...] | None
    """What training taught of how common classes are: probabilities over this are those of balanced classes."""
    input: Input
    inference: Inference
    weights_sha256: str
    """Of `model.safetensors`."""
    onnx: OnnxFacts | None = None
    origin: dict[str, Any]
    """Run, trial, epoch, metric, score; data fingerprint and counts; versions."""
    validation: dict[str, Any]
    """Metrics, their intervals, per-class values and confusion on the validation images."""

    @property
    def outputs(self) -> int:
        return len(self.classes) if self.task == "classification" else 1

    def write(self, folder: PackageLayout) -> None:
        with replacing(folder.manifest) as file:
            file.write(json.dumps(self.model_dump(mode="json"), indent=2, ensure_ascii=False) + "\n")


def read_manifest(folder: PackageLayout) -> Manifest:
    """
    Raises:
        PackageError: if there is none, or it is damaged or of a newer version.
    """
    file = folder.manifest
    try:
        data = json.loads(file.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        what = f"it holds no {file.name}" if folder.root.is_dir() else "there is no such folder"
        raise PackageError(f"{folder.root} is no model: {what}; `thaw export RUN --model DIR` writes one") from None
    except ValueError as error:
        raise PackageError(f"{file}: not valid JSON ({error})") from None
    version = data.get("schema") if isinstance(data, Mapping) else None
    if isinstance(version, int) and version > PACKAGE_SCHEMA:
        raise PackageError(
            f"{file}: schema {version} is newer than {PACKAGE_SCHEMA}, the newest known here; update thaw"
        )
    try:
        return Manifest.model_validate(data)
    except ValidationError as error:
        problems = problems_of(error, Manifest, data)
        raise PackageError("\n".join(f"{file}: {dotted(p.path)}: {p.message}" for p in problems)) from None
