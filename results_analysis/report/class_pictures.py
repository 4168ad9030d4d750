"""Pictures of the results by class: recall and confusion."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from results_analysis.plots import classes
from results_analysis.report.page import Picture
from trainables.run_folder.trial_columns import Report


def class_pictures(report: Report, names: Sequence[str], who: str) -> Iterator[Picture]:
    """Recall of each class and confusion matrix of an epoch; none in regression or for an empty report.

    Args:
        report: report of the epoch.
        names: names of the classes.
        who: what classified the images, such as `trial 3`.
    """
    recall, confusion = classes.class_recall(report, names), classes.confusion(report, names)
    if len(recall):
        worst = f" These are the {classes.SHOWN} worst of {len(recall)} classes." if len(recall) > classes.SHOWN else ""
        yield Picture(
            "recall",
            "Recall of each class",
            f"Share of each class's validation images that {who} classified correctly in its best epoch, with the 95% "
            f"interval (Wilson).{worst}",
            [classes.draw_class_recall(recall)],
            recall,
        )
    if len(confusion):
        yield Picture(
            "confusion",
            "Confusion",
            "Rows are true classes, columns are predicted classes. Numbers are images, colours their share of the row. "
            "Mistakes lie off the diagonal.",
            [classes.draw_confusion(confusion)],
            confusion.rename_axis("true \\ predicted").reset_index(),
            least_px=min(90 + 34 * len(confusion), 700),
        )
