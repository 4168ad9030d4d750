"""Actions of `thaw checkpoints`: verify, compare and prune the checkpoints of a run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from results_analysis.runs.training_run import Trained, find_search_or_training
from search.config.yaml_source import InputError
from search.run_folder.run_lock import owned
from trainables.core.plain_yaml import load_yaml
from trainables.run_folder.layout import RunLayout, TrialLayout


def folder_of(name: str, runs: Path, trial: int | None) -> TrialLayout:
    """Folder of a training run, or of a trial of a search.

    Args:
        name: name or folder of the run.
        runs: folder of all runs.
        trial: number of a trial of a search.
    Raises:
        InputError: if it is a search and no trial is named, or a training run and one is.
        RunError: if there is no such run, or no such trial.
    """
    places = [Path(runs) / name, Path(name)] if name == Path(name).name else [Path(name)]
    for place in places:
        if trial is None and not RunLayout(place).config.is_file() and (run := TrialLayout(place)).recipe.is_file():
            return run
    search = find_search_or_training(name, runs)
    if isinstance(search, Trained):
        raise InputError(f"{name} is a single training run: leave out --trial, which chooses a trial of a search")
    if trial is None:
        raise InputError(
            f"{name} is a search: name one of its trials, as in --trial {search.numbers[0] if search.numbers else 0}"
        )
    return search.folder(trial)


def verified(folder: TrialLayout) -> Iterator[tuple[Path, str | None]]:
    """Yields each checkpoint with its fault, or None if it has none. Reads all of them in full."""
    from trainables.checkpoints.checkpoint_file import CheckpointError, verify
    from trainables.checkpoints.checkpoint_folder import CheckpointFolder
    from trainables.run_folder.checkpoint_registry import read_registry

    entries = {entry.epoch: entry for entry in read_registry(folder.registry)}
    files = CheckpointFolder(folder.checkpoints).files
    for epoch, path in files.items():
        fault = None
        try:
            verify(path, entries[epoch].checksum if epoch in entries else None)
        except CheckpointError as error:
            fault = str(error)
        yield (
            path,
            fault if fault or epoch in entries else f"{path} is not registered; resuming the run registers it",
        )
    best = max((entry.epoch for entry in entries.values() if entry.best), default=None)
    for epoch, entry in entries.items():
        if epoch not in files and (epoch == best or entry.is_permanent):
            path = folder.checkpoints / entry.file
            yield path, f"{path} is missing: it should have been kept"


def compared(folder: TrialLayout, a: str, b: str) -> tuple[tuple[str, str], Mapping[str, Sequence[Any]], Sequence[str]]:
    """Compares two checkpoints, block by block.

    Args:
        folder: folder of the training run.
        a: first checkpoint, as in `CheckpointFolder.named`.
        b: second checkpoint.
    Returns:
        Names of their files; result of `weight_changes.differences`; blocks that have their pretrained weights in both.
    Raises:
        InputError: if there is no such checkpoint or it cannot be read.
    """
    from trainables.checkpoints.checkpoint_file import CheckpointError, load_checkpoint, scored_weights
    from trainables.checkpoints.checkpoint_folder import CheckpointFolder
    from trainables.checkpoints.weight_changes import differences
    from trainables.recipe.recipe import parse_recipe

    checkpoints = CheckpointFolder(folder.checkpoints)
    try:
        paths = checkpoints.named(a), checkpoints.named(b)
        states = [load_checkpoint(path) for path in paths]
        recipe = parse_recipe(states[1]["recipe"])
        of_a, of_b = (scored_weights(state) for state in states)
    except CheckpointError as error:
        raise InputError(str(error)) from None
    except (LookupError, TypeError, AttributeError):
        raise InputError(f"{paths[0].name} and {paths[1].name} are not both checkpoints of runs") from None
    if of_a.keys() != of_b.keys():
        from trainables.models.pretrained_blocks import pretrained_blocks

        before = pretrained_blocks(recipe)
        of_a, of_b = (
            {**{name: before[name] for name in names - own.keys() if name in before}, **own}
            for own, names in ((of_a, of_b.keys()), (of_b, of_a.keys()))
        )
    found = differences(of_a, of_b, recipe.backbone_blocks)
    return (paths[0].name, paths[1].name), found, [block for block in recipe.backbone_blocks if block not in found]


def prune(folder: TrialLayout, *, best_only: bool) -> list[Path]:
    """Removes checkpoints that the run's policy does not keep: the run may have stopped before it did so, or the policy
    has changed.

    Args:
        folder: folder of the training run.
        best_only: remove all but the best epoch's.
    Returns:
        Removed files.
    Raises:
        InputError: if the run is being trained, or its recipe or its best checkpoint cannot be read.
    """
    from trainables.checkpoints.checkpoint_file import CheckpointError
    from trainables.checkpoints.checkpoint_folder import CheckpointFolder, epoch_of
    from trainables.checkpoints.policy import epochs_to_keep
    from trainables.core.config_errors import ConfigError
    from trainables.recipe.recipe import parse_recipe
    from trainables.run_folder.checkpoint_registry import read_registry

    with owned(folder.search or folder):
        checkpoints = CheckpointFolder(folder.checkpoints)
        if best_only:
            try:
                return checkpoints.remove_all_but({epoch_of(checkpoints.best())})
            except CheckpointError as error:
                raise InputError(str(error)) from None
        try:
            train = parse_recipe(load_yaml(folder.recipe.read_text(encoding="utf-8"))).train
        except (ValueError, yaml.YAMLError, ConfigError) as error:
            raise InputError(f"{folder.recipe} cannot be read: {error}") from None
        entries = [entry for entry in read_registry(folder.registry) if entry.epoch in checkpoints.files]
        scores = {entry.epoch: float("nan") if entry.score is None else entry.score for entry in entries}
        permanent = {entry.epoch for entry in entries if entry.is_permanent}
        unknown = checkpoints.files.keys() - scores.keys()
        return checkpoints.remove_all_but(
            epochs_to_keep(scores, train.checkpoints, train.metric, permanent=permanent) | unknown
        )
