"""`thaw export`: the config to keep, and the model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from search.commands.names import local, short
from search.commands.options import Name, Runs

if TYPE_CHECKING:
    from results_analysis import Trained


def export(
    name: Name,
    runs: Runs = Path("runs"),
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="File to write; by default best.yaml in the run.")
    ] = None,
    trial: Annotated[int | None, typer.Option(min=0, help="This trial; by default the best.")] = None,
    within: Annotated[
        str | None,
        typer.Option(help="With --cheapest: how near to the best score, as in 1se (standard error) or 0.01."),
    ] = None,
    cheapest: Annotated[bool, typer.Option("--cheapest", help="Of the trials --within that, the cheapest.")] = False,
    cost: Annotated[
        str | None, typer.Option(help="What --cheapest compares: a column of thaw results; by default macs or train_s.")
    ] = None,
    confirmed: Annotated[
        bool, typer.Option("--confirmed", help="The trial with the best mean over the seeds of thaw confirm.")
    ] = False,
    model: Annotated[Path | None, typer.Option(help="Also write the model, to this new folder.")] = None,
    onnx: Annotated[bool, typer.Option("--onnx", help="With --model: also as ONNX, checked against torch.")] = False,
) -> None:
    """Write a trial's config, with where it comes from, and the model; `thaw train` trains the config again."""
    from results_analysis import (
        Choice,
        Trained,
        best_confirmed,
        cheapest_within,
        find_search_or_training,
        trial_config,
        trial_of,
    )
    from results_analysis.export.best_config import training_config, write_config
    from search.config.yaml_source import InputError
    from trainables.run_folder.layout import RunLayout

    if (within is None) == cheapest or (cost is not None and not cheapest):
        raise InputError("--within and --cheapest go together, as in --within 1se --cheapest; --cost goes with them")
    if (within is not None) + (trial is not None) + confirmed > 1:
        raise InputError("--trial, --within and --confirmed each say which trial; keep one of them")
    if onnx and model is None:
        raise InputError("--onnx goes with --model DIR, the folder that the model is written to")
    run = find_search_or_training(local(name, runs), runs)
    if isinstance(run, Trained):
        if trial is not None or within is not None or confirmed:
            raise InputError(f"{run.name} is a single training run: it has no trials to choose from")
        trained, config, default = run, training_config(run), RunLayout(run.folder.root).best
    else:
        choice: int | Choice | None = trial
        if within is not None:
            choice = cheapest_within(run, within, cost=cost)
        elif confirmed:
            choice = best_confirmed(run)
        config = trial_config(run, trial=choice)
        trained, default = trial_of(run, config["provenance"]["trial"]), run.layout.best
        if isinstance(choice, Choice):
            typer.echo(f"trial {config['provenance']['trial']}: {config['provenance']['chosen']}")
    if model is not None:
        _write_model(trained, config, model, onnx=onnx)
    typer.echo(short(write_config(config, default if output is None else output)))


def _write_model(trained: Trained, config: Mapping[str, Any], folder: Path, *, onnx: bool) -> None:
    from rich.console import Console

    from search.artifacts.export_model import export_model  # imports torch

    manifest, judged = export_model(trained, config, folder, onnx=onnx, console=Console())
    metric, images = trained.metric.value, manifest.validation["images"]
    found, reported = judged.validated.metrics[metric], trained.best["score"]
    agrees = "the same as its epoch's report, to the last digit" if judged.reproduces else f"its report had {reported}"
    typer.echo(f"{short(folder)}: {metric} {found:.4f} on {images} validation images, {agrees}")
    if manifest.onnx:
        difference, checked = manifest.onnx.largest_difference, manifest.onnx.images
        typer.echo(f"ONNX: at most {difference:.1g} beside torch on {checked} images")
