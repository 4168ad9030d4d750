"""Writes a report on the checkpoints of a run, in the format of the file's ending."""

from __future__ import annotations

from pathlib import Path

from results_analysis.runs.errors import RunError
from trainables.core.atomic_write import replacing
from trainables.run_folder.checkpoint_registry import read_registry
from trainables.run_folder.layout import RunFileError, TrialLayout

_FORMATS = (".html", ".md")


def write_report(folder: TrialLayout, file: Path | None = None) -> tuple[Path, ...]:
    """Writes the report, and beside a `.md` file its picture.

    Args:
        folder: folder of the run.
        file: `.html` or `.md` file; None: `checkpoints.html` in the run's folder.
    Returns:
        The files.
    Raises:
        RunError: if the file has another ending, the run has no checkpoints yet, or their registry cannot be read.
    """
    file = file or folder.checkpoint_report
    if file.suffix not in _FORMATS:
        raise RunError(f"{file}: the ending must be one of {', '.join(_FORMATS)}")
    try:
        entries = read_registry(folder.registry)
    except RunFileError as error:
        raise RunError(str(error)) from None
    if not entries:
        raise RunError(f"{folder.root} has no checkpoints yet")
    name, kept = folder.root.resolve().name, {path.name for path in folder.checkpoints.glob("[0-9]*.pt")}
    if file.suffix == ".md":
        from results_analysis.report.checkpoints.markdown import markdown
        from results_analysis.report.checkpoints.picture import draw_checkpoints

        picture = file.with_suffix(".png")
        draw_checkpoints(entries, kept, picture)
        with replacing(file) as stream:
            stream.write(markdown(name, entries, kept, picture=picture.name))
        return file, picture
    from results_analysis.report.checkpoints.html_page import page

    with replacing(file) as stream:
        stream.write(page(name, entries, kept))
    return (file,)
