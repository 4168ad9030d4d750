"""Map of images as an interactive HTML page: names and small pictures under the pointer, colouring by choice."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from results_analysis.embeddings.image_map import Colouring, ImageMap
from results_analysis.plots.style import GREY, SCORES, escaped, new_figure
from trainables.core.atomic_write import replacing

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

_SCRIPT = """
const plot = document.getElementById('{plot_id}');
if (innerWidth < 600) Plotly.relayout(plot, {
  'legend.orientation': 'h', 'legend.x': 0, 'legend.y': -0.12, 'legend.maxheight': 0.3});
const shown = document.createElement('img');
shown.style.cssText = 'position:fixed;display:none;width:96px;height:96px;object-fit:contain;pointer-events:none;'
  + 'border:1px solid #8c919b;background:#fff;image-rendering:auto;z-index:9';
document.body.append(shown);
plot.on('plotly_hover', found => {
  const picture = found.points[0].customdata[1], at = found.event;
  if (!picture) return;
  shown.src = picture;
  shown.style.left = Math.min(at.clientX + 16, innerWidth - 104) + 'px';
  shown.style.top = Math.max(at.clientY - 116, 4) + 'px';
  shown.style.display = 'block';
});
plot.on('plotly_unhover', () => { shown.style.display = 'none'; });
"""
_HEAD = '<meta name="viewport" content="width=device-width, initial-scale=1">'


def write_map_page(drawn: ImageMap, file: Path) -> None:
    """Writes a map as an HTML page that loads nothing from the network.

    Args:
        drawn: the map.
        file: file to write.
    """
    html = draw_interactive_map(drawn).to_html(include_plotlyjs=True, post_script=_SCRIPT, config={"responsive": True})
    with replacing(file) as stream:
        stream.write(html.replace("<head>", f"<head>{_HEAD}<title>{escaped(drawn.title)}</title>", 1))


def draw_interactive_map(drawn: ImageMap) -> Figure:
    """Draws a map; of several colourings, a menu chooses one."""
    from plotly.graph_objects import Scatter

    figure = new_figure(height=None)
    shown_by: list[int] = []
    for number, colouring in enumerate(drawn.colourings or [Colouring("images")]):
        for trace in _traces(drawn, colouring):
            figure.add_trace(Scatter(mode="markers", visible=number == 0, hoverlabel={"align": "left"}, **trace))
            shown_by.append(number)
    figure.update_layout(
        title={"text": escaped(drawn.title).replace("\n", "<br>"), "font": {"size": 12}, "x": 0.01},
        legend={"orientation": "v", "x": 1.01, "y": 1, "yanchor": "top"},
        margin={"t": 125},
        paper_bgcolor="#fff",
        plot_bgcolor="#fff",
    )
    figure.update_xaxes(title=escaped(drawn.axes[0]), showticklabels=False)
    figure.update_yaxes(title=escaped(drawn.axes[1]), showticklabels=False)
    if len(drawn.colourings) > 1:
        figure.update_layout(updatemenus=[_menu(drawn, shown_by)])
    return figure


def _traces(drawn: ImageMap, colouring: Colouring) -> list[dict[str, Any]]:
    if not colouring.categories:
        marker: dict[str, Any] = {"size": 7}
        if colouring.numbers is not None:
            marker |= {"color": colouring.numbers, "colorscale": SCORES, "showscale": True}
            marker["colorbar"] = {"title": colouring.title}
        every = range(len(drawn.names))
        numbers = None if colouring.numbers is None else [f"{number:g}" for number in colouring.numbers]
        return [{**_points(drawn, every, numbers or ""), "marker": marker, "showlegend": False}]
    return [
        {
            **_points(drawn, category.images.tolist(), category.name),
            "name": escaped(category.name),
            "marker": {
                "color": category.colour,
                "symbol": category.shape,
                "size": 5 if category.colour == GREY else 7,
                "opacity": 0.5 if category.colour == GREY else 0.85,
            },
        }
        for category in colouring.categories
    ]


def _points(drawn: ImageMap, images: Any, value: str | list[str]) -> dict[str, Any]:
    values = [value] * len(images) if isinstance(value, str) else value
    texts = [
        escaped(drawn.names[i]) + (f"<br>{escaped(one)}" if one else "") for i, one in zip(images, values, strict=True)
    ]
    return {
        "x": drawn.x[list(images)],
        "y": drawn.y[list(images)],
        "customdata": [[text, drawn.thumbnails.get(i, "")] for text, i in zip(texts, images, strict=True)],
        "hovertemplate": "%{customdata[0]}<extra></extra>",
    }


def _menu(drawn: ImageMap, shown_by: list[int]) -> dict[str, Any]:
    buttons = [
        {
            "label": f"colour: {colouring.title}",
            "method": "update",
            "args": [{"visible": [of == number for of in shown_by]}],
        }
        for number, colouring in enumerate(drawn.colourings)
    ]
    return {"buttons": buttons, "x": 0, "xanchor": "left", "y": 1.01, "yanchor": "bottom"}
