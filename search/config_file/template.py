"""`thaw init`: writes a commented search file for the data at a path. Its choices are in `init_choices.py`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from search.config.yaml_source import InputError
from search.config_file.init_choices import (
    IMAGE_BACKBONE,
    VOLUME_BACKBONE,
    Facts,
    batch_size,
    facts_of,
    image_size,
    volume_depth,
    volume_side,
)
from trainables.core.config_errors import ConfigError
from trainables.core.printable import command_line
from trainables.data.detection.detect_source import DetectedSource, detect_source
from trainables.data.detection.wishes import Wishes
from trainables.data.sources.source import UnknownDataError
from trainables.recipe.backbone_catalog import BACKBONES
from trainables.recipe.rules.size_advice import size_advice

DEFAULT_FILE = "search.yaml"
_COMMENTS_FROM = 32
"""Column of the comments, unless a line is longer."""


class Starter(NamedTuple):
    """Files that `thaw init` writes."""

    text: str
    """Search file."""
    table: str | None
    """Table of the images that the search file names, CSV; None: the data can be read as they are."""


def table_of(file: Path) -> Path:
    """Place of the table that belongs to a search file."""
    return file.with_suffix(".images.csv")


def starter(path: Path, file: Path, wishes: Wishes | None = None) -> Starter:
    """Search file for the data at a path, and a table of its images if no source reads them as they are.

    Args:
        path: the data.
        file: place of the search file, for the commands in its comments and the place of the table.
        wishes: what the user says about the data.
    Raises:
        InputError: if no source reads the data, or it cannot be split.
    """
    try:
        found = detect_source(path, replace(wishes or Wishes(), file=file if file.name != DEFAULT_FILE else None))
    except UnknownDataError as error:
        raise InputError(str(error)) from None
    except ConfigError as error:
        raise InputError("\n".join(problem.message for problem in error.problems)) from None
    if found.table is not None:
        found.data["path"] = str(table_of(file))
    table = None if found.table is None else found.table.to_csv(index=False, lineterminator="\n")
    facts = replace(facts_of(found), plan=wishes.plan if wishes else None)
    return Starter(text_for(found, facts, file, path), table)


def text_for(found: DetectedSource, facts: Facts, file: Path, path: Path) -> str:
    """Text of the search file, with comments that give the reasons.

    Args:
        found: the detected data.
        facts: facts about it.
        file: place of the search file.
        path: the data, whose name the search gets.
    """
    doubts = "".join(f"# please check: {_plain(doubt)}\n" for doubt in found.doubts)
    what = f"of {len(facts.counts):,} classes, {_extremes(facts)}" if facts.counts else _range(facts)
    model = f"backbone: {IMAGE_BACKBONE}", "its ImageNet weights come with the installation"
    volumes = [
        (f"backbone: {VOLUME_BACKBONE}", "a small network for volumes"),
        ("weights: none", "random; MedicalNet's published ones are better: weights: path/of/resnet_10_23dataset.pth"),
    ]
    return f"""\
# {_plain(found.what)}: {facts.total:,} {facts.images} {what}.
{doubts}#   {command_line("check", file)}     show the images, and estimate the time that the search takes
#   {command_line("search", file)}    run it
{_data(found, facts, path)}
{_section("model", volumes if facts.depths else [model])}
{_train(facts)}
{_space(facts)}
{_search(path, facts)}"""


def _section(name: str, lines: Sequence[tuple[str, str]]) -> str:
    """Text of a section: its lines, each with its comment or none."""
    texts = (f"  {line:<{_COMMENTS_FROM}} # {comment}" if comment else f"  {line}" for line, comment in lines)
    return "\n".join([f"{name}:", *texts, ""])


def _data(found: DetectedSource, facts: Facts, path: Path) -> str:
    low, middle, high = facts.sides
    sides = f"{low}" if low == high else f"{low} … {high}, median {middle}"
    multiple = BACKBONES[IMAGE_BACKBONE].size_multiple
    own = {key: value for key, value in found.data.items() if key not in {"validation", "depth"}}
    lines = [line for key, value in own.items() for line in _entries(key, value)]
    if found.table is not None:
        lines[1] = lines[1][0], f"written by thaw init, from {_plain(str(path))}{_origin(found)}"
    if facts.depths:
        fewest, usual, most = facts.depths
        slices = f"{fewest}" if fewest == most else f"{fewest} … {most}, median {usual}"
        lines.append((f"image_size: {volume_side(middle)}", f"height and width of the slices; they have {sides}"))
        spacing = "" if found.data["source"] == "npz" else "; spacing_mm resamples to one distance between voxels"
        lines.append((f"depth: {volume_depth(usual)}", f"slices; the volumes have {slices}{spacing}"))
    else:
        comment = f"shorter sides: {sides} px; the backbone takes multiples of {multiple}"
        lines.append((f"image_size: {image_size(middle)}", comment))
        if facts.fit != "crop":
            lines.append((f"fit: {facts.fit}", "a crop would cut off the ends of many images"))
    if "validation" in found.data:
        groups = ", in whole groups" if found.source.groups is not None else ""
        of = "of each class" if facts.counts else "of each tenth of the numbers"
        lines.append((f"validation: {found.data['validation']:g}", f"{of}{groups}; the same for all trials"))
    return _section("data", lines)


def _origin(found: DetectedSource) -> str:
    """Columns that a written table was made from: `: image_id, dx and lesion_id`."""
    names = [_plain(name) for name in found.columns.values()]
    return f": {', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else ""


def _entries(key: str, value: Any) -> list[tuple[str, str]]:
    """Lines of a key of `data`; those of a mapping of labels one below another, because there may be many."""
    if key != "labels":
        return [(f"{key}: {_scalar(value)}", "")]
    lines = [(f"  {_scalar({name: target})[1:-1]}", "") for name, target in value.items()]
    return [("labels:", "class of each label; null leaves its images out"), *lines]


def _train(facts: Facts) -> str:
    lines = [
        ("metric: balanced_accuracy", "mean recall over classes: a rare class counts as much as a common one")
        if facts.counts
        else ("metric: spearman", "rank correlation; or r2, mae, rmse"),
        (f"batch_size: {batch_size(facts.trained, volumes=facts.depths is not None)}", _steps(facts)),
        *_stages(facts),
        _loss(facts),
    ]
    if facts.depths:
        augment = "{horizontal_flip: 0.5, rotate_degrees: 10, zoom: 0.1, brightness: 0.1}"
        lines.append((f"augment: {augment}", "remove horizontal_flip if left and right differ"))
    else:
        lines += [
            ("# Add horizontal_flip: 0.5 if mirrored images mean the same; `thaw check` shows augmented images.", ""),
            (
                "augment: {views: 8, crop: {min_scale: 0.7}, brightness: 0.2, contrast: 0.2}",
                "8 cached views of each image",
            ),
        ]
    return _section("train", lines)


def _stages(facts: Facts) -> list[tuple[str, str]]:
    if facts.plan:
        return [(f"plan: {facts.plan}", "stands for stages; the resolved recipe in the run's folder shows them")]
    advice = size_advice(facts.trained)
    head, top, deep = advice.epochs
    if facts.depths:
        stage = f"- {{name: whole, unfreeze_from: all, epochs: {head + top + deep}, head_lr: 1.0e-3, backbone_lr_ratio: 1.0}}"
        return [("stages:", "one: a network with random weights has nothing to keep frozen"), (f"  {stage}", "")]
    rate = "backbone_lr_ratio: 0.1"
    return [
        (f"# By rule of thumb, with {advice.size} images to train on (the search tries other depths, too):", ""),
        (f"#   depth: {advice.depth}", ""),
        (f"#   mode: {advice.mode}", ""),
        (f"#   schedule: {advice.schedule}", ""),
        ("stages:", "each starts from the best weights of the one before; plateaus end stages early"),
        (f"  - {{name: head, unfreeze_from: head, epochs: {head}, head_lr: 1.0e-3}}", ""),
        (f"  - {{name: top, unfreeze_from: 'last:2', epochs: {top}, head_lr: 1.0e-3, {rate}}}", ""),
        (f"  - {{name: deep, unfreeze_from: 'last:4', epochs: {deep}, head_lr: 5.0e-4, {rate}}}", ""),
    ]


def _loss(facts: Facts) -> tuple[str, str]:
    if not facts.counts:
        return "loss: {kind: huber}", "quadratic for small errors, linear for large ones: outliers do not dominate"
    ratio = f"{_extremes(facts)}: {facts.imbalance:.3g} to 1"
    if facts.imbalanced:
        return "loss: {kind: balanced_softmax}", f"{ratio}; the search also tries LDAM with deferred re-weighting"
    return "loss: {kind: cross_entropy}", f"the classes are about balanced ({ratio}): no correction is needed"


def _space(facts: Facts) -> str:
    if facts.depths:
        lines = [
            ("train.stages[*].head_lr: {log: [3.0e-4, 1.0e-2]}", "learning rate"),
            ("train.stages[*].weight_decay: {log: [1.0e-6, 1.0e-2]}", ""),
            ("train.stages[*].dropout: {float: [0.0, 0.5]}", "thousands of features on few volumes"),
        ]
    elif facts.plan:
        lines = [("preset: imbalance", "losses")] if facts.imbalanced else []
        lines.append(("train.stages[*].head_lr: {log: [3.0e-4, 1.0e-2]}", "learning rate"))
        if facts.plan != "head_only":
            lines.append(("train.stages[*].backbone_lr_ratio: {log: [0.01, 1.0]}", "the backbone's, as a share of it"))
    else:
        presets = "[unfreezing, imbalance]" if facts.imbalanced else "unfreezing"
        searched = "depth, plateaus, the backbone's learning rate, warm-up" + ("; losses" if facts.imbalanced else "")
        lines = [(f"preset: {presets}", searched), ("train.stages[*].head_lr: {log: [3.0e-4, 1.0e-2]}", "")]
    if facts.imbalanced:
        lines += [
            (
                "# Of the preset's four losses, the two made for imbalance; null removes the parameters of the others.",
                "",
            ),
            ("train.loss.kind: {choice: [balanced_softmax, ldam]}", ""),
            ("train.loss.gamma: null", ""),
            ("train.balance: null", ""),
            ("train.drw.start_fraction: {float: [0.3, 0.5], when: {train.loss.kind: ldam}}", ""),
        ][facts.depths is not None :]
    return _section("space", lines)


def _search(path: Path, facts: Facts) -> str:
    staged = facts.depths is None and facts.plan not in {"head_only", "last_block", "full"}
    why = [("# At the end of a stage the better half of the trials enters the next one.", "")] if staged else []
    if facts.imbalanced:
        why.append(
            ("# LDAM lags behind until it re-weights; until then, its score has the class shares divided out.", "")
        )
    rungs = "{kind: asha, rungs: stages, reduction: 2}" if staged else "{kind: asha, rungs: epochs, reduction: 2}"
    return _section(
        "search",
        [
            (f"name: {_name(path)}", ""),
            (f"trials: {32 if facts.imbalanced else 24}", ""),
            *why,
            (f"scheduler: {rungs}", "" if staged else "after 4, 8, 16 … epochs the better half of the trials goes on"),
            ("resources: {cpus: 1}", "for each trial, and a GPU if there is one; gpus: 0.5 puts two trials on it"),
        ],
    )


def _range(facts: Facts) -> str:
    low, high = facts.targets or (0.0, 0.0)
    return f"with a number each, {low:g} … {high:g}"


def _extremes(facts: Facts) -> str:
    """Sizes of the largest and the smallest class: `cat 120 … dog 40`, or `100 each`."""
    (most, n_most), (least, n_least) = (choose(facts.counts.items(), key=lambda item: item[1]) for choose in (max, min))
    return f"{n_most:,} each" if n_most == n_least else f"{_plain(most)} {n_most:,} … {_plain(least)} {n_least:,}"


def _steps(facts: Facts) -> str:
    steps = -(-facts.trained // batch_size(facts.trained, volumes=facts.depths is not None))
    return f"{facts.trained:,} training {facts.images}: {steps:,} step{'s' * (steps > 1)} an epoch"


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
