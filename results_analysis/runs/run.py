"""Loads the folder of a run as a `Run`, and several as `Runs`: their configs, trials and epochs. Never writes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from results_analysis.runs.columns import NULL, UNREADABLE, columns_of
from results_analysis.runs.errors import RunError, as_run_error
from results_analysis.runs.files import metric_in, read_environment, read_reports, read_yaml
from results_analysis.runs.frames import Frames, Keys, Reports, epochs_of
from trainables.core.config_errors import nearest
from trainables.core.vocabulary import Metric, Task
from trainables.run_folder.epoch_report import read_epochs
from trainables.run_folder.layout import RunFileError, RunLayout, TrialLayout
from trainables.run_folder.trial_columns import best_report
from trainables.run_folder.trial_record import TrialRecord, read_record

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Run", "RunError", "Runs", "find_run", "load", "load_all", "run_names"]


@dataclass(frozen=True)
class Run(Frames):
    """A search on disk."""

    name: str
    layout: RunLayout
    config: dict[str, Any]
    """Resolved config of the search: data, model, train, space, search."""

    @property
    def task(self) -> Task:
        data = self.config.get("data")
        return "regression" if isinstance(data, dict) and data.get("task") == "regression" else "classification"

    @property
    def metric(self) -> Metric:
        return metric_in(self.config, self.layout.config)

    @property
    def score_meaning(self) -> str:
        return f"{self.metric.value} in {self.name!r}"

    @property
    def objectives(self) -> tuple[str, ...]:
        search = self.config.get("search")
        listed = search.get("objectives") if isinstance(search, dict) else None
        return tuple(map(str, listed)) if isinstance(listed, list) else ()

    @property
    def columns(self) -> dict[str, str]:
        return columns_of(self.task)

    @property
    def folders(self) -> list[TrialLayout]:
        """Folders of the trials, by number. One without `trial.json` does not count: the search was stopped while creating it."""
        return [folder for folder in self.layout.all_trials() if folder.trial.is_file()]

    @property
    def numbers(self) -> list[int]:
        """Numbers of the trials, ascending."""
        return [folder.number for folder in self.folders]

    def folder(self, number: int) -> TrialLayout:
        """Folder of a trial.

        Raises:
            RunError: if there is no such trial.
        """
        if number not in (numbers := self.numbers):
            there = f"its trials are {_ranges(numbers)}" if numbers else "it has none yet"
            raise RunError(f"run {self.name!r} has no trial {number}; {there}")
        return self.layout.trial(number)

    def trial(self, number: int) -> TrialRecord:
        """Record of a trial, as the search wrote it."""
        with as_run_error():
            return read_record(self.folder(number))

    def environment(self, number: int) -> dict[str, Any]:
        """Environment of a trial: data, weights, device and versions that its numbers depend on. Empty before it started."""
        return read_environment(self.folder(number))

    def recipe(self, number: int) -> dict[str, Any]:
        """Full recipe of a trial: data, model, train."""
        return read_yaml(self.folder(number).recipe)

    def reports(self, number: int) -> list[dict[str, Any]]:
        """Epoch reports of a trial as they were written, oldest first."""
        with as_run_error():
            return read_epochs(self.folder(number).epochs)

    def epochs(self, number: int | None = None) -> pd.DataFrame:
        """All fields of all epochs except those by class, of one trial or of all; `flags` are those of the epoch: `spike, gap`.

        `checkpoint` is missing where the file is gone."""
        if number is None:
            return super().epochs()
        with as_run_error():
            return epochs_of([({"trial": number}, read_reports(self.folder(number)))], self.keys)

    def confusion(self, number: int, epoch: int | None = None) -> pd.DataFrame:
        """Confusion matrix after an epoch, by default the best: images by true class (rows) and predicted class (columns).

        Raises:
            RunError: if there is no such epoch, or it has no confusion matrix, as in regression.
        """
        import pandas as pd

        reports = self.reports(number)
        found = best_report(reports) if epoch is None else next((r for r in reports if r["epoch"] == epoch), None)
        if found is None:
            which = "an epoch" if epoch is None else f"epoch {epoch}"
            raise RunError(
                f"trial {number} of run {self.name!r} has not finished {which}; it has finished {len(reports)}"
            )
        if not (counts := found["confusion"]):
            raise RunError(f"trial {number} of run {self.name!r} has no confusion matrix: its task is {self.task}")
        classes = range(len(counts))
        return pd.DataFrame(
            counts, index=pd.Index(classes, name="true"), columns=pd.Index(classes, name="predicted"), dtype="int64"
        )

    def summary(self, number: int) -> dict[str, Any]:
        """Row of a trial in plain values: objectives, the columns of its task, searched values. None where a value is unknown.

        Raises:
            RunError: if there is no such trial, or its files are damaged.
        """
        with as_run_error():
            return self._row(self.folder(number), self.columns)

    def rows(self) -> list[dict[str, Any]]:
        """Rows of all trials; the row of a damaged trial has the reason.

        Raises:
            RunError: if there are trials, but none can be read.
        """
        columns = self.columns
        rows = [self._row_or_damage(folder, columns) for folder in self.folders]
        if rows and all(row["status"] == UNREADABLE for row in rows):
            raise RunError(rows[0]["reason"])
        return rows

    def reports_of_all(self) -> Iterator[tuple[Keys, Reports]]:
        for folder in self.folders:
            with suppress(RunFileError, OSError):
                yield {"trial": folder.number}, read_reports(folder)

    def _row(self, folder: TrialLayout, columns: Iterable[str]) -> dict[str, Any]:
        trial = read_record(folder)
        row: dict[str, Any] = {"trial": trial.number, "status": trial.status.value, "reason": trial.reason}
        parent = trial.parent
        row |= {"parent": parent and parent.trial, "parent_epoch": parent and parent.epoch}
        row |= {"started": trial.started, "ended": trial.ended, **trial.summary_now(folder).row()}
        row["data_fingerprint"] = _data_fingerprint(folder)
        searched = {path: NULL if value is None else value for path, value in trial.params.items()}
        return {**trial.objectives, **{name: row[name] for name in columns}, **searched}

    def _row_or_damage(self, folder: TrialLayout, columns: Iterable[str]) -> dict[str, Any]:
        try:
            return self._row(folder, columns)
        except (RunFileError, OSError) as error:
            return {"trial": folder.number, "status": UNREADABLE, "epochs": 0, "reason": str(error)}


@dataclass(frozen=True)
class Runs(Frames):
    """Several runs together: their tables have the column `run`."""

    keys: ClassVar[tuple[str, ...]] = ("run", "trial")
    runs: dict[str, Run]
    """Runs by distinct names."""

    @property
    def metric(self) -> Metric | None:
        metrics = {run.metric for run in self.runs.values()}
        return metrics.pop() if len(metrics) == 1 else None

    @property
    def score_meaning(self) -> str:
        return " and ".join(f"{run.metric.value} in {name!r}" for name, run in self.runs.items())

    @property
    def objectives(self) -> tuple[str, ...]:
        """Objectives that all runs have."""
        first, *others = (run.objectives for run in self.runs.values())
        return tuple(name for name in first if all(name in other for other in others))

    @property
    def columns(self) -> dict[str, str]:
        return columns_of(*(run.task for run in self.runs.values()), several=True)

    def rows(self) -> list[dict[str, Any]]:
        return [{"run": name, **row} for name, run in self.runs.items() for row in run.rows()]

    def reports_of_all(self) -> Iterator[tuple[Keys, Reports]]:
        for name, run in self.runs.items():
            for keys, reports in run.reports_of_all():
                yield {"run": name, **keys}, reports


def load(run: str | Path) -> Run:
    """Loads the run in a folder.

    Raises:
        RunError: if the folder does not exist or holds no run, or the config cannot be read.
    """
    layout = RunLayout(run)
    if not layout.config.is_file():
        raise _not_a_run(layout.root)
    config = read_yaml(layout.config)
    metric_in(config, layout.config)
    return Run(name=layout.root.resolve().name, layout=layout, config=config)


def load_all(runs: Iterable[str | Path]) -> Runs:
    """Loads the runs in several folders; runs of the same name are named by their folders.

    Raises:
        RunError: where `load` raises it, and if there is no run or one is given twice.
    """
    places = list(runs)
    loaded = {Path(run).resolve(): load(run) for run in places}
    if not places:
        raise RunError("no runs to load")
    if len(loaded) < len(places):
        raise RunError("a run is given twice: " + ", ".join(map(str, places)))
    names = [run.name for run in loaded.values()]
    return Runs({run.name if names.count(run.name) == 1 else str(run.layout.root): run for run in loaded.values()})


def find_run(run: str | Path, runs_dir: str | Path = "runs") -> Path:
    """Finds the folder of a run by its name below `runs_dir` or by its path.

    Only a bare name is looked up below `runs_dir`; `.`, `..` and anything with a separator is a path.

    Raises:
        RunError: if there is none.
    """
    is_name = str(run) == Path(run).name != ".."
    places = [Path(runs_dir) / run, Path(run)] if is_name else [Path(run)]
    for place in places:
        if RunLayout(place).config.is_file():
            return place
    raise _not_a_run(places[0])


def run_names(runs_dir: str | Path) -> list[str]:
    """Names of the runs in a folder, in alphabetical order."""
    folder = Path(runs_dir)
    return (
        sorted(place.name for place in folder.iterdir() if RunLayout(place).config.is_file()) if folder.is_dir() else []
    )


def _data_fingerprint(folder: TrialLayout) -> str | None:
    """Fingerprint of the data that a trial saw; None before it started, or where the file is damaged."""
    with suppress(RunError):
        found = read_environment(folder).get("data_fingerprint")
        return found if isinstance(found, str) else None
    return None


def _not_a_run(folder: Path) -> RunError:
    if TrialLayout(folder).recipe.is_file():
        return RunError(f"{str(folder)!r} is a single training run, not a search; `thaw report` shows it")
    if folder.is_dir():
        return RunError(f"{str(folder)!r} is not a run: it holds no {RunLayout(folder).config.name}")
    names = run_names(folder.parent)
    where = nearest(folder.name, names) if names else "there are no runs"
    return RunError(f"no run {folder.name!r} in {str(folder.parent)!r}; {where}")


def _ranges(numbers: Iterable[int]) -> str:
    """Numbers as ranges: `[0, 1, 2, 5]` -> `0-2, 5`."""
    spans: list[list[int]] = []
    for number in numbers:
        if spans and number == spans[-1][-1] + 1:
            spans[-1] = [spans[-1][0], number]
        else:
            spans.append([number])
    return ", ".join("-".join(map(str, span)) for span in spans)
