"""The `thaw` command. Imports what a command needs when it runs, so that `thaw --help` answers at once."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from search.config import SearchConfig
    from search.source import Source
    from trainables.layout import RunLayout

app = typer.Typer(
    help="Searches the hyperparameters of staged-unfreezing fine-tuning.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

Runs = Annotated[Path, typer.Option("--runs", envvar="THAW_RUNS", help="Folder that holds the runs.")]
Overrides = Annotated[list[str] | None, typer.Argument(help="Values that beat the file's: train.batch_size=64")]
Name = Annotated[str, typer.Argument(help="The run's name, or its folder.")]


@app.command()
def init(
    path: Annotated[Path, typer.Argument(help="Class folders, a table of images, or IDX files.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="File to write.")] = Path("search.yaml"),
    force: Annotated[bool, typer.Option("--force", help="Write over a file that is there.")] = False,
) -> None:
    """Write a commented search file for your data."""
    from search.source import InputError

    if output.exists() and not force:
        raise InputError(f"{output} exists: --force writes over it, -o FILE writes another")
    from search.starter import starter
    from trainables.layout import replacing

    text = starter(path, output)
    with replacing(output) as file:
        file.write(text)
    typer.echo(f"{output} is written. Go on with: thaw check {output}")


@app.command()
def search(
    file: Annotated[Path, typer.Argument(help="The search, a YAML file.")],
    overrides: Overrides = None,
    runs: Runs = Path("runs"),
    new: Annotated[
        bool, typer.Option("--new", help="Start beside a run of this name, with the time in its name.")
    ] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with a run of this name that is the same search.")
    ] = False,
) -> None:
    """Run a search."""
    from datetime import datetime

    from search.load import load_search
    from search.source import InputError, read_source
    from trainables.layout import RunLayout

    source = read_source(file, overrides or ())
    config = load_search(source)
    layout = RunLayout((runs / config.name).absolute())
    exists = layout.config.exists()
    if exists and new:
        config = config.renamed(f"{config.name[:64]}-{datetime.now():%Y%m%d-%H%M%S}")
        layout = RunLayout(layout.root.with_name(config.name))
    elif exists and resume:
        if layout.config.read_text(encoding="utf-8") != config.to_yaml():
            raise InputError(f"{layout.root} holds another search than {file} is now; --new starts one beside it")
    elif exists:
        raise InputError(
            f"the run {config.name!r} exists in {runs}: go on with it (thaw resume {config.name}), start one beside it "
            "(--new), or choose another name (search.name=...)"
        )
    _run(config, layout, source)


@app.command()
def check(
    file: Annotated[Path, typer.Argument(help="The search, a YAML file.")],
    overrides: Overrides = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Folder for pictures and numbers; by default checks/NAME.")
    ] = None,
) -> None:
    """Show what a search would take: its data, each stage on real batches, memory, time. Nothing is trained."""
    from rich.console import Console

    from search.load import load_search
    from search.source import read_source

    console = Console()
    source = read_source(file, overrides or ())
    config = load_search(source)
    from search.check import CheckLayout, check_search, write_check  # imports torch
    from search.check_report import render

    found, dataset = check_search(config, source, console)
    layout = CheckLayout(output or Path("checks") / config.name)
    write_check(found, dataset, config, layout)
    console.print(render(found))
    console.out(f"\nPicture:  {layout.picture}\nPage:     {layout.page}\nNumbers:  {layout.numbers}", highlight=False)
    console.out(f"Resolved: {layout.config}", highlight=False)


@app.command()
def resume(name: Name, runs: Runs = Path("runs")) -> None:
    """Go on with a search that was stopped or killed."""
    from results_analysis import find_run
    from search.load import load_search
    from search.source import read_source
    from trainables.layout import RunLayout

    layout = RunLayout(find_run(name, runs).absolute())
    source = read_source(layout.config)
    _run(load_search(source), layout, source)


def _run(config: SearchConfig, layout: RunLayout, source: Source) -> None:
    """Starts a search or goes on with it, and shows what came of it."""
    from rich.console import Console

    from search.ownership import owned
    from search.preflight import check_by_looking

    console = Console()
    check_by_looking(config.corner_recipes(), source, console)
    from search.launch import run_search  # Ray takes seconds: what is wrong is said before

    with owned(layout):
        complete = run_search(config, layout)
        _show_outcome(layout, console)
    if not complete:
        console.out(f"\nStopped. Go on with: thaw resume {_said(layout.root)}", highlight=False)
        raise typer.Exit(130)


def _show_outcome(layout: RunLayout, console: Console) -> None:
    from results_analysis import RunError, export_trial, load, render, results_table

    run = load(layout.root)
    console.print()
    console.print(render(results_table(run, top=10), run.metric, width=console.width))
    try:
        best = export_trial(run)
    except RunError as error:
        console.out(str(error), highlight=False)
        return
    name = _said(layout.root)
    console.out(
        f"""
Best config:      {_short(best)}
Train it again:   thaw train {_short(best)}
All trials:       thaw results {name}
Curves:           tensorboard --logdir {_short(layout.trials)}""",
        highlight=False,
    )


def _short(path: Path) -> str:
    """Relative to here where that is shorter."""
    try:
        return str(path.absolute().relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def _said(run: Path) -> str:
    """How the user names a run on the command line."""
    return run.name if run.parent == Path("runs").absolute() else _short(run)


@app.command()
def train(
    file: Annotated[Path, typer.Argument(help="A recipe, or a config that `thaw export` wrote.")],
    overrides: Overrides = None,
    runs: Runs = Path("runs"),
    new: Annotated[bool, typer.Option("--new", help="A new run, though there is one of this recipe.")] = False,
    resume: Annotated[str | None, typer.Option("--resume", metavar="NAME", help="Go on with this run.")] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes or GPUs that share each batch: train.workers=N.")
    ] = None,
) -> None:
    """Train one recipe, without a search. Goes on with the newest run of the same recipe, if there is one."""
    from rich.console import Console

    from search.load import load_recipe
    from search.ownership import owned
    from search.preflight import check_by_looking
    from search.source import read_source

    console = Console()
    source = read_source(file, [*(overrides or ()), *([] if workers is None else [f"train.workers={workers}"])])
    recipe = load_recipe(source)
    from search.train import best_line, choose_folder, compared_with, fingerprint_warning  # imports torch
    from search.train import train as train_in

    folder = choose_folder(recipe, runs, file.stem, new=new, resume=resume)
    dataset = check_by_looking([recipe], source, console)
    provenance = source.data.get("provenance")
    if provenance and (warning := fingerprint_warning(provenance, dataset)):
        console.out(warning, highlight=False)
    if recipe.train.workers > 1:
        from search.process_check import check_processes

        check_processes(recipe, dataset, source)
    with owned(folder):
        report = train_in(recipe, folder, dataset, console)
    console.out(f"\nRun:   {_short(folder.root)}", highlight=False)
    outcome = compared_with(provenance, report) if provenance else best_line(report, recipe)
    console.out(outcome, highlight=False)


@app.command()
def results(
    name: Name,
    runs: Runs = Path("runs"),
    sort: Annotated[str, typer.Option(help="Column to sort by; -column turns it round.")] = "score",
    where: Annotated[str | None, typer.Option(help="Which trials: \"status == 'finished' and score > 0.5\".")] = None,
    top: Annotated[int | None, typer.Option(min=1, help="Only the first so many.")] = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="Every column, as CSV.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Every column, as JSON.")] = False,
) -> None:
    """Show a search's trials."""
    from rich.console import Console

    from results_analysis import find_run, load, render, results_table, to_csv, to_json

    run = load(find_run(name, runs))
    table = results_table(run, sort=sort, where=where, top=top)
    if as_csv or as_json:
        typer.echo((to_csv if as_csv else to_json)(table), nl=False)
    else:
        console = Console()
        console.print(render(table, run.metric, width=console.width))


@app.command()
def export(
    name: Name,
    runs: Runs = Path("runs"),
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="File to write; by default best.yaml in the run.")
    ] = None,
    trial: Annotated[int | None, typer.Option(min=0, help="This trial; by default the best.")] = None,
) -> None:
    """Write a trial's config, with where it comes from; `thaw train` trains it again."""
    from results_analysis import export_trial, find_run, load

    typer.echo(_short(export_trial(load(find_run(name, runs)), output, trial=trial)))


@app.command()
def data(
    verify: Annotated[
        bool, typer.Option("--verify", help="Read everything; exit status 1 if something is damaged.")
    ] = False,
    clear: Annotated[
        str | None, typer.Option("--clear", metavar="WHICH", help="Remove all, damaged, or what was not used for 30d.")
    ] = None,
) -> None:
    """Show, verify or clear the cache of decoded images."""
    from rich.console import Console

    from search import cached_data
    from trainables.data.cache import entries

    console = Console()
    if clear is not None:
        for entry, went in cached_data.clear(clear):
            console.out("removed" if went else "in use, or another user's:", cached_data.named(entry), highlight=False)
    held = entries()
    if held:
        console.print(cached_data.listing(held))
    console.out(cached_data.held_line(held), highlight=False)
    if verify:
        bad = cached_data.damaged(held)
        for entry in bad:
            console.out("damaged:", cached_data.named(entry), highlight=False)
        console.out(
            "Remove it with: thaw data --clear damaged" if bad else "all are as they were written", highlight=False
        )
        raise typer.Exit(1 if bad else 0)


@app.command()
def schema() -> None:
    """Print the JSON Schema of a search file, for editors."""
    import json

    from search.config import json_schema

    typer.echo(json.dumps(json_schema(), indent=2))


def main() -> None:
    """Entry point: what the user got wrong is one message and exit status 2."""
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        if not _is_the_users(error):
            raise
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


def _is_the_users(error: Exception) -> bool:
    from results_analysis import RunError
    from search.source import InputError
    from trainables.layout import RunFileError
    from trainables.problems import ConfigError

    # OSError: a full disk, a folder that cannot be written. It names the file.
    return isinstance(error, InputError | ConfigError | RunError | RunFileError | OSError)
