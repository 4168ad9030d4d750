"""`search.on_finish`: a command of the user's that runs when a search ends."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Mapping, Sequence

from search.run_folder.status_file import read_status
from trainables.run_folder.layout import RunLayout


def environment_of(layout: RunLayout) -> dict[str, str]:
    """Environment variables for the command: THAW_RUN, THAW_STATUS, THAW_BEST_SCORE and THAW_BEST_TRIAL; unknown ones
    are empty."""
    from results_analysis import RunError, load
    from results_analysis.tables.results_table import best_of

    known = {"THAW_RUN": str(layout.root), "THAW_STATUS": "failed", "THAW_BEST_SCORE": "", "THAW_BEST_TRIAL": ""}
    if status := read_status(layout):
        known["THAW_STATUS"] = status.state
    try:
        run = load(layout.root)
        trials = run.trials()
        best = best_of(trials, run.metric)
    except RunError:
        return known
    if best is not None:
        score = trials.set_index("trial")["score"][best]
        known |= {"THAW_BEST_TRIAL": str(best), "THAW_BEST_SCORE": repr(float(score))}
    return known


def run_on_finish(command: Sequence[str], environment: Mapping[str, str]) -> str | None:
    """Runs the command and waits for its end; its output appears with ours.

    Returns:
        One line that says what went wrong; None if nothing did.
    """
    shown = f"search.on_finish: {shlex.join(command)}"
    try:
        done = subprocess.run(command, env={**os.environ, **environment}, stdin=subprocess.DEVNULL, check=False)  # noqa: S603 - the command is the user's own
    except OSError as error:
        return f"{shown}: {error.strerror}"
    except KeyboardInterrupt:
        return f"{shown}: interrupted"
    return f"{shown}: exited with status {done.returncode}" if done.returncode else None
