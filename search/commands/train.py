"""`thaw train`: trains one recipe, without a search."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from search.commands.names import cli_name, short
from search.commands.options import Overrides, Runs, TrustCode
from trainables.core.printable import command_line


def train(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Recipe, or config written by thaw export (YAML).")],
    overrides: Overrides = None,
    runs: Runs = Path("runs"),
    new: Annotated[bool, typer.Option("--new", help="Start a new run even if this recipe has one.")] = False,
    resume: Annotated[str | None, typer.Option("--resume", metavar="NAME", help="Resume this run.")] = None,
    checkpoint: Annotated[
        str | None,
        typer.Option(
            metavar="WHICH",
            help="With --resume: continue from this checkpoint (best, an epoch, a file) and redo later epochs.",
        ),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Processes or GPUs that share each batch.")
    ] = None,
    wandb: Annotated[
        str | None,
        typer.Option(
            "--wandb",
            metavar="PROJECT",
            envvar="THAW_WANDB",
            help="Log the curves to this W&B project (ENTITY/PROJECT).",
        ),
    ] = None,
    trust_code: TrustCode = False,
) -> None:
    """Train one recipe, without a search.

    Of a search file, trains its own values. Resumes the newest run of the same recipe if there is one.

    Example: thaw train runs/photos/best.yaml
    """
    from search.config.yaml_source import InputError, read_source
    from search.config_file.load import is_search, load_recipe
    from search.preflight.data_and_weights import check_data_and_weights
    from search.preflight.same_origin import EarlierRuns
    from search.progress.terminal import Console
    from search.run_folder.run_lock import owned
    from trainables.core.deferred_interrupt import deferred_interrupt
    from trainables.core.own_code import trust_all

    if trust_code:
        trust_all()
    if checkpoint is not None and resume is None:
        raise InputError("--checkpoint needs --resume NAME, the run that the checkpoint belongs to")
    if wandb is not None:
        from search.config.search_config import checked_project
        from search.progress.wandb_run import check_wandb

        try:
            check_wandb(f"--wandb {checked_project(wandb)}")
        except ValueError as error:
            raise InputError(f"--wandb: {error}") from None
    console = Console()
    source = read_source(file, [*(overrides or ()), *([] if workers is None else [f"train.workers={workers}"])])
    recipe = load_recipe(source)
    if is_search(source):
        console.out(f"{file} is a search: this run trains the file's own values", highlight=False)
    with deferred_interrupt():  # imports torch
        from search.launch.train_one import best_line, compared_with, fingerprint_warning, new_folder, run_to_resume
        from search.launch.train_one import train as train_in

    folder = run_to_resume(recipe, runs, file.stem, new=new, resume=resume)
    earlier = [EarlierRuns([folder], "start a new run with --new")] if folder else []
    dataset = check_data_and_weights([recipe], source, console, earlier=earlier)
    provenance = source.data.get("provenance")
    if provenance and (warning := fingerprint_warning(provenance, dataset)):
        console.out(warning, highlight=False)
    folder = folder or new_folder(runs, file.stem)
    with owned(folder):
        report = train_in(recipe, folder, dataset, console, resume_from=checkpoint, project=wandb)
    console.out(f"\nRun:   {short(folder.root)}", highlight=False)
    console.out(f"Page:  {command_line('report', cli_name(folder.root.absolute()))}", highlight=False)
    outcome = compared_with(provenance, report) if provenance else best_line(report, recipe)
    console.out(outcome, highlight=False)
    if report["best_score"] is None:
        raise typer.Exit(1)
