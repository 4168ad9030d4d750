"""Display of a training run: a line for each epoch, and what its stages open and why they end."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any

from search.launch.sigusr1 import SaveSignals
from search.progress.tensorboard_events import TrialEvents
from search.progress.terminal import Console
from search.progress.wandb_run import WandbRun, run_id
from trainables.core.vocabulary import Metric
from trainables.recipe.recipe import Recipe
from trainables.run_folder.epoch_report import EpochReport
from trainables.run_folder.layout import TrialLayout
from trainables.training.history.stage_words import beginning, opening, stage_lines

WIDTH = 160
"""Columns that a line for an epoch does not exceed, as far as its numbers allow."""
INDENT = "\n" + 6 * " "
"""Start of a second line, for notes that do not fit."""
_SHORT = {
    Metric.ACCURACY: "acc",
    Metric.BALANCED_ACCURACY: "bal",
    Metric.KAPPA: "kappa",
    Metric.MACRO_F1: "F1",
    Metric.AUC: "AUC",
    Metric.SPEARMAN: "spearman",
    Metric.R2: "R²",
    Metric.MAE: "MAE",
    Metric.RMSE: "RMSE",
}
"""Metrics that the line shows as far as the task has them, under these names."""
_NAMES = {
    **_SHORT,
    Metric.ADJUSTED_BALANCED_ACCURACY: "adj",
    Metric.CORRECTED_BALANCED_ACCURACY: "corr bal",
    Metric.CORRECTED_MACRO_F1: "corr F1",
}
"""Names of all metrics; those beyond `_SHORT` are shown where the run is scored by one of them."""


class ShownRun:
    """Shows a run in the terminal and its log, and draws its curves for TensorBoard and W&B."""

    def __init__(
        self,
        recipe: Recipe,
        folder: TrialLayout,
        events: TrialEvents,
        signals: SaveSignals,
        console: Console,
        show: Callable[[str, int, int], None],
        project: str | None,
    ):
        """
        Args:
            recipe: recipe of the run.
            folder: its folder.
            events: its curves for TensorBoard.
            signals: signals that ask for a checkpoint.
            console: shows its lines.
            show: `changing_bar` on this console.
            project: W&B project; None: not logged.
        """
        self._recipe, self._folder, self._events, self._console, self._show = recipe, folder, events, console, show
        self._signals, self._project = signals, project
        self._wandb: WandbRun | None = None
        self._shown_reason: str | None = None
        self.epochs = 0
        """Number of epochs shown."""

    @property
    def has_bar(self) -> bool:
        """True if a bar can be seen."""
        return self._console.is_terminal

    def features(self, done: int, total: int) -> None:
        """Shows the progress of computing features, in images."""
        self._show("computing features of frozen blocks", done, total)

    def steps(self, epoch: int, done: int, total: int) -> None:
        """Shows the progress within an epoch, in steps.

        Args:
            epoch: number of the epoch.
            done: number of steps done.
            total: number of steps.
        """
        self._show(f"epoch {epoch}/{self._recipe.train.max_epochs}", done, total)

    def done_before(self, reports: Sequence[Mapping[str, Any]]) -> None:
        """Shows where a resumed run begins.

        Args:
            reports: reports of the epochs that were trained before.
        """
        if reports:
            self._say(f"{self._folder.root}: {beginning(reports[-1], self._recipe)}")
        if self._project:
            recipe, name = self._recipe.model_dump(mode="json"), self._folder.root.name
            identifier = run_id(name, self._recipe.model_dump_json())
            self._wandb = WandbRun(
                self._project,
                self._folder.root,
                identifier=identifier,
                name=name,
                group=None,
                config=recipe,
                earlier=reports,
            )

    def epoch(self, report: EpochReport, reports: Sequence[Mapping[str, Any]]) -> None:
        """Shows an epoch.

        Args:
            report: report of the epoch.
            reports: reports of all epochs up to this one, as on disk.
        """
        self.epochs += 1
        if report.opened:
            self._say(opening(vars(report), self._recipe))
        if report.uncached not in {None, self._shown_reason} and report.open_from != self._recipe.blocks[0]:
            self._say(f"stage {report.stage}: frozen blocks run in each epoch: {report.uncached}")
        self._shown_reason = report.uncached
        self._events.epoch(reports[-1])
        if self._wandb:
            self._wandb.epoch(reports[-1])
        self._say(epoch_line(report, self._recipe))
        if report.stage_end:
            self._say(stage_lines(vars(report), self._recipe)[-1])
        if saved := self._signals.answer():
            self._say(f"saved: {saved}")

    def __enter__(self) -> ShownRun:
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        if self._wandb:
            self._wandb.finish(well=error is None)

    def _say(self, line: str) -> None:
        # A full disk must not end a run whose checkpoints may still be saved later.
        with suppress(OSError), self._folder.output.open("a", encoding="utf-8", errors="backslashreplace") as log:
            log.write(f"{datetime.now():%Y-%m-%d %H:%M:%S} {line}\n")
        self._console.out(line, highlight=False)


def epoch_line(report: EpochReport, recipe: Recipe) -> str:
    """Line for an epoch: number, stage and epoch in it; loss and accuracy in training/validation; validation metrics; the best
    score so far; images predicted as each class, or how many classes are and of how many images; seconds; notes."""
    most, stage = recipe.train.max_epochs, recipe.train.stages[report.stage_index]
    values = {
        metric: report.metrics[metric] for metric in {**_SHORT, recipe.train.metric: ""} if metric in report.metrics
    }
    values.pop(Metric.VAL_LOSS, None)
    shown = [f"{_NAMES.get(metric, metric)} {value:.3f}" for metric, value in values.items()]
    if report.train_accuracy is not None:
        shown[list(values).index(Metric.ACCURACY)] = f"acc {report.train_accuracy:.3f}/{values[Metric.ACCURACY]:.3f}"
    before = [
        f"epoch {report.epoch:>{len(str(most))}}/{most}",
        f"{report.stage} {report.epoch_in_stage}/{stage.epochs}",
        f"loss {report.train_loss:.4f}/{report.metrics['val_loss']:.4f}",
        *shown,
        _best(report, recipe.train.metric),
    ]
    seconds, notes = f"{report.train_s + report.val_s:.1f} s", _notes(report, recipe)
    lines = ["  ".join([*before, *predicted, seconds]) for predicted in _predicted(report)]
    line = next((line for line in lines if len(line) <= WIDTH), lines[-1])
    if not notes:
        return line
    noted = f"[{', '.join(notes)}]"
    return f"{line}{'  ' if len(line) + 2 + len(noted) <= WIDTH else INDENT}{noted}"


def _best(report: EpochReport, metric: Metric) -> str:
    """Best score so far: `best kappa 0.8301 (5)`, with its epoch."""
    if not report.best_epoch:
        return f"no {_NAMES.get(metric, metric)} so far"
    return f"best {_NAMES.get(metric, metric)} {report.best_score:.4f} ({report.best_epoch})"


def _predicted(report: EpochReport) -> list[list[str]]:
    """Forms of the predicted counts, the longest first: `predicted 12, 30, 0` by class, `predicted 2/3: 12…30`."""
    counts = [int(count) for count in report.per_class.get("predicted_count", ())]
    if found := [count for count in counts if count]:
        short = f"predicted {len(found)}/{len(counts)}: {min(found)}…{max(found)}"
        return [[f"predicted {', '.join(map(str, counts))}"], [short]]
    spread = report.metrics.get("prediction_spread", math.nan)
    return [[f"spread {spread:.3f}"]] if math.isfinite(spread) else [[]]


def _notes(report: EpochReport, recipe: Recipe) -> list[str]:
    notes = [note for note, holds in (("head frozen", report.head_frozen), ("re-weighted", report.reweighted)) if holds]
    changed = [change.set for change in recipe.train.changes if change.after_epoch == report.epoch - 1]
    notes += [f"{path}={value}" for values in changed for path, value in values.items()]
    notes += [flag.upper() for flag in report.flags]
    if report.stopped_for:
        notes.append(f"stopped for {report.stopped_for}")
    return notes + ([report.stage_outlook] if report.stage_outlook else [])
