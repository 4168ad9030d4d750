"""Starts a run from the state of another run after some epoch."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import Any

from trainables.checkpoints.checkpoint_file import CheckpointError, load_checkpoint
from trainables.checkpoints.checkpoint_folder import CheckpointFolder
from trainables.core.atomic_write import replacing
from trainables.recipe.recipe import Recipe
from trainables.run_folder.epoch_report import INHERITED, read_epochs
from trainables.run_folder.layout import TrialLayout

logger = logging.getLogger(__name__)


def fork(parent: TrialLayout, child: TrialLayout, recipe: Recipe, *, after_epoch: int) -> None:
    """Copies the epochs and the checkpoint of a parent run into a new run; does nothing if the new run has checkpoints already.

    If the checkpoint of the epoch, or that of its best epoch, is missing or damaged, the nearest earlier one is used; if there is
    none, nothing is copied. The run then trains the missing epochs itself, with the same result.

    Args:
        parent: folder of the parent run.
        child: folder of the new run.
        recipe: recipe of the new run; equal to the parent's up to the epoch.
        after_epoch: epoch after which the new run starts.
    """
    own, theirs = CheckpointFolder(child.checkpoints), CheckpointFolder(parent.checkpoints)
    if own.files:
        return
    for epoch in sorted((epoch for epoch in theirs.files if epoch <= after_epoch), reverse=True):
        try:
            states = _with_its_best(theirs, epoch)
        except CheckpointError as error:
            logger.warning("%s; trying an earlier one", error)
            continue
        reports = [{**report, **INHERITED} for report in read_epochs(parent.epochs) if report["epoch"] <= epoch]
        with replacing(child.epochs) as file:
            file.writelines(json.dumps(report) + "\n" for report in reports)
        for name, state in states.items():  # the best epoch's first: after a kill in between, the run starts from it
            state |= {"report": {**state["report"], **INHERITED}, "recipe": recipe.model_dump(mode="json")}
            own.save(name, state, compress=recipe.train.checkpoints.compress)
        return


def _with_its_best(folder: CheckpointFolder, epoch: int) -> dict[str, dict[str, Any]]:
    """States of the best epoch so far and of the epoch itself, by file name.

    Raises:
        CheckpointError: if one of them is missing or damaged.
    """
    path = folder.named(str(epoch))
    state = load_checkpoint(path)
    report = state.get("report")
    if not isinstance(report, Mapping) or "best_epoch" not in report:
        raise CheckpointError(f"{path} is not a checkpoint of a run")
    best = folder.named(str(report["best_epoch"])) if report["best_epoch"] else path
    return {best.name: load_checkpoint(best), path.name: state}
