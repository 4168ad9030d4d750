"""Warning signs: flagged epochs, failed trials, and classes on which the best trial does badly."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from results_analysis.findings.finding import Conclusion, Evidence, Topic, trial_names
from results_analysis.plots.classes import class_recall
from results_analysis.runs.columns import UNREADABLE
from results_analysis.tables.data_sets import data_set_of
from results_analysis.tables.results_table import best_of
from results_analysis.tables.trial_notes import one_line
from trainables.core.config_errors import counted, listed
from trainables.core.vocabulary import Flag, Task, TrialStatus

if TYPE_CHECKING:
    import pandas as pd


def flagged(evidence: Evidence) -> Iterator[Conclusion]:
    """Conclusions of the topic `FLAGGED`."""
    for rule in (_data, _flags, _failures, _classes):
        yield from rule(evidence)


def _data(evidence: Evidence) -> Iterator[Conclusion]:
    """Trials that saw other data than those before: the files have changed between two resumes."""
    trials = evidence.snapshot.trials
    data_sets = data_set_of(trials)
    if not data_sets.any():
        return
    best = []
    for _, rows in trials.groupby(data_sets):
        if (number := best_of(rows, evidence.snapshot.metric)) is not None:
            best.append(f"trial {number} ({evidence.format_score(rows.set_index('trial')['score'][number])})")
    later = trial_names(trials.loc[data_sets > 0, "trial"])
    text = f"{later[0].upper()}{later[1:]} saw other data than the trials before: scores on different data cannot be compared."
    yield Conclusion(Topic.FLAGGED, f"{text} The best on each: {', '.join(best) or 'none'}.", "warning")


_FLAG_WORDS = {
    Flag.NAN: "Loss not a number",
    Flag.SPIKE: "Loss far above its recent level",
    Flag.COLLAPSE: "Classes never predicted, and no better than chance",
    Flag.DRW_DROP: "Score fell when re-weighting began",
    Flag.STUCK_AUC: "AUC never reached 0.70",
    Flag.GAP: "Validation loss rising while training loss falls, or training accuracy far above validation accuracy",
}


def flag_words(flag: Flag, task: Task) -> str:
    """Meaning of a flag, at the start of a sentence."""
    if flag is Flag.COLLAPSE and task == "regression":
        return "All images get nearly the same number"
    return _FLAG_WORDS[flag]


def _flags(evidence: Evidence) -> Iterator[Conclusion]:
    trials = evidence.snapshot.trials
    raised = {flag: trials[_has(trials["flags"], flag)] for flag in Flag}
    for flag, rows in sorted(raised.items(), key=lambda item: -len(item[1])):
        if not len(rows):
            continue
        stopped = int((rows["stopped_for"] == flag.value).sum())
        which = trial_names(rows["trial"])
        share = f"{len(rows)} of {counted(len(trials), 'trial')}"
        text = f"{flag_words(flag, evidence.snapshot.task)} ({flag.value}): "
        text += share if which.endswith(" trials") else f"{which} ({share})"
        text += f"; {stopped} stopped for it" if stopped else ""
        text += _related_value(evidence, rows)
        yield Conclusion(Topic.FLAGGED, f"{text}.", "warning")
    best = trials[trials["trial"] == evidence.snapshot.best]
    if len(best) and isinstance(at_best := best["flags_at_best"].iloc[0], str) and at_best:
        yield Conclusion(Topic.FLAGGED, f"The best epoch of the best trial was flagged: {at_best}.", "warning")
    if len(evidence.snapshot.curves) and not any(map(len, raised.values())):
        yield Conclusion(Topic.FLAGGED, "No epoch of any trial was flagged.", "good")


def _has(flags: pd.Series[str], flag: Flag) -> pd.Series[bool]:
    return flags.fillna("").str.split(", ").map(lambda raised: flag.value in raised).astype(bool)


CLEAR = 0.01
"""p value, corrected for the number of searched values, below which a flag is reported as related to a value."""


def _related_value(evidence: Evidence, flagged: pd.DataFrame) -> str:
    """`; these trials tend to have a high head_lr (median 0.2, others 0.05)`, where the test is clear (Mann & Whitney 1947)."""
    from scipy.stats import mannwhitneyu

    trials = evidence.snapshot.trials
    others = trials[~trials["trial"].isin(flagged["trial"]) & (trials["epochs"] > 0)]
    ranges = [value for value in evidence.snapshot.searched if value.scale != "choice"]
    found = []
    for value in ranges:
        a, b = (rows[value.path].dropna().astype(float) for rows in (flagged, others))
        if len(a) >= 3 and len(b) >= 3:
            found.append((float(mannwhitneyu(a, b).pvalue), value, float(a.median()), float(b.median())))
    if not found:
        return ""
    p, value, with_it, without = min(found, key=lambda item: item[0])
    if p * len(found) > CLEAR:
        return ""
    side = "high" if with_it > without else "low"
    medians = f"median {value.format_value(with_it)}, others {value.format_value(without)}"
    return f"; these trials tend to have a {side} {value.name} ({medians})"


def _failures(evidence: Evidence) -> Iterator[Conclusion]:
    trials = evidence.snapshot.trials
    healthy = (TrialStatus.FINISHED, TrialStatus.PRUNED, TrialStatus.RUNNING)
    for status in (*(status.value for status in TrialStatus if status not in healthy), UNREADABLE):
        what = {TrialStatus.FAILED.value: "failed", UNREADABLE: "cannot be read"}.get(status, f"ended as {status}")
        rows = trials[trials["status"] == status]
        if not len(rows):
            continue
        counts = rows["reason"].fillna("").map(lambda reason: one_line(reason) or "no reason recorded").value_counts()
        reasons = "; ".join(
            f"{why[:160]} ({n}×)" if n > 1 else why[:160]
            for why, n in zip(map(str, counts.index[:3]), counts, strict=False)
        )
        more = f"; and {len(counts) - 3} other reasons" if len(counts) > 3 else ""
        which = trial_names(rows["trial"])
        yield Conclusion(Topic.FLAGGED, f"{which[0].upper()}{which[1:]} {what}: {reasons}{more}.", "warning")


def _classes(evidence: Evidence) -> Iterator[Conclusion]:
    frame = class_recall(evidence.snapshot.best_report, evidence.snapshot.class_names)
    return class_signs(frame, "The best trial")


def class_signs(frame: pd.DataFrame, who: str) -> Iterator[Conclusion]:
    """Classes that are predicted badly or never.

    Args:
        frame: result of `class_recall`.
        who: what predicts them, at the start of a sentence.
    """
    if len(frame) == 1:
        yield Conclusion(
            Topic.FLAGGED, "The data has only one class, so classification metrics are meaningless.", "warning"
        )
        return
    never = frame.loc[(frame["predicted"] == 0) & (frame["images"] > 0), "class"].tolist()
    if never:
        text = f"{who} never predicts {len(never)} of {len(frame)} classes: {listed(never, 8)}."
        yield Conclusion(Topic.FLAGGED, text, "warning")
    known = frame[frame["images"] > 0].dropna(subset=["recall"])
    if len(known) < 2:
        return
    worst, mean = known.iloc[int(known["recall"].argmin())], known["recall"].mean()
    if worst["high"] < mean and worst["predicted"]:
        text = (
            f"{who} is weakest on class {worst['class']}: recall {worst['recall']:.2f} ({worst['low']:.2f} … "
            f"{worst['high']:.2f}, {counted(worst['images'], 'image')}), compared with {mean:.2f} on average."
        )
        yield Conclusion(Topic.FLAGGED, text)
