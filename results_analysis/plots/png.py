"""Static pictures, drawn with matplotlib: an empty one, and the file that it becomes."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from trainables.core.atomic_write import replacing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_DPI = 110
_WORLD = (
    "Noto Sans CJK SC", "Noto Sans CJK JP", "Noto Sans SC", "Source Han Sans SC", "WenQuanYi Zen Hei", "PingFang SC",
    "Hiragino Sans", "Microsoft YaHei", "Noto Sans Devanagari", "Noto Sans Thai", "Noto Sans Hebrew", "Noto Sans Arabic",
    "Arial Unicode MS", "Noto Emoji",
)  # fmt: skip
"""Fonts with the letters that matplotlib's own lacks, used as far as they are installed."""


def new_png_figure(width: float, height: float) -> Figure:
    """An empty picture, independent of pyplot's state and of a display.

    Args:
        width: in inches of 110 pixels.
        height: in inches.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=_DPI, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def write_png(figure: Figure, file: Path) -> None:
    """Writes a picture; the same picture gives the same bytes.

    Args:
        figure: the picture.
        file: file to write.
    """
    from matplotlib import font_manager, rc_context

    installed = set(font_manager.get_font_names())
    fonts = ["DejaVu Sans", *(font for font in _WORLD if font in installed)]
    for text in figure.findobj(lambda artist: hasattr(artist, "set_parse_math")):
        text.set_parse_math(False)  # type: ignore[attr-defined]  # a `$` in a name is no formula
        text.set_fontfamily(fonts)  # type: ignore[attr-defined]
    with warnings.catch_warnings(), rc_context({"font.family": fonts}), replacing(file, "wb") as stream:
        warnings.filterwarnings("ignore", "Glyph")  # drawn as a box
        figure.savefig(stream, format="png", bbox_inches="tight", metadata={"Software": None})
