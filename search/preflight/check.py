"""`thaw check`: shows the data, and what each stage and the whole search will take. Trains each stage on a few batches
only and does not start Ray."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from search.cluster.ray_connection import place_of
from search.config.address import LOCAL
from search.config.rung_positions import rungs_of
from search.config.search_config import SearchConfig, longest_run
from search.config.yaml_source import InputError, Source
from search.preflight.data_and_weights import check_data_and_weights, data_warnings
from search.preflight.forecast import Forecast, Memory, forecast, memory, trials_at_once
from search.preflight.local_machine import Machine, this_machine
from search.progress.terminal import Console
from trainables.checkpoints.disk_budget import DiskBudget, disk_budget, free_bytes
from trainables.core.available_cpus import set_own_cpus
from trainables.core.config_errors import ConfigError
from trainables.core.seeding import random_state
from trainables.data.dataset import Dataset, open_dataset
from trainables.data.overview import Overview, overview
from trainables.data.sources.open_source import doubt_about_test
from trainables.data.store.streamed_images import StreamedImages
from trainables.recipe.data_settings.image_settings import Spacing
from trainables.recipe.recipe import Recipe
from trainables.trial.dry_run import DryRun, dry_run

_DECODED = 64
"""Images on which decoding is timed."""
_FEW_VALIDATION_IMAGES = 5
"""Validation images of a class below which its recall is too coarse to rely on."""


class CheckLayout:
    """Paths of the files that a check writes."""

    def __init__(self, root: Path):
        self.root = root
        self.numbers = root / "check.json"
        self.picture = root / "classes.png"
        """Picture with counts and samples of each class."""
        self.targets = root / "targets.png"
        """Distribution of the numbers that a regression predicts; exists only for one."""
        self.duplicates = root / "duplicates.png"
        """Pictures that are on both sides of the split or in two classes; exists only if there are any."""
        self.config = root / "search.yaml"
        """Resolved search, runnable."""
        self.page = root / "check.html"
        """Whole report on one page."""


@dataclass(frozen=True, kw_only=True)
class Check:
    """Findings of a check."""

    name: str
    image_shape: tuple[int, ...]
    """Shape of an image, [h, w, c], or of a volume, [d, h, w, c]."""
    spacing: Spacing | None
    """Distance between the voxels of these volumes, in mm; None: images, or volumes that are resampled as a whole."""
    data_warnings: tuple[str, ...]
    """Warnings about labels and pixels."""
    data: Overview
    cache_bytes: dict[str, int]
    """Name of a cache -> its size on disk in bytes; all trials share it."""
    streamed: str | None = None
    """Reason why images are decoded again in each epoch; None: they are cached."""
    decoding_s: float = 0.0
    """Seconds that decoding takes in such an epoch, on a trial's cores; included in the times of the stages."""
    tried: DryRun
    """Costs of the file's own stages, then of searched stages that open more or fewer blocks than any of them."""
    own_stages: int
    """Number of the file's own stages."""
    machine: Machine
    memory: Memory
    checkpoints: DiskBudget
    """Checkpoints of the trial that keeps the most."""
    forecast: Forecast
    varied: tuple[str, ...]
    """Searched values that times and memory depend on; both were measured with the file's own values."""

    def warnings(self) -> list[str]:
        """Warnings to look at before the search starts."""
        found = [*self.data_warnings]
        if self.data.groups and self.data.groups.shared:
            found.append(f"{self.data.groups.shared} groups are on both sides of the split")
        few = sum(count < _FEW_VALIDATION_IMAGES for count in self.data.validation)
        if few and not self.data.of_numbers:
            found.append(
                f"classes with fewer than {_FEW_VALIDATION_IMAGES} validation images: {few}; their recall moves in large steps"
            )
        if wild := [cost.stage for cost in self.tried.stages if not cost.finite]:
            found.append(f"the loss is not finite after a few steps in {', '.join(wild)}")
        if self.memory.fit_in_ram < self.forecast.at_once:
            found.append(
                f"{self.forecast.at_once} trials run at once, but free memory has room for {self.memory.fit_in_ram}: "
                "set search.max_concurrent"
            )
        room = self.memory.fit_on_a_gpu
        if room is not None and self.forecast.at_once > room * self.machine.gpus:
            found.append(
                f"{self.forecast.at_once} trials run at once, but a GPU has room for {room}: raise search.resources.gpus"
            )
        if self.checkpoints.total_bytes > self.checkpoints.free_bytes:
            found.append(
                "the checkpoints of all trials may not fit on the disk: set train.checkpoints.keep_last or milestones lower, or "
                "stages that open fewer blocks"
            )
        if self.machine.load > self.machine.cpus / 2:
            busy = f"{min(self.machine.load, self.machine.cpus):.1f} of {self.machine.cpus} cores"
            found.append(f"other programs kept {busy} busy: the measured times are probably too long")
        return found

    def to_json(self) -> str:
        numbers = {**asdict(self), "warnings": self.warnings()}
        return json.dumps(numbers, indent=2, default=lambda policy: policy.model_dump(mode="json"))


def check_search(config: SearchConfig, source: Source, console: Console) -> tuple[Check, Dataset]:
    """Opens the data, tries each stage on a few batches, and estimates time and memory of the search.

    Args:
        config: the search.
        source: file of the search, for the places of mistakes.
        console: shows the progress.
    Returns:
        The findings, and the data.
    Raises:
        InputError: with the mistakes that `thaw search` would report.
    """
    machine, settings = this_machine(), config.settings
    set_own_cpus(settings.resources.cpus)  # so that images are decoded as fast as in a trial
    at_once = trials_at_once(settings.resources, machine, settings.most_at_once, processes=config.recipe.train.workers)
    if at_once == 0 and place_of(settings.address) == LOCAL:
        raise InputError(_no_room(config, machine))
    here = place_of(settings.address) == LOCAL
    check_data_and_weights([config.recipe, *config.corner_recipes()], source, console, here=here, with_warnings=False)
    recipes = [config.recipe, *config.corner_recipes()]
    sizes = {recipe.image_size(i) for recipe in recipes for i in range(len(recipe.train.stages))}
    dataset = open_dataset(config.recipe.data, image_sizes=sizes)
    draws = [config.recipe_of(values) for values in config.draws()]
    try:
        with console.status("trying each stage on a few batches"):
            stages = stages_to_try(config.recipe, [*draws, *config.corner_recipes()])
            tried = dry_run([(_on_device(recipe, config), i) for recipe, i in stages], dataset)
    except ConfigError as error:
        raise InputError(source.describe(error.problems)) from None
    doubt = doubt_about_test(config.recipe.data, dataset.classes)
    found = Check(
        name=config.name,
        image_shape=dataset.images.shape[1:],
        spacing=config.recipe.data.spacing,
        data_warnings=(*data_warnings(dataset, config.recipe.data), *([doubt] if doubt else [])),
        data=overview(dataset),
        cache_bytes={
            **({} if isinstance(dataset.images, StreamedImages) else {"decoded images": dataset.images.nbytes}),
            "features of frozen blocks": sum(cost.cache_bytes for cost in tried.stages),
        },
        streamed=dataset.streamed,
        decoding_s=_decoding_s(dataset),
        tried=tried,
        own_stages=len(config.recipe.train.stages),
        machine=machine,
        memory=memory(tried, machine),
        checkpoints=most_of_checkpoints([config.recipe, *draws], tried, trials=settings.trials),
        forecast=forecast(
            draws,
            tried.stages,
            trials=settings.trials,
            scheduler=settings.scheduler,
            rungs=rungs_of(config),
            longest_epochs=longest_run(config),
            at_once=max(1, at_once),  # a cluster may have room for trials where this machine has none
        ),
        varied=varied(config.recipe, draws),
    )
    return found, dataset


def _decoding_s(dataset: Dataset) -> float:
    """Seconds to decode all images that an epoch reads, by those of a sample; 0 if they are cached."""
    streamed = next((images for images in dataset.images_at.values() if isinstance(images, StreamedImages)), None)
    if streamed is None:
        return 0.0
    read = np.concatenate([dataset.train, dataset.validation])
    some = random_state(0, "decoding").permutation(read)[:_DECODED]
    began = time.perf_counter()
    _ = streamed[some]
    return (time.perf_counter() - began) * len(read) / len(some)


def most_of_checkpoints(recipes: Sequence[Recipe], tried: DryRun, *, trials: int) -> DiskBudget:
    """Disk space of the checkpoints of a search, with the recipe whose checkpoints take the most.

    Args:
        recipes: recipes of the search; those with another network than the first are left out.
        tried: costs of the first one's stages.
        trials: number of trials.
    """
    free = free_bytes(Path(os.environ.get("THAW_RUNS") or "runs"))
    budgets = [
        disk_budget(recipe, tried.stages[0].block_bytes, runs=trials, free_bytes=free)
        for recipe in recipes
        if recipe.blocks == recipes[0].blocks
    ]
    return max(budgets, key=lambda budget: budget.run_bytes)


def _on_device(recipe: Recipe, config: SearchConfig) -> Recipe:
    """Recipe with the device that trials use: Ray hides GPUs from trials that request none."""
    if config.settings.resources.gpus != 0 or recipe.train.device == "cuda":
        return recipe
    return recipe.model_copy(update={"train": recipe.train.model_copy(update={"device": "cpu"})})


def stages_to_try(recipe: Recipe, others: Sequence[Recipe]) -> list[tuple[Recipe, int]]:
    """Stages to measure: a recipe's own, and from other recipes the stage that opens the most and the one that opens
    the fewest blocks, if that is more or fewer than any of its own."""
    chosen = [(recipe, i) for i in range(len(recipe.train.stages))]
    depths = [recipe.depth(i) for _, i in chosen]
    own = recipe.backbone_blocks
    beyond = sorted(
        ((other, i) for other in others for i in range(len(other.train.stages)) if other.backbone_blocks == own),
        key=lambda stage: stage[0].depth(stage[1]),
    )
    if beyond and beyond[0][0].depth(beyond[0][1]) < min(depths):
        chosen.append(beyond[0])
    if beyond and beyond[-1][0].depth(beyond[-1][1]) > max(depths):
        chosen.append(beyond[-1])
    return chosen


def varied(recipe: Recipe, draws: Sequence[Recipe]) -> tuple[str, ...]:
    """Names of the values that draws change and on which times and memory depend."""

    def values(one: Recipe) -> dict[str, Any]:
        return {
            "model.backbone": one.model.backbone,
            "data.image_size": one.data.image_size,
            "train.batch_size": one.train.batch_size,
            "train.precision": one.train.precision,
        }

    own = values(recipe)
    return tuple(name for name in own if any(values(draw)[name] != own[name] for draw in draws))


def _no_room(config: SearchConfig, machine: Machine) -> str:
    resources, processes = config.settings.resources, config.recipe.train.workers
    if processes > 1:
        return f"train.workers: no room for {processes} processes of a trial on {machine.cpus} cores and {machine.gpus} GPUs"
    if resources.cpus > machine.cpus:
        return f"search.resources.cpus: {resources.cpus:g} for a trial, but there are {machine.cpus}"
    gpus = 1.0 if resources.gpus in {None, "auto"} else float(resources.gpus)
    return f"search.resources.gpus: {gpus:g} for a trial, but there are {machine.gpus}"
