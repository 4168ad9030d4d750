"""Disk space of checkpoints, and how many a run keeps by default: as many as take a small share of the free disk.

One rule for the runs themselves and for `thaw check`, which tells it before.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

from torch import nn

from trainables.checkpoints.policy import LEAST_LAST
from trainables.models.staged_model import StagedModel
from trainables.recipe.recipe import Recipe
from trainables.recipe.train_config import CheckpointPolicy

SHARE = 0.1
"""Share of the free disk that the checkpoints of all runs may take before the defaults keep fewer."""
_QUARTERS = ("25%", "50%", "75%", "100%")
_DEFAULTS = ((5, _QUARTERS), (LEAST_LAST, _QUARTERS), (LEAST_LAST, ()))
"""Newest checkpoints and milestones, from the most to the fewest. A trial never has the first: trials are many, and more than two
newest ones help only against damaged files."""
_MOMENTS = {"adamw": 2, "adam": 2, "sgd": 1}
_FIXED_BYTES = 50_000
"""Report, recipe and directory of the file."""


@dataclass(frozen=True, kw_only=True)
class DiskBudget:
    """Checkpoints that a run keeps, and the space that they take."""

    policy: CheckpointPolicy
    """The run's policy, without open values."""
    largest_bytes: int
    """Size of the largest checkpoint."""
    run_bytes: int
    """Most bytes that the checkpoints of the run take together."""
    runs: int
    """Runs on the same disk, this one included."""
    free_bytes: int

    @property
    def total_bytes(self) -> int:
        """Most bytes that the checkpoints of all runs take; trials that are pruned have fewer."""
        return self.runs * self.run_bytes


def disk_budget(recipe: Recipe, block_bytes: Sequence[int], *, runs: int, free_bytes: int) -> DiskBudget:
    """Fills in what the recipe's policy leaves open: the most checkpoints that take at most `SHARE` of the free disk, in all runs.

    Args:
        recipe: recipe of the run.
        block_bytes: result of `bytes_of_blocks`.
        runs: runs on the same disk, this one included.
        free_bytes: free space on it.
    """
    given, sizes = recipe.train.checkpoints, checkpoint_bytes(recipe, block_bytes)
    for last, milestones in _DEFAULTS[runs > 1 :]:
        policy = given.model_copy(
            update={
                "keep_last": given.keep_last or last,
                "milestones": milestones if given.milestones is None else given.milestones,
            }
        )
        run_bytes = _kept_bytes(policy, sizes, [stage.epochs for stage in recipe.train.stages])
        if runs * run_bytes <= SHARE * free_bytes:
            break
    return DiskBudget(policy=policy, largest_bytes=max(sizes), run_bytes=run_bytes, runs=runs, free_bytes=free_bytes)


def bytes_of_blocks(model: StagedModel) -> tuple[int, ...]:
    """Bytes of the weights of each block that a stage may open (`Recipe.blocks`), the head's last."""
    parts: list[list[nn.Module]] = [*model.parts, [model.head]]
    return tuple(sum(t.nbytes for module in part for t in module.state_dict().values()) for part in parts)


def checkpoint_bytes(recipe: Recipe, block_bytes: Sequence[int]) -> tuple[int, ...]:
    """Size of a checkpoint in each stage, at most.

    It holds the weights from the first block on that has been open so far, the stage's best weights and the average from the first
    one on that trains, and the optimizer's moments of those that train.

    Args:
        recipe: recipe of the run.
        block_bytes: result of `bytes_of_blocks`.
    """
    optimizer = recipe.train.optimizer
    moments = 0 if optimizer.kind == "sgd" and not optimizer.momentum else _MOMENTS[optimizer.kind]
    copies = 1 if recipe.train.ema is None else 2
    stages = range(len(recipe.train.stages))
    cuts = [recipe.cut(i) for i in stages]
    trained = [sum(block_bytes[j] for j in range(len(block_bytes)) if j not in recipe.frozen(i)) for i in stages]
    return tuple(
        _FIXED_BYTES + sum(block_bytes[deepest:]) + copies * sum(block_bytes[cut:]) + moments * train
        for cut, deepest, train in zip(cuts, accumulate(cuts, min), trained, strict=True)
    )


def _kept_bytes(policy: CheckpointPolicy, sizes: Sequence[int], epochs: Sequence[int]) -> int:
    """Most bytes of the checkpoints that a policy keeps.

    Args:
        policy: policy without open values.
        sizes: size of a checkpoint in each stage.
        epochs: epochs of each stage.
    """
    of_epochs = [size for size, count in zip(sizes, epochs, strict=True) for _ in range(count)]
    most, largest = len(of_epochs), max(sizes)
    assert policy.keep_last is not None
    assert policy.milestones is not None
    due = {m if isinstance(m, int) else -(-int(m[:-1]) * most // 100) for m in policy.milestones}
    stay = {epoch for epoch in due if epoch <= most} | {*range(max(1, most - policy.keep_last + 1), most + 1)}
    kept = sum(of_epochs[epoch - 1] for epoch in stay) + policy.keep_best * largest
    if policy.keep_every_epochs is not None:  # each with the best one up to it
        kept += 2 * (most // policy.keep_every_epochs) * largest
    return min(kept, sum(of_epochs))


def free_bytes(folder: Path) -> int:
    """Free space of the disk that a folder is on, or will be made on."""
    place = folder.absolute()
    while not place.exists():
        place = place.parent
    return shutil.disk_usage(place).free
