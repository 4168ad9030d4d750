"""Network of a package, run exactly as validation runs it: the same batches and parts give the same bits on CPU."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from trainables.core.own_code import refusal, trust
from trainables.data.batches.batches import normalise, own_statistics, split_batches, standardise
from trainables.frozen_prefix.frozen_prefix import apply_prefix
from trainables.model_package.manifest import Manifest, PackageError, read_manifest
from trainables.models.build_model import build_model
from trainables.models.precision import autocast, device_here, for_device, laid_out, place
from trainables.models.staged_model import StagedModel
from trainables.recipe.backbone_catalog import is_custom
from trainables.recipe.model_config import ModelConfig
from trainables.run_folder.layout import PackageLayout
from trainables.tasks.target_scale import TargetScale


class Outcome(NamedTuple):
    """Results of a network for b images."""

    features: np.ndarray
    """[b, f] float32, input of the last layer."""
    outputs: np.ndarray
    """[b, c] float32: logits, or [b, 1] standardised targets."""


class Network(Protocol):
    """Network of a package on any runtime."""

    manifest: Manifest

    def outcomes(self, images: Iterable[np.ndarray], *, total: int) -> Iterator[Outcome]:
        """Runs the network on images, batch by batch.

        Args:
            images: [h, w, c] or [d, h, w, c] each, with the size and type that the manifest says.
            total: expected number of images; batches are as even as in validation.
        """


def predictions(manifest: Manifest, outputs: np.ndarray, *, corrected: bool = False) -> np.ndarray:
    """Converts outputs to predictions.

    Args:
        manifest: the package's manifest.
        outputs: [n, c] logits; in regression [n, 1] standardised targets.
        corrected: compute probabilities for equally common classes, see `prior.learned_prior`.
    Returns:
        [n, c] float64 probabilities; in regression [n] numbers in the targets' unit.
    Raises:
        PackageError: if `corrected` is used in regression.
    """
    values = torch.from_numpy(outputs).double()
    if manifest.target is not None:
        if corrected:
            raise PackageError("a regression model has no class frequencies to correct for")
        numbers: np.ndarray = TargetScale(**manifest.target.model_dump()).targets(values.squeeze(1)).numpy()
        return numbers
    probabilities: np.ndarray = values.softmax(dim=1).numpy()
    if corrected:
        probabilities = probabilities / np.array(manifest.learned_prior)
        probabilities /= probabilities.sum(axis=1, keepdims=True)
    return probabilities


class TorchNetwork:
    """Network of a package on torch.

    Args:
        model: the network with its weights.
        manifest: the package's manifest.
        device: device to run on.
    """

    def __init__(self, model: StagedModel, manifest: Manifest, device: torch.device):
        self.manifest, self.device = manifest, device
        self.model = place(model, device).eval()
        self._tail = self.model.tail(manifest.inference.cut).eval()
        settings = manifest.inference
        # fp16 is meant for NVIDIA GPUs; on a CPU it is slower and less exact than fp32.
        is_fp16_elsewhere = settings.precision == "fp16" and device.type != "cuda"
        self._settings = settings.model_copy(update={"precision": "fp32"}) if is_fp16_elsewhere else settings

    @torch.inference_mode()
    def outcomes(self, images: Iterable[np.ndarray], *, total: int) -> Iterator[Outcome]:
        """See `Network`."""
        sizes = [len(batch) for batch in split_batches(np.arange(total), self._settings.batch_size)]
        for batch in _regrouped(self._prefix_outputs(iter(images)), sizes):
            with autocast(self.device, self._settings):
                features = self._tail.features(batch)
                outputs = self._tail.head.last(features)
            yield Outcome(features.float().cpu().numpy(), outputs.float().cpu().numpy())

    def state_dict(self) -> dict[str, Tensor]:
        """All weights on the CPU, each contiguous and in its own memory, as safetensors requires."""
        return {name: tensor.cpu().contiguous().clone() for name, tensor in self.model.state_dict().items()}

    def _prefix_outputs(self, images: Iterator[np.ndarray]) -> Iterator[Tensor]:
        """Outputs of the blocks before the cut, for `prefix_batch` images at a time."""
        rounded = (
            self._settings.prefix_dtype == "bf16" and self._settings.precision == "fp32" and self._settings.cut > 0
        )
        while chunk := list(islice(images, self._settings.prefix_batch)):
            x = laid_out(self._network_input(for_device(np.stack(chunk), self.device)))
            if self._settings.cut:
                with autocast(self.device, self._settings):
                    x = apply_prefix(self.model, x, self._settings.cut, batch=self._settings.prefix_batch)
            yield x.to(torch.bfloat16).float() if rounded else x

    def _network_input(self, images: Tensor) -> Tensor:
        """Normalises decoded images to the network's input."""
        given = self.manifest.input
        if given.standardises:
            return standardise(images, *own_statistics(images), noise=given.background == "noise")
        return normalise(images, given.mean, given.std)


def _regrouped(parts: Iterator[Tensor], sizes: Iterable[int]) -> Iterator[Tensor]:
    """Regroups rows into batches of the given sizes; the last batches are smaller if rows are missing."""
    ready = torch.empty(0)
    for size in sizes:
        while len(ready) < size and (more := next(parts, None)) is not None:
            ready = torch.cat([ready, more]) if len(ready) else more
        if not len(ready):
            return
        yield ready[:size]
        ready = ready[size:]


def new_model(manifest: Manifest) -> StagedModel:
    """Creates the manifest's network without its weights. Nothing is downloaded."""
    weights = "default" if is_custom(manifest.backbone) else "none"
    config = ModelConfig(backbone=manifest.backbone, weights=weights)
    generator = torch.Generator().manual_seed(0)
    return build_model(
        config,
        classes=manifest.outputs,
        cosine_scale=manifest.cosine_scale,
        generator=generator,
        blocks=manifest.blocks,
    ).model


def load_package(
    folder: str | Path, *, device: str = "auto", threads: int | None = None, trust_code: bool = False
) -> TorchNetwork:
    """Loads the network of a package from its folder.

    Args:
        folder: folder of the package.
        device: `auto` (an NVIDIA GPU if there is one, else the CPU), `cpu`, `cuda` or `mps`.
        threads: torch's threads on the CPU; None: as many as in validation, which gives the same bits.
        trust_code: True to import and run the function that the package names for its network, if it is a user's own.
    Raises:
        PackageError: if the folder is not a package, is damaged or of a newer version, or names code that is not trusted.
        ConfigError: if the backbone's library is not installed.
    """
    layout = PackageLayout(folder)
    manifest = read_manifest(layout)
    if is_custom(manifest.backbone):
        if not trust_code:
            raise PackageError(f"{layout.manifest}: backbone: {refusal(manifest.backbone)}")
        trust([manifest.backbone])
    torch.set_num_threads(threads or manifest.inference.cpu_threads)
    check_sha256(layout.weights, manifest.weights_sha256)
    try:
        state = load_file(layout.weights)
    except (SafetensorError, OSError) as error:
        raise PackageError(f"{layout.weights} cannot be read: {error}") from None
    model = new_model(manifest)
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:300]
        raise PackageError(
            f"{layout.weights} does not fit the installed version of {manifest.backbone}: {reason}"
        ) from None
    return TorchNetwork(model, manifest, network_device(device))


def network_device(name: str) -> torch.device:
    """Device for `auto`, `cpu`, `cuda` or `mps`.

    Raises:
        PackageError: if the name is none of these, or this machine has no such GPU.
    """
    if name not in {"auto", "cpu", "cuda", "mps"}:
        raise PackageError(f"device {name!r}: valid devices are auto, cpu, cuda and mps")
    if (device := device_here(name)) is None:
        raise PackageError(
            f"device {name}: this machine has no {'Apple ' if name == 'mps' else ''}GPU that torch can use"
        )
    return device


def check_sha256(file: Path, expected: str) -> None:
    """Checks that a file of a package is unchanged.

    Raises:
        PackageError: if the file is missing, or not the one that was written.
    """
    try:
        with file.open("rb") as content:
            found = hashlib.file_digest(content, "sha256").hexdigest()
    except OSError as error:
        raise PackageError(f"{file} cannot be read: {error.strerror}") from None
    if found != expected:
        raise PackageError(
            f"{file} is damaged: it differs from the exported file (SHA-256 {found[:12]}, not {expected[:12]})"
        )
