"""Names of the parts of a split, as people write them in columns and folders: `Training`, `seg_test`, `valid`, `val2017`."""

from __future__ import annotations

import re
from typing import Literal

Part = Literal["train", "val", "test"]

_PARTS: dict[str, Part] = {
    **dict.fromkeys(("train", "training", "trn"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "validate", "dev"), "val"),
    **dict.fromkeys(("test", "testing", "tst"), "test"),
}
_FILLERS = "data|dataset|set|images|image|imgs|img|pictures|photos|seg|split|folder|new|original|raw|full"
"""Words that may stand beside the name of a part, or be glued to it: `trainset`, `seg_train`."""
_WORD = re.compile(rf"({'|'.join(_PARTS)})({_FILLERS})?")


def part_of(name: str) -> Part | None:
    """Part of a split that a name means; None for all other names, such as `train_station`."""
    words = [word for word in re.split(r"[\W\d_]+", name.casefold()) if word]
    found = [match[1] for word in words if (match := _WORD.fullmatch(word))]
    others = [word for word in words if not _WORD.fullmatch(word) and not re.fullmatch(_FILLERS, word)]
    return _PARTS[found[0]] if len(found) == 1 and not others else None
