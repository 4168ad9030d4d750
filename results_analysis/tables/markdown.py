"""Text from outside in Markdown: shown as it is, without links, images, HTML or new columns of a table."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from trainables.core.printable import printable

_MARKS = re.compile(r"([\\`*\[\]<>|!~]|\b_|_\b)")


def plain(text: object) -> str:
    """Text that is shown as it is."""
    return _MARKS.sub(r"\\\1", printable(str(text)))


def code(text: object) -> str:
    """Text as code, also in a table."""
    return f"`{printable(str(text)).replace('`', chr(39)).replace('|', chr(92) + '|')}`"


def table(heading: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table whose cells are Markdown already."""
    lines = [heading, ["---"] * len(heading), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)
