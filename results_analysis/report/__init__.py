"""The report of a search: one HTML page that holds all it shows, and asks the network for nothing.

`sections` (sections.py) makes the pictures, their captions and tables; `page` (page.py) puts them and the conclusions into
page.html; `write_report` writes the file, and `serve` (serve.py) shows it as the run goes on.
"""

from __future__ import annotations

from pathlib import Path

from results_analysis.report.search_page import search_page
from results_analysis.runs.run import Run
from results_analysis.tables.run_snapshot import take_snapshot
from trainables.core.atomic_write import replacing


def write_report(run: Run, file: Path | None = None, *, said: str | None = None) -> Path:
    """Writes the report of a run in its current state, and returns the file: `file`, or the run's `report.html`.

    Args:
        run: the run to report.
        file: where to write; None: `report.html` in the run's folder.
        said: name of the run as the user typed it, for the commands that the page proposes; None: its folder.
    Raises:
        RunError: if a file of the run cannot be read.
    """
    target = run.layout.report if file is None else file
    text = search_page(take_snapshot(run), said=str(run.layout.root) if said is None else said).html()
    with replacing(target) as stream:
        stream.write(text)
    return target
