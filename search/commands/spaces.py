"""`thaw spaces`: lists and explains the presets of search spaces."""

from __future__ import annotations

from typing import Annotated

import typer

_AFTER = """
Use a preset with one line in the search file, `space: thumbnails`, or combine several: `space: [unfreezing, ema]`.
To see what a preset searches and why: thaw spaces NAME. Checkpoints are a setting, not searched: see train.checkpoints."""


def spaces(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="Preset to explain. Default: list all.")] = None,
) -> None:
    """List the presets of search spaces, or explain one.

    Example: thaw spaces unfreezing
    """
    from rich import box
    from rich.table import Table

    from search.config.yaml_source import InputError
    from search.progress.terminal import Console
    from spaces import SpaceError, explain, presets

    console = Console()
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    if name is None:
        for heading in ("preset", "values", "for"):
            table.add_column(heading, no_wrap=heading != "for", justify="right" if heading == "values" else "left")
        for preset in presets():
            table.add_row(preset.name, str(len(preset.lines)), preset.about)
        console.print(table)
        console.out(_AFTER.strip("\n"), highlight=False)
        return
    try:
        preset = explain(name)
    except SpaceError as error:
        raise InputError("; ".join(problem.message for problem in error.problems)) from None
    console.out(preset.about, highlight=False)
    for heading in ("value", "drawn from", "why"):
        table.add_column(heading, overflow="fold")
    for line in preset.lines:
        drawn = line.distribution + (f", when {line.when}" if line.when else "")
        table.add_row(line.path, drawn, line.why)
    console.print(table)
