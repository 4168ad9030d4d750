"""`thaw search` and `thaw resume`: run a search until it is complete."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from search.commands.names import cli_name, local, path_word, say, search_again, short
from search.commands.options import Name, Overrides, Runs, SearchFile, TrustCode
from trainables.core.printable import command_line

if TYPE_CHECKING:
    from search.cluster.ray_connection import LocalRay
    from search.config.search_config import SearchConfig
    from search.config.yaml_source import Source
    from search.config_file.load import TrustFlags
    from search.progress.terminal import Console
    from trainables.run_folder.layout import RunLayout


def search(
    file: SearchFile,
    overrides: Overrides = None,
    runs: Runs = Path("runs"),
    new: Annotated[
        bool, typer.Option("--new", help="If the run exists, start another one with the time in its name.")
    ] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="If the run exists and is the same search, resume it.")
    ] = False,
) -> None:
    """Run a search.

    Example: thaw search search.yaml search.trials=8
    """
    from datetime import datetime

    from search.config.yaml_source import InputError, read_source
    from search.config_file.load import load_search
    from search.run_folder.fetch_mirror import holds_run
    from trainables.run_folder.layout import RunLayout

    source = read_source(file, overrides or ())
    config = load_search(source)
    layout = RunLayout((runs / config.name).absolute())
    if resume and config.mirror and holds_run(config.mirror):
        local(config.mirror, runs)
    exists = layout.config.exists()
    if exists and new:
        config = config.renamed(f"{config.name[:64]}-{datetime.now():%Y%m%d-%H%M%S}")
        layout = RunLayout(layout.root.with_name(config.name))
    elif exists and resume:
        if not _is_search_of(layout, config):
            raise InputError(f"{layout.root} is not the search that {file} describes now; start a new run with --new")
    elif exists:
        raise InputError(
            f"the run {config.name!r} exists in {runs}: resume it ({command_line('resume', config.name)}), start another run "
            "(--new), or choose another name (search.name=...)"
        )
    run(config, layout, source)


def _is_search_of(layout: RunLayout, config: SearchConfig) -> bool:
    """True if a run's file says what a config says, also where it is older than a setting and lacks it."""
    from search.config.yaml_source import InputError, read_source
    from search.config_file.load import load_search

    if layout.config.read_text(encoding="utf-8") == config.to_yaml():
        return True
    try:
        return load_search(read_source(layout.config), own=False).to_yaml() == config.to_yaml()
    except InputError:
        return False


def resume(name: Name, runs: Runs = Path("runs"), trust_code: TrustCode = False) -> None:
    """Resume a search that was stopped or killed.

    A URL resumes from the copy that search.mirror keeps there.

    Example: thaw resume photos
    """
    from results_analysis import find_run
    from search.config.yaml_source import read_source
    from search.config_file.load import check_command, load_search
    from trainables.core.own_code import trust_all
    from trainables.run_folder.layout import RunLayout

    if trust_code:
        trust_all()
    layout = RunLayout(find_run(local(name, runs), runs).absolute())
    source = read_source(layout.config)
    config = load_search(source, own=False)
    check_command(config, source)
    run(config, layout, source)


def run(config: SearchConfig, layout: RunLayout, source: Source, *, extends: bool = False) -> None:
    """Start or resume a search, and show its results.

    Args:
        config: the search.
        layout: its run folder.
        source: its file, for the places of mistakes.
        extends: True if the search has more trials than the run's file says, which is then rewritten.
    """
    from search.cluster.ray_connection import LocalRay

    with LocalRay() as here:
        _run_on(here, config, layout, source, extends=extends)


def _run_on(here: LocalRay, config: SearchConfig, layout: RunLayout, source: Source, *, extends: bool) -> None:
    from search.cluster.ray_connection import place_of
    from search.config.address import LOCAL
    from search.config.yaml_source import InputError
    from search.config_file.load import trust_flags
    from search.preflight.data_and_weights import check_data_and_weights
    from search.preflight.same_origin import EarlierRuns
    from search.progress.terminal import Console
    from search.progress.wandb_run import check_wandb
    from search.run_folder.run_lock import is_owned, owned
    from search.run_folder.status_file import read_status
    from search.tuning.warm_start import runs_to_learn_from
    from trainables.core.atomic_write import replacing
    from trainables.core.deferred_interrupt import deferred_interrupt

    if config.settings.wandb:
        check_wandb("search.wandb")
    flags = trust_flags(config)
    console, attempt, status = Console(), layout.read_attempt(), read_status(layout)
    over = status is not None and status.state == "complete"
    local_ray = place_of(config.settings.address) == LOCAL
    needed = local_ray and not over and not is_owned(layout)
    earlier = [
        EarlierRuns(layout.all_trials(), f"start another search: {search_again(layout)}"),
        *(
            EarlierRuns(run.folders, f"remove {run.name} from search.warm_start")
            for run in runs_to_learn_from(config, layout)
        ),
    ]
    check_data_and_weights(
        config.corner_recipes(),
        source,
        console,
        earlier=earlier,
        here=local_ray,
        meanwhile=here.start if needed else None,
    )
    with deferred_interrupt():
        from search.launch.failed_trials import why_nothing_finished
        from search.launch.run_search import run_search  # Ray Tune takes seconds, too
        from search.run_folder.mirror import mirrored

    try:
        with owned(layout):
            if layout.read_attempt() != attempt:
                attempt = layout.read_attempt()  # the other process's, not this command's
                raise InputError(
                    f"another process has just started {cli_name(layout.root)}; see: {command_line('watch', cli_name(layout.root))}"
                )
            if extends:
                with replacing(layout.config) as file:
                    file.write(config.to_yaml())
            with mirrored(config, layout) as mirror:
                complete = run_search(config, layout, mirror, here=here)
                _show_outcome(layout, console, flags)
                failed = why_nothing_finished(layout) if complete else None
    except OSError as error:
        if not layout.config.exists():
            raise
        raise InputError(
            f"{error}\nOnce that is fixed, resume with: {command_line('resume', cli_name(layout.root))}{flags.resume}"
        ) from None
    finally:
        if config.settings.on_finish and layout.read_attempt() != attempt:  # this command started something
            _finish(config.settings.on_finish, layout)
    if not complete:
        console.out(
            f"\nStopped. Resume with: {command_line('resume', cli_name(layout.root))}{flags.resume}", highlight=False
        )
        raise typer.Exit(130)
    if failed:
        console.out(f"\n{failed}", highlight=False)
        raise typer.Exit(1)


def _finish(command: Sequence[str], layout: RunLayout) -> None:
    """Run `on_finish`. Called after the lock on the run is released, so that the command may use the run."""
    from search.launch.on_finish import environment_of, run_on_finish

    if problem := run_on_finish(command, environment_of(layout)):
        say(f"warning: {problem}", error=True)


def _show_outcome(layout: RunLayout, console: Console, flags: TrustFlags) -> None:
    from results_analysis import RunError, export_trial, load, render, results_table

    run = load(layout.root)
    console.print()
    console.print(render(results_table(run, top=10), run.metric, width=console.width))
    try:
        best = export_trial(run)
    except RunError as error:
        console.out(str(error), highlight=False)
        return
    name = cli_name(layout.root)
    console.out(
        f"""
Best config:      {short(best)}
Train it again:   {command_line("train", path_word(best))}{flags.train}
Report:           {command_line("report", name)}
All trials:       {command_line("results", name)}
Check the best:   {command_line("confirm", name)}{flags.confirm}
Curves:           tensorboard --logdir {shlex.quote(path_word(layout.trials))}""",
        highlight=False,
    )
