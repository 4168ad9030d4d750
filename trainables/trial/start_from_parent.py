"""A run that begins where another one was after an epoch."""

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
    """Lets a run begin with another one's epochs and checkpoint; does nothing where it has begun.

    Where the epoch's checkpoint is gone or damaged, or that of its best epoch is, the nearest earlier one will do; where there is
    none, nothing is taken over: the run does again what is missing, and comes to the same.

    Args:
        recipe: the child's; up to the epoch it is the parent's.
    """
    own, theirs = CheckpointFolder(child.checkpoints), CheckpointFolder(parent.checkpoints)
    if own.files:
        return
    for epoch in sorted((epoch for epoch in theirs.files if epoch <= after_epoch), reverse=True):
        try:
            taken = _with_its_best(theirs, epoch)
        except CheckpointError as error:
            logger.warning("%s; beginning before it", error)
            continue
        reports = [{**report, **INHERITED} for report in read_epochs(parent.epochs) if report["epoch"] <= epoch]
        with replacing(child.epochs) as file:
            file.writelines(json.dumps(report) + "\n" for report in reports)
        for name, state in taken.items():  # the best first: after a kill in between the run begins there
            state |= {"report": {**state["report"], **INHERITED}, "recipe": recipe.model_dump(mode="json")}
            own.save(name, state, compress=recipe.train.checkpoints.compress)
        return


def _with_its_best(folder: CheckpointFolder, epoch: int) -> dict[str, dict[str, Any]]:
    """The checkpoint of the best epoch so far, and an epoch's own, by their files' names.

    Raises:
        CheckpointError: if one of them is damaged or gone.
    """
    path = folder.named(str(epoch))
    state = load_checkpoint(path)
    report = state.get("report")
    if not isinstance(report, Mapping) or "best_epoch" not in report:
        raise CheckpointError(f"{path} is no checkpoint of a run")
    best = folder.named(str(report["best_epoch"])) if report["best_epoch"] else path
    return {best.name: load_checkpoint(best), path.name: state}
