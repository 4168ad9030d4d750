"""A search file that is right becomes a config, which can be written and loaded again; so does a recipe."""

import copy
import re

import jsonschema
import pytest
import yaml

from search.config.rung_positions import rungs_of
from search.config.scheduler import Asha, NoPruning
from search.config.search_config import SearchConfig, SearchSettings, json_schema, longest_run
from search.config.yaml_source import InputError, read_source
from search.config_file.load import load_recipe, load_search
from spaces import preset_names
from tests.support import search_files
from tests.support.recipes import RECIPE
from tests.support.search_files import FILE, replaced
from trainables.core.rungs import Rungs
from trainables.recipe.backbone_catalog import IMAGE_BACKBONES
from trainables.recipe.recipe import parse_recipe

write, load, mistakes = search_files.write, search_files.load, search_files.mistakes  # fixtures


@pytest.mark.parametrize(
    ("overrides", "value"),
    [
        pytest.param([], 10, id="default"),
        pytest.param(["train.stages[0].epochs=7"], 7, id="typed over the default"),
    ],
)
def test_what_is_typed_beats_the_default(load, overrides, value):
    assert load(FILE, *overrides).recipe.train.stages[0].epochs == value


def test_what_is_typed_beats_the_file_and_the_file_the_default(load):
    assert load(FILE).recipe.train.stages[1].epochs == 6
    assert load(FILE, "train.stages[top].epochs=3").recipe.train.stages[1].epochs == 3
    assert load(FILE, "search.trials=5").settings.trials == 5
    assert load(FILE, "train.loss.kind=ldam", "train.loss.scale=20").recipe.train.loss.scale == 20


def test_an_empty_search_section_is_all_defaults(load):
    settings = load(replaced("  trials: 8\n", "")).settings
    assert (settings.trials, settings.scheduler, settings.sampler.kind) == (32, Asha(), "tpe")


def test_pruning_can_be_switched_off(load):
    assert load(FILE, "search.scheduler={kind: none}").settings.scheduler == NoPruning(kind="none")


@pytest.mark.parametrize(
    ("overrides", "threads"),
    [
        ([], 1),
        (["search.resources.cpus=4"], 4),
        (["search.resources.cpus=0.5"], 1),
        (["search.resources.cpus=2.5"], 2),
        (["search.resources.cpus=4", "train.cpu_threads=3"], 3),
    ],
)
def test_threads_follow_the_cores_of_a_trial_where_not_given(load, overrides, threads):
    assert load(FILE, *overrides).recipe.train.cpu_threads == threads


@pytest.mark.parametrize("name", [None, "mine"])
def test_a_run_is_named_by_its_config_or_by_its_file(load, name):
    assert load(FILE, *([f"search.name={name}"] if name else [])).name == (name or "search")


def test_paths_are_made_absolute_because_workers_run_elsewhere(load, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", "/home/someone")
    config = load(FILE, "data={source: folder, path: images, image_size: 32}", "model.weights=~/w.pt")
    assert config.recipe.data.path == str(tmp_path / "images")
    assert config.recipe.model.weights == "/home/someone/w.pt"
    table = load(FILE, "data={source: table, path: ~/t.csv, images: scans, image_size: 32}").recipe.data
    assert (table.path, table.images) == ("/home/someone/t.csv", str(tmp_path / "scans"))
    assert load(FILE, "model.weights=none").recipe.model.weights == "none"


@pytest.mark.parametrize(
    "space",
    [
        *preset_names(),
        "[unfreezing, ema]",
        "{preset: imbalance, train.loss.kind: {choice: [ldam, focal]}}",
        "{train.ema.decay: {one_minus_log: [0.9, 0.999]}, train.batch_size: {int: [8, 32], step: 8}}",
        "{model.backbone: {choice: [efficientnet_lite0, mobilenet_v3_small]}, train.ema: {choice: [null]}}",
    ],
)
def test_the_resolved_search_loads_again_to_the_same(load, write, space):
    loss = ["train.loss={kind: cross_entropy}"] if space == "mammography" else []  # which searches the balance
    config = load(FILE, f"space={space}", *loss, "search.name=other", "train.clip_norm=1e-3", "search.resources.cpus=2")
    again = load_search(read_source(write(config.to_yaml(), "copy.yaml")))
    assert again == config
    assert again.to_yaml() == config.to_yaml()


@pytest.mark.parametrize(
    "data",
    [
        "{source: table, path: t.csv, columns: {group: patient}, labels: {1: AB, 2: AB, 3: CD, 4: null}, validation: 0.3}",
        "{source: table, path: t.csv, columns: {split: part}, images: scans}",
        "{source: digits, labels: {0: a, 1: b}, folds: 5, fold: 3}",
        "{source: digits, folds: 5}",
    ],
)
def test_every_way_to_split_survives_the_resolved_search(load, write, data):
    config = load(FILE, f"data={data}", "data.image_size=32", "search.name=search")
    again = load_search(read_source(write(config.to_yaml(), "copy.yaml")))
    assert again == config
    assert hash(again.recipe.data) == hash(config.recipe.data)
    jsonschema.validate(yaml.safe_load(config.to_yaml()), json_schema())


def test_a_mistake_of_the_data_has_its_line(load):
    text = replaced(re.search(r"^data:.*?(?=^\S)", FILE, re.DOTALL | re.MULTILINE).group(), DATA_WITH_MISTAKES)
    with pytest.raises(InputError) as caught:
        load(text)
    first = 1 + text[: text.index("data:")].count("\n")
    for line, words in {
        3: "data.labels: True is neither",
        4: "data.columns: applies only to source 'table'",
        6: "data.fold: 5: ",
    }.items():
        assert f"search.yaml:{first + line} {words}" in str(caught.value)


DATA_WITH_MISTAKES = """\
data:
  source: digits
  image_size: 32
  labels: {true: a, 1: b}
  columns: {group: patient}
  folds: 5
  fold: 5
"""


def test_a_renamed_search_differs_in_its_name_alone(load):
    config = load(FILE)
    changed = yaml.safe_load(config.renamed("other").to_yaml())
    assert changed.pop("search") == {**yaml.safe_load(config.to_yaml())["search"], "name": "other"}
    assert config.name == "search"


def test_a_trials_recipe_is_the_shared_one_with_its_values(load):
    config = load(FILE)
    recipe = config.recipe_of({"train.stages[*].head_lr": 0.5, "train.loss.kind": "focal", "train.ema.decay": 0.9})
    assert [stage.head_lr for stage in recipe.train.stages] == [0.5, 0.5]
    assert recipe.train.loss.model_dump() == {"kind": "focal", "gamma": 2.0}
    assert recipe.train.ema.decay == 0.9
    assert recipe.data == config.recipe.data
    assert config.recipe.train.ema is None


def test_the_longest_run_is_that_of_the_longest_corner(load):
    assert longest_run(load(FILE)) == 16
    assert longest_run(load(FILE, "space={'train.stages[*].epochs': {int: [2, 9]}}")) == 18


def test_grace_may_last_as_long_as_the_longest_run(load):
    assert load(FILE, "search.scheduler={kind: asha, grace_epochs: 16}").settings.scheduler.grace_epochs == 16


@pytest.mark.parametrize(
    ("overrides", "flags"),
    [([], ["nan", "collapse"]), (["train.stop_on=[nan]"], ["nan"]), (["train.stop_on=[]"], [])],
)
def test_a_collapsed_trial_ends_unless_the_file_says_otherwise(load, overrides, flags):
    assert [flag.value for flag in load(FILE, *overrides).recipe.train.stop_on] == flags


ONE_STAGE = ["train.stages=[{name: one, unfreeze_from: head, epochs: 3}]", "space={train.seed: {int: [0, 9]}}"]


def test_where_no_trial_has_a_second_stage_epochs_are_counted(load):
    config = load(FILE, ONE_STAGE[0].replace("3", "9"), ONE_STAGE[1], "search.scheduler={kind: asha}")
    assert rungs_of(config) == Rungs("epochs", (4, 8))


@pytest.mark.parametrize(("epochs", "positions"), [(1, (1,)), (2, (1, 2)), (3, (2,)), (4, (3,)), (5, (4,))])
def test_the_default_grace_fits_short_trials(load, epochs, positions):
    config = load(FILE, ONE_STAGE[0].replace("3", str(epochs)), ONE_STAGE[1])
    assert rungs_of(config) == Rungs("epochs", positions)


def test_a_scheduler_that_has_nothing_to_judge_is_a_mistake(load):
    message = "search.scheduler.grace_epochs: 5: no trial has more than 3 epochs, so none would be pruned; lower it"
    with pytest.raises(InputError, match=message):
        load(FILE, *ONE_STAGE, "search.scheduler={kind: asha, grace_epochs: 5}")


@pytest.mark.parametrize(
    ("given", "unit"),
    [
        ("{kind: asha}", "stages"),
        ("{kind: asha, grace_epochs: 3}", "epochs"),
        ("{kind: asha, grace_share: 0.2}", "compute"),
        ("{kind: asha, rungs: compute}", "compute"),
        ("{kind: hyperband}", "epochs"),
        ("{kind: hyperband, grace_share: 0.2}", "compute"),
    ],
)
def test_a_grace_names_what_rungs_count(load, given, unit):
    config = load(FILE, f"search.scheduler={given}")
    assert config.settings.scheduler.rungs == rungs_of(config).unit == unit
    again = SearchSettings.model_validate(yaml.safe_load(config.to_yaml())["search"])
    assert again.scheduler == config.settings.scheduler


def test_the_resolved_search_is_runnable_and_the_same(load):
    config = load(FILE)
    assert load(config.to_yaml()).to_yaml() == config.to_yaml()


def test_the_schema_for_editors_takes_what_loads_and_refuses_typos(load):
    schema, data = json_schema(), yaml.safe_load(load(FILE).to_yaml())
    jsonschema.validate(data, schema)
    for place, key in ((data, "serch"), (data["train"], "metrik"), (data["search"], "trails")):
        place[key] = 1
        with pytest.raises(jsonschema.ValidationError, match=f"'{key}' was unexpected"):
            jsonschema.validate(data, schema)
        del place[key]
    del data["train"]["stages"]
    with pytest.raises(jsonschema.ValidationError, match="None is not of type 'string'"):
        jsonschema.validate(data, schema)
    jsonschema.validate({**data, "train": {**data["train"], "plan": "full"}}, schema)
    data["train"]["plan"] = "full"
    data["search"]["name"] = "a/b"
    with pytest.raises(jsonschema.ValidationError, match="a/b"):
        jsonschema.validate(data, schema)


# --- recipes for `thaw train` ---------------------------------------------------------------------------------------


def test_an_exported_config_is_a_recipe(write):
    text = yaml.safe_dump({**RECIPE, "provenance": {"search": "s", "trial": 3, "score": 0.5}})
    assert load_recipe(read_source(write(text))) == parse_recipe(copy.deepcopy(RECIPE))


def test_the_recipe_of_a_search_is_its_own_values(write):
    recipe = load_recipe(read_source(write(FILE)))
    assert (recipe.train.loss.kind, recipe.train.stages[1].epochs) == ("ldam", 6)
    in_some_trials = FILE.replace("metric: kappa", "metric: kappa\n  drw: {start_epoch: 3}\n  ema: null")
    assert load_recipe(read_source(write(in_some_trials)))
    with pytest.raises(InputError, match=r"command line \(space.x=3\) space.x: has no effect on a single run"):
        load_recipe(read_source(write(FILE), ["space.x=3"]))


def test_a_recipes_mistakes_have_their_lines(write):
    text = yaml.safe_dump({**RECIPE, "trian": {}})
    with pytest.raises(InputError, match=r"search.yaml:\d+ trian: unknown key; did you mean 'train'\?"):
        load_recipe(read_source(write(text)))


@pytest.mark.parametrize("backbone", IMAGE_BACKBONES)
def test_every_preset_fits_every_backbone_in_a_file(load, backbone):
    for preset in preset_names():
        loss = ["train.loss={kind: cross_entropy}"] if preset == "mammography" else []
        config = load(FILE, f"model.backbone={backbone}", f"space={preset}", *loss)
        assert isinstance(config, SearchConfig)
