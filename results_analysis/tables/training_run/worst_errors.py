"""Validation images that a run gets most wrong: wrong predictions by confidence, or the largest errors of numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from results_analysis.tables.file_formats import is_missing
from results_analysis.tables.training_run.snapshot import TrainingSnapshot

if TYPE_CHECKING:
    import pandas as pd

SHOWN = 24
"""Number of images in the gallery."""


class WorstError(NamedTuple):
    """A validation image with a wrong prediction."""

    image: str | int
    """Its file, or its number in the data."""
    group: str | None
    """Patient or the like; None: no groups."""
    truth: str
    prediction: str
    size: float
    """Confidence of the wrong prediction, or the distance of the predicted number."""


def errors(snapshot: TrainingSnapshot) -> pd.DataFrame | None:
    """Rows of wrong predictions with their `size`, the worst first; None where the run left no predictions.

    In regression all rows count as wrong that are not exact.
    """
    frame = snapshot.predictions
    if frame is None:
        return None
    if snapshot.task == "regression":
        sized = frame.assign(size=(frame["prediction"].astype(float) - frame["label"].astype(float)).abs())
        sized = sized[sized["size"] != 0]
    else:
        wrong = frame[frame["prediction"].astype(str) != frame["label"].astype(str)]
        sized = wrong.assign(size=wrong["confidence"].astype(float) if "confidence" in wrong else float("nan"))
    return sized.sort_values("size", ascending=False, kind="stable", na_position="last")


def worst_errors(snapshot: TrainingSnapshot, most: int = SHOWN) -> list[WorstError]:
    """The worst errors of a run, worst first; empty where it left no predictions.

    Args:
        snapshot: the run.
        most: largest number of errors.
    """
    frame = errors(snapshot)
    if frame is None:
        return []
    shown = "{:.6g}".format if snapshot.task == "regression" else str
    return [
        WorstError(
            image=row["image"] if isinstance(row["image"], str) else int(row["image"]),
            group=None if is_missing(row.get("group")) else str(row["group"]),
            truth=shown(row["label"]),
            prediction=shown(row["prediction"]),
            size=float(row["size"]),
        )
        for row in frame.head(most).to_dict("records")
    ]
