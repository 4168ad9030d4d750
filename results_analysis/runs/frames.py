"""Data frames of trials and epochs. `Frames` is the interface of a run and of several runs; the rest is pure."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from results_analysis.runs.columns import COLUMNS, is_searched
from results_analysis.runs.errors import as_run_error
from trainables.core.config_errors import nearest
from trainables.core.vocabulary import Metric
from trainables.run_folder.epoch_report import FIELDS, NESTED
from trainables.run_folder.trial_columns import best_report, listed

if TYPE_CHECKING:
    import pandas as pd

Keys = dict[str, Any]
"""Keys that identify a trial: `trial`, and `run` where there are several."""
Reports = Sequence[dict[str, Any]]

_KINDS = {"run": "string", "trial": "int64", "epoch": "int64", "class": "int64"}


class Frames(ABC):
    """Tables of trials and epochs. Each call reads the disk, so a running search shows its current state.

    Tables of epochs leave out trials whose epochs cannot be read; `trials()` lists them as `unreadable`.
    """

    keys: ClassVar[tuple[str, ...]] = ("trial",)
    """Names of the keys that identify a trial."""

    @property
    @abstractmethod
    def columns(self) -> dict[str, str]:
        """Columns of `trials()` with their pandas types, except objectives and searched values."""

    @property
    @abstractmethod
    def metric(self) -> Metric | None:
        """The metric that is the score; None where several runs score differently."""

    @property
    @abstractmethod
    def score_meaning(self) -> str:
        """Meaning of the score in words: `kappa in 'a' and val_loss in 'b'`."""

    @property
    @abstractmethod
    def objectives(self) -> tuple[str, ...]:
        """Objectives of the search; empty where it only optimises the score."""

    @abstractmethod
    def rows(self) -> list[dict[str, Any]]:
        """Rows of the trials in plain values."""

    @abstractmethod
    def reports_of_all(self) -> Iterator[tuple[Keys, Reports]]:
        """Keys and epoch reports of each trial, without trials whose epochs are damaged."""

    def trials(self) -> pd.DataFrame:
        """Table with one row a trial, by number.

        `score` and the other metrics are those of the best epoch; `epochs`, `stage` and the seconds describe the trial so far.
        `flags` are those of any epoch, `flags_at_best` those of the best epoch (`spike, gap`; empty: none), and `stopped_for`
        is the flag that ended the trial. Searched values have their dotted paths as column names; they are missing where a
        trial has no such value, and the text `null` where the value is null. `parent` and `parent_epoch` are the trial that this
        one continues, and the epoch it continues from; seconds and compute do not include the inherited part. A trial whose
        files are damaged has the status `unreadable`, and the cause in `reason`.
        """
        return trials_of(self.rows(), self.columns)

    def curves(self, fields: Sequence[str]) -> pd.DataFrame:
        """Chosen fields of all epochs of all trials, one row an epoch: `trial`, `epoch`, then the fields. Faster than `epochs`.

        A value is missing where an epoch has no such field.

        Args:
            fields: names of scalar fields of the reports: metrics, `score`, `best_score`, `train_s`, `stage`, `head_lr`, …
        Raises:
            RunError: if there is no such field.
        """
        with as_run_error():
            return curves_of(self.reports_of_all(), fields, self.keys)

    def epochs(self) -> pd.DataFrame:
        """All fields of all epochs except those by class; `flags` are those of the epoch (`spike, gap`; empty: none)."""
        return epochs_of(self.reports_of_all(), self.keys)

    def per_class(self, *, every_epoch: bool = False) -> pd.DataFrame:
        """Results by class, one row a class and trial: `precision`, `recall`, `f1`, `true_count`, `predicted_count`.

        Empty in regression.

        Args:
            every_epoch: True: of all epochs; False: of the best epoch only.
        """
        return per_class_of(self.reports_of_all(), self.keys, every_epoch=every_epoch)


def trials_of(rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str]) -> pd.DataFrame:
    """Table of the rows: `columns` first, then objectives, then searched values, in the order in which they first appear."""
    import pandas as pd

    known = {name: pd.Series([row.get(name) for row in rows], dtype=kind) for name, kind in columns.items()}
    others = sorted(dict.fromkeys(name for row in rows for name in row if name not in COLUMNS), key=is_searched)
    return pd.DataFrame({**known, **{name: series([row.get(name) for row in rows]) for name in others}})


def curves_of(trials: Iterable[tuple[Keys, Reports]], fields: Sequence[str], keys: Sequence[str]) -> pd.DataFrame:
    """Chosen fields of all epochs; missing where a report has no such field.

    Args:
        trials: keys and epoch reports of each trial.
        fields: names of scalar fields.
        keys: names of the keys that identify a trial.
    Raises:
        ValueError: if a field has more than one value an epoch, or does not exist.
    """
    if nested := [field for field in fields if field in NESTED]:
        raise ValueError(f"{nested[0]} has more than one value per epoch: use per_class(), confusion() or reports()")
    columns = _Columns(keys, fields)
    seen: set[str] = set()
    for of, reports in trials:
        columns.add(of, reports)
        seen.update(*reports[-1:])
    known = {*seen, *FIELDS, *Metric} - {*NESTED, "metrics"}
    if unknown := [field for field in columns.fields if seen and field not in known]:
        raise ValueError(f"no field {unknown[0]!r} in the epoch reports; {nearest(unknown[0], sorted(known))}")
    return columns.frame()


def epochs_of(trials: Iterable[tuple[Keys, Reports]], keys: Sequence[str]) -> pd.DataFrame:
    """All fields of all epochs except those by class, one row an epoch."""
    columns = _Columns(keys)
    for of, reports in trials:
        columns.open(name for report in reports for name in report if name not in NESTED)
        columns.add(of, reports)
    return columns.frame()


def per_class_of(trials: Iterable[tuple[Keys, Reports]], keys: Sequence[str], *, every_epoch: bool) -> pd.DataFrame:
    """Results by class, of the best epoch or of all.

    Args:
        trials: keys and epoch reports of each trial.
        keys: names of the keys that identify a trial.
        every_epoch: True: of all epochs; False: of the best epoch only.
    """
    columns = _Columns(keys, ("class", "precision", "recall", "f1", "true_count", "predicted_count"))
    for of, reports in trials:
        for report in reports if every_epoch else filter(None, [best_report(reports)]):
            values = report.get("per_class") or {}
            rows = [dict(zip(values, numbers, strict=True)) for numbers in zip(*values.values(), strict=False)]
            columns.add({**of, "epoch": report["epoch"]}, [{"class": c, **row} for c, row in enumerate(rows)])
    return columns.frame()


class _Columns:
    """Lists of values that grow trial by trial and become a frame: keys first, then fields."""

    def __init__(self, keys: Iterable[str], fields: Iterable[str] = ()):
        self._keys: dict[str, list[Any]] = {**{key: [] for key in keys}, "epoch": []}
        self.fields: dict[str, list[Any]] = {}
        self.open(fields)

    def open(self, fields: Iterable[str]) -> None:
        """Adds columns for new fields; they are missing in the rows so far."""
        rows = len(self._keys["epoch"])
        for field in dict.fromkeys(fields):
            if field not in self._keys and field not in self.fields:
                self.fields[field] = [None] * rows

    def add(self, of: Keys, rows: Reports) -> None:
        """Adds the rows of one trial, which all have the same keys."""
        for name, values in self._keys.items():
            values.extend([of[name]] * len(rows) if name in of else [row[name] for row in rows])
        for name, values in self.fields.items():
            values.extend([row.get(name) for row in rows])

    def frame(self) -> pd.DataFrame:
        """The columns as a data frame; empties the lists."""
        import pandas as pd

        if "flags" in self.fields:
            self.fields["flags"] = [None if flags is None else listed(flags) for flags in self.fields["flags"]]
        made = {name: pd.Series(values, dtype=_KINDS[name]) for name, values in self._keys.items()}
        for name in list(self.fields):  # freed one by one, to save memory: there may be 300,000 epochs
            values = self.fields.pop(name)
            made[name] = pd.Series(values, dtype=_KINDS[name]) if name in _KINDS else series(values)
        return pd.DataFrame(made)


def series(values: list[Any]) -> pd.Series[Any]:
    """Values with the narrowest pandas type that holds them, so that 5 stays an integer where another row is missing."""
    import pandas as pd

    kinds = set(map(type, values)) - {type(None)}
    if kinds == {bool}:
        return pd.Series(values, dtype="boolean")
    if kinds == {int}:
        return pd.Series(values, dtype=_integers(values))
    if kinds == {str}:
        return pd.Series(values, dtype="string")
    numbers = kinds <= {int, float} and not any(isinstance(value, int) and abs(value) > 2**53 for value in values)
    return pd.Series(values, dtype="float64" if numbers else "object")


def _integers(values: list[Any]) -> str:
    """Type that holds all of these integers to the last digit: the seeds of trials may have any number of digits."""
    whole = [value for value in values if value is not None]
    if min(whole) >= -(2**63) and max(whole) < 2**63:
        return "Int64"
    return "UInt64" if min(whole) >= 0 and max(whole) < 2**64 else "object"
