"""The terminal: text is shown as it is, never as markup or as a command to the terminal."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rich import console as rich_console
from rich.segment import Segment

from trainables.core.printable import shown


class Console(rich_console.Console):
    """Rich's console, without markup and emoji codes in text, and with control characters as escapes."""

    def __init__(self, **options: Any):
        super().__init__(**{"markup": False, "emoji": False, "highlight": False, **options})

    def _render_buffer(self, buffer: Iterable[Segment]) -> str:
        return super()._render_buffer(
            segment if segment.control else Segment(shown(segment.text), segment.style) for segment in buffer
        )
