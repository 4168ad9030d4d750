"""Turns a trial's best checkpoint into a package, whose network is validated again before it is written."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors.torch import save

from trainables.checkpoints.checkpoint_file import CheckpointError, load_checkpoint, scored_weights
from trainables.checkpoints.checkpoint_folder import CheckpointFolder
from trainables.core.atomic_write import FILE_MODE, FOLDER_MODE, naming
from trainables.data.batches.batches import generator
from trainables.data.dataset import Dataset
from trainables.data.stage_view import data_of_stage
from trainables.data.store.build_stores import Progress
from trainables.data.store.streamed_images import StreamedImages
from trainables.model_package.manifest import Inference, Input, Levels, Manifest, PackageError, Target, resize_rule
from trainables.model_package.network import Outcome, TorchNetwork, network_device
from trainables.models.build_model import BuiltModel, build_model, normalised_as
from trainables.models.staged_model import StagedModel
from trainables.recipe.backbone_catalog import backbone_info
from trainables.recipe.recipe import Recipe
from trainables.recipe.rules.prefix_rules import prefix_batch
from trainables.run_folder.layout import PackageLayout, TrialLayout
from trainables.tasks.classification import Classification, Task, task_of
from trainables.tasks.metrics import Evaluation
from trainables.tasks.regression import Regression

SAMPLE = 64
"""Validation images on which other runtimes are compared."""


class Validated(NamedTuple):
    """Results of a package's network on the validation images of its trial."""

    outcome: Outcome
    truth: np.ndarray
    """[n] classes, or targets."""
    metrics: dict[str, float]
    """Metrics as in an epoch's report, including `val_loss`."""
    evaluation: Evaluation
    images: np.ndarray
    """[m, …] the first `SAMPLE` images, as decoded."""


class ValidatedModel(NamedTuple):
    """Network of a trial's best epoch, with its validation."""

    network: TorchNetwork
    validated: Validated
    report: Mapping[str, Any]
    """Report of that epoch."""

    @property
    def reproduces(self) -> bool:
        """True if the validation equals the epoch's report, to the last digit."""
        numbers = {name: value for name, value in self.validated.metrics.items() if np.isfinite(value)}
        same = all(self.report.get(name) == value for name, value in numbers.items())
        return same and self.report["confusion"] == self.validated.evaluation.confusion


def validated_network(
    recipe: Recipe,
    dataset: Dataset,
    folder: TrialLayout,
    report: Mapping[str, Any],
    *,
    origin: Mapping[str, Any],
    progress: Progress | None = None,
) -> ValidatedModel:
    """Loads the weights that an epoch was scored with, and validates them again.

    Args:
        recipe: recipe of the trial.
        dataset: the data that the trial was trained on.
        folder: folder of the trial.
        report: report of the epoch, whose checkpoint must still exist.
        origin: origin of the model for the manifest, in plain values.
        progress: called as `progress(done, total)` during validation.
    Raises:
        PackageError: if the checkpoint is missing or damaged, belongs to other data or pretrained weights, or its weights or
            outputs are not finite.
    """
    recipe, checkpoint = recipe.in_epoch(report["epoch"]), _checkpoint(folder, report)
    state = checkpoint["trainer"]
    if state["data"] != dataset.fingerprint:
        raise PackageError(
            f"{folder.root} was trained on other data ({state['data'][:12]}) than there is now ({dataset.fingerprint[:12]}): "
            "the same classes and validation images are needed"
        )
    task = task_of(recipe, dataset, device=torch.device("cpu"))
    built = build_model(
        recipe.model,
        classes=task.outputs,
        cosine_scale=task.cosine_scale,
        generator=generator(recipe.train.seed, "head", 0),
        blocks=recipe.blocks,
    )
    built = normalised_as(built, recipe.data)
    if state["pretrained"] != built.fingerprint:
        raise PackageError(
            f"{folder.root} started from other pretrained weights ({state['pretrained'][:12]}) than {recipe.model.backbone} "
            f"({recipe.model.weights}) has now ({built.fingerprint[:12]})"
        )
    stage = report["stage_index"]
    _load_scored_weights(built.model, checkpoint)
    data = data_of_stage(recipe, dataset, stage)
    manifest = _manifest(recipe, data, built, task, report, origin)
    torch.set_num_threads(recipe.train.cpu_threads)
    network = TorchNetwork(built.model, manifest, network_device(recipe.train.device))
    validated = _validated(network, data, task, report, progress)
    if not (_is_finite(built.model) and np.isfinite(validated.outcome.outputs).all()):
        raise PackageError(
            f"{folder.root}: the weights of epoch {report['epoch']} or their outputs are not finite numbers: training diverged, "
            "and there is no usable model"
        )
    return ValidatedModel(network, validated, report)


def _is_finite(model: StagedModel) -> bool:
    return all(bool(torch.isfinite(values).all()) for values in model.state_dict().values())


def _checkpoint(folder: TrialLayout, report: Mapping[str, Any]) -> dict[str, Any]:
    epoch = report["epoch"]
    file = CheckpointFolder(folder.checkpoints).files.get(epoch)
    if file is None:
        found = ", ".join(sorted(path.name for path in folder.checkpoints.glob("*.pt"))) or "none"
        raise PackageError(
            f"{folder.root}: the checkpoint of its best epoch ({epoch}) is missing; in {folder.checkpoints.name}: {found}"
        )
    try:
        return load_checkpoint(file)
    except CheckpointError as error:
        raise PackageError(str(error)) from None


def _load_scored_weights(model: StagedModel, checkpoint: Mapping[str, Any]) -> None:
    """Loads the weights that were scored for a checkpoint over the pretrained ones."""
    missing, unexpected = model.load_state_dict(scored_weights(checkpoint), strict=False)
    assert not unexpected
    assert model.weights_from(checkpoint["trainer"]["deepest_cut"]).keys().isdisjoint(missing)


def _manifest(
    recipe: Recipe, data: Dataset, built: BuiltModel, task: Task, report: Mapping[str, Any], origin: Mapping[str, Any]
) -> Manifest:
    train, config, stage = recipe.train, recipe.data, report["stage_index"]
    prior = task.learned_prior(reweighted=report["reweighted"]) if isinstance(task, Classification) else None
    return Manifest(
        task=config.task,
        backbone=recipe.model.backbone,
        blocks=recipe.blocks,
        head="linear" if task.cosine_scale is None else "cosine",
        cosine_scale=task.cosine_scale,
        classes=data.classes,
        labels=config.labels,
        columns=config.columns,
        target=Target(**asdict(task.scale)) if isinstance(task, Regression) else None,
        time=None if data.time_levels is None else Levels(**asdict(data.time_levels)),
        learned_prior=None if prior is None else tuple(prior.tolist()),
        input=Input(
            image_size=recipe.image_size(stage),
            depth=config.depth,
            fit=config.fit,
            spacing=config.spacing,
            box=config.box,
            background=config.background,
            resize=resize_rule(config),
            channels=data.images.shape[-1],
            bits=config.bits,
            frame=config.frame,
            window=config.window,
            mean=built.mean,
            std=built.std,
            standardises=backbone_info(recipe.model.backbone).standardises,
        ),
        inference=Inference(
            cut=recipe.cut(stage),
            prefix_batch=prefix_batch(recipe),
            prefix_dtype=train.prefix_dtype,
            batch_size=recipe.batch_size(stage),
            precision=train.precision,
            cpu_threads=train.cpu_threads,
            device=train.device,
        ),
        weights_sha256="",
        origin=dict(origin),
        validation={},
    )


def _validated(
    network: TorchNetwork, data: Dataset, task: Task, report: Mapping[str, Any], progress: Progress | None
) -> Validated:
    positions, parts = data.validation, []
    done = 0
    images = (
        data.images.at(positions) if isinstance(data.images, StreamedImages) else (data.images[i] for i in positions)
    )
    for part in network.outcomes(images, total=len(positions)):
        parts.append(part)
        done += len(part.outputs)
        if progress:
            progress(done, len(positions))
    features, outputs = (np.concatenate(column) for column in zip(*parts, strict=True))
    truth = data.truth[positions]
    loss, evaluation = task.validate(
        torch.from_numpy(outputs), torch.from_numpy(truth), reweighted=report["reweighted"]
    )
    metrics = {**evaluation.metrics, "val_loss": loss}
    return Validated(Outcome(features, outputs), truth, metrics, evaluation, data.images[positions[:SAMPLE]])


# --- the folder -----------------------------------------------------------------------------------------------------


def check_target(folder: Path) -> None:
    """Checks that a package can be written to a folder.

    Raises:
        PackageError: if the folder already exists and is not empty.
    """
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise PackageError(f"{folder} already exists; remove it, or name another folder")


def write_package(
    model: ValidatedModel,
    folder: Path,
    *,
    validation: Mapping[str, Any],
    recipe: str,
    card: Callable[[Manifest], str],
    onnx: Callable[[ValidatedModel, Path], Any] | None = None,
) -> Manifest:
    """Writes a package completely or not at all.

    Args:
        model: the network and its validation.
        folder: folder to write; must not exist yet, or be empty.
        validation: results of the validation for the manifest.
        recipe: recipe that trains the model again, as YAML.
        card: function from the manifest to the model card, in Markdown.
        onnx: writes the ONNX file and returns its `OnnxFacts`; None: no ONNX file.
    """
    check_target(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    made = PackageLayout(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    try:
        state = model.network.state_dict()
        # Not safetensors' `save_file`, whose error on a full disk is none of Python's.
        with naming(folder):
            made.weights.write_bytes(save(state, metadata={"format": "pt"}))
        facts = onnx(model, made.onnx) if onnx else None
        manifest = model.network.manifest.model_copy(
            update={"weights_sha256": sha256_of(made.weights), "onnx": facts, "validation": dict(validation)}
        )
        manifest.write(made)
        made.recipe.write_text(recipe, encoding="utf-8")
        made.card.write_text(card(manifest), encoding="utf-8")
        if manifest.classes:
            made.labels.write_text("".join(f"{name}\n" for name in manifest.classes), encoding="utf-8")
        for file in made.root.iterdir():
            file.chmod(FILE_MODE)
        made.root.chmod(FOLDER_MODE)
        made.root.replace(folder)
    except BaseException:
        shutil.rmtree(made.root, ignore_errors=True)
        raise
    return manifest


def sha256_of(file: Path) -> str:
    """SHA-256 of a file, in hex."""
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
