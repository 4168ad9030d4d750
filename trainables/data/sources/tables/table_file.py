"""`TableFile`: a CSV, TSV or Parquet file, recognised by its content.

The only reader of tables: of training, `thaw init` and `thaw predict`.
"""

from __future__ import annotations

import codecs
import csv
import io
import itertools
import os
import unicodedata
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, TypeVar

import numpy as np

from trainables.data.sources.tables.table_cells import Cells
from trainables.storage.urls import is_url, opened, read_bytes

if TYPE_CHECKING:
    import pandas as pd

SUFFIXES = (".csv", ".tsv", ".parquet", ".pq")
"""Endings by which a table is known among other files."""
MISSING = frozenset({"", "NA", "N/A", "#N/A", "<NA>", "NaN", "nan", "NULL", "null"})
"""Texts that mean a missing value. Not `None`, which can be a class, such as "no finding"."""
_T = TypeVar("_T")
_DELIMITERS = (",", ";", "\t", "|")
_TRIED_ROWS = 20
"""Rows by which the delimiter is recognised."""
_START = 1 << 16
"""Bytes of a file by which its encoding and its delimiter are recognised."""
_MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
_OTHER_KINDS = {
    b"PK\x03\x04": "an Excel workbook or a ZIP archive; save the sheet as CSV",
    b"\xd0\xcf\x11\xe0": "an Excel workbook; save the sheet as CSV",
    b"\x1f\x8b": "compressed; unpack it",
}
_TO_UTF8 = "save it as UTF-8 (iconv -f windows-1252 -t utf-8, if it comes from Excel)"


class TableError(ValueError):
    """A file cannot be read as a table; the message has its name, the reason and the mend."""


class ColumnError(TableError):
    """A column holds neither text nor numbers."""

    def __init__(self, place: str, name: str, held: object):
        self.name = name
        super().__init__(f"{place}: the column {name!r} holds {held}, which is neither text nor numbers")


@dataclass(frozen=True)
class TableFile:
    """Table whose columns are known, and whose rows are read when they are asked for."""

    place: str
    names: tuple[str, ...]
    """Names of the columns, without blanks around them. May hold a name twice."""
    _read: Callable[[Sequence[int]], Any]
    """Positions of columns -> pyarrow.Table with these columns."""

    def cells(self, names: Sequence[str], exact: Collection[str] = ()) -> dict[str, Cells]:
        """Reads columns: name -> cells, their texts without blanks around them and in Unicode's composed form (NFC).

        Args:
            names: columns that the table has.
            exact: those whose texts stay as they are, such as names of files.
        Raises:
            TableError: if the rows cannot be read, there are none, or a column holds neither text nor numbers.
        """
        chosen = list(dict.fromkeys(names))
        table = _guarded(self.place, lambda: self._read([self.names.index(name) for name in chosen]))
        if table.num_rows == 0:
            raise TableError(f"{self.place}: holds no rows")
        return {name: _cells(table.column(i), self.place, name, exact=name in exact) for i, name in enumerate(chosen)}

    def frame(self) -> pd.DataFrame:
        """Whole table as texts; missing values are what pandas takes for missing."""
        import pandas as pd

        cells = self.cells(self.names)
        texts = {name: np.array([*column.values, None], dtype=object)[column.codes] for name, column in cells.items()}
        return pd.DataFrame(texts, columns=list(cells))


def is_table_name(place: str | Path) -> bool:
    """Returns True if a path or URL ends like that of a table."""
    return str(place).lower().endswith(SUFFIXES)


def open_table_file(place: str) -> TableFile:
    """Opens a table.

    Args:
        place: path or URL; the format is recognised by the content.
    Raises:
        TableError: if it does not exist, or is not a table.
    """
    if not is_url(place) and Path(place).is_dir():
        raise TableError(f"{place}: is a folder; a CSV, TSV or Parquet file is needed")
    return _guarded(place, lambda: _opened(place))


def _opened(place: str) -> TableFile:
    content = read_bytes(place) if is_url(place) else None
    with opened(place) if content is None else io.BytesIO(content) as file:
        start = file.read(_START)
        file.seek(0)
        if start[:4] == b"PAR1":
            return _parquet(place, content)
        if other := next((text for mark, text in _OTHER_KINDS.items() if start.startswith(mark)), None):
            raise ValueError(f"is {other}")
        form = _form_of(file, start, place)
    return TableFile(place, form.names, lambda columns: _read_text(place, content, form, columns))


def _guarded(place: str, work: Callable[[], _T]) -> _T:
    import pyarrow

    try:
        return work()
    except TableError:
        raise
    except UnicodeDecodeError as error:
        raise TableError(f"{place}: is not written in UTF-8 (byte {error.start}); {_TO_UTF8}") from None
    except (OSError, ValueError, csv.Error, pyarrow.ArrowException) as error:
        raise TableError(f"{place}: {_reason(error)}") from None


def _reason(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "does not exist"
    if isinstance(error, OSError) and not isinstance(error, ValueError):
        return error.strerror or str(error)
    text = str(error).strip().partition("\n")[0]
    if "invalid UTF8" in text:
        return f"is not written in UTF-8; {_TO_UTF8}"
    return text if text.startswith(("is ", "holds ")) else f"is damaged, or is not a table: {text}"


# --- Parquet ----------------------------------------------------------------------------------------------------------


def _parquet(place: str, content: bytes | None) -> TableFile:
    import pyarrow
    import pyarrow.parquet

    def source() -> Any:
        return place if content is None else pyarrow.BufferReader(content)

    own = list(pyarrow.parquet.read_schema(source()).names)

    def read(columns: Sequence[int]) -> Any:
        return pyarrow.parquet.read_table(source(), columns=[own[i] for i in columns], partitioning=None)

    return TableFile(place, tuple(map(_clean, own)), read)


# --- texts ------------------------------------------------------------------------------------------------------------


class _Form(NamedTuple):
    """Form in which a text file holds a table."""

    encoding: str
    delimiter: str
    skipped: int
    """Lines before the header: empty ones, and Excel's `sep=;`."""
    names: tuple[str, ...]


def _form_of(file: BinaryIO, start: bytes, place: str) -> _Form:
    encoding = next((name for mark, name in _MARKS if start.startswith(mark)), "utf-8")
    if b"\0" in start and encoding != "utf-16":
        raise ValueError("is no text: it holds zero bytes")
    lines = io.TextIOWrapper(file, encoding=encoding, newline="")
    skipped, delimiter, header = 0, None, None
    try:
        for line in lines:
            named = line.strip().strip('"')
            if named.lower().startswith("sep=") and len(named) <= len("sep=x"):
                delimiter = named[4:] or "\t"
            elif line.strip("\r\n"):
                delimiter = delimiter or _delimiter(start, encoding, place)
                header = next(csv.reader(itertools.chain([line], lines), delimiter=delimiter))
                break
            skipped += 1
    finally:
        lines.detach()
    if header is None:
        raise ValueError("is empty")
    return _Form(encoding, str(delimiter), skipped, tuple(map(_clean, header)))


def _delimiter(start: bytes, encoding: str, place: str) -> str:
    """Delimiter that cuts the first rows into the same number of fields, the larger the better; among equals the usual one."""
    text = codecs.getincrementaldecoder(encoding)(errors="replace").decode(start)
    usual = "\t" if os.path.splitext(place)[1].lower() == ".tsv" else ","  # noqa: PTH122  it may be a URL

    def fields(delimiter: str) -> int:
        rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
        try:
            counts = [len(row) for row in itertools.islice(filter(None, rows), _TRIED_ROWS)]
        except csv.Error:
            return 0
        # The last row may be cut off.
        whole = counts[:-1] if len(start) == _START and len(counts) < _TRIED_ROWS else counts
        return counts[0] if counts and set(whole) <= {counts[0]} else 0

    best = max(_DELIMITERS, key=lambda delimiter: (fields(delimiter), delimiter == usual))
    return best if fields(best) > 1 else usual


def _read_text(place: str, content: bytes | None, form: _Form, columns: Sequence[int]) -> Any:
    import pyarrow
    import pyarrow.csv

    unique = [str(i) for i in range(len(form.names))]  # a name may occur twice
    chosen = [unique[i] for i in columns]
    return pyarrow.csv.read_csv(
        place if content is None else pyarrow.BufferReader(content),
        read_options=pyarrow.csv.ReadOptions(
            column_names=unique,
            skip_rows=form.skipped,
            skip_rows_after_names=1,
            encoding="utf8" if form.encoding.startswith("utf-8") else form.encoding,
        ),
        parse_options=pyarrow.csv.ParseOptions(delimiter=form.delimiter, newlines_in_values=True),
        # Read as texts, because 007 may be the name of a patient.
        convert_options=pyarrow.csv.ConvertOptions(
            include_columns=chosen, column_types=dict.fromkeys(chosen, pyarrow.string())
        ),
    )


# --- cells ------------------------------------------------------------------------------------------------------------


def _clean(name: str) -> str:
    return unicodedata.normalize("NFC", str(name)).strip()


def _cells(column: Any, place: str, name: str, *, exact: bool) -> Cells:
    import pyarrow
    import pyarrow.compute as pc

    try:
        texts = pc.cast(column, pyarrow.large_string())
    except pyarrow.ArrowException:
        raise ColumnError(place, name, column.type) from None
    coded = pyarrow.chunked_array([texts.combine_chunks()]).chunk(0).dictionary_encode()
    values = coded.dictionary.to_numpy(zero_copy_only=False).tolist()  # three times as fast as to_pylist
    codes = coded.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
    names = [value if exact else _clean(value) for value in values]
    return Cells.renamed(names, [n for n in dict.fromkeys(names) if n.strip() not in MISSING], codes)
