"""Text from outside (names of files, classes, keys, values), made safe to show: one line, no control characters, valid Unicode."""

from __future__ import annotations

import re
import shlex

_UNSAFE = re.compile(
    "[\x00-\x1f\x7f-\x9f"  # control characters: a terminal would obey them, and a line break could forge a message
    "\u2028\u2029"  # line breaks, too
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # marks that change the order in which text is shown
    "\ud800-\udfff]"  # parts of names that are not UTF-8, which no file could hold
)
_SHORT = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}


def printable(text: str) -> str:
    r"""The text with characters that must not be shown as escapes: `\n`, `\x1b`, `\u202e`; bytes that are not UTF-8 as `\xe4`."""
    return _UNSAFE.sub(lambda found: _escape(found[0]), text)


def shown(text: str) -> str:
    """The text with its line breaks, each line `printable`."""
    return "\n".join(map(printable, text.split("\n")))


def one_message(text: str) -> str:
    """The text as one message: further lines are indented, and other line breaks are from names."""
    return "\n".join(map(printable, re.split(r"\n(?=  )", text)))


def command_line(*words: object) -> str:
    """A `thaw` command as it is typed in a shell: `thaw report 'my run'`."""
    return shlex.join(["thaw", *map(str, words)])


def _escape(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # a byte of a file name, as Python represents it
        code -= 0xDC00
    return _SHORT.get(character) or (f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}")
