"""A search file: every mistake has its place, its value and what would be right; what is right becomes a config."""

import copy
import re
import sys

import jsonschema
import pytest
import yaml
from conftest import RECIPE

from search.config import SearchConfig, SearchSettings, json_schema, longest_run
from search.load import load_recipe, load_search
from search.rungs import rungs_of
from search.scheduler_config import Asha, NoPruning
from search.source import InputError, read_source
from spaces import preset_names
from trainables.models.catalog import IMAGE_BACKBONES
from trainables.recipe import parse_recipe
from trainables.rungs import Rungs

FILE = """\
data:
  source: digits
  image_size: 32
model:
  backbone: efficientnet_lite0
train:
  metric: kappa
  stages:
    - name: head
      unfreeze_from: head
    - name: top
      unfreeze_from: last:2
      epochs: 6
  loss: {kind: ldam}
space:
  train.loss.max_margin: {float: [0.2, 0.8]}
  train.stages[*].head_lr: {log: [1e-3, 0.1]}
search:
  trials: 8
"""
BLOCKS = r"\(features.0 … features.8, head, all, last:1 … last:9\) of efficientnet_lite0"


@pytest.fixture
def write(tmp_path, monkeypatch):
    """`write(text)`: search.yaml in the working directory."""
    monkeypatch.chdir(tmp_path)

    def write_text(text, name="search.yaml"):
        file = tmp_path / name
        file.write_text(text)
        return file.relative_to(tmp_path)

    return write_text


@pytest.fixture
def load(write):
    """`load(text, *overrides)`: the config in a file search.yaml."""
    return lambda text, *overrides: load_search(read_source(write(text), overrides))


@pytest.fixture
def mistakes(load):
    """`mistakes(text, *overrides)`: what is said about a file, line by line."""

    def lines(text, *overrides):
        with pytest.raises(InputError, match=r"\w") as caught:
            load(text, *overrides)
        return str(caught.value).splitlines()

    return lines


def replaced(old, new, text=FILE):
    assert text.count(old) == 1
    return text.replace(old, new)


def without(section, text=FILE):
    data = yaml.safe_load(text)
    del data[section]
    return yaml.safe_dump(data)


# --- one mistake ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        pytest.param(
            "metric: kappa", "metrik: kappa", r"7 train.metrik: unknown key; did you mean 'metric'\?", id="unknown key"
        ),
        pytest.param("search:", "serch:", r"18 serch: unknown key; did you mean 'search'\?", id="unknown section"),
        pytest.param(
            "trials: 8", "trails: 8", r"19 search.trails: unknown key; did you mean 'trials'\?", id="key of search"
        ),
        pytest.param(
            "{kind: ldam}",
            "{kind: ldam, gamma: 2}",
            "14 train.loss.gamma: unknown key; valid: kind, max_margin, scale",
            id="key of another kind",
        ),
        pytest.param(
            "epochs: 6", "epochs: six", r"13 train.stages\[1\].epochs: 'six': input should be a valid int", id="type"
        ),
        pytest.param(
            "epochs: 6", "epochs: 0", "13 .*epochs: 0: input should be greater than or equal to 1", id="range"
        ),
        pytest.param(
            "trials: 8", "trials: 0", "19 search.trials: 0: input should be greater than", id="range of search"
        ),
        pytest.param(
            "last:2",
            "features.9",
            rf"12 train.stages\[1\].unfreeze_from: 'features.9' is no block {BLOCKS}",
            id="block",
        ),
        pytest.param(
            "kappa",
            "kapa",
            "7 train.metric: 'kapa': input should be 'adjusted_balanced_accuracy', .*'kappa'",
            id="metric",
        ),
        pytest.param(
            "image_size: 32", "image_size: 40", "3 data.image_size: 40: .* takes multiples of 32 only", id="size"
        ),
        pytest.param("source: digits", "source: folder", "1 data: source 'folder' needs `path`", id="no path"),
        pytest.param(
            "efficientnet_lite0",
            "resnet1",
            "5 model.backbone: 'resnet1' is no backbone; did you mean 'resnet18'\\?",
            id="backbone",
        ),
        pytest.param(
            "trials: 8",
            "metric: auc",
            "19 search.metric: belongs to `train`: set train.metric, which",
            id="metric of search",
        ),
        pytest.param(
            "trials: 8", "mode: max", "19 search.mode: belongs to `train`: set train.metric, which", id="mode of search"
        ),
        pytest.param(
            "trials: 8", "name: a/b", "19 search.name: 'a/b' cannot name a run's folder: take letters", id="name"
        ),
        pytest.param(
            "trials: 8", "name: ../up", "19 search.name: '../up' cannot name a run's folder", id="name leads out"
        ),
        pytest.param("trials: 8", "name: .hidden", "19 search.name: '.hidden' cannot name", id="hidden name"),
        pytest.param("trials: 8", "name: ''", "19 search.name: '' cannot name", id="no name"),
        pytest.param("trials: 8", f"name: {'x' * 81}", "19 search.name: 'xxx.*' cannot name", id="long name"),
        pytest.param(
            "trials: 8",
            "scheduler: {kind: bohb}",
            "19 search.scheduler: 'bohb' is not one of 'asha', 'hyperband', 'median', 'pbt', 'none'",
            id="scheduler",
        ),
        pytest.param(
            "trials: 8", "scheduler: {reduction: 2}", "19 search.scheduler: needs the key 'kind'", id="no kind"
        ),
        pytest.param(
            "trials: 8",
            "sampler: {kind: tpee}",
            "19 search.sampler: 'tpee' is not one of 'tpe', 'gp', 'cma_es', 'qmc', 'random', 'grid', 'nsga2'",
            id="sampler",
        ),
        pytest.param(
            "trials: 8",
            "resources: {cpus: 0}",
            "19 search.resources.cpus: 0: input should be greater than 0",
            id="cpus",
        ),
        pytest.param(
            "trials: 8",
            "resources: {gpus: -1}",
            "19 search.resources.gpus: -1: input should be a number from 0 on, or auto",
            id="gpus",
        ),
        pytest.param(
            "trials: 8",
            "resources: {gpus: 4}",
            "19 search.resources.gpus: 4: a trial trains on one GPU, and several GPUs train several trials at once; what came "
            "out best trains on 4 with thaw train best.yaml --workers 4",
            id="several gpus",
        ),
        pytest.param(
            "trials: 8",
            "scheduler: {kind: asha, grace_epochs: 17}",
            r"19 search.scheduler.grace_epochs: 17: no trial has more than 16 epochs, so none would be pruned; lower it, or set",
            id="grace",
        ),
        pytest.param(
            "trials: 8",
            "scheduler: {kind: median, grace_epochs: 17}",
            r"19 search.scheduler.grace_epochs: 17: no trial has more than 16 epochs, so none would be pruned; lower it, or set",
            id="grace of the median rule",
        ),
        pytest.param(
            "trials: 8",
            "scheduler: {kind: asha, rungs: stages, grace_epochs: 3}",
            "19 search.scheduler.*: grace_epochs counts epochs, and rungs are in stages; remove it, or set rungs: epochs",
            id="grace of another unit",
        ),
        pytest.param(
            "trials: 8",
            "scheduler: {kind: asha, grace_share: 0.1, grace_epochs: 3}",
            "19 search.scheduler.*: grace_epochs counts epochs, and rungs are in stages; remove it, or set rungs: epochs",
            id="two graces",
        ),
        pytest.param(
            "trials: 8",
            "scheduler: {kind: asha, rungs: rounds}",
            "19 search.scheduler.rungs: 'rounds': input should be 'epochs', 'compute' or 'stages'",
            id="unit of rungs",
        ),
        pytest.param(
            "float: [0.2, 0.8]",
            "float: [0.8, 0.2]",
            r"16 space.train.loss.max_margin.float: \[0.8, 0.2\]: the first number must be below",
            id="bounds",
        ),
        pytest.param(
            "float: [0.2, 0.8]",
            "flot: [0.2, 0.8]",
            r"16 space.train.loss.max_margin.flot: unknown kind 'flot'; did you mean 'float'\?",
            id="distribution",
        ),
        pytest.param(
            "float: [0.2, 0.8]",
            "float: [-1, 0.8]",
            "16 space.train.loss.max_margin: -1.0: input should be greater",
            id="lowest value",
        ),
        pytest.param(
            "float: [0.2, 0.8]",
            "choice: [high]",
            "16 space.train.loss.max_margin: 'high': input should be a valid number",
            id="type of a choice",
        ),
        pytest.param(
            "loss.max_margin",
            "loss.max_margn",
            r"16 space.train.loss.max_margn: unknown key; did you mean 'max_margin'\?",
            id="searched key",
        ),
        pytest.param(
            "loss.max_margin",
            "loss.gamma",
            "16 space.train.loss.gamma: unknown key; valid: kind, max_margin, scale",
            id="searched key of another kind",
        ),
        pytest.param(
            "train.loss.max_margin",
            "trian.batch_size",
            r"16 space.trian.batch_size: with 0.2, trian: unknown key; did you mean 'train'\?",
            id="searched section",
        ),
        pytest.param(
            "stages[*]",
            "stages[2]",
            r"17 space.train.stages\[2\].head_lr: train.stages has no item \[2\]: it has 2",
            id="stage by number",
        ),
        pytest.param("stages[*]", "stages[tpo]", r"17 space.* no item named 'tpo' \(head, top\)", id="stage by name"),
        pytest.param(
            "train.loss.max_margin",
            "train.metric.x",
            "16 space.train.metric.x: train.metric has no keys, so no 'x'",
            id="path through a value",
        ),
        pytest.param(
            "train.loss.max_margin",
            "train..x",
            r"16 space.train..x: 'train..x' is no path; it should look like",
            id="no path",
        ),
        pytest.param(
            "train.loss.max_margin: {float: [0.2, 0.8]}",
            "train.metric: {choice: [kappa, auc]}",
            "16 space.train.metric: cannot be searched: trials would be compared by different metrics",
            id="searched metric",
        ),
        pytest.param(
            "train.loss.max_margin",
            "data.validation",
            "16 space.data.validation: cannot be searched: .* different validation images",
            id="searched split",
        ),
        *(
            pytest.param(
                "train.loss.max_margin",
                path,
                f"16 space.{path}: cannot be searched: trials would be compared on different {what}",
                id=f"searched {path}",
            )
            for path, what in {
                "data.columns.group": "data",
                "data.images": "data",
                "data.labels": "classes",
                "data.labels.dense": "classes",
                "data.folds": "validation images",
                "data.fold": "validation images",
            }.items()
        ),
        pytest.param(
            "train.loss.max_margin: {float: [0.2, 0.8]}",
            "train.stages[1].unfreeze_from: {choice: [all, features.9]}",
            rf"16 space.train.stages\[1\].unfreeze_from: 'features.9' is no block {BLOCKS}",
            id="searched block",
        ),
        pytest.param(
            "train.loss.max_margin: {float: [0.2, 0.8]}",
            "preset: unfreezng",
            r"16 space.preset: unknown preset 'unfreezng'; did you mean 'unfreezing'\?",
            id="preset",
        ),
    ],
)
def test_a_mistake_is_one_line_with_its_place_its_value_and_what_would_be_right(mistakes, old, new, message):
    (line,) = mistakes(replaced(old, new))
    assert re.match("search.yaml:" + message, line), line


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train.batch_size=0", "command line (train.batch_size=0) train.batch_size: 0: input should be greater"),
        (
            "train.batchsize=3",
            "command line (train.batchsize=3) train.batchsize: unknown key; did you mean 'batch_size'?",
        ),
        (
            "space=unfrezing",
            "command line (space=unfrezing) space: unknown preset 'unfrezing'; did you mean 'unfreezing'?",
        ),
        ("space={}", "command line (space={}) space: nothing is searched; give recipe paths"),
        ("space=", "command line (space=) space: nothing is searched"),
        ("space=3", "command line (space=3) space: 3: needs the name of a preset, or a list of them"),
        ("search=3", "command line (search=3) search: 3: input should be a valid dictionary"),
        ("train=3", "command line (train=3) train: 3: input should be a valid dictionary"),
        ("train.stages=[]", "command line (train.stages=[]) train.stages: []: tuple should have at least 1 item"),
    ],
)
def test_a_typed_mistake_is_located_on_the_command_line(mistakes, override, message):
    (line,) = mistakes(FILE, override)
    assert line.startswith(message)


@pytest.mark.parametrize("section", ["data", "model", "train"])
def test_a_section_of_the_recipe_is_required(mistakes, section):
    assert mistakes(without(section)) == [f"search.yaml:1 {section}: is required and missing"]


def test_a_space_is_required(mistakes):
    message = "search.yaml:1 space: is required: what the search varies, or a preset's name such as unfreezing"
    assert mistakes(without("space")) == [message]


def test_an_empty_file_misses_all_that_is_required(mistakes):
    assert [line.split(": ")[0] for line in mistakes("")] == [
        f"search.yaml:1 {s}" for s in ("data", "model", "train", "space")
    ]


def test_a_files_name_must_do_as_the_runs(write):
    with pytest.raises(
        InputError, match=r"search\.name: 'my search' cannot name a run's folder: .*; the file's name is taken"
    ):
        load_search(read_source(write(FILE, "my search.yaml")))
    assert load_search(read_source(write(FILE, "my search.yaml"), ["search.name=mine"])).name == "mine"


# --- several at once ------------------------------------------------------------------------------------------------


def test_all_mistakes_of_a_file_are_reported_at_once(mistakes):
    text = FILE
    for old, new in [
        ("data:\n", "extra: 1\ndata:\n"),
        ("image_size: 32", "image_size: 40"),
        ("metric: kappa", "metrik: kappa"),
        ("name: head", "name: the head"),
        ("last:2", "features.9"),
        ("float: [0.2, 0.8]", "flot: [0.2, 0.8]"),
        ("trials: 8", "trials: 0"),
    ]:
        text = replaced(old, new, text)
    assert [line.partition(": ")[0] for line in mistakes(text)] == [
        "search.yaml:1 extra",
        "search.yaml:4 data.image_size",
        "search.yaml:8 train.metrik",
        "search.yaml:10 train.stages[0].name",
        "search.yaml:13 train.stages[1].unfreeze_from",
        "search.yaml:17 space.train.loss.max_margin.flot",
        "search.yaml:20 search.trials",
    ]


def test_a_wrong_value_in_search_does_not_hide_a_wrong_point_of_the_space(mistakes):
    text = replaced("trials: 8", "trials: 0", replaced("float: [0.2, 0.8]", "float: [-1, 0.8]"))
    assert [line.partition(": ")[0] for line in mistakes(text)] == [
        "search.yaml:16 space.train.loss.max_margin",
        "search.yaml:19 search.trials",
    ]


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
        "space.train.stages[7].head_lr: train.stages has no item [7]: it has 2",
        "space.train.stages[8].head_lr: train.stages has no item [8]: it has 2",
        "space.train.metric: cannot be searched: trials would be compared by different metrics",
        "space.train.batch_size: -3: input should be greater than or equal to 1",
        "space.train.stages[*].unfreeze_from: 'features.9' is no block",
        "space.train.stages[*].unfreeze_from: 'features.10' is no block",
    ]


def test_a_range_whose_upper_part_is_wrong_is_one_mistake(mistakes):
    (line,) = mistakes(FILE, "space={train.ema.decay: {float: [0.5, 1.5]}}")
    assert line.endswith("space.train.ema.decay: 1.5: input should be less than 1")


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
            "space.model.backbone: with 'resnet18', train.stages[1].unfreeze_from: 'features.8' is no block",
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


def test_values_that_do_not_go_together_are_found_by_drawing(mistakes):
    text = replaced("{kind: ldam}", "{kind: ldam}\n  drw: {start_epoch: 1}")
    # Each alone is fine: up to 6 + 10 epochs, and DRW from 11 at the latest while the other stage has its 6.
    space = "{train.drw.start_epoch: {int: [1, 11]}, 'train.stages[0].epochs': {choice: [10, 1]}}"
    (line,) = mistakes(text, f"space={space}")
    assert re.search(r"space\.train\.drw\.start_epoch: \d+: re-weighting would start after the last epoch \(7\)", line)


def test_a_recipe_that_is_wrong_is_not_blamed_on_the_space(mistakes):
    (line,) = mistakes(replaced("last:2", "features.9"))
    assert line.startswith("search.yaml:12 train.stages[1].unfreeze_from: 'features.9' is no block")


# --- functions as spaces --------------------------------------------------------------------------------------------

FUNCTIONS = """
def batch(trial):
    return {"train.batch_size": trial.suggest_int("batch", 8, 64)}

def nothing(trial):
    return None

def broken(trial):
    return {}["x"]

def sometimes_broken(trial):
    return {"train.batch_size": 10 // trial.suggest_int("batch", 0, 3)}

def typo(trial):
    return {"train.bach_size": trial.suggest_int("batch", 8, 64)}

def nowhere(trial):
    return {"train.stages[9].epochs": 1}

def metric(trial):
    return {"train.metric": "auc"}

def negative(trial):
    return {"train.batch_size": -trial.suggest_int("batch", 8, 64)}
"""


@pytest.fixture
def functions(tmp_path, monkeypatch):
    (tmp_path / "my_functions.py").write_text(FUNCTIONS)
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop("my_functions", None)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("nothing", "space.python: my_functions:nothing returned None; it must return recipe paths and their values"),
        ("broken", "space.python: my_functions:broken raised KeyError: 'x'"),
        ("sometimes_broken", "space.python: my_functions:sometimes_broken raised ZeroDivisionError: "),
        ("typo", "space.train.bach_size: unknown key; did you mean 'batch_size'?"),
        ("nowhere", "space.train.stages[9].epochs: train.stages has no item [9]: it has 2"),
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


# --- what is right --------------------------------------------------------------------------------------------------


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
    config = load(FILE, f"space={space}", "search.name=other", "train.clip_norm=1e-3", "search.resources.cpus=2")
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
        4: "data.columns: only source 'table'",
        6: "data.fold: 5: ",
    }.items():
        assert f"search.yaml:{first + line} {words}" in str(caught.value)


DATA_WITH_MISTAKES = """\
data:
  source: digits
  image_size: 32
  labels: {yes: a, 1: b}
  columns: {group: patient}
  folds: 5
  fold: 5
"""


def test_a_function_space_survives_the_resolved_search(load, functions):
    config = load(FILE, "space={python: 'my_functions:batch'}")
    assert load(config.to_yaml()).space == config.space


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


def test_a_scheduler_that_has_nothing_to_judge_is_a_mistake(load):
    message = "search.scheduler: no trial has more than 3 epochs, so none would be pruned; set grace_epochs below the 4"
    with pytest.raises(InputError, match=message):
        load(FILE, *ONE_STAGE, "search.scheduler={kind: asha}")


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


PBT = "search.scheduler={kind: pbt}"


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["search.objectives=[score, macs]"],
            "scheduler.kind: pbt lets trials go on from those with the best score, whatever their macs;",
        ),
        (
            ["search.constraints={macs: {max: 1e9}}"],
            "scheduler.kind: pbt lets trials go on from those with the best score, whatever",
        ),
        (
            ["search.sampler={kind: cma_es}"],
            "sampler.kind: cma_es must propose every trial, and pbt has some go on from others;",
        ),
        (
            ["space={train.batch_size: {int: [8, 64]}}"],
            r"scheduler.kind: pbt: nothing that is searched \(train.batch_size\) can",
        ),
        (
            ["space={python: 'my_functions:batch'}"],
            "scheduler.kind: pbt must know which values it can change, and only my_functions:",
        ),
        (["search.scheduler.every_epochs=16"], "scheduler.every_epochs: 16: no trial has more than 16 epochs, so none"),
        (["search.scheduler.quantile=0.6"], "scheduler.quantile: 0.6: input should be less than or equal to 0.5"),
    ],
)
def test_a_search_that_has_no_population_is_a_mistake(mistakes, functions, overrides, message):
    (line,) = mistakes(FILE, PBT, *overrides)
    assert re.search(f"search.{message}", line)


@pytest.mark.parametrize(
    ("overrides", "kept", "at_once"),
    [
        ([PBT], 4, 8),
        (["search.scheduler={kind: pbt, every_epochs: 3, population: 6}", "search.max_concurrent=4"], 3, 4),
        ([PBT, "train.checkpoints.keep_every_epochs=2", "search.max_concurrent=20"], 2, 8),
        ([PBT, "train.checkpoints.keep_last=5"], 4, 8),
        ([], None, None),
    ],
)
def test_a_population_keeps_checkpoints_to_go_on_from_and_limits_trials_at_once(load, overrides, kept, at_once):
    config = load(FILE, *overrides)
    assert config.recipe.train.checkpoints.keep_every_epochs == kept
    assert config.settings.most_at_once == at_once


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
    data["search"]["name"] = "a/b"
    with pytest.raises(jsonschema.ValidationError, match="a/b"):
        jsonschema.validate(data, schema)


# --- stages that change nothing -------------------------------------------------------------------------------------

TWICE = "train.stages=[{name: a, unfreeze_from: 'last:2'}, {name: b, unfreeze_from: features.7, epochs: 3}]"
SAID = "stage 'b' trains what 'a' before it trains, in the same way; open or freeze blocks, change a value, or make it one stage"


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
    alike = [recipe.goes_on_unchanged(1) for recipe in config.corner_recipes()]
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
            r"search.yaml:14 space.train.stages\[small\].image_size: 40: efficientnet_lite0 takes multiples of 32 only",
        ),
        (
            "mix: {mixup_alpha: 0.2}",
            "mix: {cutmix_alpha: 0.2, at: cut}",
            r"search.yaml:4 train.mix.at: 'cut' takes MixUp only",
        ),
    ],
)
def test_what_does_not_fit_is_found_before_any_trial(mistakes, old, new, message):
    assert any(re.match(message, line) for line in mistakes(replaced(old, new, PROGRESSIVE)))


# --- recipes for `thaw train` ---------------------------------------------------------------------------------------


def test_an_exported_config_is_a_recipe(write):
    text = yaml.safe_dump({**RECIPE, "provenance": {"search": "s", "trial": 3, "score": 0.5}})
    assert load_recipe(read_source(write(text))) == parse_recipe(copy.deepcopy(RECIPE))


def test_a_search_is_no_recipe(write):
    with pytest.raises(
        InputError, match=r"search.yaml is a search \(it has `space`\): run it with thaw search search.yaml"
    ):
        load_recipe(read_source(write(FILE)))


def test_a_recipes_mistakes_have_their_lines(write):
    text = yaml.safe_dump({**RECIPE, "trian": {}})
    with pytest.raises(InputError, match=r"search.yaml:\d+ trian: unknown key; did you mean 'train'\?"):
        load_recipe(read_source(write(text)))


@pytest.mark.parametrize("backbone", IMAGE_BACKBONES)
def test_every_preset_fits_every_backbone_in_a_file(load, backbone):
    for preset in preset_names():
        config = load(FILE, f"model.backbone={backbone}", f"space={preset}")
        assert isinstance(config, SearchConfig)
