"""Tables of checkpoints for the terminal."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from trainables.checkpoints.weight_changes import Difference
from trainables.run_folder.checkpoint_registry import Entry
from trainables.run_folder.layout import TrialLayout


def listing(entries: Sequence[Entry], folder: TrialLayout) -> Table:
    """Table with a row for each checkpoint that is on disk; `s` are the seconds that writing it took."""
    table = _table("epoch", "stage", "score", "val loss", "MB", "s", "", "time", left=("stage", "", "time"))
    present = [entry for entry in entries if (folder.checkpoints / entry.file).is_file()]
    best = max((entry.epoch for entry in entries if entry.best), default=None)
    for entry in present:
        marks = [*entry.marks(best_epoch=best), *(["newest"] if entry is present[-1] else [])]
        table.add_row(
            str(entry.epoch),
            entry.stage,
            _number(entry.score),
            _number(entry.val_loss),
            f"{entry.size / 1e6:.1f}",
            "–" if entry.save_s is None else f"{entry.save_s:.2f}",
            ", ".join(marks),
            entry.time[5:16].replace("T", " "),
        )
    return table


def summary(entries: Sequence[Entry], folder: TrialLayout) -> str:
    """Summary line: `3 checkpoints, 96.1 MB; 11 more were written and rotated out`."""
    files = [path for path in folder.checkpoints.glob("[0-9]*.pt") if path.is_file()]
    size = sum(path.stat().st_size for path in files) / 1e6
    gone = sum(not (folder.checkpoints / entry.file).exists() for entry in entries)
    unknown = len(files) - (len(entries) - gone)
    were = "was" if gone == 1 else "were"
    line = (
        f"{len(files)} checkpoint{'s' * (len(files) != 1)}, {size:.1f} MB; {gone} more {were} written and rotated out"
    )
    return line + (f"; {unknown} not registered: see verify" if unknown else "")


def comparison(
    files: tuple[str, str], found: Mapping[str, Sequence[Difference]], untouched: Sequence[str]
) -> RenderableType:
    """Table with a row for each block, followed by one for each of its tensors.

    Args:
        files: names of the two checkpoints.
        found: block -> differences of the block, then of its tensors.
        untouched: blocks that have their pretrained weights in both.
    """
    table = _table("", "norm of A", "norm of B", "cosine", "change", left=("",))
    for differences in found.values():
        for row, difference in enumerate(differences):
            name = difference.name if row == 0 else f"  {difference.name}"
            table.add_row(
                Text(name),
                f"{difference.norm_a:.4g}",
                f"{difference.norm_b:.4g}",
                "–" if math.isnan(difference.cosine) else f"{difference.cosine:.5f}",
                f"{difference.change:.3%}",
                style="bold" if row == 0 else "",
            )
        table.add_section()
    parts: list[RenderableType] = [Text(f"A: {files[0]}\nB: {files[1]}\n"), table]
    if untouched:
        parts.append(Text(f"\nfrozen in both: {', '.join(untouched)}"))
    return Group(*parts)


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"


def _table(*headings: str, left: Sequence[str]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0), header_style="dim")
    for heading in headings:
        table.add_column(heading, justify="left" if heading in left else "right", no_wrap=True)
    return table
