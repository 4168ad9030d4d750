"""Reports of a search and of a single training run: HTML pages that hold all they show, and ask the network for nothing.

`search_sections` and `training_sections` make the pictures, their captions and tables; `search_page` and `training_page` add key
figures and conclusions; `Page` (page.py) puts them into page.html. `write_report` and `write_training_report` write the file, and
`serve` (serve.py) shows it as the run goes on.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from results_analysis.report.page import Thumbnails
from results_analysis.report.search_page import search_page
from results_analysis.report.training_page import training_page
from results_analysis.runs.run import Run
from results_analysis.runs.training_run import Trained
from results_analysis.tables.run_snapshot import take_snapshot
from results_analysis.tables.training_run.snapshot import take_training_snapshot
from trainables.core.atomic_write import replacing


def write_report(run: Run, file: Path | None = None, *, said: str | None = None) -> Path:
    """Writes the report of a search in its current state, and returns the file: `file`, or the run's `report.html`.

    Args:
        run: the run to report.
        file: where to write; None: `report.html` in the run's folder.
        said: name of the run as the user typed it, for the commands that the page proposes; None: its folder.
    Raises:
        RunError: if a file of the run cannot be read.
    """
    page = search_page(take_snapshot(run), said=str(run.layout.root) if said is None else said)
    return _written(page.html(), run.layout.report if file is None else file)


def write_training_report(
    run: Trained, file: Path | None = None, *, said: Sequence[str] | None = None, thumbnails: Thumbnails | None = None
) -> Path:
    """Writes the report of a training run in its current state, and returns the file: `file`, or the run's `report.html`.

    Args:
        run: the run to report.
        file: where to write; None: `report.html` in the run's folder.
        said: words that name the run in the commands that the page proposes, such as `photos --trial 7`; None: its folder.
        thumbnails: gives the pictures of the worst errors; None: they are named only.
    Raises:
        RunError: if a file of the run cannot be read.
    """
    called = [str(run.folder.root)] if said is None else said
    page = training_page(take_training_snapshot(run), said=called, thumbnails=thumbnails)
    return _written(page.html(), run.folder.report if file is None else file)


def _written(text: str, target: Path) -> Path:
    with replacing(target) as stream:
        stream.write(text)
    return target
