"""The page as one text: conclusions, pictures, the table of trials, and the styles and scripts they need."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from results_analysis.findings.conclusions import conclusions
from results_analysis.findings.finding import Conclusion, Evidence, Topic
from results_analysis.plots.compute_savings import savings
from results_analysis.plots.style import axis_title
from results_analysis.report.number_format import cell, duration
from results_analysis.report.sections import Picture, sections
from results_analysis.runs.columns import UNREADABLE
from results_analysis.statistics.importance import importances
from results_analysis.tables.file_formats import is_missing
from results_analysis.tables.run_snapshot import Snapshot
from trainables.core.vocabulary import TrialStatus

if TYPE_CHECKING:
    import pandas as pd
    from jinja2 import Template

ROWS = 50
"""Rows of a table that are shown at once."""


@dataclass(frozen=True)
class Fact:
    """One of the key figures at the top of the page."""

    name: str
    value: str
    note: str = ""


def page(snapshot: Snapshot, *, said: str) -> str:
    """The report as HTML that loads nothing from the network.

    Args:
        snapshot: the run.
        said: name of the run as the user typed it, for the commands that the page proposes.
    """
    from plotly.offline import get_plotlyjs

    importance = importances(snapshot)
    evidence = Evidence(snapshot, importance, said)
    shown = sections(snapshot, importance)
    panels = {
        f"{picture.name}-{i}": panel for s in shown for picture in s.pictures for i, panel in enumerate(picture.panels)
    }
    return _template().render(
        name=snapshot.run.name,
        subtitle=_subtitle(snapshot),
        taken_at=snapshot.taken_at,
        running=len(snapshot.of_status(TrialStatus.RUNNING)),
        facts=list(_facts(evidence)),
        topics=_by_topic(conclusions(evidence)),
        best=_best_values(evidence),
        sections=shown,
        rows_of=_rows_of,
        rows=ROWS,
        trials=_trials(snapshot),
        trials_data=_script(_trials_data(snapshot)),
        figures=_script({name: json.loads(panel.to_json()) for name, panel in panels.items()}),
        environment={key: value for key, value in snapshot.environment.items() if not isinstance(value, list)},
        versions=f"thaw {version('thaw-search')}",
        css=_asset("page.css"),
        js=_asset("page.js"),
        plotly=get_plotlyjs(),
    )


@cache
def _template() -> Template:
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["cell"] = cell
    return environment.from_string(_asset("page.html"))


def _asset(name: str) -> str:
    return (files("results_analysis.report") / name).read_text(encoding="utf-8")


def _script(data: Any) -> str:
    """JSON that is safe inside a script element, whatever texts it holds."""
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


# --- the head -------------------------------------------------------------------------------------------------------


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


def _by_topic(found: list[Conclusion]) -> dict[str, list[Conclusion]]:
    topics = {topic.value: [c for c in found if c.topic is topic] for topic in Topic}
    return {topic: listed for topic, listed in topics.items() if listed}


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


# --- tables ---------------------------------------------------------------------------------------------------------


def _rows_of(picture: Picture) -> list[list[Any]]:
    return [list(row) for row in picture.table.head(ROWS).itertuples(index=False)]


_TRIAL_COLUMNS = ("trial", "status", "score", "best_epoch", "epochs", "stage", "cost_s", "flags")


def _trials(snapshot: Snapshot) -> pd.DataFrame:
    """The table of all trials as the page shows it, best first."""
    names = {value.path: value.name for value in snapshot.searched if value.name not in _TRIAL_COLUMNS}
    lineage = ["parent", "parent_epoch"] if snapshot.trials["parent"].notna().any() else []
    reached = [name for name in snapshot.further_objectives if name not in _TRIAL_COLUMNS]
    shown = [*_TRIAL_COLUMNS, *reached, *lineage, *(value.path for value in snapshot.searched), "reason"]
    return snapshot.trials[shown].rename(columns=names)


def _trials_data(snapshot: Snapshot) -> dict[str, Any]:
    """The same table for the page's script: column names and rows of plain values, floats with six significant digits."""
    table = _trials(snapshot)
    columns = [[_plain(value) for value in table[name]] for name in table.columns]
    return {"columns": list(table.columns), "rows": list(map(list, zip(*columns, strict=True))), "shown": ROWS}


def _plain(value: Any) -> Any:
    if is_missing(value):
        return None
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float):
        return float(f"{value:.6g}")
    return value if isinstance(value, bool | int | str) else str(value)
