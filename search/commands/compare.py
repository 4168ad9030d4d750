"""`thaw compare`: two configs and what came of them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from search.commands.options import Runs

_SIDE = "A YAML config, a model's folder, a run, or a trial of it as RUN:7; of a search its best trial."


def compare(
    a: Annotated[str, typer.Argument(help=_SIDE)],
    b: Annotated[str, typer.Argument(help="The same.")],
    runs: Runs = Path("runs"),
    as_: Annotated[Literal["table", "json", "markdown"], typer.Option("--format", help="How it is written.")] = "table",
) -> None:
    """Show where two configs differ, and their results side by side."""
    from rich.console import Console

    from results_analysis.selection.compare_configs import compare as compared
    from results_analysis.selection.compare_configs import render, to_json, to_markdown
    from trainables.recipe.recipe import parse_recipe

    found = compared(a, b, runs, resolve=lambda given: parse_recipe(given).model_dump(mode="json"))
    if as_ == "table":
        Console().print(render(found))
    else:
        typer.echo((to_json if as_ == "json" else to_markdown)(found), nl=False)
