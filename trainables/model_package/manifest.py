"""`model.json`: everything needed to use a trained model's weights. Plain data, without torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import ConfigDict, Field, ValidationError

from trainables.core.atomic_write import replacing
from trainables.core.config_errors import Config, dotted, problems_of
from trainables.core.vocabulary import Task
from trainables.recipe.data_config import DataConfig
from trainables.recipe.data_settings.image_settings import Background, Fit, Frame, Spacing, Window
from trainables.recipe.data_settings.table_columns import Columns
from trainables.recipe.data_settings.target_settings import Transform
from trainables.run_folder.layout import PackageLayout

PACKAGE_SCHEMA = 1
"""Version of a package's files; newer versions are rejected when reading."""


_RESIZE = {
    "crop": "the shorter side is resized to image_size, bicubic (Pillow), and the centre is cropped",
    "pad": "the longer side is resized to image_size, bicubic (Pillow), and the rest is black on both sides",
    "stretch": "both sides are resized to image_size, bicubic (Pillow)",
}
_RESAMPLE = "the whole volume is resampled to depth × image_size × image_size, trilinear, with antialiasing"
_TO_BOX = {
    "crop": "its middle of depth × box × box voxels is cut out",
    "pad": "it is shrunk as a whole if it exceeds depth × box × box voxels",
}


class PackageError(ValueError):
    """A model cannot be written, read or used as requested. The message is complete for users."""


class Input(Config):
    """Conversion of a file to the network's input."""

    image_size: int
    """Side of the square image, in pixels; height and width of the slices of volumes."""
    depth: int | None
    """Slices of a volume; null: the network takes images."""
    fit: Fit = "crop"
    """Way to make images square, see `data.fit` of a recipe."""
    spacing: Spacing | None = None
    """Distance between slices, rows and columns that volumes are resampled to, in mm; null: volumes are resized as a whole."""
    box: int | None = None
    """Height and width that `fit` brings resampled volumes to, in voxels, before they are resized to `image_size`."""
    background: Background = "black"
    """Black voxels of volumes that are standardised, see `data.background` of a recipe."""
    resize: str
    """Rule for resizing, in words."""
    channels: Literal[1, 3]
    """1: images are decoded as grey; if the network takes three channels, grey is repeated."""
    bits: Literal[8, 16]
    """Bits of a grey value. Values are divided by 255 or 65535 before normalisation."""
    frame: Frame | None
    """Frame or page to read of files with several."""
    window: Window | None
    """Range of grey values shown, in the file's own units; null: see `data.window` of a recipe."""
    mean: tuple[float, ...]
    """Mean for normalisation, one value for each channel of the network: its input is (value − mean) / std."""
    std: tuple[float, ...]
    """Standard deviation for normalisation, like `mean`."""
    standardises: bool
    """True: each volume is standardised by the mean and deviation of its own voxels that are not black, instead of by these."""


def resize_rule(config: DataConfig) -> str:
    """Rule by which the images of a data config are resized, in words."""
    black = "" if config.background == "black" else "; after normalisation black voxels are filled with fixed noise"
    if config.spacing is not None:
        millimetres = " × ".join(f"{side:g}" for side in config.spacing)
        resampled = f"the volume is resampled to {millimetres} mm (slices, rows, columns), trilinear, with antialiasing"
        return f"{resampled}; {_TO_BOX[config.fit]}, and what is missing is black{black}"
    return _RESIZE[config.fit] if config.depth is None else _RESAMPLE + black


class Inference(Config):
    """Settings with which validation ran the network; they give the same bits again on CPU."""

    cut: int
    """Position of the first block that trained; the blocks before it process `prefix_batch` images at a time."""
    prefix_batch: int
    prefix_dtype: Literal["fp32", "bf16"]
    batch_size: int
    precision: Literal["fp32", "bf16", "fp16"]
    cpu_threads: int
    device: str


class Target(Config):
    """Scale of regression targets: mean + std · output is a prediction, or its transform."""

    mean: float
    std: float
    transform: Transform = "none"
    """Scale on which the targets were learned, see `data.target` of a recipe; a prediction is the inverse."""
    knots: tuple[float, ...] = ()
    """Targets, ascending, whose ranks are the `levels`; between them both are interpolated."""
    levels: tuple[float, ...] = ()
    """Transformed targets at the knots; for logarithms, the limits that they are clipped to."""
    spread: float | None = None
    """Standard deviation of the training targets in their own unit; null: `std`."""


class Levels(Config):
    """Usual targets over time, see `data.adjust_time` of a recipe."""

    by: Literal["ratio", "difference"]
    times: tuple[float, ...]
    """Times, ascending; between them the levels are interpolated."""
    levels: tuple[float, ...]


class OnnxFacts(Config):
    """Result of comparing the ONNX file with the network."""

    sha256: str
    """SHA-256 of the ONNX file, in hex."""
    images: int
    """Number of validation images that were compared."""
    largest_difference: float
    """Largest difference of a probability; in regression of a prediction, in standard deviations of the training targets."""


class Manifest(Config):
    """Facts about a trained model."""

    model_config = ConfigDict(populate_by_name=True, serialize_by_alias=True)

    version: int = Field(PACKAGE_SCHEMA, alias="schema", ge=1, le=PACKAGE_SCHEMA)
    task: Task
    backbone: str
    """Name of the network, see `model.backbone` of a recipe."""
    blocks: tuple[str, ...]
    """Names of the blocks, or of the parts of blocks, between which stages of its training cut, from input to head."""
    head: Literal["linear", "cosine"]
    """Kind of last layer. cosine: outputs are `cosine_scale` · cosines between features and class directions, as for LDAM."""
    cosine_scale: float | None
    classes: tuple[str, ...]
    """Class names in the order of the outputs; empty in regression."""
    labels: dict[str, str | None] | None
    """Label of the training data -> class; null: labels and classes are the same."""
    columns: Columns | None = None
    """Columns of the table of the training data, which tables to predict are expected to have; null: there was none."""
    target: Target | None
    """Scale of the targets in regression; null in classification."""
    time: Levels | None = None
    """Levels by which the targets were adjusted for their times: predictions are those of the latest time. null: they were not."""
    learned_prior: tuple[float, ...] | None
    """Class frequencies that the model learned; probabilities divided by these are those for equally common classes."""
    input: Input
    inference: Inference
    weights_sha256: str
    """SHA-256 of `model.safetensors`, in hex."""
    onnx: OnnxFacts | None = None
    """Facts about the ONNX file; null: there is none."""
    origin: dict[str, Any]
    """Run, trial, epoch, metric, score; data fingerprint and counts; versions."""
    validation: dict[str, Any]
    """Metrics, their intervals, per-class values and confusion on the validation images."""

    @property
    def outputs(self) -> int:
        """Number of outputs of the network."""
        return len(self.classes) if self.task == "classification" else 1

    def write(self, folder: PackageLayout) -> None:
        """Writes the manifest into a package's folder."""
        with replacing(folder.manifest) as file:
            file.write(json.dumps(self.model_dump(mode="json"), indent=2, ensure_ascii=False) + "\n")


def read_manifest(folder: PackageLayout) -> Manifest:
    """Reads a package's manifest.

    Raises:
        PackageError: if there is none, or it is damaged or of a newer version.
    """
    file = folder.manifest
    try:
        data = json.loads(file.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        what = f"it holds no {file.name}" if folder.root.is_dir() else "there is no such folder"
        raise PackageError(f"{folder.root} is not a model: {what}; `thaw export RUN --model DIR` writes one") from None
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
