"""Epoch reports and trials' rows as frames. `Frames` is what one run and several together offer; the rest is pure."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from results_analysis.runs.columns import COLUMNS, is_searched
from results_analysis.runs.errors import as_run_error
from trainables.core.config_errors import nearest
from trainables.core.vocabulary import Metric
from trainables.run_folder.epoch_report import FIELDS, OF_CLASSES
from trainables.run_folder.trial_columns import best_report, listed

if TYPE_CHECKING:
    import pandas as pd

Keys = dict[str, Any]
"""What tells a trial: `trial`; `run` too where there are several."""
Reports = Sequence[dict[str, Any]]

_KINDS = {"run": "string", "trial": "int64", "epoch": "int64", "class": "int64"}


class Frames(ABC):
    """Tables of trials and of their epochs. They read the disk anew: a search that goes on is seen as far as it has come.

    Tables of epochs leave out trials whose epochs cannot be read; `trials()` names them.
    """

    keys: ClassVar[tuple[str, ...]] = ("trial",)
    """What tells a trial."""

    @property
    @abstractmethod
    def columns(self) -> dict[str, str]:
        """Of `trials()`, but those of objectives and searched values; with their pandas types."""

    @property
    @abstractmethod
    def metric(self) -> Metric | None:
        """What score is; None where several runs score differently."""

    @property
    @abstractmethod
    def judges(self) -> str:
        """What score is, in words: `kappa in 'a' and val_loss in 'b'`."""

    @property
    @abstractmethod
    def objectives(self) -> tuple[str, ...]:
        """What the search weighs against each other; nothing where there is the score alone."""

    @abstractmethod
    def rows(self) -> list[dict[str, Any]]:
        """The trials' rows in plain values."""

    @abstractmethod
    def reports_of_all(self) -> Iterator[tuple[Keys, Reports]]:
        """Each trial and its epoch reports, but trials whose epochs are damaged."""

    def trials(self) -> pd.DataFrame:
        """One row a trial, by number.

        `score` is the best epoch's; `epochs`, `stage` and the seconds tell how far the trial came; the other metrics are those
        of the best epoch. `flags` were raised in some epoch, `flags_at_best` in the best one (`spike, gap`; empty: none),
        and `stopped_for` is the one that ended the trial. Searched values stand under their dotted paths, missing where a trial
        has no such value. `parent` and `parent_epoch` say which trial one goes on from, and after which of its epochs; seconds
        and compute are of what it did itself. A trial whose files are damaged is `unreadable`, and `reason` says why.
        """
        return trials_of(self.rows(), self.columns)

    def curves(self, fields: Sequence[str]) -> pd.DataFrame:
        """A few fields of all epochs of all trials, fast: `trial`, `epoch`, then the fields; one row an epoch.

        What an epoch has not is missing.

        Args:
            fields: names of scalars of the reports: metrics, `score`, `best_score`, `train_s`, `stage`, `head_lr`, …
        Raises:
            RunError: if there is no such field.
        """
        with as_run_error():
            return curves_of(self.reports_of_all(), fields, self.keys)

    def epochs(self) -> pd.DataFrame:
        """All fields of all epochs but those of each class; `flags` are the epoch's: `spike, gap`; empty: none."""
        return epochs_of(self.reports_of_all(), self.keys)

    def per_class(self, *, every_epoch: bool = False) -> pd.DataFrame:
        """`precision`, `recall`, `f1`, `true_count`, `predicted_count` of each class; one row a class of a trial's best epoch.

        Empty in regression.

        Args:
            every_epoch: of all epochs, not the best alone.
        """
        return per_class_of(self.reports_of_all(), self.keys, every_epoch=every_epoch)


def trials_of(rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str]) -> pd.DataFrame:
    """The rows as a table: `columns` first, then objectives, then searched values, in the order in which they first appear."""
    import pandas as pd

    known = {name: pd.Series([row.get(name) for row in rows], dtype=kind) for name, kind in columns.items()}
    others = sorted(dict.fromkeys(name for row in rows for name in row if name not in COLUMNS), key=is_searched)
    return pd.DataFrame({**known, **{name: series([row.get(name) for row in rows]) for name in others}})


def curves_of(trials: Iterable[tuple[Keys, Reports]], fields: Sequence[str], keys: Sequence[str]) -> pd.DataFrame:
    """A few fields of all epochs; missing where a report has none.

    Raises:
        ValueError: if a field is not one value an epoch, or no report can have it.
    """
    if nested := [field for field in fields if field in OF_CLASSES]:
        raise ValueError(f"{nested[0]} is not one value an epoch: see per_class() and confusion()")
    columns = _Columns(keys, fields)
    seen: set[str] = set()
    for of, reports in trials:
        columns.add(of, reports)
        seen.update(*reports[-1:])
    known = {*seen, *FIELDS, *Metric} - {*OF_CLASSES, "metrics"}
    if unknown := [field for field in columns.fields if seen and field not in known]:
        raise ValueError(f"no field {unknown[0]!r} in the epochs' reports; {nearest(unknown[0], sorted(known))}")
    return columns.frame()


def epochs_of(trials: Iterable[tuple[Keys, Reports]], keys: Sequence[str]) -> pd.DataFrame:
    """All fields of all epochs but those of each class, one row an epoch."""
    columns = _Columns(keys)
    for of, reports in trials:
        columns.open(name for report in reports for name in report if name not in OF_CLASSES)
        columns.add(of, reports)
    return columns.frame()


def per_class_of(trials: Iterable[tuple[Keys, Reports]], keys: Sequence[str], *, every_epoch: bool) -> pd.DataFrame:
    """What is known of each class: of the best epoch, or of all."""
    columns = _Columns(keys, ("class", "precision", "recall", "f1", "true_count", "predicted_count"))
    for of, reports in trials:
        for report in reports if every_epoch else filter(None, [best_report(reports)]):
            values = report.get("per_class") or {}
            rows = [dict(zip(values, numbers, strict=True)) for numbers in zip(*values.values(), strict=False)]
            columns.add({**of, "epoch": report["epoch"]}, [{"class": c, **row} for c, row in enumerate(rows)])
    return columns.frame()


class _Columns:
    """Lists that grow by trials and become a frame: keys first, then fields."""

    def __init__(self, keys: Iterable[str], fields: Iterable[str] = ()):
        self._keys: dict[str, list[Any]] = {**{key: [] for key in keys}, "epoch": []}
        self.fields: dict[str, list[Any]] = {}
        self.open(fields)

    def open(self, fields: Iterable[str]) -> None:
        """Makes columns for fields that have none; missing in the rows so far."""
        rows = len(self._keys["epoch"])
        for field in dict.fromkeys(fields):
            if field not in self._keys and field not in self.fields:
                self.fields[field] = [None] * rows

    def add(self, of: Keys, rows: Reports) -> None:
        """Rows of one trial, whose keys are the same in all."""
        for name, values in self._keys.items():
            values.extend([of[name]] * len(rows) if name in of else [row[name] for row in rows])
        for name, values in self.fields.items():
            values.extend([row.get(name) for row in rows])

    def frame(self) -> pd.DataFrame:
        import pandas as pd

        if "flags" in self.fields:
            self.fields["flags"] = [None if flags is None else listed(flags) for flags in self.fields["flags"]]
        made = {name: pd.Series(values, dtype=_KINDS[name]) for name, values in self._keys.items()}
        for name in list(self.fields):  # each list goes when its column is made: there may be 300,000 epochs
            values = self.fields.pop(name)
            made[name] = pd.Series(values, dtype=_KINDS[name]) if name in _KINDS else series(values)
        return pd.DataFrame(made)


def series(values: list[Any]) -> pd.Series[Any]:
    """Values with the narrowest type that holds them, so that 5 stays 5 where another row has none."""
    import pandas as pd

    kinds = set(map(type, values)) - {type(None)}
    if kinds == {bool}:
        return pd.Series(values, dtype="boolean")
    if kinds == {int}:
        return pd.Series(values, dtype="Int64")
    if kinds == {str}:
        return pd.Series(values, dtype="string")
    return pd.Series(values, dtype="float64" if kinds <= {int, float} else "object")
