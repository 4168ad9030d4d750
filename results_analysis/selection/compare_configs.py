"""Comparison of two configs: where they differ, and their results."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from results_analysis.runs.files import read_yaml
from results_analysis.runs.run import Run, RunError
from results_analysis.runs.training_run import Trained, find_search_or_training, trial_of
from results_analysis.selection.best_trial import best_trial
from results_analysis.tables.markdown import plain
from trainables.core.printable import printable
from trainables.core.vocabulary import Metric
from trainables.model_package.manifest import read_manifest
from trainables.run_folder.layout import PackageLayout
from trainables.run_folder.trial_columns import best_report

if TYPE_CHECKING:
    from rich.console import Group

Resolve = Callable[[Mapping[str, Any]], Mapping[str, Any]]
"""Function from a recipe as written to the same recipe with its defaults, in plain values."""
_SECTIONS = ("data", "model", "train")


@dataclass(frozen=True)
class Side:
    """A config with its results, as far as they are known."""

    name: str
    values: dict[str, Any]
    """Dotted path -> value, defaults included."""
    results: dict[str, Any] = field(default_factory=dict)
    recall: dict[str, float] = field(default_factory=dict)
    """Class -> recall in the best epoch."""


@dataclass(frozen=True)
class ConfigComparison:
    """The differences between two sides."""

    names: tuple[str, str]
    config: dict[str, tuple[Any, Any]]
    """Dotted path -> its two values where they differ; None where a side has no such path."""
    results: dict[str, tuple[Any, Any]]
    recall: dict[str, tuple[Any, Any]]


def compare(a: str, b: str, runs_dir: str | Path = "runs", *, resolve: Resolve = dict) -> ConfigComparison:
    """Reads and compares two configs.

    Args:
        a, b: a recipe or exported config (YAML), a model's folder, a run of `thaw train`, a search (its best trial), or
            one of its trials, `RUN:7`.
        runs_dir: folder in which names of runs are looked up.
        resolve: adds the defaults to a recipe from a file.
    Raises:
        RunError, PackageError, ConfigError: if one of them cannot be read as any of these.
    """
    left, right = _side(a, runs_dir, resolve), _side(b, runs_dir, resolve)
    paths = {**left.values, **right.values}
    config = {path: (left.values.get(path), right.values.get(path)) for path in paths}
    return ConfigComparison(
        (left.name, right.name),
        {path: pair for path, pair in config.items() if pair[0] != pair[1]},
        _joined(left.results, right.results),
        _joined(left.recall, right.recall),
    )


def _joined(left: Mapping[str, Any], right: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    return {name: (left.get(name), right.get(name)) for name in {**left, **right}}


# --- one side -------------------------------------------------------------------------------------------------------


def _side(name: str, runs_dir: str | Path, resolve: Resolve) -> Side:
    path = Path(name)
    if path.suffix.lower() in (".yaml", ".yml"):
        return _side_of_file(path, resolve)
    if PackageLayout(path).manifest.is_file():
        return _side_of_package(path)
    run, _, number = name.rpartition(":") if re.search(r":\d+$", name) else (name, "", "")
    found = find_search_or_training(run, runs_dir)
    if isinstance(found, Run):
        return _side_of_training(trial_of(found, int(number) if number else best_trial(found)))
    if number:
        raise RunError(f"{found.name} is a single training run: it has no trial {number}")
    return _side_of_training(found)


def _side_of_file(file: Path, resolve: Resolve) -> Side:
    data = read_yaml(file)
    origin = data.get("provenance")
    known = {name: origin.get(name) for name in ("metric", "score", "best_epoch", "epochs", "status")} if origin else {}
    return Side(str(file), _values(data, str(file), resolve), known)


def _side_of_package(folder: Path) -> Side:
    layout = PackageLayout(folder)
    manifest = read_manifest(layout)
    origin, validation = manifest.origin, manifest.validation
    known = {name: origin.get(name) for name in ("metric", "score", "best_epoch", "epochs", "status")}
    recall = validation.get("per_class", {}).get("recall", [])
    return Side(
        str(folder),
        _values(read_yaml(layout.recipe), str(layout.recipe)),
        {**known, **_metrics(validation["metrics"])},
        dict(zip(manifest.classes, recall, strict=True)),
    )


def _side_of_training(trained: Trained) -> Side:
    values = _values(trained.recipe, str(trained.folder.recipe))
    if not trained.reports:
        return Side(trained.name, values)
    last, best = trained.reports[-1], best_report(trained.reports) or {}
    results = {
        "metric": trained.metric.value,
        "score": last["best_score"],
        "best_epoch": last["best_epoch"] or None,
        "epochs": last["epoch"],
        "train_s": sum(report["train_s"] for report in trained.reports),
        "flags": ", ".join(best.get("flags", last["flags"])) or None,
        **_metrics(best),
    }
    recall, classes = best.get("per_class", {}).get("recall", []), trained.environment.get("classes", [])
    known = len(classes) == len(recall)
    return Side(trained.name, values, results, {classes[j] if known else f"class {j}": r for j, r in enumerate(recall)})


def _metrics(report: Mapping[str, Any]) -> dict[str, Any]:
    return {metric.value: report[metric.value] for metric in Metric if report.get(metric.value) is not None}


def _values(config: Mapping[str, Any], name: str, resolve: Resolve = dict) -> dict[str, Any]:
    """Dotted path -> value, for a whole recipe."""
    sections = {section: config[section] for section in _SECTIONS if section in config}
    if len(sections) < len(_SECTIONS):
        missing = ", ".join(section for section in _SECTIONS if section not in sections)
        raise RunError(f"{name} is not a recipe: {missing} missing")
    return dict(_flat(resolve(sections), ""))


def _flat(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping) and value:
        for key, item in value.items():
            yield from _flat(item, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list) and any(isinstance(item, Mapping) for item in value):
        for i, item in enumerate(value):
            yield from _flat(item, f"{path}[{i}]")
    else:
        yield path, value


# --- output as JSON, Markdown and for a terminal ---------------------------------------------------------------------

_TITLES = {"config": "differences in the config", "results": "results", "recall": "recall of each class"}


def to_json(comparison: ConfigComparison) -> str:
    """The comparison as JSON: `compared` has the names; `config`, `results` and `recall` the two values of each key."""
    parts = {part: {key: list(pair) for key, pair in getattr(comparison, part).items()} for part in _TITLES}
    return json.dumps({"compared": list(comparison.names), **parts}, indent=2, ensure_ascii=False) + "\n"


def to_markdown(comparison: ConfigComparison) -> str:
    """The comparison in Markdown, one table a part."""
    return "\n".join(
        f"## {title[0].upper()}{title[1:]}\n\n"
        + "".join(f"| {' | '.join(plain(cell) for cell in row)} |\n" for row in _with_rule(comparison, rows))
        for title, rows in _parts(comparison)
    )


def render(comparison: ConfigComparison) -> Group:
    """The comparison for a terminal, one table a part."""
    from rich import box
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    tables = []
    for title, rows in _parts(comparison):
        table = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left", pad_edge=False)
        for heading in ("", *map(printable, comparison.names)):
            table.add_column(Text(heading), overflow="fold")
        for row in rows:
            table.add_row(*(Text(printable(cell)) for cell in row))
        tables.append(table)
    return Group(*tables)


def _parts(comparison: ConfigComparison) -> Iterator[tuple[str, list[tuple[str, str, str]]]]:
    """Title and rows of each part that is not empty; the config always."""
    for part, title in _TITLES.items():
        pairs: dict[str, tuple[Any, Any]] = getattr(comparison, part)
        if pairs:
            yield title, [(key, _text(a), _text(b)) for key, (a, b) in pairs.items()]
        elif part == "config":
            yield title, [("nothing differs", "", "")]


def _with_rule(comparison: ConfigComparison, rows: list[tuple[str, str, str]]) -> list[tuple[str, ...]]:
    return [("", *comparison.names), ("---", "---", "---"), *rows]


def _text(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.6g}"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
