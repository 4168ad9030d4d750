"""File formats for tables: CSV, JSON, Markdown, Parquet."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from results_analysis.runs.errors import RunError
from results_analysis.tables.markdown import plain
from trainables.core.atomic_write import replacing
from trainables.core.config_errors import nearest
from trainables.core.printable import printable

if TYPE_CHECKING:
    import pandas as pd


def to_json(table: pd.DataFrame) -> str:
    """The table as a JSON list of objects, null where a value is missing."""
    rows = [
        {name: None if is_missing(value) else value for name, value in row.items()}
        for row in table.to_dict(orient="records")
    ]
    return json.dumps(rows, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def to_csv(table: pd.DataFrame) -> str:
    """The table as CSV with a header line, empty where a value is missing.

    Texts that a spreadsheet would run as a formula begin with an apostrophe.
    """
    texts = {name: table[name].map(_not_a_formula) for name in table.columns if table[name].dtype.kind not in "biufM"}
    safe = table.assign(**texts).rename(columns=_not_a_formula)
    return str(safe.to_csv(index=False, lineterminator="\n"))


def _not_a_formula(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    text = printable(value)
    return f"'{text}" if text.startswith(("=", "+", "-", "@")) and not _is_number(text) else text


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def to_markdown(table: pd.DataFrame) -> str:
    """The table in Markdown, with numbers aligned to the right; empty where a value is missing."""
    from pandas.api.types import is_numeric_dtype

    rules = ["---:" if is_numeric_dtype(table[name]) else "---" for name in table.columns]
    rows = [[_markdown(value) for value in row] for row in table.astype(object).to_numpy().tolist()]
    lines = [[plain(name) for name in table.columns], rules, *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def to_parquet(table: pd.DataFrame) -> bytes:
    """The table as Parquet, with its types. Columns of mixed types or lists become JSON texts: Parquet has one type a column."""
    buffer = io.BytesIO()
    mixed = {name: table[name].map(_as_json, na_action="ignore") for name in table.select_dtypes("object").columns}
    table.assign(**{name: column.astype("string") for name, column in mixed.items()}).to_parquet(buffer, index=False)
    return buffer.getvalue()


FORMATS: dict[str, Callable[[pd.DataFrame], str | bytes]] = {
    "csv": to_csv,
    "json": to_json,
    "markdown": to_markdown,
    "parquet": to_parquet,
}
_SUFFIXES = {".csv": "csv", ".json": "json", ".md": "markdown", ".parquet": "parquet"}


def format_of(file: Path) -> str | None:
    """Format by the ending of a file's name; None where the ending is unknown."""
    return _SUFFIXES.get(file.suffix.lower())


def save(table: pd.DataFrame, file: str | Path, kind: str | None = None) -> None:
    """Writes a table to a file.

    Args:
        table: the table.
        file: where to write.
        kind: one of `FORMATS`; None: by the ending of the file's name.

    Raises:
        RunError: if there is no such format, or the file cannot be written.
    """
    file = Path(file)
    kind = kind or format_of(file)
    if kind is None:
        raise RunError(f"{file}: unknown file name ending; use one of {', '.join(_SUFFIXES)}")
    if kind not in FORMATS:
        raise RunError(f"format: {kind!r}; {nearest(kind, list(FORMATS))}")
    write(FORMATS[kind](table), file)


def write(content: str | bytes, file: Path) -> None:
    """Writes text or bytes to a file, replacing it as a whole.

    Raises:
        RunError: if the file cannot be written.
    """
    try:
        with replacing(file, "wb") as stream:
            stream.write(content.encode() if isinstance(content, str) else content)
    except OSError as error:
        raise RunError(f"{file}: cannot be written: {error.strerror or error}") from None


def is_missing(value: Any) -> bool:
    """True where a cell is empty. A list counts as one value."""
    import pandas as pd

    return bool(pd.api.types.is_scalar(value) and pd.isna(value))


def _as_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _markdown(value: Any) -> str:
    return "" if is_missing(value) else plain(" ".join(str(value).split()))
