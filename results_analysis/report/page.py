"""The page as one text: what it is made of, and its frame with the styles and scripts that it needs."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import version
from importlib.resources import files
from typing import TYPE_CHECKING, Any, NamedTuple

from results_analysis.findings.finding import Conclusion, Topic
from results_analysis.report.number_format import cell
from results_analysis.tables.file_formats import is_missing

if TYPE_CHECKING:
    import pandas as pd
    from jinja2 import Template
    from plotly.graph_objects import Figure

ROWS = 50
"""Rows of a table that are shown at once."""


@dataclass(frozen=True)
class Fact:
    """One of the key figures at the top of the page."""

    name: str
    value: str
    note: str = ""


@dataclass(frozen=True, eq=False)
class Picture:
    """A figure of the page, with one or more panels."""

    name: str
    """Anchor on the page."""
    title: str
    caption: str
    """Explains what the figure shows and how to read it."""
    panels: Sequence[Figure]
    table: pd.DataFrame
    """Numbers that the figure is drawn from."""
    headings: Sequence[str] = ()
    """Headings of the panels, where they need one."""
    least_px: int = 0
    """Width in pixels below which a panel gets its own scroll bar."""
    side_by_side: bool = False
    """True where panels stand side by side if there is room."""


@dataclass(frozen=True, eq=False)
class Table:
    """A table of the page, shown as a whole."""

    name: str
    """Anchor on the page."""
    title: str
    caption: str
    frame: pd.DataFrame


class Thumbnail(NamedTuple):
    """A small picture of an image, or the reason why there is none."""

    address: str | None
    """Address that holds the picture (`data:`)."""
    missing: str = ""


Thumbnails = Callable[[Sequence[str | int]], Mapping[str | int, Thumbnail]]
"""Names of images -> their pictures. Reports are made without the code that decodes images: whoever asks for one passes it in."""


@dataclass(frozen=True)
class Card:
    """An image of a gallery."""

    title: str
    lines: Sequence[str]
    """Lines below the title."""
    image: Thumbnail


@dataclass(frozen=True)
class Gallery:
    """Images of the page, side by side."""

    name: str
    """Anchor on the page."""
    title: str
    caption: str
    cards: Sequence[Card]


@dataclass(frozen=True, eq=False)
class Section:
    """A section of the page."""

    name: str
    title: str
    pictures: Sequence[Picture]
    missing: str = ""
    """Reason why there is nothing to show; shown where nothing is."""
    tables: Sequence[Table] = ()
    galleries: Sequence[Gallery] = ()


@dataclass(frozen=True, kw_only=True, eq=False)
class Page:
    """Content of a page."""

    kind: str
    """Subject of the page, such as `Report of a search`."""
    name: str
    subtitle: str
    live: str = ""
    """Part of the run that is still going on; empty: none."""
    as_of: str
    """Time of the newest state that the page shows, UTC, ISO 8601; empty: before the first epoch."""
    facts: Sequence[Fact]
    conclusions: Sequence[Conclusion]
    details: Mapping[str, Sequence[tuple[str, str]]] = field(default_factory=dict)
    """Title -> names and values, folded away below the first conclusions."""
    sections: Sequence[Section]
    trials: pd.DataFrame | None = None
    """Table of all trials; None: the page is about one."""
    environment: Mapping[str, Any]

    def html(self) -> str:
        """The page as HTML that loads nothing from the network."""
        from plotly.offline import get_plotlyjs

        panels = {
            f"{picture.name}-{i}": panel
            for section in self.sections
            for picture in section.pictures
            for i, panel in enumerate(picture.panels)
        }
        return _template().render(
            page=self,
            topics=_by_topic(self.conclusions),
            rows_of=_rows_of,
            rows=ROWS,
            trials_data=_script({} if self.trials is None else _table_data(self.trials)),
            figures=_script({name: json.loads(panel.to_json()) for name, panel in panels.items()}),
            environment={key: value for key, value in self.environment.items() if not isinstance(value, list)},
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


def _by_topic(found: Sequence[Conclusion]) -> dict[str, list[Conclusion]]:
    topics = {topic.value: [c for c in found if c.topic is topic] for topic in Topic}
    return {topic: listed for topic, listed in topics.items() if listed}


def _rows_of(frame: pd.DataFrame, most: int | None = None) -> list[list[Any]]:
    return [list(row) for row in frame.head(len(frame) if most is None else most).itertuples(index=False)]


def _table_data(table: pd.DataFrame) -> dict[str, Any]:
    """A table for the page's script: column names and rows of plain values, floats with six significant digits."""
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
