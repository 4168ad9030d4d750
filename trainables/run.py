"""`TrainingRun`: a trainer and its folder. Whoever starts it again, it goes on from the newest good checkpoint there."""

from __future__ import annotations

import csv
import json
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import yaml

from trainables.checkpoints import CheckpointFolder, epochs_to_keep
from trainables.data.dataset import Dataset, open_dataset
from trainables.layout import RunFileError, TrialLayout, checkpoint_name, replacing
from trainables.prefix_cache import Progress
from trainables.provenance import environment
from trainables.recipe import Recipe
from trainables.replicas import ALONE, Replicas
from trainables.report import EpochReport, read_epochs
from trainables.trainer import Trainer

_LOG_COLUMNS = ("epoch", "stage", "stage_index", "val_loss", "score", "checkpoint", "time")


class SupersededError(RuntimeError):
    """Another process owns the run's folder by now."""


class TrainingRun:
    """Trains a recipe in a folder: `recipe.yaml`, a line in `epochs.jsonl` and `log.csv` for each epoch, checkpoints.

    Iterating yields the epochs that are still to be done. An epoch is on disk before its report is handed on.
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
        check_ownership: Callable[[], None] = lambda: None,
    ):
        """Opens the folder and takes up what is in it.

        Args:
            dataset: the recipe's, where it is open already.
            replicas, sharing_runs, progress: see `Trainer`. Of several processes the first has the folder.
            check_ownership: called before anything is written; raises `SupersededError` where the folder has a new owner.
        """
        self.recipe = recipe
        self.folder = folder
        self._check_ownership = check_ownership
        self._checkpoints = CheckpointFolder(folder.checkpoints)
        dataset = dataset or open_dataset(recipe.data, image_sizes=recipe.image_sizes)
        self.trainer = Trainer(recipe, dataset, replicas=replicas, sharing_runs=sharing_runs, progress=progress)
        self.reports: list[dict[str, Any]] = []
        """Of all epochs done so far, as on disk."""
        check_ownership()
        self._continue()

    def __iter__(self) -> Iterator[EpochReport]:
        return self

    def __next__(self) -> EpochReport:
        try:
            return self._store(next(self.trainer))
        except (StopIteration, KeyboardInterrupt, SupersededError):
            raise
        except BaseException:
            self._check_ownership()
            with replacing(self.folder.error) as file:
                file.write(traceback.format_exc())
            raise

    def _continue(self) -> None:
        """Takes up the newest good checkpoint and makes the records agree with it: a kill leaves them an epoch apart."""
        self._checkpoints.remove_torn()
        state = self._checkpoints.newest()
        if state is not None:
            try:
                self.trainer.load_state_dict(state["trainer"])
            except ValueError as error:
                raise RunFileError(f"{self.folder.root} cannot go on: {error}") from None
            last = state["report"]
            self.reports = [report for report in read_epochs(self.folder.epochs) if report["epoch"] < last["epoch"]]
            self.reports.append(last)
        with replacing(self.folder.recipe) as file:
            yaml.safe_dump(self.recipe.model_dump(mode="json"), file, sort_keys=False)
        with replacing(self.folder.environment) as file:
            json.dump(self._environment(), file, indent=2)
        with replacing(self.folder.epochs) as file:
            file.writelines(json.dumps(report) + "\n" for report in self.reports)
        with replacing(self.folder.log) as file:
            log = csv.DictWriter(file, _LOG_COLUMNS, extrasaction="ignore")
            log.writeheader()
            log.writerows(self.reports)
        self.folder.error.unlink(missing_ok=True)

    def _environment(self) -> dict[str, Any]:
        dataset = self.trainer.dataset
        of_classes = {"classes": list(dataset.classes)} if dataset.targets is None else {}
        return {
            **self.trainer.task.constants,
            **of_classes,
            "validation_images": len(dataset.validation),
            **environment(
                data_fingerprint=dataset.fingerprint,
                pretrained=self.trainer.pretrained_fingerprint,
                device=self.trainer.device.type,
                cpu_threads=self.recipe.train.cpu_threads,
            ),
        }

    def _store(self, report: EpochReport) -> EpochReport:
        self._check_ownership()
        metric = self.recipe.train.metric
        name = checkpoint_name(report.epoch, report.stage, metric, report.score)
        report = replace(report, checkpoint=name)
        line = json.loads(report.to_json())
        self._checkpoints.save(name, {"trainer": self.trainer.state_dict(), "report": line})
        self._record(line)
        scores = {r["epoch"]: float("nan") if r["score"] is None else r["score"] for r in self.reports}
        self._checkpoints.keep(epochs_to_keep(scores, self.recipe.train.checkpoints, metric))
        return report

    def _record(self, report: Mapping[str, Any]) -> None:
        self.reports.append(dict(report))
        with self.folder.epochs.open("a", encoding="utf-8") as file:
            file.write(json.dumps(report) + "\n")
        with self.folder.log.open("a", encoding="utf-8", newline="") as file:
            csv.DictWriter(file, _LOG_COLUMNS, extrasaction="ignore").writerow(report)
