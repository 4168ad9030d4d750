"""A run's folder as a `Run`: its config, its trials, their epochs. Reads; never writes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from results_analysis.columns import COLUMNS, columns_of
from results_analysis.frames import curves_of, epochs_of, series
from trainables.layout import Metric, RunFileError, RunLayout, Task, TrialLayout
from trainables.problems import nearest
from trainables.record import TrialRecord, read_record
from trainables.report import read_epochs
from trainables.summary import summary_of

if TYPE_CHECKING:
    import pandas as pd


class RunError(ValueError):
    """A run that is not there, cannot be read, or cannot answer what was asked of it."""


@dataclass(frozen=True)
class Run:
    """A search's folder. Methods read the disk anew: a search that goes on is seen as far as it has come."""

    name: str
    layout: RunLayout
    metric: Metric
    """What score is."""
    config: dict[str, Any]
    """The resolved search: data, model, train, space, search."""

    @property
    def task(self) -> Task:
        data = self.config.get("data")
        return "regression" if isinstance(data, dict) and data.get("task") == "regression" else "classification"

    @property
    def folders(self) -> list[TrialLayout]:
        """Of the trials, by number. A folder without `trial.json` is none yet: its search was stopped while it was made."""
        return [folder for folder in self.layout.all_trials() if folder.trial.is_file()]

    @property
    def numbers(self) -> list[int]:
        """Trials, ascending."""
        return [folder.number for folder in self.folders]

    def folder(self, number: int) -> TrialLayout:
        """
        Raises:
            RunError: if there is no such trial.
        """
        if number not in (numbers := self.numbers):
            there = f"its trials are {_ranges(numbers)}" if numbers else "it has none yet"
            raise RunError(f"run {self.name!r} has no trial {number}; {there}")
        return self.layout.trial(number)

    def trial(self, number: int) -> TrialRecord:
        """What the search recorded about a trial."""
        with _as_run_error():
            return read_record(self.folder(number))

    def environment(self, number: int) -> dict[str, Any]:
        """What a trial's numbers depend on beside its recipe: data, weights, device, versions. Empty before it started."""
        file = self.folder(number).environment
        if not file.exists():
            return {}
        with _as_run_error():
            environment: dict[str, Any] = json.loads(file.read_bytes())
            return environment

    def recipe(self, number: int) -> dict[str, Any]:
        """The trial's full recipe: data, model, train."""
        return _read_yaml(self.folder(number).recipe)

    def reports(self, number: int) -> list[dict[str, Any]]:
        """A trial's epoch reports as they were written, oldest first."""
        with _as_run_error():
            return read_epochs(self.folder(number).epochs)

    def curves(self, fields: Sequence[str]) -> pd.DataFrame:
        """A few fields of all epochs of all trials, fast: `trial`, `epoch`, then the fields; one row an epoch.

        What an epoch has not is missing. Trials whose epochs cannot be read are left out; `trials()` names them.

        Args:
            fields: names of scalars of the reports: metrics, `score`, `best_score`, `train_s`, `stage`, `head_lr`, …
        Raises:
            RunError: if there is no such field.
        """
        with _as_run_error():
            return curves_of(self._readable(), fields)

    def epochs(self, number: int | None = None) -> pd.DataFrame:
        """A trial's curves, or those of all: one row an epoch, one column a field of the reports but those of each class.

        `flags` are those of the epoch: `spike, gap`; empty: none.
        """
        return epochs_of(self._readable() if number is None else [(number, self.reports(number))])

    def _readable(self) -> Iterator[tuple[int, list[dict[str, Any]]]]:
        """Each trial's number and reports, but of trials whose epochs are damaged."""
        for folder in self.folders:
            with suppress(RunFileError, OSError):
                yield folder.number, read_epochs(folder.epochs)

    def summary(self, number: int) -> dict[str, Any]:
        """A trial's row of the table, in plain values: its task's columns, then its searched values. None: not known."""
        trial = self.trial(number)
        row = {"trial": number, "status": trial.status.value, "reason": trial.reason, "started": trial.started}
        row |= {"ended": trial.ended, **summary_of(self.reports(number))}
        return {**{name: row[name] for name in columns_of(self.task)}, **trial.params}

    def trials(self) -> pd.DataFrame:
        """One row a trial, by number.

        `score` is the best epoch's; `epochs`, `stage` and `train_s` tell how far the trial came; the other metrics are those
        of the best epoch. `flags` were raised in some epoch, `flags_at_best` in the best one (`spike, gap`; empty: none),
        and `stopped_for` is the one that ended the trial. Searched values stand under their dotted paths, missing where a trial
        has no such value.
        """
        import pandas as pd

        rows = [self.summary(number) for number in self.numbers]
        columns = columns_of(self.task)
        known = {name: pd.Series([row[name] for row in rows], dtype=kind) for name, kind in columns.items()}
        searched = dict.fromkeys(name for row in rows for name in row if name not in COLUMNS)
        return pd.DataFrame({**known, **{name: series([row.get(name) for row in rows]) for name in searched}})


@contextmanager
def _as_run_error() -> Iterator[None]:
    """A file that cannot be read is the run's problem."""
    try:
        yield
    except ValueError as error:
        raise error if isinstance(error, RunError) else RunError(str(error)) from None


def load(run: str | Path) -> Run:
    """The run in a folder.

    Raises:
        RunError: if there is no such folder, it is not a run's, or its config cannot be read.
    """
    layout = RunLayout(run)
    if not layout.config.is_file():
        raise _not_a_run(layout.root)
    config = _read_yaml(layout.config)
    return Run(name=layout.root.resolve().name, layout=layout, metric=_metric(config, layout.config), config=config)


def find_run(run: str | Path, runs_dir: str | Path = "runs") -> Path:
    """The folder of a run, given by its name below `runs_dir` or by its path.

    Only a bare name is looked up below `runs_dir`; whatever has a separator, `.` and `..` are paths like any other.

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


def _read_yaml(file: Path) -> dict[str, Any]:
    try:
        data = yaml.safe_load(file.read_bytes())
    except FileNotFoundError:
        raise RunError(f"{file} is missing") from None
    except yaml.YAMLError as error:
        raise RunError(f"{file}: not valid YAML: {error}") from None
    if not isinstance(data, dict):
        raise RunError(f"{file}: not a mapping of keys to values")
    return data


def _metric(config: dict[str, Any], file: Path) -> Metric:
    train = config.get("train")
    name = train.get("metric") if isinstance(train, dict) else None
    if name is None:
        raise RunError(f"{file}: train.metric is required and missing")
    valid = [metric.value for metric in Metric]
    if name not in valid:
        raise RunError(f"{file}: train.metric: unknown metric {name!r}; {nearest(str(name), valid)}")
    return Metric(name)


def _not_a_run(folder: Path) -> RunError:
    if folder.is_dir():
        return RunError(f"{str(folder)!r} is not a run: it holds no {RunLayout(folder).config.name}")
    names = run_names(folder.parent)
    where = nearest(folder.name, names) if names else "there are no runs at all"
    return RunError(f"no run {folder.name!r} in {str(folder.parent)!r}; {where}")


def _ranges(numbers: Iterable[int]) -> str:
    """`[0, 1, 2, 5]` -> `0-2, 5`."""
    spans: list[list[int]] = []
    for number in numbers:
        if spans and number == spans[-1][-1] + 1:
            spans[-1] = [spans[-1][0], number]
        else:
            spans.append([number])
    return ", ".join("-".join(map(str, span)) for span in spans)
