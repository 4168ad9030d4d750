"""`Recipe`: everything that defines one training run. The same recipe and data give the same result, bit for bit on CPU."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from trainables.core.config_errors import Config, ConfigError, Path, Problem, dotted, misread_numbers, problems_of
from trainables.core.dotted_paths import resolve, with_values
from trainables.recipe.backbone_catalog import backbone_info
from trainables.recipe.data_config import DataConfig
from trainables.recipe.model_config import ModelConfig
from trainables.recipe.rules.across_sections import problems_across_sections
from trainables.recipe.rules.stage_openings import divided_blocks, frozen_blocks, positions_of
from trainables.recipe.rules.stage_plans import plan_problems, with_planned_stages
from trainables.recipe.rules.task_rules import with_task_defaults
from trainables.recipe.scheduled_changes import fixed_reason
from trainables.recipe.stage_config import EarlyStop, Stage
from trainables.recipe.train_config import TrainConfig


class Recipe(Config):
    """Everything that defines one training run."""

    data: DataConfig
    model: ModelConfig
    train: TrainConfig

    @property
    def backbone_blocks(self) -> tuple[str, ...]:
        """Names of the backbone's own blocks, from input to head."""
        return backbone_info(self.model.backbone).blocks

    @property
    def blocks(self) -> tuple[str, ...]:
        """Names of the blocks that stages open, from input to head: the backbone's own, or their parts where a stage names one."""
        return divided_blocks(backbone_info(self.model.backbone), self.train.stages)

    def frozen(self, stage: int) -> frozenset[int]:
        """Positions of the blocks that do not train in a stage."""
        return frozen_blocks(self.train.stages[stage], backbone_info(self.model.backbone), self.blocks)

    def cut(self, stage: int) -> int:
        """Position of the first block that trains in a stage; the number of blocks if only the head trains."""
        frozen = self.frozen(stage)
        return next(i for i in range(len(self.blocks) + 1) if i not in frozen)

    def depth(self, stage: int) -> float:
        """Position of the first block that trains among the backbone's own blocks, whatever the other stages divide: 4.5 is halfway
        through the fifth."""
        own, blocks, cut = self.backbone_blocks, self.blocks, self.cut(stage)
        if cut == len(blocks):
            return len(own)
        i, parts = next((i, parts) for i, block in enumerate(own) if cut in (parts := positions_of(block, blocks)))
        return i + parts.index(cut) / len(parts)

    @property
    def cut_keys(self) -> tuple[str, ...]:
        """Identity of each cut from 0 to the number of blocks: the same in all recipes of the backbone, whatever they divide."""
        own, blocks = self.backbone_blocks, self.blocks
        keys = {positions_of(block, blocks)[0]: str(i) for i, block in enumerate(own)}
        return (*(keys.get(cut, block) for cut, block in enumerate(blocks)), str(len(own)))

    def opens_new_blocks(self, stage: int) -> bool:
        """Returns True if blocks train in a stage that have trained in none before."""
        always_frozen = frozenset(range(len(self.blocks))).intersection(*map(self.frozen, range(stage)))
        return not always_frozen <= self.frozen(stage)

    def image_size(self, stage: int) -> int:
        """Side of the images the network sees in a stage, in pixels."""
        return self.train.stages[stage].image_size or self.data.image_size

    @property
    def image_sizes(self) -> tuple[int, ...]:
        """Image sizes that the run needs in addition to `data.image_size`, ascending, in pixels."""
        return tuple(
            sorted({stage.image_size for stage in self.train.stages if stage.image_size} - {self.data.image_size})
        )

    def batch_size(self, stage: int) -> int:
        """Number of images in a batch of a stage, before accumulation."""
        return self.train.stages[stage].batch_size or self.train.batch_size

    def in_epoch(self, epoch: int) -> Recipe:
        """Recipe in effect in an epoch (counted from 1): with the changes due by then applied, and no further ones."""
        if not self.train.changes:
            return self
        data = self.model_dump(mode="json", exclude={"train": {"changes"}})
        for change in self.train.changes:
            if change.after_epoch < epoch:
                data = with_values(data, change.set)
        return Recipe.model_validate(data)

    def continues_unchanged(self, stage: int) -> bool:
        """Returns True if a stage trains the same blocks on the same images in the same way as the one before it."""
        if not 0 < stage < len(self.train.stages) or self.train.stages[stage].schedule.kind != "constant":
            return False  # a schedule that restarts is a change
        return self._resolved(stage) == self._resolved(stage - 1)

    def _resolved(self, stage: int) -> Stage:
        """Stage with its defaults filled in from the recipe, without its name and the rules for its end."""
        same = {"name": "", "epochs": 1, "plateau": None, "continues": False, "unfreeze_from": ""}
        resolved = {"image_size": self.image_size(stage), "batch_size": self.batch_size(stage)}
        frozen = tuple(self.blocks[i] for i in sorted(self.frozen(stage)))
        return self.train.stages[stage].model_copy(update={**same, **resolved, "freeze": frozen})

    def head_frozen_epochs(self, stage: int) -> int:
        """Number of first epochs of a stage in which the head is frozen: as given, else 3 where `train.freeze_head_at` says so, but
        never all."""
        given, epochs = self.train.stages[stage].head_frozen_epochs, self.train.stages[stage].epochs
        if given is not None:
            return given
        opened_before = any(self.cut(before) < len(self.blocks) for before in range(stage))
        freezes = self.train.freeze_head_at == "every_opening" or not opened_before
        opens = stage > 0 and not self.train.stages[stage].continues and self.opens_new_blocks(stage)
        return min(3, epochs - 1) if opens and freezes else 0

    def ending_rule(self, stage: int) -> EarlyStop | None:
        """Rule that can end a stage before its last epoch, with its defaults filled in; None: there is none."""
        if stage == len(self.train.stages) - 1:
            return self.train.early_stop
        if (plateau := self.train.stages[stage].plateau) is None:
            return None
        patience, threshold = (8, 0.002) if self.cut(stage) == len(self.blocks) else (5, 0.005)
        return EarlyStop(
            metric=plateau.metric,
            patience=patience if plateau.patience is None else plateau.patience,
            threshold=threshold if plateau.threshold is None else plateau.threshold,
        )

    @property
    def bn_affine(self) -> bool:
        """True if BatchNorm's scale and shift train in open blocks."""
        given = self.train.bn_affine
        return given == "train" or (given == "auto" and self.model.weights == "none")


def parse_recipe(data: Mapping[str, Any]) -> Recipe:
    """Builds a recipe from plain data.

    Raises:
        ConfigError: with all problems that were found.
    """
    problems: list[Problem] = []
    if isinstance(data, Mapping):
        if problems := plan_problems(data):
            raise ConfigError(problems)
        data = with_planned_stages(with_task_defaults(data))
    try:
        recipe = Recipe.model_validate(data)
        problems += misread_numbers(recipe, data)
    except ValidationError as error:
        problems += problems_of(error, Recipe, data)
    if problems := problems + problems_across_sections(data):
        raise ConfigError(problems)
    if problems := _unfit_changes(recipe):
        raise ConfigError(problems)
    return recipe


def recipe_with(recipe: Mapping[str, Any], values: Mapping[str, Any]) -> Recipe:
    """Builds a recipe that differs from another, given as plain data, in some values.

    Args:
        recipe: the other recipe.
        values: new values by dotted paths; a plan replaces the stages, before values in stages are set.
    Raises:
        ConfigError: with all problems of the new recipe.
        PathError: if a path leads nowhere.
    """
    if values.get("train.plan") is not None:
        in_stages = {path: value for path, value in values.items() if path.startswith("train.stages[")}
        changed = with_values(recipe, {path: value for path, value in values.items() if path not in in_stages})
        if "train.stages" not in values:
            del changed["train"]["stages"]
        recipe, values = parse_recipe(changed).model_dump(mode="json"), in_stages
    return parse_recipe(with_values(recipe, values))


def redundant_stages(recipes: Sequence[Recipe]) -> list[Problem]:
    """Returns a problem for each stage that does not differ from the one before it in any of some recipes.

    Not part of `parse_recipe`, because two stages of a single trial may well be alike if depths are searched.
    """
    stages = recipes[0].train.stages if recipes else ()
    message = (
        "stage {!r} trains the same blocks in the same way as {!r} before it; "
        "open or freeze blocks, change a value, or merge the two stages"
    )
    return [
        Problem(("train", "stages", i), message.format(stage.name, stages[i - 1].name))
        for i, stage in enumerate(stages)
        if all(recipe.continues_unchanged(i) for recipe in recipes)
    ]


def _unfit_changes(recipe: Recipe) -> list[Problem]:
    """Problems of `train.changes` in an otherwise valid recipe."""
    data, problems = recipe.model_dump(mode="json", exclude={"train": {"changes"}}), []
    for i, change in enumerate(recipe.train.changes):
        place = ("train", "changes", i)
        if change.after_epoch >= recipe.train.max_epochs:
            message = f"{change.after_epoch}: no epoch follows it (the run has at most {recipe.train.max_epochs})"
            problems.append(Problem((*place, "after_epoch"), message))
        fixed = {path: why for path in change.set if (why := fixed_reason(path, data))}
        problems += [Problem((*place, "set", path), why) for path, why in fixed.items()]
        values = {path: value for path, value in change.set.items() if path not in fixed}
        changed = with_values(data, values)
        try:
            parse_recipe(changed)
        except ConfigError as error:
            problems += [_at_its_value(problem, (*place, "set"), values, data) for problem in error.problems]
        else:
            data = changed
    return list(dict.fromkeys(problems))


def _at_its_value(problem: Problem, place: Path, values: Mapping[str, Any], data: Mapping[str, Any]) -> Problem:
    """Moves a problem of a changed recipe to the value of the change that causes it."""
    for path in values:
        for at in resolve(path, data):
            if problem.path[: len(at)] == at or at[: len(problem.path)] == problem.path:
                return Problem((*place, path), problem.message)
    return Problem(place, f"{dotted(problem.path)}: {problem.message}")


def channel_problems(recipe: Recipe, channels: int) -> list[Problem]:
    """Returns a problem if the network cannot take images of so many channels, a number known only once the data are read."""
    name, taken = recipe.model.backbone, backbone_info(recipe.model.backbone).channels
    if channels <= taken:
        return []
    return [
        Problem(("model", "backbone"), f"{name} takes {taken} channel, but the volumes are in colour, with {channels}")
    ]
