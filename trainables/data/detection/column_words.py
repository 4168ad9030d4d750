"""Words by which columns, folders and file names tell what they hold."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Sequence

PATHS = (
    "path", "filepath", "file", "filename", "image", "img", "imagefile", "imagepath", "imagename", "photo", "picture",
    "scan", "dicom", "nifti", "name", "id",
)  # fmt: skip
LABELS = (
    "label", "labels", "class", "classname", "target", "diagnosis", "category", "species", "grade", "density", "dx", "y",
    "emotion", "expression", "disease", "finding", "pathology", "breed", "severity", "level", "outcome", "variety", "kind",
    "type", "score", "rating", "popularity",
)  # fmt: skip
PERSONS = (
    "patient", "mrn", "subject", "participant", "person", "individual", "donor", "volunteer", "identity", "animal", "mouse",
    "family", "case", "photographer", "author",
)  # fmt: skip
"""Words of the groups that contain all others: what is true of one image of a person helps with the next."""
GROUPS = (
    *PERSONS, "study", "exam", "visit", "encounter", "session", "lesion", "nodule", "tumor", "eye", "specimen", "biopsy",
    "series", "slide", "wsi", "video", "movie", "clip", "sequence", "scene", "episode", "track", "plot", "tree", "plate",
    "well", "batch", "camera", "location", "site",
)  # fmt: skip
"""Words of groups, the one that contains the most images first."""
QUANTITIES = frozenset({
    "age", "score", "rating", "popularity", "price", "weight", "height", "width", "bmi", "count", "area", "volume", "size",
    "length", "value", "temperature", "pressure", "likes", "views", "yield", "distance", "percent",
})  # fmt: skip
FACTS = frozenset({
    "sex", "gender", "male", "female", "age", "race", "ethnicity", "side", "laterality", "view", "site", "hospital", "scanner",
    "device",    "fold", "date", "year", "month", "time", "birth", "height", "width", "weight", "bmi", "position", "orientation",
    "localization", "modality", "status", "description", "comment", "comments", "manufacturer", "rows", "columns",
    "box", "bbox", "x", "xmin", "xmax", "ymin", "ymax", "x1", "x2", "y1", "y2", "xcenter", "ycenter", "url", "license",
    "unnamed", "index", "timestamp", "created", "published", "released", "uploaded",
})  # fmt: skip
"""Words of columns that are rarely labels, and never groups."""
_ENDINGS = re.compile(r"(?<=[a-z]{2})(id|ids|no|nr|uid|number|code|name|index|idx)$")


def words_of(name: str) -> list[str]:
    """Words of a name: `StudyInstanceUID` -> study, instance, uid; `patientid` -> patientid, patient."""
    text = unicodedata.normalize("NFC", name)
    parts = re.findall(r"[A-Z]+(?![a-z])\d*|[A-Z]?[a-z]+\d*|[^\W\d_A-Za-z]+|\d+", text)
    words = [part.casefold() for part in parts]
    return list(dict.fromkeys([*words, "".join(words), *(_ENDINGS.sub("", word) for word in [*words, "".join(words)])]))


def rank(name: str, hints: Sequence[str]) -> int | None:
    """Position of the first hint that is among a name's words; None if there is none."""
    words = words_of(name)
    return next((i for i, hint in enumerate(hints) if hint in words), None)


def by_rank(names: Collection[str], hints: Sequence[str]) -> list[str]:
    """Names that hold a hint, best hint first."""
    ranks = {name: rank(name, hints) for name in names}
    return sorted((name for name, at in ranks.items() if at is not None), key=lambda name: ranks[name] or 0)
