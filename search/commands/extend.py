"""`thaw extend`: adds trials to a search."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from search.commands.options import Name, Runs, TrustCode


def extend(
    name: Name,
    trials: Annotated[
        str, typer.Option("--trials", metavar="N", help="How many more (+32), or how many in total (64).")
    ],
    runs: Runs = Path("runs"),
    trust_code: TrustCode = False,
) -> None:
    """Continue a search with more trials.

    The new trials are those that a longer search would have run.

    Example: thaw extend photos --trials +32
    """
    from results_analysis import find_run
    from search.commands.search import run
    from search.config.yaml_source import InputError, read_source
    from search.config_file.load import check_command, load_search
    from search.run_folder.run_lock import owned
    from trainables.core.own_code import trust_all
    from trainables.run_folder.layout import RunLayout

    if trust_code:
        trust_all()
    layout = RunLayout(find_run(name, runs).absolute())
    with owned(layout):
        now = load_search(read_source(layout.config), own=False).settings.trials
        wanted, there = _wanted(trials, now), len(layout.all_trials())
        if wanted < there:
            raise InputError(f"--trials {trials}: {layout.root} already has {there} trials; give at least {there}")
        # Read as a typed override: settings that contradict the new number are reported before `run` writes the file.
        source = read_source(layout.config, [f"search.trials={wanted}"])
        config = load_search(source, own=False)
        check_command(config, source)
    run(config, layout, source, extends=True)


def _wanted(trials: str, now: int) -> int:
    from search.config.yaml_source import InputError

    if not re.fullmatch(r"\+?[0-9]+", trials) or int(trials) == 0:
        raise InputError(f"--trials {trials}: give a number of trials, such as +32 (more) or 64 (in total)")
    return now + int(trials) if trials.startswith("+") else int(trials)
