"""`thaw init`: writes a search file that fits a data set."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, get_args

import typer

from search.commands.names import say
from search.commands.options import Force
from trainables.core.printable import command_line
from trainables.recipe.rules.stage_plans import Plan

_COLUMN = "Column of the table that holds"


def init(
    path: Annotated[
        Path,
        typer.Argument(
            metavar="DATA",
            help="Class folders, a table or list of images, a folder with one, an NPZ file, or IDX files.",
        ),
    ],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="FILE", help="File to write.")] = Path(
        "search.yaml"
    ),
    force: Force = False,
    images: Annotated[Path | None, typer.Option(metavar="DIR", help="Folder in which a table's images are.")] = None,
    path_column: Annotated[
        str | None, typer.Option("--path", metavar="COLUMN", help=f"{_COLUMN} the image files.")
    ] = None,
    label: Annotated[str | None, typer.Option(metavar="COLUMN", help=f"{_COLUMN} the labels.")] = None,
    group: Annotated[
        str | None,
        typer.Option(metavar="COLUMN", help=f"{_COLUMN} patients or the like, which stay on one side of the split."),
    ] = None,
    split: Annotated[str | None, typer.Option(metavar="COLUMN", help=f"{_COLUMN} train, val and test.")] = None,
    task: Annotated[
        Literal["classification", "regression"] | None, typer.Option(help="Labels are classes, or numbers.")
    ] = None,
    plan: Annotated[
        Plan | None,
        typer.Option(
            metavar="PLAN", help=f"Plan of stages: {', '.join(get_args(Plan))}. Default: by the number of images."
        ),
    ] = None,
) -> None:
    """Write a commented search file for your images.

    Its comments say what was guessed. Name what was guessed wrongly, as in --label density --group patient.

    Example: thaw init photos/
    """
    from search.config.yaml_source import InputError

    if output.exists() and not force:
        raise InputError(f"{output} exists: overwrite it with --force, or name another file with -o")
    from search.config_file.template import starter, table_of
    from trainables.core.atomic_write import replacing
    from trainables.data.detection.wishes import Wishes

    wishes = Wishes(images=images, path=path_column, label=label, group=group, split=split, task=task, plan=plan)
    text, table = starter(path, output, wishes)
    if table is not None:
        if table_of(output).exists() and not force:
            raise InputError(
                f"{table_of(output)} exists: overwrite it with --force, or name another search file with -o"
            )
        with replacing(table_of(output)) as file:
            file.write(table)
    with replacing(output) as file:
        file.write(text)
    written = f"{output} and {table_of(output)}" if table is not None else f"{output}"
    say(f"Wrote {written}. Next: {command_line('check', output)}")
