"""One file by several places: links in class folders, or paths of a table that lead to the same file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from trainables.core.config_errors import counted, listed
from trainables.data.messages import path_error
from trainables.data.sources.class_mapping import Mapped
from trainables.storage.urls import FileFacts, Place


def without_repeats(
    found: Mapped,
    places: Sequence[Place],
    facts: FileFacts,
    columns: Mapping[str, np.ndarray],
    on_conflict: Literal["error", "drop"],
) -> tuple[Mapped, list[Place]]:
    """Images and their places, each file once.

    Args:
        found: the images.
        places: [k] their files.
        facts: facts about these files.
        columns: name -> [m] values of all images before the mapping, which the places of one file must agree on, as on the label.
        on_conflict: `drop` leaves out files whose places disagree; `error` raises an error that lists them.
    Raises:
        ConfigError: at `data.path`.
    """
    inodes = facts.states[:, 3]
    on_disk = np.flatnonzero(inodes >= 0)
    _, which, counts = np.unique(inodes[on_disk], return_inverse=True, return_counts=True)
    repeated = on_disk[counts[which] > 1]
    files: dict[bytes, list[int]] = {}
    for i in repeated.tolist():
        files.setdefault(facts.states[i].tobytes(), []).append(i)  # inodes of two drives may be equal
    several = [group for group in files.values() if len(group) > 1]
    if not several:
        return found, list(places)
    values = {"class": found.labels, **{name: column[found.kept] for name, column in columns.items()}}
    at_odds = {name: [group for group in several if len(set(v[group].tolist())) > 1] for name, v in values.items()}
    conflicts = {group[0]: group for groups in at_odds.values() for group in groups}
    if conflicts and on_conflict == "error":
        name, groups = next((name, groups) for name, groups in at_odds.items() if groups)
        shown = listed([" = ".join(repr(str(places[i])) for i in group) for group in groups], 3)
        count = f"{len(groups)} files are" if len(groups) > 1 else "1 file is"
        raise path_error(
            f"{count} listed at several places with more than one {name}: {shown}; correct this, or leave these images out with "
            "data.on_conflict: drop"
        )
    dropped = {i for group in several for i in (group if group[0] in conflicts else group[1:])}
    kept = np.array([i for i in range(len(places)) if i not in dropped], np.int64)
    again = len(dropped) - sum(map(len, conflicts.values()))
    notes = [f"left out: {counted(again, 'path')} to the file of another path"] if again else []
    if conflicts:
        named = listed([repr(str(places[i])) for i in conflicts], 3)
        notes.append(f"left out (data.on_conflict): {counted(len(conflicts), 'file')} at contradictory places: {named}")
    labels = found.labels[kept]
    if lost := [repr(name) for j, name in enumerate(found.classes) if j not in labels]:
        raise path_error(f"no image is left of {listed(lost)}: {'; '.join(notes)}")
    return Mapped(found.classes, labels, found.kept[kept], (*found.notes, *notes)), [places[i] for i in kept.tolist()]
