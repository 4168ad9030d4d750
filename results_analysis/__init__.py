"""What searches left on disk: tables, and the best trial's config with where it comes from.

`load` (runs.py) turns a run's folder into a `Run`, `load_all` several into `Runs`, which read trials and epochs as they are at
that moment: the search may still be running, have been killed, or lie on another machine's disk. Both offer the frames of
`Frames` (frames.py). `results_table` (table.py) is one row a trial, sorted and filtered; `save` (formats.py) writes it for others
and `render` (terminal.py) draws it; `export_trial` (export.py) writes a recipe that `thaw train` runs again, of the trial that
`choice.py` says. `write_report` (report/) writes one page on the whole search: its pictures (plots/) and what they come to
(conclusions.py), all of one `Snapshot` (snapshot.py). `comparison.py` knows what runs over several seeds tell (paired.py). Only the
files are read, never a live object, so neither torch nor Ray is needed, and pandas only once a table is asked for.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from results_analysis.choice import Choice, best_confirmed, best_trial, cheapest_within
    from results_analysis.compare import compare
    from results_analysis.comparison import comparison_table, confirmation_of, load_comparison, verdict
    from results_analysis.errors import RunError
    from results_analysis.export import as_yaml, export_training, export_trial, training_config, trial_config
    from results_analysis.formats import save, to_csv, to_json, to_markdown, to_parquet
    from results_analysis.frames import Frames
    from results_analysis.pareto import pareto_front
    from results_analysis.report import write_report
    from results_analysis.runs import Run, Runs, find_run, load, load_all, run_names
    from results_analysis.table import best_of, results_table
    from results_analysis.terminal import render
    from results_analysis.trained import Trained, find_search_or_training, trial_of

_MODULES = {
    "results_analysis.choice": (
        "Choice",
        "best_confirmed",
        "best_trial",
        "cheapest_within",
    ),
    "results_analysis.compare": ("compare",),
    "results_analysis.comparison": (
        "comparison_table",
        "confirmation_of",
        "load_comparison",
        "verdict",
    ),
    "results_analysis.errors": ("RunError",),
    "results_analysis.export": (
        "as_yaml",
        "export_training",
        "export_trial",
        "training_config",
        "trial_config",
    ),
    "results_analysis.formats": (
        "save",
        "to_csv",
        "to_json",
        "to_markdown",
        "to_parquet",
    ),
    "results_analysis.frames": ("Frames",),
    "results_analysis.pareto": ("pareto_front",),
    "results_analysis.report": ("write_report",),
    "results_analysis.runs": (
        "Run",
        "Runs",
        "find_run",
        "load",
        "load_all",
        "run_names",
    ),
    "results_analysis.table": (
        "best_of",
        "results_table",
    ),
    "results_analysis.terminal": ("render",),
    "results_analysis.trained": (
        "Trained",
        "find_search_or_training",
        "trial_of",
    ),
}
_OWNERS = {name: module for module, names in _MODULES.items() for name in names}

__all__ = [  # noqa: RUF022  (by module)
    "Choice",
    "best_confirmed",
    "best_trial",
    "cheapest_within",
    "compare",
    "comparison_table",
    "confirmation_of",
    "load_comparison",
    "verdict",
    "RunError",
    "as_yaml",
    "export_training",
    "export_trial",
    "training_config",
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
    "Trained",
    "find_search_or_training",
    "trial_of",
]


def __getattr__(name: str) -> Any:
    if name not in _OWNERS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_OWNERS[name]), name)
