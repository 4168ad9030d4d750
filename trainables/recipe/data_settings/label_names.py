"""Names of labels and groups, the same however a file writes them."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from typing import Annotated

from pydantic import BeforeValidator, Field


def label_name(label: object) -> str:
    """Returns the name of a label, the same however YAML, CSV, Parquet or a folder write it: 1, "1", 1.0 and "1.0 " are all `1`,
    and letters with accents are one character (Unicode's NFC).

    Raises:
        ValueError: if the label is neither text nor a number; YAML reads `yes` and `no` as booleans.
    """
    if isinstance(label, bool) or not isinstance(label, str | int | float):
        raise ValueError(f"{label!r} is neither a name nor a number; put quotes around it if it is meant as a name")
    text = unicodedata.normalize("NFC", str(label)).strip()
    return re.sub(r"(?<=\d)\.0*$", "", text) if re.fullmatch(r"-?\d+\.0*", text) else text


def group_name(text: str) -> str:
    """Returns the name of a group, coarser than that of a label: `P1` and `p1`, `007` and `7.0` are one patient.

    Two patients taken for one make the split a little coarser; one taken for two is on both sides of it.
    """
    name = label_name(text).casefold()
    return name.lstrip("0") or "0" if name.isdecimal() else name


def _label_names(given: object) -> object:
    if not isinstance(given, Mapping):
        return given  # pydantic reports it
    named: dict[str, str | None] = {}
    for label, target in given.items():
        if (name := label_name(label)) in named:
            raise ValueError(f"{name!r} is given twice")
        named[name] = None if target is None else label_name(target)
    return dict(sorted(named.items()))  # equal configs have equal hashes, whatever the order of their labels


Labels = Annotated[
    dict[str, str | None],
    BeforeValidator(_label_names, json_schema_input_type=dict[str, str | int | float | None]),
    Field(min_length=1),
]
