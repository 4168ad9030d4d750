"""Checks that a command continues or repeats training runs with their data and pretrained weights: scores on others would not be
comparable."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from results_analysis import RunError
from results_analysis.runs.files import read_environment, read_yaml
from trainables.core.config_errors import ConfigError, Problem, listed
from trainables.data.dataset import Dataset, open_dataset
from trainables.recipe.data_config import DataConfig
from trainables.recipe.model_config import ModelConfig
from trainables.recipe.recipe import Recipe, parse_recipe
from trainables.run_folder.layout import TrialLayout

Recorded = dict[str, Any]
"""Content of an `environment.json`."""

_FINGERPRINTS = ("data_fingerprint", "split_fingerprint", "pretrained_fingerprint")


@dataclass(frozen=True)
class EarlierRuns:
    """Training runs that a command continues or repeats."""

    folders: Sequence[TrialLayout]
    advice: str
    """Way to continue on other data, such as `start a new run with --new`."""

    def check_data(self, opened: Mapping[DataConfig, Dataset]) -> None:
        """Checks that the runs had today's images, labels and split. A run that did not record its data is not checked.

        Args:
            opened: data sets by their config.
        Raises:
            ConfigError: at `data`, with what has changed and how to continue.
        """
        runs = list(self._distinct())
        if runs and not any(recipe.data in opened for _, _, recipe in runs):
            recipe = runs[0][2]
            opened = {recipe.data: open_dataset(recipe.data, image_sizes=recipe.image_sizes)}
        for folder, recorded, recipe in runs:
            if recipe.data in opened and (changes := _changes(recorded, opened[recipe.data])):
                place = ("data",) if recipe.data.path is None else ("data", "path")
                raise ConfigError([Problem(place, self._refusal(folder, "data", "; ".join(changes)))])

    def check_weights(self, fingerprints: Mapping[ModelConfig, str | None]) -> None:
        """Checks that the runs started from today's weights.

        Args:
            fingerprints: fingerprint of the weights by model config; None where it is not known.
        Raises:
            ConfigError: at `model.weights`.
        """
        for folder, recorded, recipe in self._distinct():
            now, then = fingerprints.get(recipe.model), recorded.get("pretrained_fingerprint")
            if now and then and now != then:
                change = f"{recipe.model.weights} has other values now"
                raise ConfigError([Problem(("model", "weights"), self._refusal(folder, "weights", change))])

    def _refusal(self, folder: TrialLayout, what: str, change: str) -> str:
        return (
            f"{folder.root} was trained with other {what} ({change}), and scores with different {what} cannot be compared; put the "
            f"{what} back as they were, or {self.advice}"
        )

    def _distinct(self) -> Iterator[tuple[TrialLayout, Recorded, Recipe]]:
        """A run for each origin that the runs have recorded, with the record and the recipe."""
        seen = set()
        for folder in self.folders:
            with suppress(RunError, ConfigError):  # a damaged file is reported by the readers that need it
                recorded = read_environment(folder)
                origin = tuple(str(recorded.get(name)) for name in _FINGERPRINTS)
                if origin not in seen:
                    yield folder, recorded, parse_recipe(read_yaml(folder.recipe))
                    seen.add(origin)


def _changes(recorded: Recorded, dataset: Dataset) -> list[str]:
    """Differences between the data that a run has recorded and today's; none where it has not recorded fingerprints."""
    now = {"data_fingerprint": dataset.fingerprint, "split_fingerprint": dataset.split_fingerprint}
    changed = [name for name, value in now.items() if recorded.get(name) not in (None, value)]
    if not changed:
        return []
    found = []
    classes = recorded.get("classes")
    if dataset.targets is None and isinstance(classes, list) and classes != list(dataset.classes):
        found.append(f"of the classes {listed([*map(str, classes)])} then, {listed(dataset.classes)} now")
    for side, positions in (("training", dataset.train), ("validation", dataset.validation)):
        then = recorded.get(f"{side}_images")
        if then not in (None, len(positions)):
            found.append(f"{then} {side} images then, {len(positions)} now")
    if found:
        return found
    if "data_fingerprint" in changed:
        then = str(recorded["data_fingerprint"])
        return [f"as many images, other pixels or labels: fingerprint {then[:12]} then, {dataset.fingerprint[:12]} now"]
    return ["the same images, split in another way or with other weights"]
