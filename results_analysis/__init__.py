"""What searches left on disk: tables, and the best trial's config with where it comes from.

`load` (runs.py) turns a run's folder into a `Run`, which reads trials and epochs as they are at that moment: the search
may still be running, have been killed, or lie on another machine's disk. `results_table` (table.py) is one row a trial,
for CSV and JSON, and `render` (terminal.py) draws it; `export_trial` (export.py) writes a recipe that `thaw train` runs
again. Only the files are read, never a live object, so neither torch nor Ray is needed, and pandas only once a table is
asked for.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from results_analysis.export import as_yaml, best_trial, export_trial, trial_config
    from results_analysis.report import write_report
    from results_analysis.runs import Run, RunError, find_run, load, run_names
    from results_analysis.table import best_of, results_table, to_csv, to_json
    from results_analysis.terminal import render

_MODULES = {
    "results_analysis.export": ("as_yaml", "best_trial", "export_trial", "trial_config"),
    "results_analysis.report": ("write_report",),
    "results_analysis.runs": ("Run", "RunError", "find_run", "load", "run_names"),
    "results_analysis.table": ("best_of", "results_table", "to_csv", "to_json"),
    "results_analysis.terminal": ("render",),
}
_OWNERS = {name: module for module, names in _MODULES.items() for name in names}

__all__ = [  # noqa: RUF022  (by module)
    "as_yaml",
    "best_trial",
    "export_trial",
    "trial_config",
    "write_report",
    "Run",
    "RunError",
    "find_run",
    "load",
    "run_names",
    "best_of",
    "results_table",
    "to_csv",
    "to_json",
    "render",
]


def __getattr__(name: str) -> Any:
    if name not in _OWNERS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_OWNERS[name]), name)
