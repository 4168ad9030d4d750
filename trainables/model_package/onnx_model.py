"""Network of a package as ONNX: includes normalisation, takes any number of images at a time, and is compared with torch."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, redirect_stdout
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from trainables.data.batches.batches import fixed_noise
from trainables.model_package.manifest import Manifest, OnnxFacts, PackageError, read_manifest
from trainables.model_package.network import Outcome, check_sha256, predictions
from trainables.model_package.predict import shape_of
from trainables.model_package.write_package import ValidatedModel, sha256_of
from trainables.models.staged_model import StagedModel
from trainables.run_folder.layout import PackageLayout
from trainables.tasks.target_scale import TargetScale

TOLERANCE = 1e-4
"""Largest valid difference between predictions of torch and onnxruntime: of a probability, or of a standardised target."""


class _WithPreprocessing(nn.Module):
    """Network with normalisation: [b, c, h, w] or [b, c, d, h, w] in 0 … 1 -> predictions, outputs and features."""

    mean: Tensor
    std: Tensor
    noise: Tensor | None

    def __init__(self, model: StagedModel, manifest: Manifest):
        super().__init__()
        self._tail, self._manifest = model.tail(0), manifest
        per_channel = (1, -1, *[1] * (3 if manifest.input.depth else 2))
        self.register_buffer("mean", torch.tensor(manifest.input.mean).view(per_channel))
        self.register_buffer("std", torch.tensor(manifest.input.std).view(per_channel))
        is_filled = manifest.input.background == "noise"
        noise = fixed_noise(shape_of(manifest.input), torch.device("cpu"))[None, None] if is_filled else None
        self.register_buffer("noise", noise)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        features = self._tail.features(self._network_input(images))
        outputs = self._tail.head.last(features)
        if (target := self._manifest.target) is not None:
            if target.transform == "none":
                return outputs * target.std + target.mean, outputs, features
            return TargetScale(**target.model_dump()).targets(outputs.double()), outputs, features
        return outputs.softmax(dim=1), outputs, features

    def _network_input(self, images: Tensor) -> Tensor:
        if not self._manifest.input.standardises:
            return (images - self.mean) / self.std
        values = images.double()
        axes = tuple(range(1, images.ndim))
        count = (values > 0).double().sum(axes, keepdim=True).clamp(min=1)
        mean = values.sum(axes, keepdim=True) / count
        deviation = ((values * values).sum(axes, keepdim=True) / count - mean * mean).clamp(min=0).sqrt()
        standardised = ((values - mean) / torch.where(deviation > 1e-9, deviation, 1 / 255)).float()
        return standardised if self.noise is None else torch.where(images > 0, standardised, self.noise)


def write_onnx(model: ValidatedModel, file: Path) -> OnnxFacts:
    """Writes the network of a trial as ONNX and compares the two on its validation images.

    Raises:
        PackageError: if the ONNX packages are not installed, the network cannot be exported, or the predictions differ.
    """
    needed()
    network, images = model.network, model.validated.images
    module = _WithPreprocessing(network.model.cpu(), network.manifest).eval()
    example = torch.from_numpy(_as_input(images[:2] if len(images) > 1 else np.repeat(images, 2, axis=0)))
    names = ["predictions", "outputs", "features"]
    shapes = {"images": {0: torch.export.Dim("batch")}}
    try:
        with _quiet():
            program = torch.onnx.export(
                module, (example,), dynamo=True, dynamic_shapes=shapes, input_names=["images"], output_names=names
            )
            assert program is not None
            program.save(file, external_data=False)
    except Exception as error:  # exceptions of torch.export and of the exporter have no common base
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise PackageError(f"{network.manifest.backbone} cannot be exported to ONNX: {reason}") from None
    finally:
        network.model.to(network.device)
    return OnnxFacts(sha256=sha256_of(file), images=len(images), largest_difference=_difference(model, file, images))


def _difference(model: ValidatedModel, file: Path, images: np.ndarray) -> float:
    manifest, outputs = model.network.manifest, model.validated.outcome.outputs[: len(images)]
    onnx, target = OnnxNetwork(manifest, file), manifest.target
    # Numbers before they are scaled: the inverse of a logarithm or rank may be so steep that the last bits of outputs matter.
    expected = predictions(manifest, outputs) if target is None else outputs[:, 0]
    largest = 0.0
    for batch in (len(images), 1):  # two batch sizes, because the file must not be limited to one
        parts = [onnx.predicted(images[i : i + batch]) for i in range(0, len(images), batch)]
        found, raw = (np.concatenate(column) for column in zip(*parts, strict=True))
        if target is not None:
            gaps = np.abs(found - predictions(manifest, raw)) / (target.spread or target.std)
            largest, found = max(largest, float(gaps.max())), raw[:, 0]
        largest = max(largest, float(np.abs(found - expected).max()))
    if not largest <= TOLERANCE:
        raise PackageError(
            f"predictions of onnxruntime and torch differ by {largest:.2g} on {len(images)} validation images, more than "
            f"{TOLERANCE:g}; no model was written; export without --onnx"
        )
    return largest


class OnnxNetwork:
    """ONNX network of a package on onnxruntime; see `network.Network`.

    Args:
        manifest: the package's manifest.
        file: the ONNX file.
        threads: threads on the CPU; None: as many as in validation.
    """

    def __init__(self, manifest: Manifest, file: Path, *, threads: int | None = None):
        onnxruntime = needed()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or manifest.inference.cpu_threads
        options.log_severity_level = 3
        self.manifest = manifest
        self._session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])

    def outcomes(self, images: Iterable[np.ndarray], *, total: int) -> Iterator[Outcome]:  # noqa: ARG002
        """See `Network`; all batches but the last are full."""
        stream = iter(images)
        while chunk := list(islice(stream, self.manifest.inference.batch_size)):
            outputs, features = self._session.run(["outputs", "features"], {"images": _as_input(np.stack(chunk))})
            yield Outcome(features, outputs)

    def predicted(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Predictions by the file itself, [n, c] probabilities or [n] numbers, and the outputs [n, c] that they are from."""
        found, outputs = self._session.run(["predictions", "outputs"], {"images": _as_input(images)})
        return found if self.manifest.target is None else found[:, 0], outputs


def load_onnx(folder: str | Path, *, threads: int | None = None) -> OnnxNetwork:
    """Loads the ONNX network of a package.

    Raises:
        PackageError: if there is none, it is damaged, or onnxruntime is not installed.
    """
    layout = PackageLayout(folder)
    manifest = read_manifest(layout)
    if manifest.onnx is None:
        raise PackageError(f"{layout.root} was exported without ONNX; export it with --onnx")
    needed()
    check_sha256(layout.onnx, manifest.onnx.sha256)
    return OnnxNetwork(manifest, layout.onnx, threads=threads)


def needed() -> Any:
    """Imports onnxruntime.

    Raises:
        PackageError: if the extra `onnx` is not installed.
    """
    try:
        import onnx  # noqa: F401
        import onnxruntime
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise PackageError(f"ONNX needs {error.name}: pip install 'thaw-search[onnx]'") from None
    return onnxruntime


def _as_input(images: np.ndarray) -> np.ndarray:
    """Converts images [n, …, c] of 8 or 16 bits to [n, c, …] float32 in 0 … 1."""
    scaled = images.astype(np.float32) / np.iinfo(images.dtype).max
    return np.ascontiguousarray(np.moveaxis(scaled, -1, 1))


@contextmanager
def _quiet() -> Iterator[None]:
    """Silences the exporter's log, and torch's warnings about its own code."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.export", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.CRITICAL)
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
