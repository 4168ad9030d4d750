"""Typed settings act in some trial, or are refused; defaults, and settings in files of runs, are never refused."""

import copy

import pytest
import yaml

from search.config.yaml_source import InputError, read_source
from search.config_file.load import load_recipe, load_search
from tests.support import search_files
from tests.support.project import PROJECT
from tests.support.recipes import RECIPE
from tests.support.search_files import FILE

write, load, mistakes = search_files.write, search_files.load, search_files.mistakes  # fixtures


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("train.stages[head].backbone_lr_ratio=0.5", "only the head trains in stage 'head'"),
        ("train.stages[-1].plateau.patience=2", "the last stage ends by train.early_stop"),
        ("train.checkpoints.milestones=[17]", "17: the run has at most 16 epochs"),
        ("train.balance=sampler", "would correct the imbalance twice"),
        ("search.scheduler={kind: hyperband, brackets: 4}", "4: there are only 2 rungs"),
        ("search.scheduler={kind: asha, before_drw: wait}", "wait: no trial re-weights"),
    ],
)
def test_a_setting_without_effect_in_any_trial_is_refused_at_its_place(mistakes, typed, message):
    (line,) = mistakes(FILE, typed)
    assert line.startswith(f"command line ({typed}) ")
    assert message in line


@pytest.mark.parametrize(
    ("typed", "space"),
    [
        (
            "train.stages[head].backbone_lr_ratio=0.5",
            "{'train.stages[head].unfreeze_from': {choice: [head, 'last:1']}}",
        ),
        ("train.checkpoints.milestones=[17]", "{'train.stages[*].epochs': {int: [1, 12]}}"),
        ("search.scheduler={kind: asha, before_drw: wait}", "{train.drw.start_fraction: {float: [0.2, 0.8]}}"),
        # both a long stage and a short warm-up, which no corner has
        (
            "train.stages[top].schedule={kind: step, every_epochs: 10}",
            "{'train.stages[top].epochs': {int: [4, 16]}, 'train.stages[top].backbone_warmup_epochs': {int: [0, 9]}, "
            "'train.stages[top].head_warmup_epochs': {int: [1, 9]}}",
        ),
    ],
)
def test_a_setting_that_some_trial_uses_is_not(load, typed, space):
    assert load(FILE, typed, f"space={space}")


@pytest.mark.parametrize(
    ("typed", "space"),
    [
        ("train.balance=sampler", "{train.loss.kind: {choice: [ldam, cross_entropy]}}"),
        ("train.class_weights=[1,1,1,1,1,1,1,1,1,5]", "{train.loss.kind: {choice: [cross_entropy, balanced_softmax]}}"),
        ("train.loss.kind=balanced_softmax", "{train.balance: {choice: [none, sampler]}}"),
    ],
)
def test_an_imbalance_is_corrected_twice_in_no_trial(mistakes, typed, space):
    (line,) = mistakes(FILE, typed, f"space={space}")
    assert "would correct the imbalance twice; set" in line


def test_a_searched_value_without_effect_in_any_trial_is_refused_at_its_key(mistakes):
    space = "space={'train.stages[head].backbone_lr_ratio': {log: [0.01, 1.0]}}"
    assert mistakes(FILE, space) == [
        f"command line ({space}) space.train.stages[head].backbone_lr_ratio: train.stages[0].backbone_lr_ratio: "
        "only the head trains in stage 'head'; remove it, or open blocks with unfreeze_from"
    ]


@pytest.mark.parametrize("path", ["train.stages[*].plateau.patience", "train.stages[*].backbone_lr_ratio"])
def test_what_is_given_for_all_stages_may_have_no_effect_in_some(load, write, path):
    assert load(FILE, f"{path}=2")
    assert load(FILE, f"space={{{path!r}: {{int: [2, 8]}}}}")
    assert load_recipe(read_source(write(yaml.safe_dump(RECIPE), "recipe.yaml"), [f"{path}=2"]))


def with_unused_ratio(**more):
    """A recipe whose head stage has a learning rate for the backbone, which is not open."""
    recipe = copy.deepcopy(RECIPE) | more
    recipe["train"]["stages"][0]["backbone_lr_ratio"] = 0.5
    return yaml.safe_dump(recipe)


def test_a_trial_that_was_exported_and_a_run_that_was_started_are_not_refused(write):
    with pytest.raises(InputError, match="only the head trains"):
        load_recipe(read_source(write(with_unused_ratio(), "recipe.yaml")))
    exported = write(with_unused_ratio(provenance={"search": "photos"}), "best.yaml")
    assert load_recipe(read_source(exported))
    with pytest.raises(InputError, match="only the head trains"):
        load_recipe(read_source(exported, ["train.stages[0].backbone_lr_ratio=0.7"]))
    assert load_search(read_source(write(FILE), ["train.stages[0].backbone_lr_ratio=0.5"]), own=False)


@pytest.mark.parametrize("quick", ["train.stages[*].epochs=1", "train.stages[0].unfreeze_from=head"])
def test_a_quick_try_does_not_refuse_what_is_in_the_file(write, quick):
    file = write(with_unused_ratio(), "recipe.yaml")
    assert load_recipe(read_source(file, [quick]))


@pytest.mark.parametrize("name", ["digits", "three_depths", "volumes"])
def test_every_example_can_be_tried_with_one_epoch_a_stage(name):
    assert load_search(read_source(PROJECT / "examples" / f"{name}.yaml", ["train.stages[*].epochs=1"]))


def test_a_setting_that_a_change_makes_act_is_not_refused(write):
    recipe = copy.deepcopy(RECIPE)
    recipe["train"] |= {"loss": {"kind": "cross_entropy"}, "drw": {"start_epoch": 1, "beta": 0}}
    with pytest.raises(InputError, match="with beta 0 all classes have the same weight"):
        load_recipe(read_source(write(yaml.safe_dump(recipe), "before.yaml")))
    recipe["train"]["changes"] = [{"after_epoch": 2, "set": {"train.drw.beta": 0.99}}]
    assert load_recipe(read_source(write(yaml.safe_dump(recipe), "after.yaml")))


def test_a_space_of_one_point_is_refused_unless_its_run_exists(write):
    file = write(
        FILE[: FILE.index("space:")] + "space: {train.batch_size: {choice: [8]}}\n" + FILE[FILE.index("search:") :]
    )
    with pytest.raises(InputError, match=r"space: holds a single point, so that all 8 trials would be the same"):
        load_search(read_source(file))
    assert load_search(read_source(file), own=False)
    assert load_search(read_source(file, ["search.trials=1"]))


def test_a_search_of_one_short_trial_is_accepted_as_it_is(load):
    one = "train.stages=[{name: one, unfreeze_from: all, epochs: 1}]"
    assert load(FILE, one, "search.trials=1", "space={train.loss.max_margin: {float: [0.2, 0.8]}}")
