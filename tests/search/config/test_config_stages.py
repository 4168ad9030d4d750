"""The stages of a search file: those that change nothing, and those that grow with what they train on."""

import re

import pytest
import yaml

from search.config.yaml_source import InputError, read_source
from search.config_file.load import load_recipe
from tests.support import search_files
from tests.support.recipes import RECIPE
from tests.support.search_files import FILE, replaced

write, load, mistakes = search_files.write, search_files.load, search_files.mistakes  # fixtures

# --- stages by one word ---------------------------------------------------------------------------------------------

STAGES = FILE[FILE.index("  stages:") : FILE.index("  loss:")]
PLANNED = FILE.replace(STAGES, "  plan: head_only\n")
SEARCHED = PLANNED.replace("space:\n", "space:\n  train.plan: {choice: [head_only, last_block, full]}\n")


def test_a_plan_is_searched_and_values_in_its_stages_with_it(load):
    config = load(SEARCHED)
    point = {"train.loss.max_margin": 0.5, "train.stages[*].head_lr": 0.02, "train.plan": "last_block"}
    (stage,) = config.recipe_of(point).train.stages
    assert (stage.unfreeze_from, stage.head_lr) == ("features.8", 0.02)
    assert {recipe.train.stages[0].unfreeze_from for recipe in config.corner_recipes()} == {"head", "features.8", "all"}
    assert load(config.to_yaml()).to_yaml() == config.to_yaml()


def test_the_plan_of_the_recipe_is_the_first_trials(load):
    config = load(SEARCHED, "search.enqueue=[defaults]")
    assert config.settings.enqueue[0]["train.plan"] == "head_only"


def test_stages_that_each_trial_replaces_by_a_plan_are_refused(mistakes):
    searched = FILE.replace("space:\n", "space:\n  train.plan: {choice: [head_only, full]}\n")
    assert mistakes(searched) == [
        "search.yaml:8 train.stages: no trial trains these stages, because the space gives each a train.plan; "
        "give train.plan here, too"
    ]


def test_a_plan_on_the_command_line_replaces_the_stages_of_the_file(load):
    assert [stage.unfreeze_from for stage in load(FILE, "train.plan=full").recipe.train.stages] == ["all"]


def test_values_on_the_command_line_reach_into_the_stages_of_a_plan(load):
    config = load(PLANNED, "train.stages[head].epochs=3", "train.stages[*].dropout=0.4")
    assert [(s.unfreeze_from, s.epochs, s.dropout) for s in config.recipe.train.stages] == [("head", 3, 0.4)]
    sized = "data.image_size=64", "train.stages[0].head_lr=0.1", "train.plan=progressive_resizing"
    recipes = [load(PLANNED, *order).recipe for order in (sized, sized[::-1])]
    assert [[recipe.image_size(i) for i in range(3)] for recipe in recipes] == [[32, 32, 64]] * 2

    config = load(PLANNED, "train.stages[*].epochs=3", "train.plan=last_block")
    assert [(s.unfreeze_from, s.epochs) for s in config.recipe.train.stages] == [("features.8", 3)]


def test_what_the_stages_of_a_plan_depend_on_is_searched_only_with_the_plan(load, mistakes):
    resizing = PLANNED.replace("head_only", "progressive_resizing")
    sizes = resizing.replace("space:\n", "space:\n  data.image_size: {choice: [64, 224]}\n")
    (said,) = mistakes(sizes)
    assert said.endswith(
        "space.data.image_size: the stages of train.plan depend on it; search that, too: "
        "train.plan: {choice: [progressive_resizing]}"
    )
    config = load(sizes.replace("space:\n", "space:\n  train.plan: {choice: [progressive_resizing]}\n"))
    point = {"train.plan": "progressive_resizing", "data.image_size": 64}
    assert [config.recipe_of(point).image_size(i) for i in range(3)] == [32, 32, 64]
    load(sizes.replace("progressive_resizing", "full"))


# --- stages that change nothing -------------------------------------------------------------------------------------

TWICE = "train.stages=[{name: a, unfreeze_from: 'last:2'}, {name: b, unfreeze_from: features.7, epochs: 3}]"
SAID = (
    "stage 'b' trains the same blocks in the same way as 'a' before it; "
    "open or freeze blocks, change a value, or merge the two stages"
)


def test_a_stage_that_changes_nothing_is_a_mistake(mistakes):
    assert mistakes(FILE, TWICE) == [f"command line ({TWICE}) train.stages[1]: {SAID}"]
    stages = "    - {name: a, unfreeze_from: head}\n    - {name: b, unfreeze_from: head, plateau: null}\n"
    old = FILE[FILE.index("    - name: head") : FILE.index("  loss:")]
    assert mistakes(FILE.replace(old, stages)) == [f"search.yaml:10 train.stages[1]: {SAID}"]


@pytest.mark.parametrize(
    "space",
    [
        "{'train.stages[1].unfreeze_from': {choice: ['last:2', 'last:3']}}",
        "{'train.stages[1].lr_scale': {float: [0.5, 1.0]}}",
        "{'train.stages[a].image_size': {choice: [32, 64]}}",
        "progressive",
        "full",
    ],
)
def test_unless_the_space_tells_the_two_stages_apart(load, space):
    config = load(FILE, TWICE, f"space={space}")
    alike = [recipe.continues_unchanged(1) for recipe in config.corner_recipes()]
    assert not all(alike)


@pytest.mark.parametrize("space", ["{'train.stages[*].lr_scale': {float: [0.5, 1.0]}}", "ema"])
def test_a_space_that_does_not_is_no_excuse(mistakes, space):
    assert mistakes(FILE, TWICE, f"space={space}") == [f"command line ({TWICE}) train.stages[1]: {SAID}"]


def test_a_recipe_is_asked_too_but_not_an_exported_trial(write):
    twice = {**RECIPE, "train": {**RECIPE["train"], "stages": [{"name": n, "unfreeze_from": "all"} for n in "ab"]}}
    with pytest.raises(InputError, match=re.escape(f"train.stages[1]: {SAID}")):
        load_recipe(read_source(write(yaml.safe_dump(twice))))
    exported = {**twice, "provenance": {"search": "s", "trial": 3, "score": 0.5}}
    assert len(load_recipe(read_source(write(yaml.safe_dump(exported)))).train.stages) == 2


# --- progressive searches -------------------------------------------------------------------------------------------

PROGRESSIVE = """\
data: {source: digits, image_size: 64}
model: {backbone: efficientnet_lite0}
train:
  mix: {mixup_alpha: 0.2}
  one_cycle: {}
  stages:
    - {name: small, unfreeze_from: "last:2", data_fraction: 0.5, image_size: 32, batch_size: 128, epochs: 4}
    - {name: middle, unfreeze_from: "last:4", data_fraction: 0.75, batch_size: 96, epochs: 4, lr_scale: 0.8}
    - {name: large, unfreeze_from: all, image_size: 96, epochs: 4, lr_scale: 0.5}
space:
  preset: [unfreezing, progressive]
  train.stages[*].plateau.patience: null
  train.stages[*].backbone_warmup_epochs: null
  train.stages[small].image_size: {choice: [32, 64]}
  train.stages[middle].batch_size: {int: [32, 128], step: 32}
  train.mix.mixup_alpha: {float: [0.1, 1.0]}
  train.mix.probability: {float: [0.0, 1.0]}
"""


def test_every_progressive_field_can_be_searched(load):
    config = load(PROGRESSIVE, "search.name=search")
    recipes = config.corner_recipes()
    assert {recipe.image_size(0) for recipe in recipes} == {32, 64}
    assert {recipe.batch_size(1) for recipe in recipes} == {32, 128}
    assert {recipe.train.stages[0].data_fraction for recipe in recipes} == {0.2, 1.0}
    assert {recipe.train.stages[-1].lr_scale for recipe in recipes} == {0.25, 1.0}
    assert {recipe.train.mix.mixup_alpha for recipe in recipes} == {0.1, 1.0}
    assert {recipe.train.stages[1].lr_scale for recipe in recipes} == {0.8}
    assert load(config.to_yaml()) == config


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "{choice: [32, 64]}",
            "{choice: [32, 40]}",
            r"search.yaml:14 space.train.stages\[small\].image_size: 40: efficientnet_lite0 takes only multiples of 32",
        ),
        (
            "mix: {mixup_alpha: 0.2}",
            "mix: {cutmix_alpha: 0.2, at: cut}",
            r"search.yaml:4 train.mix.at: 'cut' works with MixUp only",
        ),
    ],
)
def test_what_does_not_fit_is_found_before_any_trial(mistakes, old, new, message):
    assert any(re.match(message, line) for line in mistakes(replaced(old, new, PROGRESSIVE)))
