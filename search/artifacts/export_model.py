"""`thaw export --model`: writes the chosen config and the network of its best epoch to one folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from results_analysis.export.best_config import as_yaml
from results_analysis.export.model_card import facts, model_card
from results_analysis.runs.training_run import Trained
from results_analysis.statistics.bootstrap import RESAMPLES, class_intervals, number_intervals
from search.progress.progress_bar import bar
from search.progress.terminal import Console
from trainables.data.dataset import Dataset, open_dataset
from trainables.model_package.manifest import Manifest
from trainables.model_package.network import predictions
from trainables.model_package.onnx_model import needed, write_onnx
from trainables.model_package.write_package import ValidatedModel, check_target, validated_network, write_package
from trainables.recipe.recipe import Recipe, parse_recipe


def export_model(
    trained: Trained, config: Mapping[str, Any], folder: Path, *, onnx: bool, console: Console
) -> tuple[Manifest, ValidatedModel]:
    """Packages the network of a training run's best epoch.

    Args:
        trained: the training run.
        config: its recipe with provenance, as `thaw export` writes it.
        folder: folder of the package; must not exist or be empty.
        onnx: also write the network in ONNX format.
        console: shows the progress.
    Returns:
        The package's manifest, and the network with its validation.
    Raises:
        PackageError, ConfigError, RunError: if that is not possible; nothing is written then.
    """
    check_target(folder)
    if onnx:
        needed()
    report = trained.best
    recipe = parse_recipe(trained.recipe)
    with bar(console, "decoding images") as show:
        dataset = open_dataset(recipe.data, image_sizes=recipe.image_sizes, progress=show)
    origin = {
        **config["provenance"],
        "stage": report["stage"],
        "seed": recipe.train.seed,
        "flags": report["flags"],
        "data": _data(recipe, dataset),
    }
    with bar(console, "validating") as show:
        model = validated_network(recipe, dataset, trained.folder, report, origin=origin, progress=show)
    manifest = write_package(
        model,
        folder,
        validation=_validation(model),
        recipe=as_yaml(config, "recipe.yaml"),
        card=lambda manifest: model_card(manifest, folder.name),
        onnx=write_onnx if onnx else None,
    )
    return manifest, model


def _data(recipe: Recipe, dataset: Dataset) -> dict[str, Any]:
    """Data section of the manifest's origin."""
    config, targets = recipe.data, dataset.targets
    train_targets = None if targets is None else targets[dataset.train]
    return {
        "source": config.source,
        "path": config.path,
        "fingerprint": dataset.fingerprint,
        "train": len(dataset.train),
        "validation": len(dataset.validation),
        "train_counts": dataset.train_counts.tolist(),
        "target_range": None if train_targets is None else [float(train_targets.min()), float(train_targets.max())],
        "group": config.columns.group if config.columns else None,
        "left_out": 0 if dataset.left_out is None else dataset.left_out.images,
    }


def _validation(model: ValidatedModel) -> dict[str, Any]:
    """Validation section of the manifest."""
    manifest, (outcome, truth, metrics, evaluation, _) = model.network.manifest, model.validated
    predicted = predictions(manifest, outcome.outputs)
    summary: dict[str, Any] = {
        "images": len(truth),
        "resamples": RESAMPLES,
        "reproduces": model.reproduces,
        "metrics": facts(metrics),
    }
    if manifest.task == "regression":
        return {**summary, "intervals": number_intervals(predicted, truth)}
    prior = manifest.learned_prior
    assert prior is not None
    intervals, recall_intervals = class_intervals(predicted, truth, learned_prior=prior)
    return {
        **summary,
        "intervals": intervals,
        "recall_intervals": recall_intervals,
        "mean_confidence": float(predicted.max(axis=1).mean()),
        "per_class": evaluation.per_class,
        "confusion": evaluation.confusion,
    }
