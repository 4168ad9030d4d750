"""Self-contained HTML page on the checkpoints of a run: which are on disk, and how much the weights of each block changed."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from results_analysis.report.checkpoints.history import Point, WeightChanges, changes_of_weights, summary, timeline
from trainables.run_folder.checkpoint_registry import Entry

if TYPE_CHECKING:
    import plotly.graph_objects as go

_STAGES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
"""Okabe and Ito's colours, which are distinct with any colour vision, on white and on black."""


def draw_timeline(points: Sequence[Point]) -> go.Figure:
    """Draws the score by epoch; filled marks are files on disk, outlines are files that were rotated out."""
    import plotly.graph_objects as go

    figure = go.Figure()
    for index, stage in enumerate(dict.fromkeys(point.stage for point in points)):
        own, colour = [point for point in points if point.stage == stage], _STAGES[index % len(_STAGES)]
        figure.add_scatter(
            x=[point.epoch for point in own],
            y=[point.score for point in own],
            name=stage,
            mode="markers+text",
            text=[point.mark for point in own],
            textposition="top center",
            cliponaxis=False,
            marker={
                "color": colour,
                "opacity": 1,
                "size": [16 if "best" in point.mark else 12 for point in own],
                "symbol": [_symbol(point) for point in own],
                "line": {"width": 2, "color": colour},
            },
            customdata=[[f"{point.size_mb:.1f} MB, {'on disk' if point.kept else 'rotated out'}"] for point in own],
            hovertemplate="epoch %{x}: %{y:.4f}<br>%{customdata[0]}<extra>%{fullData.name}</extra>",
        )
    figure.update_layout(xaxis_title="epoch", yaxis_title="score", height=380)
    return figure


def _symbol(point: Point) -> str:
    shape = "star" if "best" in point.mark else "diamond" if point.mark else "circle"
    return shape if point.kept else f"{shape}-open"


def draw_norms(moved: WeightChanges) -> go.Figure:
    """Draws the norm of each block's weights, relative to the first epoch in which it trained."""
    import plotly.graph_objects as go
    from plotly.colors import sample_colorscale

    figure = go.Figure()
    count = len(moved.blocks)
    colours = sample_colorscale("Viridis", [0.25 + 0.6 * i / max(1, count - 1) for i in range(count)])
    for block, norms, colour in zip(moved.blocks, moved.norms, colours, strict=True):
        first = next((norm for norm in norms if norm), None)
        figure.add_scatter(
            x=moved.epochs,
            y=[None if norm is None or first is None else norm / first for norm in norms],
            name=block,
            mode="lines+markers",
            line={"color": colour, "dash": "dot" if block == "head" else "solid"},
            customdata=norms,
            hovertemplate="epoch %{x}: %{customdata:.4g}<extra>%{fullData.name}</extra>",
        )
    figure.update_layout(xaxis_title="epoch", yaxis_title="norm, relative to its first", height=380)
    return figure


def draw_changes(moved: WeightChanges) -> go.Figure:
    """Draws the change of each block in each epoch, on a logarithmic scale."""
    import plotly.graph_objects as go

    logs = [[math.log10(change) if change else None for change in row] for row in moved.changes]
    ticks = range(-6, 2)
    figure = go.Figure(
        go.Heatmap(
            x=moved.epochs,
            y=moved.blocks,
            z=logs,
            customdata=moved.changes,
            colorscale="Viridis",
            colorbar={"tickvals": list(ticks), "ticktext": [f"{100 * 10.0**tick:g}%" for tick in ticks]},
            hovertemplate="%{y}, epoch %{x}: %{customdata:.3%}<extra></extra>",
        )
    )
    figure.update_layout(xaxis_title="epoch", height=140 + 34 * len(moved.blocks))
    figure.update_yaxes(autorange="reversed", type="category")
    return figure


def page(name: str, entries: Sequence[Entry], kept: set[str]) -> str:
    """HTML of the page.

    Args:
        name: of the run.
        entries: the registry of checkpoints.
        kept: names of the files on disk.
    """
    from plotly.offline import get_plotlyjs

    points, moved = timeline(entries, kept), changes_of_weights(entries)
    figures = [
        (
            "Timeline",
            "Filled: the file is on disk. Outline: it was rotated out. Star: the best epoch.",
            draw_timeline(points),
        ),
        (
            "Norms of blocks",
            "Norms of the current weights (not of averaged ones), relative to the first epoch in which the block trained.",
            draw_norms(moved),
        ),
        (
            "Change by block",
            "How much the weights of a block changed in an epoch, relative to their norm. Blank: frozen, or just unfrozen.",
            draw_changes(moved),
        ),
    ]
    parts = [
        f"<section><h2>{heading}</h2><p>{note}</p>{_embedded(figure)}</section>" for heading, note, figure in figures
    ]
    return _PAGE.format(
        title=html.escape(name),
        summary=summary(points),
        plotly=get_plotlyjs(),
        parts="".join(parts),
        rows=_rows(points),
    )


def _embedded(figure: go.Figure) -> str:
    figure.update_layout(
        template="none",
        margin={"l": 90, "r": 20, "t": 30, "b": 50},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
    )
    figure.update_xaxes(automargin=True)
    figure.update_yaxes(automargin=True)
    embedded: str = figure.to_html(
        full_html=False, include_plotlyjs=False, config={"displayModeBar": False, "responsive": True}
    )
    return embedded


def _rows(points: Sequence[Point]) -> str:
    return "".join(
        f"<tr><td>{point.epoch}<td>{html.escape(point.stage)}<td>{point.score:.4f}<td>{html.escape(point.mark)}"
        f"<td>{point.size_mb:.1f}<td>{point.saved_in}<td>{'on disk' if point.kept else 'rotated out'}</tr>"
        for point in points
    )


_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{title}: checkpoints</title>
<link rel="icon" href="data:,">
<style>
:root {{ color-scheme: light dark }}
body {{ margin: 2rem auto; max-width: 70rem; padding: 0 1rem; font: 15px/1.5 system-ui, sans-serif;
  color: light-dark(#1b1b1b, #e6e6e6); background: light-dark(#fff, #16181c) }}
h1, h2 {{ line-height: 1.2 }} p {{ margin: 0 0 .5rem; opacity: .8 }}
table {{ border-collapse: collapse; font-variant-numeric: tabular-nums }}
th, td {{ padding: .15rem 1rem .15rem 0; text-align: left; border-bottom: 1px solid #8884 }}
</style>
<script>{plotly}</script>
<h1>Checkpoints of {title}</h1><p>{summary}</p>
{parts}
<section><h2>All checkpoints</h2><table>
<tr><th>epoch<th>stage<th>score<th>mark<th>MB<th>saved in<th>file</tr>{rows}</table></section>
<script>
const dark = matchMedia("(prefers-color-scheme: dark)");
function paint() {{
  const ink = dark.matches ? "#e6e6e6" : "#1b1b1b", axis = {{gridcolor: "#8884", zerolinecolor: "#8886", linecolor: "#8888"}};
  for (const plot of document.querySelectorAll(".plotly-graph-div"))
    Plotly.update(plot, {{}}, {{"font.color": ink, ...Object.fromEntries(["xaxis", "yaxis"].flatMap(
      (a) => Object.entries(axis).map(([k, v]) => [`${{a}}.${{k}}`, v])))}});
}}
paint();
dark.addEventListener("change", paint);
</script>
</html>
"""
