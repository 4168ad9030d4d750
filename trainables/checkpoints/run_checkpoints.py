"""`RunCheckpoints`: writes the checkpoints of a run when they are due, removes old ones, and maintains their registry."""

from __future__ import annotations

import io
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from trainables.checkpoints.backup import Backup
from trainables.checkpoints.checkpoint_file import CheckpointError, checksum_of, load_checkpoint, write_state
from trainables.checkpoints.checkpoint_folder import CheckpointFolder
from trainables.checkpoints.disk_budget import bytes_of_blocks, disk_budget, free_bytes
from trainables.checkpoints.policy import epochs_to_keep, is_due, milestone_of
from trainables.checkpoints.weight_changes import WeightTracker
from trainables.models.staged_model import StagedModel
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


@dataclass(kw_only=True)
class _Unwritten:
    """Checkpoint of an epoch that is not on disk."""

    name: str
    content: Mapping[str, Any] | bytes
    """State of the run, or after `freeze` the content of the file."""
    report: Mapping[str, Any]
    milestone: str | None
    on_demand: bool
    blocks: dict[str, BlockChange]
    step: int
    due: bool
    """True if it is to be written at once; else it is written only if the run ends before the next epoch."""
    prepared_s: float
    """Seconds that reading the state took."""

    @property
    def outlives_the_next(self) -> bool:
        """True if it is still needed when the next epoch's checkpoint exists."""
        is_best = self.report["best_epoch"] == self.report["epoch"]
        return self.due and (is_best or self.milestone is not None or self.on_demand)

    def freeze(self, *, compress: bool) -> None:
        """Makes the content independent of the weights, which change in the next epoch."""
        if not isinstance(self.content, bytes):
            content = io.BytesIO()
            write_state(content, self.content, compress=compress)
            self.content = content.getvalue()


class RunCheckpoints:
    """Checkpoints of a run that is training."""

    def __init__(self, recipe: Recipe, layout: TrialLayout, model: StagedModel, *, in_processes: bool, runs: int):
        """Prepares the checkpoints of a run; `reconcile` must follow.

        Args:
            recipe: recipe of the run.
            layout: folder of the run.
            model: model of the run.
            in_processes: whether several processes train the run. They may be killed without notice, so every epoch is written.
            runs: runs that share the disk, this one included.
        """
        budget = disk_budget(recipe, bytes_of_blocks(model), runs=runs, free_bytes=free_bytes(layout.root))
        self._train, self._policy, self._in_processes = recipe.train, budget.policy, in_processes
        self.folder = CheckpointFolder(layout.checkpoints)
        self.config: dict[str, Any] = recipe.model_dump(mode="json")
        """Recipe as plain data."""
        self._registry, self._config_hash = layout.registry, config_hash(self.config)
        self._entries: dict[int, Entry] = {}
        """Registry entries of the existing files, by epoch."""
        self._parameters, self._blocks = {name for name, _ in model.named_parameters()}, recipe.backbone_blocks
        self._tracker = WeightTracker(self._parameters, self._blocks)
        self._unwritten: list[_Unwritten] = []
        """Checkpoint of the last epoch, if it is not written; before it those that could not be written and are still needed."""
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
                on_demand=bool(state.get("on_demand")),
                blocks=WeightTracker(self._parameters, self._blocks).step(weights),
                step=state["trainer"]["steps"],
            )
        except (ValueError, LookupError, TypeError, AttributeError):
            raise CheckpointError(f"{path} is not a checkpoint of this run") from None

    def add(
        self,
        report: EpochReport,
        line: Mapping[str, Any],
        before: Mapping[str, Any] | None,
        trainer: Trainer,
        *,
        on_demand: bool = False,
    ) -> None:
        """Takes in the state of the run after an epoch; `write` or `hold` must follow before the next one.

        Args:
            report: report of the epoch.
            line: the same report as plain data.
            before: report of the previous epoch; None if there is none.
            trainer: trainer of the run.
            on_demand: True if somebody asked for the checkpoint.
        """
        began = time.perf_counter()
        milestone = milestone_of(line, before, self._policy, self._train.stages)
        trained = trainer.state_dict()
        state = {
            "trainer": trained,
            "report": line,
            "recipe": self.config,
            "on_demand": on_demand,
            "software": {**software(), "project_commit": project_commit()},
        }
        new = _Unwritten(
            name=checkpoint_name(report.epoch, report.stage, self._train.metric, report.score),
            content=state,
            report=line,
            milestone=milestone,
            on_demand=on_demand,
            blocks=self._tracker.step(trained["weights"]),
            step=trainer.steps,
            due=self._in_processes or on_demand or is_due(line, milestone, self._policy),
            prepared_s=time.perf_counter() - began,
        )
        # At once, because Ctrl+C may come at any moment.
        self._unwritten = [*(each for each in self._unwritten if each.outlives_the_next), new]

    def write(self) -> str | None:
        """Writes the checkpoints that are due, and holds that of the last epoch in memory if it is not.

        Returns:
            Name of the last epoch's file; None if none was written.
        Raises:
            OSError: if one could not be written; `hold` must follow.
        """
        last = self._unwritten[-1]
        sync = last.report["train_s"] + last.report["val_s"] >= _SYNCED_FROM_S
        self._write([each for each in self._unwritten if each.due], sync=sync)
        self.hold()
        return last.name if last.due else None

    def hold(self) -> None:
        """Holds in memory what is not written, to write it later."""
        for each in self._unwritten:
            each.freeze(compress=self._policy.compress)

    def tidy(self) -> None:
        """Removes the checkpoints that the policy does not retain, and requests a backup. Call once the epoch is recorded."""
        scores = {e: float("nan") if entry.score is None else entry.score for e, entry in self._entries.items()}
        permanent = {epoch for epoch, entry in self._entries.items() if entry.is_permanent}
        kept = epochs_to_keep(scores, self._policy, self._train.metric, permanent=permanent)
        if gone := self._entries.keys() - kept:
            self.folder.remove_all_but(kept)
            self._entries = {epoch: entry for epoch, entry in self._entries.items() if epoch not in gone}
        if not self._unwritten:
            self._backup.request()

    def write_rest(self) -> None:
        """Writes what is held in memory."""
        if self._unwritten:
            self._write(list(self._unwritten), sync=True)
            self.tidy()

    def close(self) -> None:
        """Makes a backup of the final state, and waits for it."""
        if self._entries:
            self._backup.request()
        self._backup.close()

    def _write(self, due: Sequence[_Unwritten], *, sync: bool) -> None:
        for each in due:
            began = time.perf_counter()
            path = self.folder.save(each.name, each.content, compress=self._policy.compress, sync=sync)
            entry = self._entry(
                path,
                each.report,
                milestone=each.milestone,
                on_demand=each.on_demand,
                blocks=each.blocks,
                step=each.step,
                save_s=round(each.prepared_s + time.perf_counter() - began, 6),
            )
            append_entry(self._registry, entry)
            self._entries[entry.epoch] = entry
            self._unwritten = [other for other in self._unwritten if other is not each]

    def _entry(
        self,
        path: Path,
        report: Mapping[str, Any],
        *,
        milestone: str | None,
        on_demand: bool,
        blocks: dict[str, BlockChange],
        step: int,
        save_s: float | None = None,
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
            on_demand=on_demand,
            save_s=save_s,
            blocks=blocks,
        )
