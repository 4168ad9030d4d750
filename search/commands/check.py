"""`thaw check`: previews the data, time and memory of a search."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from search.commands.options import Overrides, SearchFile


def check(
    file: SearchFile,
    overrides: Overrides = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="DIR", help="Folder to write to. Default: checks/NAME.")
    ] = None,
) -> None:
    """Preview a search: its data, memory and expected time.

    Trains each stage on a few real batches and discards the result. Also writes a picture of the augmented images
    and a report as HTML and JSON.

    Example: thaw check search.yaml train.batch_size=64
    """
    from search.config.yaml_source import read_source
    from search.config_file.load import load_search
    from search.progress.terminal import Console

    console = Console()
    source = read_source(file, overrides or ())
    config = load_search(source)
    from search.preflight.check import CheckLayout, check_search
    from search.preflight.check_page import write_check
    from search.preflight.check_report import render  # imports torch

    found, dataset = check_search(config, source, console)
    layout = CheckLayout(output or Path("checks") / config.name)
    write_check(found, dataset, config, layout)
    console.print(render(found))
    console.out(f"\nPicture:  {layout.picture}\nPage:     {layout.page}\nNumbers:  {layout.numbers}", highlight=False)
    if layout.targets.exists():
        console.out(f"Targets:  {layout.targets}", highlight=False)
    if layout.duplicates.exists():
        console.out(f"Repeated: {layout.duplicates}", highlight=False)
    console.out(f"Resolved: {layout.config}", highlight=False)
