"""`thaw export`: writes the best config, and the model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from search.commands.names import local, say, short
from search.commands.options import Name, Runs, TrustCode

if TYPE_CHECKING:
    from results_analysis import Run, Trained


def export(
    name: Name,
    runs: Runs = Path("runs"),
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="FILE", help="Config to write. Default: best.yaml in the run's folder."),
    ] = None,
    trial: Annotated[int | None, typer.Option(min=0, metavar="N", help="Export this trial. Default: the best.")] = None,
    within: Annotated[
        str | None,
        typer.Option(
            metavar="DELTA", help="With --cheapest: margin below the best score, as in 1se (standard error) or 0.01."
        ),
    ] = None,
    cheapest: Annotated[
        bool, typer.Option("--cheapest", help="Pick the cheapest trial whose score is within --within of the best.")
    ] = False,
    cost: Annotated[
        str | None,
        typer.Option(metavar="COLUMN", help="Cost that --cheapest compares. Default: macs if known, else train_s."),
    ] = None,
    confirmed: Annotated[
        bool, typer.Option("--confirmed", help="Pick the trial with the best mean in thaw confirm.")
    ] = False,
    model: Annotated[Path | None, typer.Option(metavar="DIR", help="Also write the model, to this new folder.")] = None,
    onnx: Annotated[
        bool, typer.Option("--onnx", help="With --model: also write ONNX, verified against torch.")
    ] = False,
    trust_code: TrustCode = False,
) -> None:
    """Write the best trial's config, and optionally its model.

    The config records where it comes from; thaw train trains it again.

    Example: thaw export photos --model photos-model
    """
    from results_analysis import Trained, find_search_or_training
    from results_analysis.export.best_config import training_config, write_config
    from search.config.yaml_source import InputError
    from trainables.core.atomic_write import is_stream
    from trainables.core.own_code import trust_all
    from trainables.run_folder.layout import RunLayout

    if (within is None) == cheapest or (cost is not None and not cheapest):
        raise InputError("--within and --cheapest need each other, as in --within 1se --cheapest; --cost needs both")
    if (within is not None) + (trial is not None) + confirmed > 1:
        raise InputError("--trial, --within and --confirmed each choose the trial; give only one of them")
    if onnx and model is None:
        raise InputError("--onnx needs --model DIR, the folder that the model is written to")
    if trust_code:
        trust_all()
    run = find_search_or_training(local(name, runs), runs)
    if isinstance(run, Trained):
        if trial is not None or within is not None or confirmed:
            raise InputError(f"{run.name} is a single training run: it has no trials to choose from")
        trained, config, default = run, training_config(run), RunLayout(run.folder.root).best
    else:
        trained, config = _chosen_trial(run, trial, within=within, cost=cost, confirmed=confirmed)
        default = run.layout.best
    file = default if output is None else output
    aside = is_stream(file)  # where the config itself is the output, all else is printed to standard error
    if why := config["provenance"].get("chosen") if trial is None else None:
        say(f"trial {config['provenance']['trial']}: {why}", error=aside)
    if note := config["provenance"].get("note"):
        say(f"note: {note}", error=True)
    if model is not None:
        _write_model(trained, config, model, onnx=onnx, err=aside)
    say(short(write_config(config, file)), error=aside)


def _chosen_trial(
    run: Run, trial: int | None, *, within: str | None, cost: str | None, confirmed: bool
) -> tuple[Trained, dict[str, Any]]:
    """The trial that the options choose, and its config."""
    from results_analysis import Choice, best_confirmed, cheapest_within, trial_config, trial_of

    choice: int | Choice | None = trial
    if within is not None:
        choice = cheapest_within(run, within, cost=cost)
    elif confirmed:
        choice = best_confirmed(run)
    config = trial_config(run, trial=choice)
    return trial_of(run, config["provenance"]["trial"]), config


def _write_model(trained: Trained, config: Mapping[str, Any], folder: Path, *, onnx: bool, err: bool) -> None:
    from search.artifacts.export_model import export_model  # imports torch
    from search.progress.terminal import Console

    manifest, validation = export_model(trained, config, folder, onnx=onnx, console=Console(stderr=err))
    metric, images = trained.metric.value, manifest.validation["images"]
    found, reported = validation.validated.metrics[metric], trained.best["score"]
    agrees = "identical to the training log" if validation.reproduces else f"the training log has {reported}"
    say(f"{short(folder)}: {metric} {found:.4f} on {images} validation images, {agrees}", error=err)
    if manifest.onnx:
        difference, checked = manifest.onnx.largest_difference, manifest.onnx.images
        say(f"ONNX: differs from torch by at most {difference:.1g} on {checked} images", error=err)
