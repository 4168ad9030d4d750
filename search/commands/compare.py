"""`thaw compare`: the differences of two configs and of their results."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from search.commands.options import Runs, TrustCode

_SIDE = "A config (YAML), a model folder, a run, or one of its trials, as in photos:7."


def compare(
    a: Annotated[str, typer.Argument(metavar="A", help=_SIDE)],
    b: Annotated[str, typer.Argument(metavar="B", help="What to compare it with, likewise.")],
    runs: Runs = Path("runs"),
    as_: Annotated[Literal["table", "json", "markdown"], typer.Option("--format", help="Output format.")] = "table",
    trust_code: TrustCode = False,
) -> None:
    """Compare two configs and their results side by side.

    A search stands for its best trial.

    Example: thaw compare photos:3 photos:7
    """
    from results_analysis.selection.compare_configs import compare as compared
    from results_analysis.selection.compare_configs import render, to_json, to_markdown
    from search.progress.terminal import Console
    from trainables.core.own_code import trust_all
    from trainables.recipe.recipe import parse_recipe

    if trust_code:
        trust_all()
    found = compared(a, b, runs, resolve=lambda given: parse_recipe(given).model_dump(mode="json"))
    if as_ == "table":
        Console().print(render(found))
    else:
        typer.echo((to_json if as_ == "json" else to_markdown)(found), nl=False)
