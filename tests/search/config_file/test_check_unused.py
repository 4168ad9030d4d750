"""Typed settings act in some trial, or are refused; defaults, and settings in files of runs, are never refused."""

import pytest
import yaml

from search.config.yaml_source import InputError, read_source
from search.config_file.load import load_recipe, load_search
from tests.support import search_files
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
        ("train.balance=sampler", "{train.loss.kind: {choice: [ldam, cross_entropy]}}"),
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


def test_a_trial_that_was_exported_and_a_run_that_was_started_are_not_refused(write):
    unused = ["train.stages[0].backbone_lr_ratio=0.5"]
    file = write(yaml.safe_dump(RECIPE), "recipe.yaml")
    with pytest.raises(InputError, match="only the head trains"):
        load_recipe(read_source(file, unused))
    assert load_recipe(read_source(file, [*unused, "provenance={search: photos}"]))
    assert load_search(read_source(write(FILE), unused), own=False)


def test_a_search_of_one_short_trial_is_accepted_as_it_is(load):
    one = "train.stages=[{name: one, unfreeze_from: all, epochs: 1}]"
    assert load(FILE, one, "search.trials=1", "space={train.loss.max_margin: {float: [0.2, 0.8]}}")
