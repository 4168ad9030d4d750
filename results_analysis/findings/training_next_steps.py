"""Limits of a training run and suggestions for the next one. A rule that finds nothing to say says nothing."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from results_analysis.findings.finding import Conclusion, Topic, format_gain, format_score
from results_analysis.findings.training_conclusions import RunEvidence
from trainables.core.config_errors import counted
from trainables.core.printable import command_line
from trainables.core.vocabulary import Flag
from trainables.recipe.rules.size_advice import size_advice

GAP = 0.10
"""Difference of training and validation accuracy from which a network is said to overfit."""
CLOSE = 0.03
"""Difference up to which the two count as close."""
HARD = 0.90
"""Training accuracy below which a network that does as well on validation images is said to underfit."""
RISE = 1.10
"""Ratio of the last to the lowest validation loss from which it is said to rise."""
IMBALANCE = 3.0
"""Ratio of the largest to the smallest class, in validation images, from which losses for imbalanced data are proposed."""
LATE = 0.5
"""Share of a run's epochs after the best one from which they are said to have gained nothing."""


def limits(evidence: RunEvidence) -> Iterator[Conclusion]:
    """Conclusions of the topic `LIMITS`: a gap between training and validation, or underfitting."""
    if not evidence.snapshot.best:
        return
    gap = _gap(evidence)
    if text := gap or _underfits(evidence):
        yield Conclusion(Topic.LIMITS, text, "warning" if gap and evidence.flagged(Flag.GAP) else "plain")


def _gap(evidence: RunEvidence) -> str | None:
    train = evidence.snapshot.section("train")
    advice = (
        "More or stronger augmentation, dropout, weight decay, mixing (train.mix), fewer open blocks, or more images would "
        "narrow the gap."
    )
    accuracies = _accuracies(evidence)
    if accuracies and accuracies[0] - accuracies[1] >= GAP:
        return (
            f"The network overfits: its training accuracy rose to {accuracies[0]:.3f}, its validation accuracy only to "
            f"{accuracies[1]:.3f}. {advice}"
        )
    losses = _finite(evidence, "val_loss")
    if len(losses) < 3 or train.get("mix"):
        return None
    (lowest_at, lowest), (last_at, last) = min(losses, key=lambda item: item[1]), losses[-1]
    trained = dict(_finite(evidence, "train_loss"))
    if last > RISE * lowest > 0 and trained.get(last_at, math.inf) < trained.get(lowest_at, -math.inf):
        return (
            f"The validation loss was lowest in epoch {lowest_at} ({lowest:.4g}) and rose to {last:.4g} by epoch {last_at}, "
            f"while the training loss still fell: the network overfits. {advice}"
        )
    return None


def _underfits(evidence: RunEvidence) -> str | None:
    accuracies = _accuracies(evidence)
    if (
        not accuracies
        or accuracies[0] >= HARD
        or accuracies[0] - accuracies[1] > CLOSE
        or not evidence.snapshot.is_over
    ):
        return None
    return (
        f"The network underfits: it gets only {accuracies[0]:.3f} of its own training images right, about as many as of the "
        f"validation images ({accuracies[1]:.3f}). More epochs, a higher learning rate, more open blocks, larger images, or less "
        "dropout, weight decay and augmentation would let it learn more."
    )


def _accuracies(evidence: RunEvidence) -> tuple[float, float] | None:
    """Highest training and validation accuracy of any epochs, where they can be compared: classes have the same shares in both.

    Not those of the best epoch: in an early one the training accuracy, a mean over the epoch, is still low.
    """
    snapshot = evidence.snapshot
    train = max((value for _, value in _finite(evidence, "train_accuracy")), default=None)
    validation = max((value for _, value in _finite(evidence, "accuracy")), default=None)
    sampled = snapshot.section("train").get("balance") in {"sampler", "auto"} or snapshot.section("data").get(
        "long_tail"
    )
    return None if sampled or train is None or validation is None else (train, validation)


def _finite(evidence: RunEvidence, name: str) -> list[tuple[int, float]]:
    return [(r["epoch"], value) for r in evidence.snapshot.reports if (value := r.get(name)) is not None]


# --- what to try next -----------------------------------------------------------------------------------------------


def training_next_steps(evidence: RunEvidence) -> Iterator[Conclusion]:
    """Conclusions of the topic `NEXT`."""
    rules = (_unfinished, _diverged, _collapsed, _still_rising, _long_after, _deeper, _size)
    for text, command in (step for rule in rules for step in rule(evidence)):
        yield Conclusion(Topic.NEXT, text, command=command)


Steps = Iterator[tuple[str, str | None]]
"""Sentences, each with a command or None."""


def _unfinished(evidence: RunEvidence) -> Steps:
    folder = evidence.snapshot.run.folder
    if evidence.snapshot.is_over or folder.trial.is_file():
        return
    words = ["train", str(folder.recipe), "--resume", folder.root.name]
    if folder.root.absolute().parent.name != "runs":
        words += ["--runs", str(folder.root.parent)]
    failed = "When the cause is mended, resume it; with a changed recipe, thaw train starts a new run."
    when = failed if evidence.snapshot.error else "If it is no longer running, resume it."
    yield when, command_line(*words)


def _diverged(evidence: RunEvidence) -> Steps:
    train = evidence.snapshot.section("train")
    if evidence.flagged(Flag.NAN) or (evidence.snapshot.reports and not evidence.snapshot.best):
        clip = "" if train.get("clip_norm") else ", and clip gradients (train.clip_norm: 1.0)"
        half = "; fp16 overflows sooner than bf16" if train.get("precision") == "fp16" else ""
        yield f"Training diverged: lower the learning rates to a third{clip}{half}.", None
    elif evidence.flagged(Flag.SPIKE) and not train.get("clip_norm"):
        yield "The loss spiked: clip gradients (train.clip_norm: 1.0), or lower the learning rates.", None


def _collapsed(evidence: RunEvidence) -> Steps:
    snapshot = evidence.snapshot
    if not snapshot.best or Flag.COLLAPSE not in snapshot.best["flags"]:
        return
    if snapshot.task == "regression":
        yield "All images get nearly the same number: raise the learning rates, or open more blocks.", None
        return
    counts = [n for n in (snapshot.best.get("per_class") or {}).get("true_count", []) if n]
    ratio = max(counts) / min(counts) if counts else 1.0
    if ratio >= IMBALANCE:
        yield (
            f"Classes collapsed, and the largest has {ratio:.3g} times the images of the smallest: try loss: {{kind: "
            "balanced_softmax} or balance: auto, and train the head longer before blocks open.",
            None,
        )
    else:
        yield (
            "Classes collapsed although they are of about the same size: train the head longer before blocks open, and lower "
            "the backbone's learning rate; check the labels with thaw check.",
            None,
        )


def _still_rising(evidence: RunEvidence) -> Steps:
    """A best epoch at the very end of a stage that used all its epochs."""
    snapshot = evidence.snapshot
    if not snapshot.is_over or not snapshot.best or snapshot.best["epoch"] != snapshot.reports[-1]["epoch"]:
        return
    last = snapshot.reports[-1]
    limit = snapshot.stages[-1].get("epochs") if snapshot.stages else None
    if len(snapshot.reports) > 1 and isinstance(limit, int) and last["epoch_in_stage"] >= limit:
        yield (
            f"The last epoch was the best: give the last stage more than its {counted(limit, 'epoch')} "
            "(train.stages[-1].epochs).",
            None,
        )


def _long_after(evidence: RunEvidence) -> Steps:
    snapshot = evidence.snapshot
    done, best = len(snapshot.reports), snapshot.best.get("epoch", 0)
    in_last_stage = bool(best) and snapshot.best["stage_index"] == snapshot.reports[-1]["stage_index"]
    if snapshot.is_over and in_last_stage and done >= 6 and done - best >= LATE * done:
        yield (
            f"The {done - best} epochs after the best one gained nothing: a lower learning rate in the last stage, or a "
            "falling one (schedule: cosine), would use them.",
            None,
        )


def _deeper(evidence: RunEvidence) -> Steps:
    """Gain from opening blocks in the last stage."""
    snapshot = evidence.snapshot
    if not snapshot.is_over or len(evidence.gains) < 2 or len(evidence.gains) < len(snapshot.stages):
        return
    (row, gain), noise = evidence.gains[-1], evidence.spread.error if evidence.spread else 0.0
    opens_more = row["open from"] != evidence.gains[-2][0]["open from"]
    if not opens_more:
        return
    if gain <= noise:
        small = f"only {format_gain(gain)}, within one standard error" if gain else "nothing"
        yield (
            f"Opening the network from {row['open from']} (stage {row['stage']}) gained {small}: end before it, or give it a "
            "lower backbone_lr.",
            None,
        )
    elif gain > 2 * noise and _has_frozen(snapshot.stages[-1]):
        yield (
            f"Opening the network from {row['open from']} (stage {row['stage']}) gained {format_score(gain)}: a further stage "
            "that opens more blocks may gain more.",
            None,
        )


def _has_frozen(stage: dict[str, Any]) -> bool:
    return stage.get("unfreeze_from") != "all"


def _size(evidence: RunEvidence) -> Steps:
    snapshot = evidence.snapshot
    images = snapshot.images("training")
    if not images or snapshot.section("model").get("weights") == "none":
        return  # the advice is about fine-tuning: a network with random weights has nothing to keep frozen
    advice = size_advice(images)
    yield (
        f"For data of this size ({counted(images, 'training image')}, {advice.size}) the rule of thumb, not measured here, is "
        f"this. Depth: {advice.depth}. Mode: {advice.mode}. Schedule: {advice.schedule}.",
        None,
    )
