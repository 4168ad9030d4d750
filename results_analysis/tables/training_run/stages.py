"""Table of a run's stages: what each opened, how long it ran, what it reached, and why it ended."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Any

from results_analysis.tables.training_run.snapshot import TrainingSnapshot
from trainables.core.config_errors import counted, listed
from trainables.run_folder.trial_columns import Report

if TYPE_CHECKING:
    import pandas as pd


def stage_table(snapshot: TrainingSnapshot) -> pd.DataFrame:
    """Table with a row for each stage that has begun.

    Columns: `stage`, `epochs` (`3–8`), `open from`, `opened`, `score` (best of the stage), `best epoch`, `validation loss` (at
    its end), `seconds`, `ended`.
    """
    import pandas as pd

    rows = []
    for index, group in groupby(snapshot.reports, key=lambda report: report["stage_index"]):
        own = list(group)
        first, last = own[0], own[-1]
        scored = [report for report in own if report["score"] is not None]
        choose = max if snapshot.metric.mode == "max" else min
        best = choose(scored, key=lambda report: report["score"]) if scored else None
        rows.append(
            {
                "stage": last["stage"],
                "epochs": f"{first['epoch']}" if len(own) == 1 else f"{first['epoch']}–{last['epoch']}",
                "open from": first["open_from"] or "",
                "opened": opened(first),
                "score": None if best is None else best["score"],
                "best epoch": None if best is None else best["epoch"],
                "validation loss": last.get("val_loss"),
                "seconds": sum(report["train_s"] + report["val_s"] for report in own),
                "ended": ended(last, _limit(snapshot, index), is_last=index == len(snapshot.stages) - 1),
            }
        )
    columns = [
        *("stage", "epochs", "open from", "opened", "score", "best epoch", "validation loss", "seconds", "ended"),
    ]
    return pd.DataFrame(rows, columns=columns).astype({"score": "float64", "best epoch": "Int64"})


def _limit(snapshot: TrainingSnapshot, index: int) -> int | None:
    """Largest number of epochs of a stage; None where the recipe does not tell."""
    found = snapshot.stages[index].get("epochs") if index < len(snapshot.stages) else None
    return found if isinstance(found, int) else None


def opened(report: Report) -> str:
    """Part of the network that a stage trains, in words, from the report of its first epoch; empty in runs of older versions."""
    facts = report.get("opened")
    if not isinstance(facts, dict):
        return ""
    parts = [listed(["head", *map(str, facts.get("blocks") or ())], 5)]
    if isinstance(numbers := facts.get("parameters"), int):
        share = facts.get("share")
        parts.append(f"{numbers:,} parameters" + (f" ({_share(share)})" if isinstance(share, float | int) else ""))
    norms = facts.get("batch_norms_open"), facts.get("batch_norms_frozen")
    if isinstance(norms[0], int) and isinstance(norms[1], int) and sum(norms):  # type: ignore[arg-type]
        parts.append(f"BatchNorms: {norms[0]} open, {norms[1]} frozen")
    return "; ".join(parts)


def _share(share: float) -> str:
    return f"{share:.1%} of the network" if share >= 0.001 else "under 0.1% of the network"


def ended(last: Report, limit: int | None, *, is_last: bool) -> str:
    """Reason why a stage ended, in words; of runs of older versions, as far as their reports tell.

    Args:
        last: report of its last epoch so far.
        limit: largest number of its epochs; None: unknown.
        is_last: True for the last stage of the recipe.
    """
    if isinstance(reason := last.get("stage_end"), str):
        return reason
    if last["stopped_for"]:
        return f"stopped for {last['stopped_for']}"
    if not (last["stage_over"] or last["finished"]):
        return "not ended"
    if limit is None:
        return "ended"
    if last["epoch_in_stage"] >= limit:
        return f"all its {counted(limit, 'epoch')}"
    return "early stop" if is_last else "plateau"


def gains(snapshot: TrainingSnapshot) -> list[tuple[Any, float]]:
    """Stages that have a score, with how much the best score so far improved in them; the first with its best score itself."""
    found: list[tuple[Any, float]] = []
    so_far: float | None = None
    for row in stage_table(snapshot).to_dict("records"):
        if (score := row["score"]) != score:
            continue
        sign = 1 if snapshot.metric.mode == "max" else -1
        found.append((row, score if so_far is None else max(0.0, sign * (score - so_far))))
        so_far = score if so_far is None else (max if sign == 1 else min)(so_far, score)
    return found
