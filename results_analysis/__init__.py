"""What searches left on disk: tables, and the best trial's config with where it comes from.

`load` (runs.py) turns a run's folder into a `Run`, `load_all` several into `Runs`, which read trials and epochs as they are at
that moment: the search may still be running, have been killed, or lie on another machine's disk. Both offer the frames of
`Frames` (frames.py). `results_table` (table.py) is one row a trial, sorted and filtered; `save` (formats.py) writes it for others
and `render` (terminal.py) draws it; `export_trial` (export.py) writes a recipe that `thaw train` runs
again. `write_report` (report/) writes one page on the whole search: its pictures (plots/) and what they come to (conclusions.py),
all of one `Snapshot` (snapshot.py). Only the files are read, never a live object, so neither torch nor Ray is needed, and pandas
only once a table is asked for.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from results_analysis.errors import RunError
    from results_analysis.export import as_yaml, best_trial, export_trial, trial_config
    from results_analysis.formats import save, to_csv, to_json, to_markdown, to_parquet
    from results_analysis.frames import Frames
    from results_analysis.pareto import pareto_front
    from results_analysis.report import write_report
    from results_analysis.runs import Run, Runs, find_run, load, load_all, run_names
    from results_analysis.table import best_of, results_table
    from results_analysis.terminal import render

_MODULES = {
    "results_analysis.errors": ("RunError",),
    "results_analysis.export": ("as_yaml", "best_trial", "export_trial", "trial_config"),
    "results_analysis.formats": ("save", "to_csv", "to_json", "to_markdown", "to_parquet"),
    "results_analysis.frames": ("Frames",),
    "results_analysis.pareto": ("pareto_front",),
    "results_analysis.report": ("write_report",),
    "results_analysis.runs": ("Run", "Runs", "find_run", "load", "load_all", "run_names"),
    "results_analysis.table": ("best_of", "results_table"),
    "results_analysis.terminal": ("render",),
}
_OWNERS = {name: module for module, names in _MODULES.items() for name in names}

__all__ = [  # noqa: RUF022  (by module)
    "RunError",
    "as_yaml",
    "best_trial",
    "export_trial",
    "trial_config",
    "save",
    "to_csv",
    "to_json",
    "to_markdown",
    "to_parquet",
    "Frames",
    "pareto_front",
    "write_report",
    "Run",
    "Runs",
    "find_run",
    "load",
    "load_all",
    "run_names",
    "best_of",
    "results_table",
    "render",
]


def __getattr__(name: str) -> Any:
    if name not in _OWNERS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_OWNERS[name]), name)
