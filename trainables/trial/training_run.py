"""`TrainingRun`: a trainer with a folder. Started again on the same folder, it resumes from the newest readable checkpoint."""

from __future__ import annotations

import contextlib
import json
import logging
import traceback
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from trainables.checkpoints.checkpoint_file import CheckpointError, load_checkpoint
from trainables.checkpoints.checkpoint_folder import epoch_of
from trainables.checkpoints.run_checkpoints import RunCheckpoints
from trainables.core.atomic_write import replacing
from trainables.core.plain_yaml import dump_yaml
from trainables.data.dataset import Dataset, open_dataset, open_test
from trainables.frozen_prefix.feature_cache import Progress
from trainables.recipe.recipe import Recipe
from trainables.run_folder.environment import environment
from trainables.run_folder.epoch_report import EpochReport, completed, fault_of, finite, read_epochs
from trainables.run_folder.layout import RunFileError, TrialLayout
from trainables.training.history.run_history import OtherOriginError
from trainables.training.history.stage_words import beginning, stage_lines
from trainables.training.memory_advice import TrainingMemoryError
from trainables.training.replicas import ALONE, Replicas
from trainables.training.trainer import ShowSteps, Trainer
from trainables.trial.run_records import RunRecords, complete_log

logger = logging.getLogger(__name__)


MOST_FAILED_SAVES = 3
"""Epochs in a row that could not be saved after which a run ends with the storage's message."""


class SupersededError(RuntimeError):
    """The run's folder now belongs to another process."""


class TrainingRun:
    """Trains a recipe in a folder, where it writes `recipe.yaml`, a line in `epochs.jsonl` and `log.csv` for each epoch, and
    checkpoints.

    Iterating yields the reports of the remaining epochs; an epoch is on disk before its report is yielded. A caller that stops
    before the run is over must close it, by `close` or `contextlib.closing`.
    """

    def __init__(
        self,
        recipe: Recipe,
        folder: TrialLayout,
        *,
        dataset: Dataset | None = None,
        replicas: Replicas = ALONE,
        sharing_runs: int = 1,
        progress: Progress | None = None,
        show_steps: ShowSteps | None = None,
        check_ownership: Callable[[], None] = lambda: None,
        resume_from: str | None = None,
    ):
        """Opens the folder and resumes the run in it, if there is one.

        Args:
            recipe: recipe of the run.
            folder: folder of the run.
            dataset: data set of the recipe, if it is open already; None: it is opened here.
            replicas, progress, show_steps: see `Trainer`. Of several processes, only the first uses the folder.
            sharing_runs: runs that are expected to need the same features of frozen blocks, and share the disk; this one included.
            check_ownership: called before anything is written; raises `SupersededError` if the folder has a new owner.
            resume_from: checkpoint to resume from, as `CheckpointFolder.named` takes it; later epochs are trained again. None: the
                newest readable one.
        Raises:
            RunFileError: if the folder's checkpoints belong to other data or pretrained weights, or `resume_from` cannot be used.
        """
        self.recipe = recipe
        self.folder = folder
        self._check_ownership = check_ownership
        dataset = dataset or open_dataset(recipe.data, image_sizes=recipe.image_sizes)
        options: dict[str, Any] = {"replicas": replicas, "sharing_runs": sharing_runs, "progress": progress}
        options["show_steps"] = show_steps
        self._new_trainer = partial(Trainer, recipe, dataset, **options)
        self.trainer = self._new_trainer()
        self._checkpoints = RunCheckpoints(
            recipe, folder, self.trainer.model, in_processes=replicas.count > 1, runs=sharing_runs
        )
        self._records = RunRecords(folder)
        self._failed_saves = 0
        """Last epochs in a row that could not be saved."""
        self._gave_up = False
        """True if nothing more is written, because the storage refuses it."""
        self.reports: list[dict[str, Any]] = []
        """Reports of all epochs so far, as on disk."""
        check_ownership()
        self._resume(resume_from)

    def __iter__(self) -> Iterator[EpochReport]:
        return self

    def __next__(self) -> EpochReport:
        try:
            return self._store(next(self.trainer))
        except (StopIteration, SupersededError):
            raise
        except BaseException as error:
            self._check_ownership()
            try:
                self._write_rest()
            except OSError as second:  # report the first error; both often have the same cause, such as a full disk
                logger.warning("the last epoch could not be saved: %s", second)
            if not isinstance(error, KeyboardInterrupt):
                with contextlib.suppress(OSError), replacing(self.folder.error) as file:
                    file.write(traceback.format_exc())
                    if isinstance(error, TrainingMemoryError):
                        file.write(f"{error}\n")  # its last line is the reason that a search shows
            raise

    def close(self) -> None:
        """Writes a checkpoint of the last epoch if the policy did not, and waits for the backup."""
        try:
            self._check_ownership()
        except SupersededError:
            return
        self._write_rest()
        if self.reports and not self._gave_up:
            complete_log(self.folder, self.reports)
        self._checkpoints.close()

    def test(self) -> None:
        """Writes the metrics of the best epoch's weights on the test split, if the data have one and an epoch had a score.

        Call only after the last epoch, because the trainer then holds the weights of the best one.

        Raises:
            CheckpointError: if the best epoch's checkpoint is missing or damaged.
        """
        if not (best := self.reports[-1]["best_epoch"]):
            return
        test = open_test(self.recipe.data, self.trainer.dataset, image_sizes=self.recipe.image_sizes)
        if test is None:
            return
        state = load_checkpoint(self._checkpoints.folder.named(str(best)))
        self.trainer.load_state_dict(state["trainer"])
        evaluation = self.trainer.evaluate(test, reweighted=completed(state["report"])["reweighted"])
        self._check_ownership()
        with replacing(self.folder.test) as file:
            file.write(json.dumps({"images": len(test.validation), **finite(asdict(evaluation))}, indent=2))

    def _resume(self, resume_from: str | None) -> None:
        """Loads a checkpoint and makes the records agree with it, because a kill may leave them an epoch apart."""
        folder = self._checkpoints.folder
        folder.remove_partial()
        last = self._load_newest() if resume_from is None else self._load_named(resume_from)
        if last is not None:
            self.reports = [report for report in read_epochs(self.folder.epochs) if report["epoch"] < last["epoch"]]
            self.reports.append(last)
            logger.info("%s", beginning(last, self.recipe))
        self._checkpoints.reconcile(self.reports, self.trainer.changed_weights())
        # Not synced: all of it can be restored from the checkpoints, and the caller has the recipe.
        with replacing(self.folder.recipe, sync=False) as file:
            file.write(dump_yaml(self._checkpoints.config, fast=True))
        with replacing(self.folder.environment, sync=False) as file:
            json.dump(self._environment(), file, indent=2)
        self._records.restart(self.reports)
        self.folder.error.unlink(missing_ok=True)

    def _load_newest(self) -> dict[str, Any] | None:
        """Loads the newest usable checkpoint.

        Returns:
            Report of its epoch; None if there is no checkpoint and the run starts from the beginning.
        """
        for path, state in self._checkpoints.folder.readable():
            try:
                return self._load(path, state)
            except CheckpointError as error:
                logger.warning("%s; using the one before it", error)
                self.trainer = self._new_trainer()
        return None

    def _load_named(self, which: str) -> dict[str, Any]:
        """Loads a checkpoint, removes later ones, and returns the report of its epoch."""
        folder = self._checkpoints.folder
        try:
            path = folder.named(which)
            report = self._load(path, load_checkpoint(path))
        except CheckpointError as error:
            raise RunFileError(str(error)) from None
        folder.remove_all_but([epoch for epoch in folder.files if epoch <= report["epoch"]])
        return report

    def _load(self, path: Path, state: dict[str, Any]) -> dict[str, Any]:
        """Loads a checkpoint's state into the trainer and returns the report of its epoch.

        Raises:
            CheckpointError: if it was not written by a run of this recipe, or is not of the epoch in its name.
            RunFileError: if it was written with other data or other pretrained weights.
        """
        try:
            self.trainer.load_state_dict(state["trainer"])
            report: dict[str, Any] = state["report"]
            fault = fault_of(report)
            if not fault and not report["epoch"] == self.trainer.position.epoch == epoch_of(path):
                fault = f"is of epoch {report['epoch']}"
        except OtherOriginError as error:
            raise RunFileError(f"{self.folder.root} cannot be resumed: {error}") from None
        except (MemoryError, torch.OutOfMemoryError):
            raise
        except Exception as error:  # a state of another recipe can fail anywhere
            reason = str(error).partition("\n")[0]
            raise CheckpointError(f"{path} is not a checkpoint of this run: {type(error).__name__}: {reason}") from None
        if fault:
            raise CheckpointError(f"{path} is not a checkpoint of this run: its report {fault}")
        return completed(report)

    def _environment(self) -> dict[str, Any]:
        dataset = self.trainer.dataset
        of_classes = {"classes": list(dataset.classes)} if dataset.targets is None else {}
        return {
            **self.trainer.task.constants,
            **of_classes,
            "training_images": len(dataset.train),
            "validation_images": len(dataset.validation),
            **environment(
                data_fingerprint=dataset.fingerprint,
                split_fingerprint=dataset.split_fingerprint,
                pretrained=self.trainer.pretrained_fingerprint,
                device=self.trainer.device.type,
                cpu_threads=self.recipe.train.cpu_threads,
            ),
        }

    def _store(self, report: EpochReport) -> EpochReport:
        self._check_ownership()
        before = self.reports[-1] if self.reports else None
        line = json.loads(report.to_json())
        on_demand = self.folder.save_request.exists()
        self._checkpoints.add(report, line, before, self.trainer, on_demand=on_demand)
        self.reports.append(line)
        name = self._save(report)
        if on_demand:
            with contextlib.suppress(OSError):
                self.folder.save_request.unlink()
        for words in stage_lines(line, self.recipe):
            logger.info("%s", words)
        return replace(report, checkpoint=name)

    def _write_rest(self) -> None:
        """Writes what is not on disk yet. If that fails, nothing is tried again."""
        if self._gave_up or not self.reports:
            return
        try:
            self._records.write(up_to=self.reports[-1]["epoch"] - 1)
            self._checkpoints.write_rest()
            self._records.write()
        except OSError:
            self._gave_up = True
            raise

    def _save(self, report: EpochReport) -> str | None:
        """Writes the checkpoint and the record of an epoch. If the storage refuses them, training continues for some epochs.

        Returns:
            Name of the checkpoint's file; None if none was written.
        Raises:
            OSError: if nothing can be saved any more.
        """
        self._records.add(self.reports[-1])
        try:
            self._records.write(up_to=report.epoch - 1)  # else the records would have a gap after a kill
            name = self._checkpoints.write()
            self._records.write()
            self._checkpoints.tidy()
        except OSError as error:
            self._failed_saves += 1
            self._gave_up = report.finished or self._failed_saves == MOST_FAILED_SAVES
            if self._gave_up:
                raise
            logger.warning("epoch %d could not be saved, and training continues: %s", report.epoch, error)
            self._checkpoints.hold()
            return None
        self._failed_saves = 0
        return name
