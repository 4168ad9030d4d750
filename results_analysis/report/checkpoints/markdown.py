"""Markdown report on the checkpoints of a run, which shows a picture beside it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from urllib.parse import quote

from results_analysis.report.checkpoints.history import WeightChanges, changes_of_weights, summary, timeline
from results_analysis.tables.markdown import code, plain, table
from trainables.run_folder.checkpoint_registry import Entry


def markdown(name: str, entries: Sequence[Entry], kept: set[str], *, picture: str) -> str:
    """Text of the report.

    Args:
        name: name of the run.
        entries: registry of checkpoints.
        kept: names of the files on disk.
        picture: file name of the picture.
    """
    points = timeline(entries, kept)
    return "\n".join(
        [
            f"# Checkpoints of {plain(name)}",
            "",
            summary(points),
            "",
            f"![Score, norms of the blocks and their changes, by epoch]({quote(picture)})",
            "",
            table(
                ["epoch", "stage", "score", "mark", "MB", "saved in", "file"],
                [
                    [
                        f"{point.epoch}",
                        plain(point.stage),
                        _number(point.score),
                        point.mark,
                        f"{point.size_mb:.1f}",
                        point.saved_in,
                        code(entry.file) if point.kept else "rotated out",
                    ]
                    for point, entry in zip(points, entries, strict=True)
                ],
            ),
            "",
            "## Weights",
            "",
            "Norms of the current weights (not of averaged ones), and their changes relative to the norm.",
            "",
            table(
                ["block", "first norm", "last norm", "last change", "largest change"],
                list(_blocks(changes_of_weights(entries))),
            ),
            "",
        ]
    )


def _blocks(weights: WeightChanges) -> list[list[str]]:
    rows = []
    for block, norms, changes in zip(weights.blocks, weights.norms, weights.changes, strict=True):
        known = [norm for norm in norms if norm is not None]
        moved = [(change, epoch) for change, epoch in zip(changes, weights.epochs, strict=True) if change is not None]
        largest = "{:.3%} in epoch {}".format(*max(moved)) if moved else "–"
        ends = [f"{known[0]:.4g}", f"{known[-1]:.4g}"] if known else ["–", "–"]
        rows.append([plain(block), *ends, f"{moved[-1][0]:.3%}" if moved else "–", largest])
    return rows


def _number(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.4f}"
