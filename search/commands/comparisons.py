"""`thaw confirm` and `thaw ablate`: compare recipes over several seeds."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from search.commands.names import search_again, short
from search.commands.options import Name, Overrides, Runs, TrustCode
from trainables.core.printable import command_line

if TYPE_CHECKING:
    from results_analysis.selection.seed_comparison import Comparison as Found
    from search.config.yaml_source import Source
    from search.launch.seed_comparison import Comparison
    from search.preflight.same_origin import EarlierRuns
    from search.progress.terminal import Console
    from trainables.run_folder.layout import RunLayout

New = Annotated[bool, typer.Option("--new", help="Start again, in a new run with the time in its name.")]


def confirm(
    name: Name,
    runs: Runs = Path("runs"),
    top: Annotated[int, typer.Option(min=1, help="How many of the best trials to train again.")] = 3,
    seeds: Annotated[int, typer.Option(min=1, help="Number of seeds for each trial.")] = 5,
    new: New = False,
    trust_code: TrustCode = False,
) -> None:
    """Retrain the best trials with new seeds and compare them.

    Reports which is best, how certain that is, and the metric on the test split, which no other command reads.

    Example: thaw confirm photos --top 3 --seeds 5
    """
    from results_analysis import find_run, load, verdict
    from search.config.yaml_source import read_source
    from search.config_file.load import load_search
    from search.launch.confirmation import confirmation
    from search.preflight.same_origin import EarlierRuns
    from search.progress.terminal import Console
    from trainables.core.own_code import trust_all
    from trainables.run_folder.layout import RunLayout

    if trust_code:
        trust_all()
    run = load(find_run(name, runs))
    source = read_source(run.layout.config)
    comparison, same = confirmation(run, load_search(source, own=False).settings, top=top, seeds=seeds)
    console = Console()
    for first, others in same.items():
        names = f"trial{'s' if len(others) > 1 else ''} {', '.join(map(str, others))}"
        console.out(f"{names}: the same recipe as trial {first}, which stands for all of them", highlight=False)
    earlier = EarlierRuns(run.folders, f"start another search: {search_again(run.layout)}")
    found = _train(comparison, RunLayout(run.layout.confirmation.absolute()), source, console, new=new, repeats=earlier)
    for line in verdict(found):
        console.out(line, highlight=False)
    console.out(f"\nExport the winner: {command_line('export', name, '--confirmed')}", highlight=False)


def ablate(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Search file with an ablate section.")],
    overrides: Overrides = None,
    runs: Runs = Path("runs"),
    seeds: Annotated[int | None, typer.Option(min=1, help="Number of seeds. Default: ablate.seeds.")] = None,
    new: New = False,
) -> None:
    """Measure what each change of a recipe contributes.

    Trains the recipe as it is, with each change of the ablate section alone, and with all of them together.

    Example: thaw ablate search.yaml --seeds 3
    """
    from search.config.yaml_source import read_source
    from search.config_file.load import load_ablated
    from search.launch.ablation import ablation
    from search.progress.terminal import Console
    from trainables.run_folder.layout import RunLayout

    source = read_source(file, overrides or ())
    recipe, settings = load_ablated(source)
    run_name = f"{(settings.name or file.stem)[:72]}-ablate"
    comparison = ablation(source, recipe, settings, name=run_name, seeds=seeds)
    _train(comparison, RunLayout((runs / run_name).absolute()), source, Console(), new=new, against_first=True)


def _train(
    comparison: Comparison,
    layout: RunLayout,
    source: Source,
    console: Console,
    *,
    new: bool,
    repeats: EarlierRuns | None = None,
    against_first: bool = False,
) -> Found:
    """Train the missing runs of a comparison, and show its results."""
    from datetime import datetime

    from results_analysis import comparison_table, load, load_comparison
    from results_analysis.tables.terminal_comparison import render_comparison
    from search.cluster.ray_connection import LocalRay, place_of
    from search.config.address import LOCAL
    from search.config.yaml_source import InputError
    from search.preflight.data_and_weights import check_data_and_weights
    from search.preflight.same_origin import EarlierRuns
    from search.progress.wandb_run import check_wandb
    from search.run_folder.run_lock import owned
    from trainables.run_folder.layout import RunLayout

    if comparison.settings.wandb:
        check_wandb("search.wandb")
    if new and layout.config.exists():
        comparison = comparison.renamed(f"{comparison.name}-{datetime.now():%Y%m%d-%H%M%S}")
        layout = RunLayout(layout.root.with_name(comparison.name))
    elif layout.config.exists() and not comparison.is_that_of(layout.config.read_text(encoding="utf-8")):
        raise InputError(f"{short(layout.root)} holds a different comparison; start a new one with --new")
    with LocalRay() as here:
        local_ray = place_of(comparison.settings.address) == LOCAL
        meanwhile = here.start if local_ray else None
        earlier = [EarlierRuns(layout.all_trials(), "start again with --new"), *([repeats] if repeats else [])]
        check_data_and_weights(
            comparison.corner_recipes(), source, console, earlier=earlier, here=local_ray, meanwhile=meanwhile
        )
        from search.launch.failed_trials import why_nothing_finished
        from search.launch.run_search import run_search  # Ray Tune takes seconds, too

        with owned(layout):
            complete = run_search(comparison, layout, here=here)
            failed = why_nothing_finished(layout) if complete else None
    found = load_comparison(load(layout.root))
    baseline = found.candidates[0] if against_first else None
    console.print()
    console.print(render_comparison(comparison_table(found, baseline=baseline), found.metric, width=console.width))
    console.out(f"All runs: {command_line('results', short(layout.root))}", highlight=False)
    if not complete:
        console.out("Stopped. Run the same command again to resume.", highlight=False)
        raise typer.Exit(130)
    if failed:
        console.out(f"\n{failed}", highlight=False)
        raise typer.Exit(1)
    return found
