"""`thaw check`: what a search would take."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from search.commands.options import Overrides


def check(
    file: Annotated[Path, typer.Argument(help="The search, a YAML file.")],
    overrides: Overrides = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Folder for pictures and numbers; by default checks/NAME.")
    ] = None,
) -> None:
    """Show what a search would take: its data, each stage on real batches, memory, time. Nothing is trained."""
    from rich.console import Console

    from search.config.yaml_source import read_source
    from search.config_file.load import load_search

    console = Console()
    source = read_source(file, overrides or ())
    config = load_search(source)
    from search.preflight.check import CheckLayout, check_search
    from search.preflight.check_report import render, write_check  # imports torch

    found, dataset = check_search(config, source, console)
    layout = CheckLayout(output or Path("checks") / config.name)
    write_check(found, dataset, config, layout)
    console.print(render(found))
    console.out(f"\nPicture:  {layout.picture}\nPage:     {layout.page}\nNumbers:  {layout.numbers}", highlight=False)
    console.out(f"Resolved: {layout.config}", highlight=False)
