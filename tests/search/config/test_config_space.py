"""What a search file searches: each path and value is judged by the recipe it leads to, and so is what a function returns."""

import re

import pytest

from search.config.search_config import longest_run
from tests.support import search_files
from tests.support.search_files import FILE, replaced

write, load, mistakes, functions = (  # fixtures
    search_files.write,
    search_files.load,
    search_files.mistakes,
    search_files.functions,
)


def test_each_searched_path_is_judged_by_itself(mistakes):
    space = """space:
  train.stages[7].head_lr: {log: [1e-3, 1]}
  train.stages[8].head_lr: {log: [1e-3, 1]}
  train.metric: {choice: [kappa]}
  train.batch_size: {int: [-3, 4]}
  train.stages[*].unfreeze_from: {choice: [all, features.9, features.10]}
"""
    lines = mistakes(replaced(FILE[FILE.index("space:") : FILE.index("search:")], space))
    assert [line.split(" ", 1)[1].split(" (")[0] for line in lines] == [
        "space.train.stages[7].head_lr: train.stages has no item [7]; it has 2 items",
        "space.train.stages[8].head_lr: train.stages has no item [8]; it has 2 items",
        "space.train.metric: cannot be searched: trials would be compared by different metrics",
        "space.train.batch_size: -3: input should be at least 1",
        "space.train.stages[*].unfreeze_from: 'features.9' is not a block",
        "space.train.stages[*].unfreeze_from: 'features.10' is not a block",
    ]


def test_a_range_whose_upper_part_is_wrong_is_one_mistake(mistakes):
    (line,) = mistakes(FILE, "space={train.ema.decay: {float: [0.5, 1.5]}}")
    assert line.endswith("space.train.ema.decay: 1.5: input should be below 1")


@pytest.mark.parametrize(
    ("space", "message"),
    [
        pytest.param(
            "{train.batch_size: {int: [8, 16]}, train.balance: {choice: [none, sampler]}}",
            "space.train.balance: with 'sampler', train: drw and balance 'sampler' would correct the imbalance twice",
            id="a value against the recipe",
        ),
        pytest.param(
            "{train.batch_size: {int: [8, 16]}, model.backbone: {choice: [efficientnet_lite0, resnet18]}}",
            "space.model.backbone: with 'resnet18', train.stages[1].unfreeze_from: 'features.8' is not a block",
            id="another network's blocks",
        ),
        pytest.param(
            "{train.batch_size: {int: [8, 16]}, train.drw.start_epoch: {int: [1, 17]}}",
            "space.train.drw.start_epoch: 17: re-weighting would start after the last epoch (16)",
            id="an extreme",
        ),
    ],
)
def test_the_value_at_fault_is_named_not_its_neighbour(mistakes, space, message):
    text = replaced("{kind: ldam}", "{kind: ldam}\n  drw: {start_epoch: 1}", replaced("last:2", "features.8"))
    (line,) = mistakes(text, f"space={space}")
    assert line.partition(") ")[2].startswith(message)


def test_scales_of_targets_are_compared_by_metrics_in_the_tables_unit(load, mistakes):
    data = "data={source: table, path: a.csv, task: regression, image_size: 32}"
    space = "space={data.target.transform: {choice: [none, log, rank]}}"
    given = data, space, "train.loss={kind: huber}"
    assert load(FILE, *given, "train.metric=mae")
    (line,) = mistakes(FILE, *given, "train.metric=val_loss")
    assert "space.data.target.transform: cannot be searched: val_loss is measured on the scale of the targets" in line


def test_values_that_do_not_go_together_are_found_by_drawing(mistakes):
    text = replaced("{kind: ldam}", "{kind: ldam}\n  drw: {start_epoch: 1}")
    # Each alone is fine: up to 6 + 10 epochs, and DRW from 11 at the latest while the other stage has its 6.
    space = "{train.drw.start_epoch: {int: [1, 11]}, 'train.stages[0].epochs': {choice: [10, 1]}}"
    (line,) = mistakes(text, f"space={space}")
    assert re.search(r"space\.train\.drw\.start_epoch: \d+: re-weighting would start after the last epoch \(7\)", line)


def test_a_recipe_that_is_wrong_is_not_blamed_on_the_space(mistakes):
    (line,) = mistakes(replaced("last:2", "features.9"))
    assert line.startswith("search.yaml:12 train.stages[1].unfreeze_from: 'features.9' is not a block")


# --- functions as spaces --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("nothing", "space.python: my_functions:nothing returned None; it must return recipe paths and their values"),
        ("broken", "space.python: my_functions:broken raised KeyError: 'x'"),
        ("sometimes_broken", "space.python: my_functions:sometimes_broken raised ZeroDivisionError: "),
        ("typo", "space.train.bach_size: unknown key; did you mean 'batch_size'?"),
        ("nowhere", "space.train.stages[9].epochs: train.stages has no item [9]; it has 2 items"),
        ("metric", "space.train.metric: cannot be searched: trials would be compared by different metrics"),
        ("negative", "space.train.batch_size: -"),
        ("missing", "space.python: my_functions has no 'missing'; valid: "),
    ],
)
def test_a_function_that_is_wrong_is_one_message(mistakes, functions, function, message):
    (line,) = mistakes(FILE, f"space={{python: 'my_functions:{function}'}}")
    assert line.partition(") ")[2].startswith(message)


def test_a_function_is_known_by_its_draws(load, functions):
    config = load(FILE, "space={python: 'my_functions:batch'}")
    sizes = [recipe.train.batch_size for recipe in config.corner_recipes()]
    assert len(set(sizes)) > 5
    assert sizes == [recipe.train.batch_size for recipe in config.corner_recipes()]
    assert longest_run(config) == 16


def test_a_function_space_survives_the_resolved_search(load, functions):
    config = load(FILE, "space={python: 'my_functions:batch'}")
    assert load(config.to_yaml()).space == config.space


SECTIONS = """space:
  train.ema: {choice: {off: null, on: {decay: 0.9}}}
  train.ema.decay: {float: [0.8, 0.95], when: {train.ema: on}}
  train.stages:
    choice:
      one: [{name: only, unfreeze_from: all, epochs: 4}]
      two: [{name: first, unfreeze_from: head, epochs: 3}, {name: second, unfreeze_from: all, epochs: 2}]
"""


def test_whole_sections_are_searched_by_name(load):
    config = load(FILE[: FILE.index("space:")] + SECTIONS + FILE[FILE.index("search:") :])
    plain = config.recipe_of({"train.ema": "off", "train.stages": "two"})
    assert plain.train.ema is None
    assert [stage.name for stage in plain.train.stages] == ["first", "second"]
    averaged = config.recipe_of({"train.ema.decay": 0.85, "train.ema": "on", "train.stages": "one"})
    assert averaged.train.ema.decay == 0.85, "a value of a section that was chosen, whatever the order"
    assert config.recipe_of({"train.ema": "on"}).train.ema.decay == 0.9, "which leaves the choice as it was"
    assert longest_run(config) == 5


def test_a_named_section_is_judged_by_its_recipe(mistakes):
    (line,) = mistakes(FILE, "space={train.ema: {choice: {off: null, on: {decay: 1.5}}}}")
    assert line.endswith("space.train.ema: 1.5: input should be below 1")
