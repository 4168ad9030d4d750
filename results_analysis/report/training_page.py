"""The page of a single training run: key figures, conclusions, history, classes, worst errors and checkpoints."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from results_analysis.findings.finding import format_score
from results_analysis.findings.training_conclusions import RunEvidence, training_conclusions
from results_analysis.plots.style import axis_title
from results_analysis.report.number_format import duration
from results_analysis.report.page import Fact, Page, Thumbnails
from results_analysis.report.training_sections import sections
from results_analysis.tables.training_run.snapshot import TrainingSnapshot
from trainables.core.config_errors import listed
from trainables.core.plain_yaml import dump_yaml


def training_page(snapshot: TrainingSnapshot, *, said: Sequence[str], thumbnails: Thumbnails | None = None) -> Page:
    """The page of a training run.

    Args:
        snapshot: the run.
        said: words that name the run in a command, as the user typed them.
        thumbnails: gives the pictures of the worst errors; None: they are named only.
    """
    evidence = RunEvidence(snapshot, said)
    reports = snapshot.reports
    return Page(
        kind="Report of a training run",
        name=snapshot.run.name,
        subtitle=_subtitle(snapshot),
        live="" if snapshot.is_over or snapshot.error else "not finished",
        as_of=reports[-1]["time"] if reports else "",
        facts=list(_facts(evidence)),
        conclusions=training_conclusions(evidence),
        details={"Recipe": list(_recipe(snapshot.run.recipe))},
        sections=sections(snapshot, thumbnails),
        environment=snapshot.run.environment,
    )


def _subtitle(snapshot: TrainingSnapshot) -> str:
    """Recipe in short: `efficientnet_lite0 on folder at 224 px, stages head, top, deep; scored by kappa`."""
    data, model = snapshot.section("data"), snapshot.section("model")
    size = f"{data['image_size']} px" if isinstance(data.get("image_size"), int) else ""
    what = [
        str(model.get("backbone") or "a network"),
        f"on {data.get('source') or 'data'}",
        f"at {size}" if size else "",
    ]
    stages = [str(stage.get("name")) for stage in snapshot.stages]
    return f"{' '.join(filter(None, what))}; stages {listed(stages, 6) or 'unknown'}; scored by {axis_title(snapshot.metric)}"


def _facts(evidence: RunEvidence) -> Iterator[Fact]:
    snapshot, reports = evidence.snapshot, evidence.snapshot.reports
    if snapshot.best:
        spread = evidence.spread
        interval = f"95%: {format_score(spread.low)} … {format_score(spread.high)}" if spread else ""
        note = "; ".join(filter(None, [f"epoch {snapshot.best['epoch']}", interval]))
        yield Fact(f"best {evidence.metric}", format_score(snapshot.best["score"]), note)
    most = f"of at most {snapshot.max_epochs}" if snapshot.max_epochs else ""
    yield Fact("epochs", f"{len(reports)}", most)
    images = {side: snapshot.images(side) for side in ("training", "validation")}
    if images["training"] is not None:
        yield Fact("training images", f"{images['training']:,}", f"{images['validation'] or 0:,} for validation")
    if reports:
        spent = sum(report["train_s"] + report["val_s"] for report in reports)
        speed = reports[-1].get("images_per_s")
        yield Fact("time", duration(spent), f"{speed:,.0f} training images/s at the end" if speed else "")


def _recipe(recipe: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, str]]:
    """Paths and values of a recipe; lists stand on one line each."""
    for key, value in recipe.items():
        if isinstance(value, Mapping) and value:
            yield from _recipe(value, f"{above}{key}.")
        elif isinstance(value, list) and value and all(isinstance(item, Mapping) for item in value):
            for i, item in enumerate(value):
                yield f"{above}{key}[{i}]", ", ".join(f"{name}: {_plain(part)}" for name, part in item.items())
        else:
            yield f"{above}{key}", _plain(value)


def _plain(value: Any) -> str:
    return " ".join(dump_yaml({"": value}).partition(":")[2].split())
