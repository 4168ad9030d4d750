"""A mistake in a search file is said with its place, its value and what would be right; all of them are said at once."""

import re

import pytest

from search.config.yaml_source import InputError, read_source
from search.config_file.load import load_search
from tests.support import search_files
from tests.support.search_files import FILE, replaced, without

write, load, mistakes = search_files.write, search_files.load, search_files.mistakes  # fixtures

BLOCKS = r"\(features.0 … features.8, head, all, last:1 … last:9\) of efficientnet_lite0"

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
            "epochs: 6", "epochs: six", r"13 train.stages\[1\].epochs: 'six': input should be a whole number", id="type"
        ),
        pytest.param("epochs: 6", "epochs: 0", "13 .*epochs: 0: input should be at least 1", id="range"),
        pytest.param("trials: 8", "trials: 0", "19 search.trials: 0: input should be at least 1", id="range of search"),
        pytest.param(
            "last:2",
            "features.9",
            rf"12 train.stages\[1\].unfreeze_from: 'features.9' is not a block {BLOCKS}",
            id="block",
        ),
        pytest.param(
            "kappa",
            "kapa",
            "7 train.metric: 'kapa': input should be 'adjusted_balanced_accuracy', .*'kappa'",
            id="metric",
        ),
        pytest.param(
            "image_size: 32", "image_size: 40", "3 data.image_size: 40: .* takes only multiples of 32", id="size"
        ),
        pytest.param("source: digits", "source: folder", "1 data: source 'folder' needs `path`", id="no path"),
        pytest.param(
            "efficientnet_lite0",
            "resnet1",
            "5 model.backbone: 'resnet1' is not a backbone; did you mean 'resnet18'\\?",
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
            "trials: 8", "name: a/b", "19 search.name: 'a/b' cannot be the name of a run folder: use letters", id="name"
        ),
        pytest.param(
            "trials: 8",
            "name: ../up",
            "19 search.name: '../up' cannot be the name of a run folder",
            id="name leads out",
        ),
        pytest.param("trials: 8", "name: .hidden", "19 search.name: '.hidden' cannot be the name", id="hidden name"),
        pytest.param("trials: 8", "name: ''", "19 search.name: '' cannot be the name", id="no name"),
        pytest.param("trials: 8", f"name: {'x' * 81}", "19 search.name: 'xxx.*' cannot be the name", id="long name"),
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
            "19 search.resources.cpus: 0: input should be above 0",
            id="cpus",
        ),
        pytest.param(
            "trials: 8",
            "resources: {gpus: -1}",
            "19 search.resources.gpus: -1: input should be a number of at least 0, or auto",
            id="gpus",
        ),
        pytest.param(
            "trials: 8",
            "resources: {gpus: 4}",
            "19 search.resources.gpus: 4: a process trains on one GPU, and several GPUs train several trials at once; for trials "
            "on 4 GPUs each, set train.workers: 4",
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
            "16 space.train.loss.max_margin: -1.0: input should be at least 0",
            id="lowest value",
        ),
        pytest.param(
            "float: [0.2, 0.8]",
            "choice: [high]",
            "16 space.train.loss.max_margin: 'high': input should be a number",
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
            r"17 space.train.stages\[2\].head_lr: train.stages has no item \[2\]; it has 2 items",
            id="stage by number",
        ),
        pytest.param("stages[*]", "stages[tpo]", r"17 space.* no item named 'tpo' \(head, top\)", id="stage by name"),
        pytest.param(
            "train.loss.max_margin",
            "train.metric.x",
            "16 space.train.metric.x: train.metric has no keys, so it has no 'x'",
            id="path through a value",
        ),
        pytest.param(
            "train.loss.max_margin",
            "train..x",
            r"16 space.train..x: 'train..x' is not a path; a path looks like",
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
            "16 space.data.validation: cannot be searched: trials would be validated on different images or classes",
            id="searched split",
        ),
        *(
            pytest.param(
                "train.loss.max_margin",
                path,
                f"16 space.{path}: cannot be searched: trials would be validated on different images or classes",
                id=f"searched {path}",
            )
            for path in (
                "data.columns.group",
                "data.images",
                "data.labels",
                "data.labels.dense",
                "data.test",
                "data.on_bad",
            )
        ),
        pytest.param(
            "train.loss.max_margin: {float: [0.2, 0.8]}",
            "train.stages[1].unfreeze_from: {choice: [all, features.9]}",
            rf"16 space.train.stages\[1\].unfreeze_from: 'features.9' is not a block {BLOCKS}",
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
        ("train.batch_size=0", "command line (train.batch_size=0) train.batch_size: 0: input should be at least 1"),
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
        (
            "search=3",
            "command line (search=3) search: 3: input should be a section with keys such as address, name, trials",
        ),
        (
            "train=3",
            "command line (train=3) train: 3: input should be a section with keys such as stages, plan, one_cycle",
        ),
        ("train.stages=[]", "command line (train.stages=[]) train.stages: []: list should have at least 1 item"),
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
        InputError,
        match=r"search\.name: 'my search' cannot be the name of a run folder: .*; without it, the name of the file",
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


# --- values that are read otherwise than they were meant --------------------------------------------------------------


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("train.batch_size=true", "train.batch_size: true: input should be a number"),
        ("train.batch_size=yes", "train.batch_size: 'yes': input should be a whole number"),
        ("train.stages[0].epochs=1:30", "train.stages[0].epochs: '1:30': input should be a whole number"),
        ("search.seed=" + "9" * 30, "search.seed: 999999999999999999999999999999: is too large"),
        (
            "train.ema=no",
            "train.ema: 'no': input should be a section with keys such as decay, warmup, judge, or null for none",
        ),
        ("data.labels={yes: true}", "data.labels: True is neither a name nor a number"),
        ("model.weights=~nouser/x.pt", "model.weights: '~nouser/x.pt': '~nouser' is not the home of a user"),
        ('model.weights="a/\\0"', "model.weights: 'a/\\x00': a path cannot contain the character NUL"),
        ("space={train.seed: {float: [0, 1.0e+307]}}", "space.train.seed.float: 1e+307: is too large"),
        ("space={train.seed: {int: [0, 99999999999999999]}}", "is too large; whole numbers are at most"),
        ("space={train.loss.max_margin: {float: [0, 1], step: 1e-30}}", "has too many steps; leave the step out"),
    ],
)
def test_values_of_another_kind_are_refused(mistakes, typed, message):
    (line,) = mistakes(FILE, typed)
    assert message in line


def test_a_name_that_looks_like_a_number_or_a_truth_is_a_name(load):
    labels = load(FILE, "data.labels={010: a, no: b, '2': c, 3: c}").recipe.data.labels
    assert labels == {"010": "a", "no": "b", "2": "c", "3": "c"}


def test_a_grid_of_very_many_points_is_refused_at_once(mistakes):
    (line,) = mistakes(FILE, "search.sampler={kind: grid}", "space={train.seed: {int: [0, 1000000000]}}")
    assert "the grid has more than 100,000 points" in line


@pytest.mark.parametrize("other", ["train.stages[1].dropout", "train.stages[*].dropout", "train.stages[top].dropout"])
def test_two_searched_paths_that_set_one_place_are_refused(mistakes, other):
    space = f"space={{'train.stages[-1].dropout': {{float: [0.1, 0.2]}}, {other!r}: {{float: [0.3, 0.4]}}}}"
    (line,) = mistakes(FILE, space)
    assert f"train.stages[-1].dropout and {other} both set train.stages[1].dropout; keep one of the two" in line


def test_a_module_that_exits_is_a_mistake_and_not_the_end(mistakes, own_module):
    module = own_module("import sys; sys.exit(0)")
    (line,) = mistakes(FILE, f"space={{python: {module}:suggest}}")
    assert f"cannot import {module}: SystemExit: 0" in line


def test_a_message_is_short_and_has_no_control_characters(mistakes):
    (line,) = mistakes(FILE, 'train={"\\e[31m\\nerror: forged": ' + "x" * 5000 + "}")[-1:]
    assert "\x1b" not in line
    assert len(line) < 1000


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("batch_size=8", "batch_size: unknown key; did you mean train.stages[*].batch_size or train.batch_size?"),
        ("trials=8", "trials: unknown key; did you mean search.trials?"),
        ("train.epochs=8", "train.epochs: unknown key; did you mean train.stages[*].epochs?"),
        (
            "train.loss=ldam",
            "train.loss: 'ldam': input should be a section such as {kind: ldam}, with one of the kinds cross_e",
        ),
        (
            "search.scheduler=asha",
            "search.scheduler: 'asha': input should be a section such as {kind: asha}, with one of",
        ),
        (
            "space={train.batch_size: [16, 32]}",
            "[16, 32]: needs a distribution such as {choice: [16, 32]}; a fixed value",
        ),
    ],
)
def test_a_newcomers_mistake_names_its_mend(mistakes, typed, message):
    (line,) = mistakes(FILE, typed)
    assert message in line


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("data.frame=-1", "data.frame: -1: input should be at least 0, or 'middle'"),
        ("data.spacing_mm=-1", "data.spacing_mm: -1: input should be above 0"),
        ("data.spacing_mm=[1,2]", "data.spacing_mm: [1, 2]: list should have at least 3 items, not 2"),
    ],
)
def test_a_value_that_fits_none_of_several_types_is_one_mistake(mistakes, override, message):
    (line,) = mistakes(FILE, override)
    assert line == f"command line ({override}) {message}"
