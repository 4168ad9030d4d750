"""Conclusions of a single training run, in words. Each is computed from a `TrainingSnapshot`; one that would say nothing is left
out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from results_analysis.findings.finding import Conclusion, Topic, format_gain, format_score
from results_analysis.findings.warning_signs import class_signs, flag_words
from results_analysis.plots.classes import class_recall
from results_analysis.plots.style import words
from results_analysis.statistics.score_interval import Spread, spread_of
from results_analysis.tables.training_run.snapshot import TrainingSnapshot
from results_analysis.tables.training_run.stages import gains
from trainables.core.config_errors import bounded, counted
from trainables.core.printable import command_line
from trainables.core.vocabulary import Flag


@dataclass(frozen=True, eq=False)
class RunEvidence:
    """The data that conclusions about a run are drawn from."""

    snapshot: TrainingSnapshot
    run_as_typed: Sequence[str]
    """Words that name the run in a command, as the user typed them: `photos --trial 7`."""

    @property
    def metric(self) -> str:
        """Name of the metric in words."""
        return words(self.snapshot.metric.value)

    @cached_property
    def spread(self) -> Spread | None:
        """Uncertainty of the score; None where it cannot be computed."""
        if len(self.snapshot.class_names) == 1 or not self.snapshot.best:
            return None  # with a single class every classification metric is meaningless
        images = self.snapshot.images("validation")
        return spread_of(self.snapshot.best, self.snapshot.metric, images=images)

    @cached_property
    def gains(self) -> list[tuple[dict[str, Any], float]]:
        """See `gains`."""
        return gains(self.snapshot)

    def flagged(self, flag: Flag) -> list[int]:
        """Epochs with a flag."""
        return [report["epoch"] for report in self.snapshot.reports if flag in report["flags"]]


def training_conclusions(evidence: RunEvidence) -> list[Conclusion]:
    """All conclusions, in the order of `Topic`."""
    from results_analysis.findings.training_next_steps import limits, training_next_steps  # they import this module

    rules = (_result, _stages, _sure, _failure, _flags, _classes, _spikes, limits, training_next_steps)
    found = [conclusion for rule in rules for conclusion in rule(evidence)]
    return sorted(found, key=lambda conclusion: list(Topic).index(conclusion.topic))


# --- result ---------------------------------------------------------------------------------------------------------


def _result(evidence: RunEvidence) -> Iterator[Conclusion]:
    snapshot, best = evidence.snapshot, evidence.snapshot.best
    done = len(snapshot.reports)
    if not done:
        yield Conclusion(Topic.RESULT, "No epoch has finished yet.", "warning")
        return
    planned = f" of at most {snapshot.max_epochs}" if snapshot.max_epochs else ""
    if not best:
        yield Conclusion(
            Topic.RESULT, f"None of {counted(done, 'epoch')} has a {evidence.metric}: training diverged.", "warning"
        )
    else:
        score = format_score(best["score"])
        text = f"The best {evidence.metric} is {score}, in epoch {best['epoch']} of {done} (stage {best['stage']})."
        command = command_line("export", *evidence.run_as_typed) if snapshot.is_over else None
        yield Conclusion(Topic.RESULT, text, "good" if command and not best["flags"] else "plain", command)
        yield from _beside_guessing(snapshot)
    if not snapshot.is_over:
        state = "It failed." if snapshot.error else "It is running, or was interrupted."
        text = f"The run is not finished: {counted(done, 'epoch')}{planned} so far. {state}"
        yield Conclusion(Topic.RESULT, text, "warning")
    elif snapshot.reports[-1]["stopped_for"]:
        flag = Flag(snapshot.reports[-1]["stopped_for"])
        yield Conclusion(
            Topic.RESULT,
            f"The run was stopped after epoch {done} for {flag.value}: {_lower(flag_words(flag, snapshot.task))}.",
            "warning",
        )


def _beside_guessing(snapshot: TrainingSnapshot) -> Iterator[Conclusion]:
    """Comparison of the accuracy with that of always predicting the commonest class."""
    counts = (snapshot.best.get("per_class") or {}).get("true_count") or []
    accuracy = snapshot.best.get("accuracy")
    if len(counts) < 2 or accuracy is None or not sum(counts):
        return
    share = max(counts) / sum(counts)
    name = snapshot.class_names[counts.index(max(counts))]
    if accuracy <= share:
        text = f"Accuracy {accuracy:.4f} is no better than predicting class {name} for all images, which gives {share:.4f}."
        yield Conclusion(Topic.RESULT, text, "warning")
    else:
        text = f"Its accuracy is {accuracy:.4f}; predicting the commonest class for all images would give {share:.4f}."
        yield Conclusion(Topic.RESULT, text)


def _stages(evidence: RunEvidence) -> Iterator[Conclusion]:
    """Contribution of each stage to the score."""
    if len(evidence.gains) < 2:
        return
    first, *later = evidence.gains
    parts = [
        f"{row['stage']} added {format_gain(gain)}" if gain else f"{row['stage']} added nothing" for row, gain in later
    ]
    text = f"By stage: {first[0]['stage']} reached {format_score(first[1])}, {', '.join(parts)}."
    yield Conclusion(Topic.RESULT, text)


# --- how certain ----------------------------------------------------------------------------------------------------


def _sure(evidence: RunEvidence) -> Iterator[Conclusion]:
    snapshot, spread = evidence.snapshot, evidence.spread
    if not snapshot.best or len(snapshot.class_names) == 1 or (spread and not spread.error):
        return  # of a network that predicts one class for all images, the score is the same for any images
    if spread is None:
        text = (
            f"How much {evidence.metric} would change with other validation images is unknown: the run does not record "
            "what is needed to compute it."
        )
    else:
        text = (
            "With other validation images of the same kind, the score would be between "
            f"{format_score(spread.low)} and {format_score(spread.high)} (95% interval, {spread.how}). Training with "
            "another seed would add further variation."
        )
    yield Conclusion(Topic.SURE, text)


# --- warning signs --------------------------------------------------------------------------------------------------


def _failure(evidence: RunEvidence) -> Iterator[Conclusion]:
    if (error := evidence.snapshot.error) and not evidence.snapshot.is_over:
        yield Conclusion(Topic.FLAGGED, f"The run failed: {bounded(error, 800)}", "warning")


def _flags(evidence: RunEvidence) -> Iterator[Conclusion]:
    snapshot = evidence.snapshot
    raised = {flag: epochs for flag in Flag if (epochs := evidence.flagged(flag))}
    for flag, epochs in raised.items():
        yield Conclusion(
            Topic.FLAGGED, f"{flag_words(flag, snapshot.task)} ({flag.value}): {epoch_names(epochs)}.", "warning"
        )
    if at_best := snapshot.best.get("flags"):
        yield Conclusion(Topic.FLAGGED, f"The best epoch was flagged: {', '.join(at_best)}.", "warning")
    if snapshot.reports and not raised:
        yield Conclusion(Topic.FLAGGED, "No epoch was flagged.", "good")


def _classes(evidence: RunEvidence) -> Iterator[Conclusion]:
    return class_signs(class_recall(evidence.snapshot.best, evidence.snapshot.class_names), "The network")


LARGE_NORM = 10.0
"""Ratio of a gradient's norm to the run's median norm from which it is worth a word."""


def _spikes(evidence: RunEvidence) -> Iterator[Conclusion]:
    """Epochs whose gradients were far larger than usual, where they are not clipped."""
    norms = {r["epoch"]: norm for r in evidence.snapshot.reports if (norm := r.get("grad_norm")) is not None}
    if len(norms) < 4 or evidence.snapshot.section("train").get("clip_norm") is not None:
        return
    middle = sorted(norms.values())[len(norms) // 2]
    if large := [epoch for epoch, norm in norms.items() if norm > LARGE_NORM * middle > 0]:
        text = (
            f"The gradients were over {LARGE_NORM:g} times as large as usual in {epoch_names(large)} (median norm "
            f"{middle:.3g}); train.clip_norm limits them."
        )
        yield Conclusion(Topic.FLAGGED, text, "warning")


def epoch_names(epochs: list[int]) -> str:
    """Names epochs in words, neighbours as ranges: `epoch 3`, `epochs 3–7, 9`, `41 epochs, the first 3` beyond six ranges."""
    spans: list[list[int]] = []
    for epoch in epochs:
        if spans and epoch == spans[-1][-1] + 1:
            spans[-1] = [spans[-1][0], epoch]
        else:
            spans.append([epoch])
    if len(spans) > 6:
        return f"{len(epochs)} epochs, the first of them {epochs[0]}"
    return f"epoch{'s' if len(epochs) > 1 else ''} {', '.join('–'.join(map(str, span)) for span in spans)}"


def _lower(text: str) -> str:
    return text[0].lower() + text[1:] if not text.startswith("AUC") else text
