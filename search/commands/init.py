"""`thaw init`: writes a search file that fits a data set."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from search.commands.options import Force


def init(
    path: Annotated[
        Path, typer.Argument(metavar="DATA", help="Class folders, a table of images, an NPZ file, or IDX files.")
    ],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="FILE", help="File to write.")] = Path(
        "search.yaml"
    ),
    force: Force = False,
) -> None:
    """Write a commented search file for your images.

    Example: thaw init photos/
    """
    from search.config.yaml_source import InputError

    if output.exists() and not force:
        raise InputError(f"{output} exists: overwrite it with --force, or name another file with -o")
    from search.config_file.template import starter
    from trainables.core.atomic_write import replacing

    text = starter(path, output)
    with replacing(output) as file:
        file.write(text)
    typer.echo(f"Wrote {output}. Next: thaw check {output}")
