"""Formats of numbers in the report."""

from __future__ import annotations

from typing import Any

from results_analysis.tables.file_formats import is_missing


def duration(seconds: float) -> str:
    """A duration as `42 s`, `3 min 20 s`, `2 h 5 min` or `3 d 4 h`."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    for unit, size, lesser, part in (("d", 86400, "h", 3600), ("h", 3600, "min", 60), ("min", 60, "s", 1)):
        if whole >= size:
            rest = whole % size // part
            return f"{whole // size} {unit} {rest} {lesser}" if rest else f"{whole // size} {unit}"
    return f"{whole} s"


def cell(value: Any) -> str:
    """A table cell as text: floats with four significant digits; empty where the value is missing."""
    if is_missing(value):
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        if value.is_integer() and abs(value) < 1e6:
            return f"{value:.0f}"
        return f"{value:.6g}" if 0.99 < abs(value) < 1 else f"{value:.4g}"
    return str(value)
