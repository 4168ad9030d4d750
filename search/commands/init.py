"""`thaw init`: a search file for data that is there."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def init(
    path: Annotated[Path, typer.Argument(help="Class folders, a table of images, or IDX files.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="File to write.")] = Path("search.yaml"),
    force: Annotated[bool, typer.Option("--force", help="Write over a file that is there.")] = False,
) -> None:
    """Write a commented search file for your data."""
    from search.config.yaml_source import InputError

    if output.exists() and not force:
        raise InputError(f"{output} exists: --force writes over it, -o FILE writes another")
    from search.config_file.template import starter
    from trainables.core.atomic_write import replacing

    text = starter(path, output)
    with replacing(output) as file:
        file.write(text)
    typer.echo(f"{output} is written. Go on with: thaw check {output}")
