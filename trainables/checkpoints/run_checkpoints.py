"""`RunCheckpoints`: writes the checkpoints of a run when they are due, removes old ones, and maintains their registry."""

from __future__ import annotations

import io
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from trainables.checkpoints.backup import Backup
from trainables.checkpoints.checkpoint_file import CheckpointError, checksum_of, load_checkpoint, write_state
from trainables.checkpoints.checkpoint_folder import CheckpointFolder
from trainables.checkpoints.policy import epochs_to_keep, is_due, milestone_of
from trainables.checkpoints.weight_changes import WeightTracker
from trainables.recipe.recipe import Recipe
from trainables.run_folder.checkpoint_registry import (
    BlockChange,
    Entry,
    append_entry,
    config_hash,
    metrics_in,
    read_registry,
    write_registry,
)
from trainables.run_folder.environment import project_commit, software
from trainables.run_folder.epoch_report import EpochReport, completed
from trainables.run_folder.layout import RunFileError, TrialLayout, checkpoint_name

if TYPE_CHECKING:
    from trainables.training.trainer import Trainer

logger = logging.getLogger(__name__)

_SYNCED_FROM_S = 5.0
"""Duration of an epoch from which its checkpoint is synced to disk. Shorter epochs would be slowed down, and are quickly trained
again."""


@dataclass(frozen=True)
class _Held:
    """Checkpoint of an epoch for which none is due; written only if the run ends before the next epoch."""

    name: str
    content: bytes
    report: dict[str, Any]
    milestone: str | None
    blocks: dict[str, BlockChange]
    step: int


class RunCheckpoints:
    """Checkpoints of a run that is training."""

    def __init__(self, recipe: Recipe, layout: TrialLayout, model: nn.Module, *, in_processes: bool):
        """Prepares the checkpoints of a run; `reconcile` must follow.

        Args:
            recipe: recipe of the run.
            layout: folder of the run.
            model: model of the run.
            in_processes: whether several processes train the run. They may be killed without notice, so every epoch is written.
        """
        self._train, self._policy, self._in_processes = recipe.train, recipe.train.checkpoints, in_processes
        self.folder = CheckpointFolder(layout.checkpoints)
        self.config: dict[str, Any] = recipe.model_dump(mode="json")
        """Recipe as plain data."""
        self._registry, self._config_hash = layout.registry, config_hash(self.config)
        self._entries: dict[int, Entry] = {}
        """Registry entries of the existing files, by epoch."""
        self._parameters, self._blocks = {name for name, _ in model.named_parameters()}, recipe.backbone_blocks
        self._tracker = WeightTracker(self._parameters, self._blocks)
        self._held: _Held | None = None
        self._backup = Backup(layout, self._policy.backup)

    def reconcile(self, reports: Sequence[Mapping[str, Any]], weights: Mapping[str, Tensor]) -> None:
        """Makes the registry agree with the files.

        Args:
            reports: reports of the epochs that are done.
            weights: weights of all blocks that have trained or train next, by their names in the model.
        """
        try:
            known = {entry.epoch: entry for entry in read_registry(self._registry)}
        except RunFileError as error:
            logger.warning("%s; the registry is rebuilt from the checkpoint files", error)
            known = {}
        done = {report["epoch"]: report for report in reports}
        entries = {epoch: entry for epoch, entry in known.items() if epoch in done}
        files = {epoch: path for epoch, path in self.folder.files.items() if epoch in done}
        for epoch, path in files.items():
            if epoch not in entries or entries[epoch].file != path.name:
                try:
                    entries[epoch] = self._read(path, done.get(epoch - 1))
                except CheckpointError as error:
                    logger.warning("%s", error)
        self._entries = {epoch: entry for epoch, entry in entries.items() if epoch in files}
        if entries or self._registry.exists():
            write_registry(self._registry, (entries[epoch] for epoch in sorted(entries)))
        self._tracker.begin(weights)

    def _read(self, path: Path, before: Mapping[str, Any] | None) -> Entry:
        """Builds the registry entry of a checkpoint file."""
        state = load_checkpoint(path)
        try:
            report, weights = completed(state["report"]), state["trainer"]["weights"]
            return self._entry(
                path,
                report,
                milestone=milestone_of(report, before, self._policy, self._train.stages),
                blocks=WeightTracker(self._parameters, self._blocks).step(weights),
                step=state["trainer"]["steps"],
            )
        except (ValueError, LookupError, TypeError, AttributeError):
            raise CheckpointError(f"{path} is not a checkpoint of this run") from None

    def after_epoch(
        self, report: EpochReport, line: Mapping[str, Any], before: Mapping[str, Any] | None, trainer: Trainer
    ) -> str | None:
        """Writes the checkpoint of an epoch if one is due, and holds it in memory otherwise.

        Args:
            report: report of the epoch.
            line: the same report as plain data.
            before: report of the previous epoch; None if there is none.
            trainer: trainer of the run.
        Returns:
            Name of the file; None if none was written.
        """
        name = checkpoint_name(report.epoch, report.stage, self._train.metric, report.score)
        line = {**line, "checkpoint": name}
        milestone = milestone_of(line, before, self._policy, self._train.stages)
        trained = trainer.state_dict()
        state = {
            "trainer": trained,
            "report": line,
            "recipe": self.config,
            "software": {**software(), "project_commit": project_commit()},
        }
        blocks = self._tracker.step(trained["weights"])
        # The held checkpoint of the previous epoch is dropped last, because Ctrl+C may come at any moment.
        if self._in_processes or is_due(line, milestone, self._policy):
            sync = report.train_s + report.val_s >= _SYNCED_FROM_S
            path = self.folder.save(name, state, compress=self._policy.compress, sync=sync)
            self._held = None
            self._register(path, line, milestone, blocks, trainer.steps)
            return name
        content = io.BytesIO()
        write_state(content, state, compress=self._policy.compress)
        self._held = _Held(name, content.getvalue(), line, milestone, blocks, trainer.steps)
        return None

    def tidy(self) -> None:
        """Removes the checkpoints that the policy does not retain, and requests a backup. Call once the epoch is recorded."""
        scores = {e: float("nan") if entry.score is None else entry.score for e, entry in self._entries.items()}
        milestones = {epoch for epoch, entry in self._entries.items() if entry.milestone}
        kept = epochs_to_keep(scores, self._policy, self._train.metric, milestones=milestones)
        if gone := self._entries.keys() - kept:
            self.folder.remove_all_but(kept)
            self._entries = {epoch: entry for epoch, entry in self._entries.items() if epoch not in gone}
        if self._held is None:
            self._backup.request()

    def close(self, before_backup: Callable[[], None] | None = None) -> None:
        """Writes the held checkpoint, if there is one, and waits for the backup.

        Args:
            before_backup: called when no more checkpoints are written, to write what the backup is to have too.
        """
        if (held := self._held) is not None:
            path = self.folder.save(held.name, held.content, sync=True)
            self._register(path, held.report, held.milestone, held.blocks, held.step)
            self._held = None
            self.tidy()
        if before_backup:
            before_backup()
            self._backup.request()
        self._backup.close()

    def _register(
        self, path: Path, report: Mapping[str, Any], milestone: str | None, blocks: dict[str, BlockChange], step: int
    ) -> None:
        entry = self._entry(path, report, milestone=milestone, blocks=blocks, step=step)
        append_entry(self._registry, entry)
        self._entries[entry.epoch] = entry

    def _entry(
        self,
        path: Path,
        report: Mapping[str, Any],
        *,
        milestone: str | None,
        blocks: dict[str, BlockChange],
        step: int,
    ) -> Entry:
        return Entry(
            file=path.name,
            epoch=report["epoch"],
            step=step,
            stage=report["stage"],
            time=report["time"],
            train_loss=report["train_loss"],
            val_loss=report.get("val_loss"),
            score=report["score"],
            metrics=metrics_in(report),
            config=self._config_hash,
            commit=project_commit(),
            size=path.stat().st_size,
            checksum=checksum_of(path),
            best=report["best_epoch"] == report["epoch"],
            milestone=milestone,
            blocks=blocks,
        )
