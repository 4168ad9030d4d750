"""Results of searches, read from disk: tables, pictures, one report, and the best trial's config.

Folders from the floor up; each imports only what is listed before it:

- `runs`: a run's folder as frames. `tables`: one row a trial, for the terminal and for files.
- `statistics`: how sure a number is. `selection`: which trial is best, and how configs compare.
- `export`: best config, model card, MLflow. `plots`: the report's pictures.
- `findings`: what they amount to, in words. `report`: all of it as one page.

Only files are read, never a live object, so neither torch nor Ray is needed; a search may still be running. The names below are
imported when first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from results_analysis.export.best_config import (
        as_yaml,
        export_training,
        export_trial,
        training_config,
        trial_config,
    )
    from results_analysis.report import write_report, write_training_report
    from results_analysis.runs.errors import RunError
    from results_analysis.runs.frames import Frames
    from results_analysis.runs.run import Run, Runs, find_run, load, load_all, run_names
    from results_analysis.runs.training_run import Trained, find_search_or_training, trial_of
    from results_analysis.selection.best_trial import Choice, best_confirmed, best_trial, cheapest_within
    from results_analysis.selection.compare_configs import compare
    from results_analysis.selection.seed_comparison import comparison_table, confirmation_of, load_comparison, verdict
    from results_analysis.tables.file_formats import save, to_csv, to_json, to_markdown, to_parquet
    from results_analysis.tables.pareto import pareto_front
    from results_analysis.tables.results_table import best_of, results_table
    from results_analysis.tables.terminal_table import render

_MODULES = {
    "results_analysis.selection.best_trial": (
        "Choice",
        "best_confirmed",
        "best_trial",
        "cheapest_within",
    ),
    "results_analysis.selection.compare_configs": ("compare",),
    "results_analysis.selection.seed_comparison": (
        "comparison_table",
        "confirmation_of",
        "load_comparison",
        "verdict",
    ),
    "results_analysis.runs.errors": ("RunError",),
    "results_analysis.export.best_config": (
        "as_yaml",
        "export_training",
        "export_trial",
        "training_config",
        "trial_config",
    ),
    "results_analysis.tables.file_formats": (
        "save",
        "to_csv",
        "to_json",
        "to_markdown",
        "to_parquet",
    ),
    "results_analysis.runs.frames": ("Frames",),
    "results_analysis.tables.pareto": ("pareto_front",),
    "results_analysis.report": ("write_report", "write_training_report"),
    "results_analysis.runs.run": (
        "Run",
        "Runs",
        "find_run",
        "load",
        "load_all",
        "run_names",
    ),
    "results_analysis.tables.results_table": (
        "best_of",
        "results_table",
    ),
    "results_analysis.tables.terminal_table": ("render",),
    "results_analysis.runs.training_run": (
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
    "write_training_report",
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
