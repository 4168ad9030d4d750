"""A run's folder as a `Run`: its config, its trials, their epochs. Reads; never writes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from trainables.layout import Flag, Metric, RunLayout, Task, TrialLayout, metrics_of
from trainables.problems import nearest
from trainables.record import TrialRecord, read_record
from trainables.report import read_epochs

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = {
    "trial": "int64",
    "status": "string",
    "score": "float64",
    "best_epoch": "Int64",
    "epochs": "int64",
    "stage": "string",
    "stage_index": "Int64",
    **{metric.value: "float64" for metric in Metric},
    "classes_predicted": "float64",
    "prediction_spread": "float64",
    "flags": "string",
    "flags_at_best": "string",
    "stopped_for": "string",
    "train_s": "float64",
    "reason": "string",
}
"""Of tables of trials, with their pandas types; `columns_of` a task leaves out what only the other one has. One for each searched
value follows, named by its dotted path."""

_NESTED = ("per_class", "confusion")


def columns_of(task: Task) -> dict[str, str]:
    """The columns of a task's table, with their pandas types."""
    foreign = "classes_predicted" if task == "regression" else "prediction_spread"
    others = {foreign, *(metric.value for metric in Metric if metric not in metrics_of(task))}
    return {name: kind for name, kind in COLUMNS.items() if name not in others}


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
    def numbers(self) -> list[int]:
        """Trials, ascending. A folder without `trial.json` is none yet: its search was stopped while it was made."""
        return [folder.number for folder in self.layout.all_trials() if folder.trial.is_file()]

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
        return read_yaml(self.folder(number).recipe)

    def reports(self, number: int) -> list[dict[str, Any]]:
        """A trial's epoch reports as they were written, oldest first."""
        with _as_run_error():
            return read_epochs(self.folder(number).epochs)

    def epochs(self, number: int) -> pd.DataFrame:
        """A trial's curves: one row an epoch, one column a field of its reports but those of each class."""
        import pandas as pd

        flat = [{key: report[key] for key in report if key not in _NESTED} for report in self.reports(number)]
        return pd.DataFrame(flat)

    def summary(self, number: int) -> dict[str, Any]:
        """A trial's row of the table, in plain values: its task's columns, then its searched values. None: not known."""
        trial, reports = self.trial(number), self.reports(number)
        last = reports[-1] if reports else {}
        best = next((report for report in reports if report["epoch"] == last["best_epoch"]), {})
        row = {
            "trial": number,
            "status": trial.status.value,
            "score": last.get("best_score"),
            "best_epoch": last.get("best_epoch"),
            "epochs": last.get("epoch", 0),
            "stage": last.get("stage"),
            "stage_index": last.get("stage_index"),
            **{metric.value: best.get(metric.value) for metric in Metric},
            "classes_predicted": best.get("classes_predicted"),
            "prediction_spread": best.get("prediction_spread"),
            "flags": _listed(flag for report in reports for flag in report["flags"]) if reports else None,
            "flags_at_best": _listed(best["flags"]) if best else None,
            "stopped_for": last.get("stopped_for"),
            "train_s": sum(report["train_s"] for report in reports),
            "reason": trial.reason,
        }
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
        return pd.DataFrame({**known, **{name: _series([row.get(name) for row in rows]) for name in searched}})


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
    config = read_yaml(layout.config)
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


def read_yaml(file: Path) -> dict[str, Any]:
    """A mapping.

    Raises:
        RunError: if the file is missing or holds something else.
    """
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


def _series(values: list[Any]) -> pd.Series[Any]:
    """Searched values with the narrowest type that holds them, so that 5 stays 5 where another trial has none."""
    import pandas as pd

    kinds = {type(value) for value in values if value is not None}
    if kinds == {bool}:
        return pd.Series(values, dtype="boolean")
    if kinds == {int}:
        return pd.Series(values, dtype="Int64")
    if kinds == {str}:
        return pd.Series(values, dtype="string")
    return pd.Series(values, dtype="float64" if kinds <= {int, float} else "object")


def _listed(flags: Iterable[str]) -> str:
    """`spike, gap`: each flag once, in the order of `Flag`."""
    raised = set(flags)
    return ", ".join(flag for flag in Flag if flag in raised)


def _ranges(numbers: Iterable[int]) -> str:
    """`[0, 1, 2, 5]` -> `0-2, 5`."""
    spans: list[list[int]] = []
    for number in numbers:
        if spans and number == spans[-1][-1] + 1:
            spans[-1] = [spans[-1][0], number]
        else:
            spans.append([number])
    return ", ".join("-".join(map(str, span)) for span in spans)
