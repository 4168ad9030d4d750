"""`thaw init`: writes a commented search file for the data at a path. Its choices are pure functions of a few numbers."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from search.config.yaml_source import InputError
from trainables.core.config_errors import ConfigError
from trainables.data.dataset import sides_of
from trainables.data.sources.detect_source import Recognised, recognise
from trainables.data.sources.source import UnknownDataError
from trainables.recipe.backbone_catalog import BACKBONES
from trainables.recipe.data_config import DataConfig

_BACKBONE = "efficientnet_lite0"
_IMBALANCED_FROM = 3.0
"""Ratio of the largest to the smallest class, in training images, from which losses for imbalanced data are searched."""
_COMMENTS_FROM = 32
"""Column of the comments, unless a line is longer."""


@dataclass(frozen=True, kw_only=True)
class Facts:
    """Facts about the data on which the choices depend."""

    counts: Mapping[str, int]
    """Images of each class that can train: all of them, or the training rows if the split is given."""
    sides: tuple[int, int, int]
    """Smallest, median and largest of the images' shorter sides, in pixels."""
    validation: float | None
    """Share of each class for validation; None if the split is given."""

    @property
    def trained(self) -> int:
        """Approximate number of training images."""
        return round(sum(self.counts.values()) * (1 - (self.validation or 0)))

    @property
    def imbalance(self) -> float:
        return max(self.counts.values()) / min(self.counts.values())


def starter(path: Path, file: Path) -> str:
    """Text of a search file for the data at a path.

    Args:
        path: the data.
        file: place of the search file, for the commands in its comments.
    Raises:
        InputError: if no source reads the data, or it cannot be split.
    """
    try:
        found = recognise(path)
        facts = facts_of(found)
    except UnknownDataError as error:
        raise InputError(str(error)) from None
    except ConfigError as error:
        raise InputError("\n".join(problem.message for problem in error.problems)) from None
    return text_for(found, facts, file)


def facts_of(found: Recognised) -> Facts:
    """Facts about detected data, and its split.

    Raises:
        ConfigError: if it cannot be split.
    """
    source = found.source
    counts = np.bincount(source.labels, minlength=len(source.classes))
    share = None if source.judges is not None else validation_share(int(counts.min()))
    config = DataConfig.model_validate({**found.data, "validation": share})
    train, _ = sides_of(config, source)
    if share is None:
        counts = np.bincount(source.labels[train], minlength=len(source.classes))
    return Facts(counts=dict(zip(source.classes, counts.tolist(), strict=True)), sides=found.sides, validation=share)


# --- choices ----------------------------------------------------------------------------------------------------------


def validation_share(fewest: int) -> float:
    """Share for validation: a fifth, or a quarter if the smallest class has two images, so that one is on either side."""
    return 0.25 if fewest == 2 else 0.2


def image_size(median_side: int, multiple: int = BACKBONES[_BACKBONE].size_multiple) -> int:
    """Image size: the images' own, rounded up to what the backbone takes, from 64 to 224 px."""
    return min(224, max(64, -(-median_side // multiple) * multiple))


def batch_size(trained: int) -> int:
    """Batch size: small for few images, for enough steps per epoch; larger for many."""
    return 16 if trained < 500 else 32 if trained < 5000 else 64


def stage_epochs(trained: int) -> tuple[int, int, int]:
    """Epochs of the three stages: the fewer images, the more epochs."""
    return (8, 12, 16) if trained < 1000 else (5, 8, 12) if trained < 10_000 else (3, 6, 9)


# --- text -------------------------------------------------------------------------------------------------------------


def text_for(found: Recognised, facts: Facts, file: Path) -> str:
    """Text of the search file, with comments that give the reasons.

    Args:
        found: the detected data.
        facts: facts about it.
        file: place of the search file.
    """
    epochs = stage_epochs(facts.trained)
    imbalanced = facts.imbalance >= _IMBALANCED_FROM
    doubts = "".join(f"# please check: {_plain(doubt)}\n" for doubt in found.doubts)
    return f"""\
# {_plain(found.what)}: {sum(facts.counts.values()):,} images of {len(facts.counts)} classes, {_extremes(facts)}.
{doubts}#   thaw check {file}     show the images, and estimate the time that the search takes
#   thaw search {file}    run it
{_data(found, facts)}
{_section("model", [(f"backbone: {_BACKBONE}", "its ImageNet weights come with the installation")])}
{_train(facts, epochs, imbalanced)}
{_space(imbalanced)}
{_search(found, imbalanced)}"""


def _section(name: str, lines: Sequence[tuple[str, str]]) -> str:
    """Text of a section: its lines, each with its comment or none."""
    texts = (f"  {line:<{_COMMENTS_FROM}} # {comment}" if comment else f"  {line}" for line, comment in lines)
    return "\n".join([f"{name}:", *texts, ""])


def _data(found: Recognised, facts: Facts) -> str:
    low, middle, high = facts.sides
    sides = f"{low}" if low == high else f"{low} … {high}, median {middle}"
    multiple = BACKBONES[_BACKBONE].size_multiple
    lines = [(f"{key}: {_scalar(value)}", "") for key, value in found.data.items()]
    lines.append(
        (f"image_size: {image_size(middle)}", f"shorter sides: {sides} px; the backbone takes multiples of {multiple}")
    )
    if facts.validation is not None:
        groups = ", in whole groups" if found.source.groups is not None else ""
        lines.append((f"validation: {facts.validation:g}", f"of each class{groups}; the same for all trials"))
    return _section("data", lines)


def _train(facts: Facts, epochs: tuple[int, int, int], imbalanced: bool) -> str:
    head, top, deep = epochs
    ratio = f"{_extremes(facts)}: {facts.imbalance:.3g} to 1"
    if imbalanced:
        loss = "balanced_softmax", f"{ratio}; the search also tries LDAM with deferred re-weighting"
    else:
        loss = "cross_entropy", f"the classes are about balanced ({ratio}): no correction is needed"
    return _section(
        "train",
        [
            ("metric: balanced_accuracy", "mean recall over classes: a rare class counts as much as a common one"),
            (f"batch_size: {batch_size(facts.trained)}", _steps(facts)),
            ("stages:", "each starts from the best weights of the one before; plateaus end stages early"),
            (f"  - {{name: head, unfreeze_from: head, epochs: {head}, head_lr: 1.0e-3}}", ""),
            (f"  - {{name: top, unfreeze_from: 'last:2', epochs: {top}, head_lr: 1.0e-3, backbone_lr_ratio: 0.1}}", ""),
            (
                f"  - {{name: deep, unfreeze_from: 'last:4', epochs: {deep}, head_lr: 5.0e-4, backbone_lr_ratio: 0.1}}",
                "",
            ),
            (f"loss: {{kind: {loss[0]}}}", loss[1]),
            (
                "# Add horizontal_flip: 0.5 if mirrored images mean the same; `thaw check` shows augmented images.",
                "",
            ),
            (
                "augment: {views: 8, crop: {min_scale: 0.7}, brightness: 0.2, contrast: 0.2}",
                "8 cached views of each image",
            ),
        ],
    )


def _space(imbalanced: bool) -> str:
    presets = "[unfreezing, imbalance]" if imbalanced else "unfreezing"
    lines = [
        (
            f"preset: {presets}",
            "depth, plateaus, the backbone's learning rate, warm-up" + ("; losses" if imbalanced else ""),
        ),
        ("train.stages[*].head_lr: {log: [3.0e-4, 1.0e-2]}", ""),
    ]
    if imbalanced:
        lines += [
            (
                "# Of the preset's four losses, the two made for imbalance; null removes the parameters of the others.",
                "",
            ),
            ("train.loss.kind: {choice: [balanced_softmax, ldam]}", ""),
            ("train.loss.gamma: null", ""),
            ("train.balance: null", ""),
            ("train.drw.start_fraction: {float: [0.3, 0.5], when: {train.loss.kind: ldam}}", ""),
        ]
    return _section("space", lines)


def _search(found: Recognised, imbalanced: bool) -> str:
    why = [("# At the end of a stage the better half of the trials enters the next one.", "")]
    if imbalanced:
        why.append(
            ("# LDAM lags behind until it re-weights; until then, its score has the class shares divided out.", "")
        )
    return _section(
        "search",
        [
            (f"name: {_name(Path(found.data['path']))}", ""),
            (f"trials: {32 if imbalanced else 24}", ""),
            *why,
            ("scheduler: {kind: asha, rungs: stages, reduction: 2}", ""),
            ("resources: {cpus: 1}", "for each trial, and a GPU if there is one; gpus: 0.5 puts two trials on it"),
        ],
    )


def _extremes(facts: Facts) -> str:
    """Sizes of the largest and the smallest class: `cat 120 … dog 40`, or `100 each`."""
    (most, n_most), (least, n_least) = (choose(facts.counts.items(), key=lambda item: item[1]) for choose in (max, min))
    return f"{n_most:,} each" if n_most == n_least else f"{_plain(most)} {n_most:,} … {_plain(least)} {n_least:,}"


def _steps(facts: Facts) -> str:
    steps = -(-facts.trained // batch_size(facts.trained))
    return f"{facts.trained:,} training images: {steps:,} step{'s' * (steps > 1)} an epoch"


def _name(path: Path) -> str:
    """Name of the run, from the name of the data."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", path.absolute().stem).strip("-._")
    return _scalar(name[:80] or "search")


def _scalar(value: Any) -> str:
    """A value as YAML on one line."""
    return yaml.safe_dump([value], default_flow_style=True, sort_keys=False, allow_unicode=True, width=10_000).strip()[
        1:-1
    ]


def _plain(text: str) -> str:
    """Text without control characters, so that it stays within its comment."""
    return "".join(c if c.isprintable() else "·" for c in text)
