"""The reader of tables: the same cells whatever the delimiter, the encoding and the line ends, and the reason where it cannot."""

import csv
import io
import itertools

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainables.data.sources.tables.table_file import MISSING, TableError, open_table_file

CELLS = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=8)
TABLES = st.lists(st.lists(CELLS, min_size=3, max_size=3), min_size=1, max_size=30)
HEADER = ["path", "label", "patient"]


def texts(file, names=HEADER):
    found = open_table_file(str(file)).cells(names)
    return [np.array([*found[name].values, None], object)[found[name].codes].tolist() for name in names]


def expected(rows):
    import unicodedata

    def cell(text):
        clean = unicodedata.normalize("NFC", text).strip()
        return None if clean in MISSING else clean

    return [[cell(row[i]) for row in rows] for i in range(3)]


@settings(max_examples=30, deadline=None)
@given(
    rows=TABLES,
    delimiter=st.sampled_from(",;\t|"),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
    end=st.sampled_from(["\n", "\r\n"]),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    announced=st.booleans(),
)
def test_cells_are_those_that_were_written(tmp_path_factory, rows, delimiter, encoding, end, quoting, announced):
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=delimiter, lineterminator=end, quoting=quoting)
    writer.writerows([HEADER, *rows])
    file = tmp_path_factory.getbasetemp() / "any.csv"
    first = f"sep={delimiter}{end}" if announced else ""
    file.write_bytes((first + text.getvalue()).encode(encoding))
    assert texts(file) == expected(rows)


def test_a_table_of_one_column_has_one(tmp_path):
    file = tmp_path / "list.csv"
    file.write_text("path\na b.png\nc,d.png\n".replace("c,d", "cd"))
    assert open_table_file(str(file)).names == ("path",)


def test_a_delimiter_inside_texts_does_not_mislead(tmp_path):
    file = tmp_path / "t.csv"
    file.write_text('path;label\n"a,1;b.png";cat, small\nc.png;dog, big\n')
    assert texts(file, ["path", "label"]) == [["a,1;b.png", "c.png"], ["cat, small", "dog, big"]]


def test_text_and_parquet_say_the_same(tmp_path):
    frame = pd.DataFrame({"path": ["a.png", "b.png", None], "label": ["None", "n/a", "NA"]})
    frame.to_csv(tmp_path / "t.csv", index=False)
    frame.to_parquet(tmp_path / "t.parquet")
    as_text, as_parquet = (texts(tmp_path / f"t.{kind}", ["path", "label"]) for kind in ("csv", "parquet"))
    assert as_text == as_parquet
    assert as_text[1] == ["None", "n/a", None], "a class may be called None; NA is a missing value"


def test_the_frame_holds_every_column(tmp_path):
    file = tmp_path / "t.tsv"
    file.write_text(" path \tlabel\na.png\tcat\nb.png\t\n")
    frame = open_table_file(str(file)).frame()
    assert list(frame.columns) == ["path", "label"]
    assert frame["label"].tolist() == ["cat", pytest.approx(np.nan, nan_ok=True)]


def test_every_beginning_of_a_table_is_read_or_refused(tmp_path):
    whole = 'path;label\n"a;1.png";cät\nb.png;dog\n'.encode()
    file = tmp_path / "t.csv"
    refused = 0
    for end, mark in itertools.product(range(len(whole)), (b"", b"\xff\xfe", b"\0")):
        file.write_bytes(mark + whole[:end])
        try:
            texts(file, open_table_file(str(file)).names)
        except TableError as error:
            refused += str(error).startswith(f"{file}: ")
    assert refused > len(whole)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"PK\x03\x04....", "is an Excel workbook or a ZIP archive; save the sheet as CSV"),
        (b"\x1f\x8b....", "is compressed; unpack it"),
        ("path,label\ncafé.png,1\n".encode("latin-1"), "is not written in UTF-8"),
        (b"", "is empty"),
    ],
)
def test_the_reason_says_what_to_do(tmp_path, content, reason):
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(TableError, match=reason):
        texts(tmp_path / "t.csv", ["path", "label"])


@pytest.mark.parametrize("start", ["\n\n", "\r\n", "sep=;\n", "\nsep=;\n\n"])
def test_lines_before_the_header_are_skipped(tmp_path, start):
    (tmp_path / "t.csv").write_bytes(f"{start}path;label\na.png;cat\n".encode())
    assert texts(tmp_path / "t.csv", ["path", "label"]) == [["a.png"], ["cat"]]
