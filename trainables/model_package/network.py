"""A package's network, run as validation runs it: the same batches through the same parts give the same bits on CPU."""

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

from trainables.data.batches.batches import normalise, own_statistics, split_batches, standardise
from trainables.frozen_prefix.frozen_prefix import through_prefix
from trainables.model_package.manifest import Manifest, PackageError, read_manifest
from trainables.models.build_model import build_model
from trainables.models.precision import autocast
from trainables.models.staged_model import StagedModel
from trainables.recipe.backbone_catalog import is_custom
from trainables.recipe.recipe import ModelConfig
from trainables.run_folder.layout import PackageLayout


class Outcome(NamedTuple):
    """What a network makes of b images."""

    features: np.ndarray
    """[b, f] float32, what its last layer takes."""
    outputs: np.ndarray
    """[b, c] float32: logits, or [b, 1] standardised targets."""


class Network(Protocol):
    """The network of a package, whatever runs it."""

    manifest: Manifest

    def outcomes(self, images: Iterable[np.ndarray], *, total: int) -> Iterator[Outcome]:
        """
        Args:
            images: [h, w, c] or [d, h, w, c] each, of the size and type that the manifest says.
            total: how many they are expected to be; batches are as even as validation's.
        """


def predictions(manifest: Manifest, outputs: np.ndarray, *, corrected: bool = False) -> np.ndarray:
    """Outputs [n, c] -> probabilities [n, c] float64; in regression [n, 1] -> numbers [n] in the targets' unit.

    Args:
        corrected: for classes that are equally common, see `prior.learned_prior`.
    Raises:
        PackageError: if regression is to be corrected.
    """
    values = torch.from_numpy(outputs).double()
    if manifest.target is not None:
        if corrected:
            raise PackageError("a model of numbers has no class shares to correct")
        numbers: np.ndarray = (values.squeeze(1) * manifest.target.std + manifest.target.mean).numpy()
        return numbers
    probabilities: np.ndarray = values.softmax(dim=1).numpy()
    if corrected:
        probabilities = probabilities / np.array(manifest.learned_prior)
        probabilities /= probabilities.sum(axis=1, keepdims=True)
    return probabilities


class TorchNetwork:
    """The network on torch."""

    def __init__(self, model: StagedModel, manifest: Manifest, device: torch.device):
        self.manifest, self.device = manifest, device
        self.model = model.to(device).eval()
        self._tail = self.model.tail(manifest.inference.cut).eval()
        how = manifest.inference
        # fp16 is for GPUs; on a CPU it is slower, and coarser, than the fp32 that is there, too.
        on_cpu = how.precision == "fp16" and device.type == "cpu"
        self._how = how.model_copy(update={"precision": "fp32"}) if on_cpu else how

    @torch.inference_mode()
    def outcomes(self, images: Iterable[np.ndarray], *, total: int) -> Iterator[Outcome]:
        """See `Network`."""
        sizes = [len(batch) for batch in split_batches(np.arange(total), self._how.batch_size)]
        for batch in _regrouped(self._below(iter(images)), sizes):
            with autocast(self.device, self._how):
                features = self._tail.features(batch)
                outputs = self._tail.head.last(features)
            yield Outcome(features.float().cpu().numpy(), outputs.float().cpu().numpy())

    def state_dict(self) -> dict[str, Tensor]:
        """All weights on the CPU, each contiguous and for itself, as safetensors takes them."""
        return {name: tensor.cpu().contiguous().clone() for name, tensor in self.model.state_dict().items()}

    def _below(self, images: Iterator[np.ndarray]) -> Iterator[Tensor]:
        """What leaves the blocks below the cut, some images at a time."""
        rounded = self._how.prefix_dtype == "bf16" and self._how.precision == "fp32" and self._how.cut > 0
        while chunk := list(islice(images, self._how.prefix_batch)):
            seen = self._seen(torch.from_numpy(np.stack(chunk)).to(self.device))
            if self._how.cut:
                with autocast(self.device, self._how):
                    seen = through_prefix(self.model, seen, self._how.cut, batch=self._how.prefix_batch)
            yield seen.to(torch.bfloat16).float() if rounded else seen

    def _seen(self, images: Tensor) -> Tensor:
        """Images as they are decoded -> as the network takes them."""
        given = self.manifest.input
        if given.standardises:
            return standardise(images, *own_statistics(images))
        return normalise(images, given.mean, given.std)


def _regrouped(parts: Iterator[Tensor], sizes: Iterable[int]) -> Iterator[Tensor]:
    """The same rows in batches of these sizes, the last ones smaller where rows are missing."""
    ready = torch.empty(0)
    for size in sizes:
        while len(ready) < size and (more := next(parts, None)) is not None:
            ready = torch.cat([ready, more]) if len(ready) else more
        if not len(ready):
            return
        yield ready[:size]
        ready = ready[size:]


def new_model(manifest: Manifest) -> StagedModel:
    """The manifest's network, its weights still to come. Nothing is downloaded."""
    weights = "default" if is_custom(manifest.backbone) else "none"
    config = ModelConfig(backbone=manifest.backbone, weights=weights)
    generator = torch.Generator().manual_seed(0)
    return build_model(config, classes=manifest.outputs, cosine_scale=manifest.cosine_scale, generator=generator).model


def load_package(folder: str | Path, *, device: str = "auto", threads: int | None = None) -> TorchNetwork:
    """A package's network, from its folder alone.

    Args:
        device: `auto` (the GPU where there is one), `cpu` or `cuda`.
        threads: of torch on the CPU; None: as many as validation had, which gives the same bits.
    Raises:
        PackageError: if the folder is no package, of a newer version or damaged.
        ConfigError: if its backbone is not installed here.
    """
    layout = PackageLayout(folder)
    manifest = read_manifest(layout)
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
            f"{layout.weights} does not fit {manifest.backbone} as it is installed here: {reason}"
        ) from None
    return TorchNetwork(model, manifest, chosen_device(device))


def chosen_device(name: str) -> torch.device:
    """
    Raises:
        PackageError: if it is a GPU, and there is none.
    """
    if name not in {"auto", "cpu", "cuda"}:
        raise PackageError(f"device {name!r}: valid are auto, cpu and cuda")
    gpu = torch.cuda.is_available()
    if name == "cuda" and not gpu:
        raise PackageError("device cuda: there is no GPU here that torch can use")
    return torch.device("cuda" if gpu and name != "cpu" else "cpu")


def check_sha256(file: Path, expected: str) -> None:
    """
    Raises:
        PackageError: if a file of a package is missing, or not the one that was written.
    """
    try:
        with file.open("rb") as content:
            found = hashlib.file_digest(content, "sha256").hexdigest()
    except OSError as error:
        raise PackageError(f"{file} cannot be read: {error.strerror}") from None
    if found != expected:
        raise PackageError(
            f"{file} is damaged: it is not what was exported (SHA-256 {found[:12]}, not {expected[:12]})"
        )
