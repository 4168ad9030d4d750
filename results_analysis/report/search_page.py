"""The page of a search: key figures, conclusions, pictures and the table of trials."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from results_analysis.findings.conclusions import conclusions
from results_analysis.findings.finding import Evidence
from results_analysis.plots.compute_savings import savings
from results_analysis.plots.style import axis_title
from results_analysis.report.number_format import duration
from results_analysis.report.page import Fact, Page
from results_analysis.report.search_sections import sections
from results_analysis.runs.columns import UNREADABLE
from results_analysis.statistics.importance import importances
from results_analysis.tables.file_formats import is_missing
from results_analysis.tables.run_snapshot import Snapshot
from trainables.core.config_errors import counted
from trainables.core.vocabulary import TrialStatus

if TYPE_CHECKING:
    import pandas as pd


def search_page(snapshot: Snapshot, *, said: str) -> Page:
    """The page of a search.

    Args:
        snapshot: the run.
        said: name of the run as the user typed it, for the commands that the page proposes.
    """
    importance = importances(snapshot)
    evidence = Evidence(snapshot, importance, said)
    running = len(snapshot.of_status(TrialStatus.RUNNING))
    values = _best_values(evidence)
    return Page(
        kind="Report of a search",
        name=snapshot.run.name,
        subtitle=_subtitle(snapshot),
        live=f"{counted(running, 'trial')} running" if running else "",
        as_of=snapshot.taken_at,
        facts=list(_facts(evidence)),
        conclusions=conclusions(evidence),
        details={"Searched values of the best trial": values} if values else {},
        sections=sections(snapshot, importance),
        trials=_trials(snapshot),
        environment=snapshot.environment,
    )


def _subtitle(snapshot: Snapshot) -> str:
    config = snapshot.run.config
    named = [("model", "backbone"), ("data", "source")]
    parts = [
        config[section][key]
        for section, key in named
        if isinstance(config.get(section), Mapping) and key in config[section]
    ]
    what = " on ".join(map(str, parts))
    return f"{what + ', s' if what else 'S'}cored by {axis_title(snapshot.metric)}"


def _facts(evidence: Evidence) -> Iterator[Fact]:
    snapshot = evidence.snapshot
    if snapshot.best is not None:
        score = snapshot.trials.loc[snapshot.trials["trial"] == snapshot.best, "score"].iloc[0]
        spread = evidence.spread
        note = f"{evidence.format_score(spread.low)} … {evidence.format_score(spread.high)}" if spread else ""
        yield Fact(
            f"best {evidence.metric}",
            evidence.format_score(score),
            f"trial {snapshot.best}{f'; 95%: {note}' if note else ''}",
        )
    counts = snapshot.trials["status"].value_counts()
    order = [*(status.value for status in TrialStatus), UNREADABLE]
    by_status = ", ".join(f"{counts[status]} {status}" for status in order if status in counts)
    planned = f" of {snapshot.planned}" if snapshot.planned and snapshot.planned > len(snapshot.trials) else ""
    yield Fact("trials", f"{len(snapshot.trials)}{planned}", by_status)
    if len(snapshot.curves):
        seconds = savings(snapshot)
        spent = float(seconds.loc[seconds["kind"] == "spent", "seconds"].sum())
        saved = float(seconds.loc[seconds["kind"] == "saved", "seconds"].sum())
        yield Fact("compute", duration(spent), f"{len(snapshot.curves):,} epochs")
        if saved > 0:
            yield Fact("saved", f"about {saved / (spent + saved):.0%}", "by pruning and cached features")


def _best_values(evidence: Evidence) -> list[tuple[str, str]]:
    """Searched values of the best trial, as path and text."""
    snapshot = evidence.snapshot
    rows = snapshot.trials[snapshot.trials["trial"] == snapshot.best]
    if not len(rows):
        return []
    return [
        (v.path, v.format_value(rows[v.path].iloc[0]))
        for v in snapshot.searched
        if not is_missing(rows[v.path].iloc[0])
    ]


_TRIAL_COLUMNS = ("trial", "status", "score", "best_epoch", "epochs", "stage", "cost_s", "flags")


def _trials(snapshot: Snapshot) -> pd.DataFrame:
    """The table of all trials as the page shows it, best first."""
    names = {value.path: value.name for value in snapshot.searched if value.name not in _TRIAL_COLUMNS}
    lineage = ["parent", "parent_epoch"] if snapshot.trials["parent"].notna().any() else []
    reached = [name for name in snapshot.further_objectives if name not in _TRIAL_COLUMNS]
    shown = [*_TRIAL_COLUMNS, *reached, *lineage, *(value.path for value in snapshot.searched), "reason"]
    return snapshot.trials[shown].rename(columns=names)
