"""What a search knows before it starts: configs that are tried first, and what earlier runs learnt."""

import copy
import json

import optuna
import pytest
import yaml
from optuna.trial import TrialState

from results_analysis import export_trial, load
from search.config.search_config import json_schema
from search.config.yaml_source import InputError, read_source
from search.config_file.load import load_search
from search.tuning.study import StudyForSamplers
from search.tuning.warm_start import known_trials, write_known_trials
from tests.support.driven_search import Search, write_epochs
from tests.support.recipes import RECIPE
from trainables.run_folder.layout import RunFileError, RunLayout

SPACE = {
    "train.stages[*].head_lr": {"log": [1e-3, 0.3]},
    "train.batch_size": {"int": [8, 64]},
    "train.loss.kind": {"choice": ["cross_entropy", "ldam"]},
    "train.loss.max_margin": {"float": [0.2, 0.8], "when": {"train.loss.kind": "ldam"}},
}
FIRST = {"train.batch_size": 48, "train.loss.kind": "ldam", "train.loss.max_margin": 0.5}


@pytest.fixture
def read(tmp_path):
    """`read(*overrides, space=..., **search)`: a search file, read."""

    def read_file(*overrides, space=SPACE, name="small", **search):
        data = copy.deepcopy(RECIPE)
        data |= {"space": space, "search": {"trials": 6, "scheduler": {"kind": "none"}, **search}}
        file = tmp_path / f"{name}.yaml"
        file.write_text(yaml.safe_dump(data, sort_keys=False))
        return load_search(read_source(file, overrides))

    return read_file


def ended_run(folder, config, scores):
    """A run of so many trials, with all files that readers need."""
    search = Search(folder, config)
    search.layout.config.write_text(config.to_yaml())
    for number, score in enumerate(scores):
        assignment = search.suggest(str(number))
        trial = search.layout.trial(number)
        trial.recipe.write_text(yaml.safe_dump(json.loads(assignment["recipe"])))
        write_epochs(trial, [score], finished=number % 2 == 0)
        search.run(str(number), [score], finished=number % 2 == 0)
    return search


# --- enqueue --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["tpe", "random", "qmc", "nsga2"])
def test_what_is_enqueued_is_tried_first_and_what_it_leaves_out_is_proposed(tmp_path, read, kind):
    config = read(enqueue=[FIRST, "defaults", {"train.batch_size": 10}], sampler={"kind": kind})
    search = Search(tmp_path / "run", config)
    points = []
    for number in range(6):
        if number == 1:
            search.suggest("cut off")
            search.take_up()
        search.suggest(str(number))
        points.append(search.record(number).params)
        search.run(str(number), [0.5])
    assert {path: points[0][path] for path in FIRST} == FIRST
    assert 1e-3 <= points[0]["train.stages[*].head_lr"] <= 0.3
    assert points[1] == {
        "train.stages[*].head_lr": 0.05,
        "train.batch_size": 16,
        "train.loss.kind": "cross_entropy",
    }
    assert points[2]["train.batch_size"] == 10
    assert search.suggest("more") == "FINISHED"
    assert len(search.trials) == 6


def test_cma_es_learns_from_what_was_enqueued_only_what_it_drew_itself(tmp_path, read):
    numbers = {path: SPACE[path] for path in ("train.stages[*].head_lr", "train.batch_size")}
    config = read(space=numbers, enqueue=[{"train.batch_size": 10}], sampler={"kind": "cma_es", "population": 4})
    search = Search(tmp_path / "run", config)
    for number in range(6):
        search.suggest(str(number))
        search.run(str(number), [0.5])
    assert [trial.user_attrs.get("cma_es:generation") for trial in search.trials] == [None, 0, 0, 0, 0, 1]
    assert search.record(0).params["train.batch_size"] == 10


def test_a_grid_does_not_try_again_what_was_enqueued(tmp_path, read):
    grid = {"train.batch_size": {"choice": [8, 16, 32, 64]}}
    config = read(space=grid, trials=4, enqueue=["defaults"], sampler={"kind": "grid"})
    search = Search(tmp_path / "run", config)
    sizes = []
    for number in range(4):
        search.suggest(str(number))
        sizes.append(search.record(number).params["train.batch_size"])
    assert sizes[0] == 16
    assert sorted(sizes) == [8, 16, 32, 64]


def test_an_exported_config_can_be_enqueued_and_the_resolved_search_needs_it_no_more(tmp_path, read):
    old = ended_run(tmp_path / "old", read(name="old"), [0.3, 0.4, 0.9, 0.2])
    best = export_trial(load(old.layout.root), tmp_path / "best.yaml")
    config = read(enqueue=[str(best)])
    assert config.settings.enqueue == (old.record(2).params,)
    best.unlink()
    (tmp_path / "again.yaml").write_text(config.to_yaml())
    again = load_search(read_source(tmp_path / "again.yaml"))
    assert again.settings == config.settings.model_copy(update={"name": "small"})


def test_defaults_are_enqueued_by_the_name_of_the_section_that_they_are(read):
    averages = {"off": None, "slow": {"decay": 0.99}}
    config = read(enqueue=["defaults"], space={**SPACE, "train.ema": {"choice": averages}})
    assert config.settings.enqueue[0]["train.ema"] == "off"
    config = read("train.ema.decay=0.99", enqueue=["defaults"], space={**SPACE, "train.ema": {"choice": averages}})
    assert config.settings.enqueue[0]["train.ema"] == "slow"


def test_a_section_is_found_by_its_name_whatever_was_drawn_inside_it(read):
    space = {
        **SPACE,
        "train.ema": {"choice": {"off": None, "on": {"decay": 0.99}}},
        "train.ema.decay": {"float": [0.9, 0.999], "when": {"train.ema": "on"}},
    }
    assert read(enqueue=["defaults"], space=space).settings.enqueue[0]["train.ema"] == "off"
    (point,) = read("train.ema.decay=0.95", enqueue=["defaults"], space=space).settings.enqueue
    assert (point["train.ema"], point["train.ema.decay"]) == ("on", 0.95)
    del space["train.ema.decay"]
    with pytest.raises(
        InputError, match=r"train.ema is \{'decay': 0.95, .*there, and the space draws choice of off, on"
    ):
        read("train.ema.decay=0.95", enqueue=["defaults"], space=space)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (
            {"train.batch_size": 4},
            r"small.yaml:\d+ search.enqueue\[0\].train.batch_size: 4: the space draws int 8 … 64",
        ),
        ({"train.batch_size": 16.5}, r"search.enqueue\[0\].train.batch_size: 16.5: the space draws int"),
        ({"train.batch": 16}, r"search.enqueue\[0\].train.batch: is not searched; did you mean 'train.batch_size'"),
        (
            {"train.loss.max_margin": 0.5},
            r"max_margin: is drawn only if train.loss.kind is 'ldam'; give that, too, or leave this out",
        ),
        ({"train.loss.kind": "focal"}, r"train.loss.kind: 'focal': the space draws choice of cross_entropy, ldam"),
        ("nowhere.yaml", r"search.enqueue\[0\]: nowhere.yaml cannot be read: No such file"),
        (1, r"search.enqueue\[0\]"),
    ],
)
def test_what_is_no_point_of_the_space_is_said_with_its_place(read, entry, message):
    with pytest.raises(InputError, match=message):
        read(enqueue=[entry])


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["train.batch_size=4"], r"search.enqueue\[0\]: train.batch_size is 4 there, and the space draws int 8 … 64"),
        (["train.stages[0].head_lr=0.1"], r"train.stages\[\*\].head_lr has several values there: 0.1, 0.05"),
    ],
)
def test_defaults_must_be_in_the_space(read, overrides, message):
    with pytest.raises(InputError, match=message):
        read(*overrides, enqueue=["defaults"])


def test_more_cannot_be_enqueued_than_is_tried(read):
    with pytest.raises(InputError, match=r"2 trials are enqueued, and search\.trials is 1"):
        read(trials=1, enqueue=["defaults", {"train.batch_size": 8}])


def test_a_point_that_is_no_recipe_is_refused(read):
    space = {"train.drw.start_epoch": {"int": [1, 4]}, "train.stages[1].epochs": {"int": [1, 2]}}
    with pytest.raises(InputError, match="re-weighting would start after the last epoch"):
        read(space=space, enqueue=[{"train.drw.start_epoch": 4, "train.stages[1].epochs": 1}])


# --- warm start -----------------------------------------------------------------------------------------------------


def warm(tmp_path, read, **search):
    """A search that starts where another one ended, and its run's layout."""
    ended_run(tmp_path / "old", read(name="old", trials=20), [0.05 * number for number in range(20)])
    config = read(warm_start=["old"], **search)
    layout = RunLayout(tmp_path / "run")
    layout.root.mkdir()
    write_known_trials(config, layout)
    return config, layout


@pytest.mark.parametrize("kind", ["tpe", "gp", "nsga2"])
def test_earlier_trials_are_known_to_samplers_and_are_no_trials_of_the_run(tmp_path, read, kind):
    numbers = {path: SPACE[path] for path in ("train.stages[*].head_lr", "train.batch_size")}
    space = numbers if kind == "gp" else SPACE
    config, layout = warm(tmp_path, lambda **given: read(space=space, **given), sampler={"kind": kind})
    search = Search(layout.root, config)
    seen = StudyForSamplers(search.study, known_trials(config, layout)).get_trials()
    assert len(seen) == 20
    assert {trial.state for trial in seen} == {TrialState.COMPLETE, TrialState.PRUNED}
    for number in range(6):
        assert search.suggest(str(number))["number"] == number
        search.run(str(number), [0.5])
    assert search.suggest("more") == "FINISHED"
    assert [trial.number for trial in search.trials] == list(range(6))
    cold = Search(tmp_path / "cold", read(space=space, sampler={"kind": kind}))
    cold.suggest("0")
    learns_at_once = kind != "nsga2"  # which needs a whole generation
    assert (cold.record(0).params != search.record(0).params) == learns_at_once


@pytest.mark.parametrize("content", ["", "[{}]", "[1]", "{"])
def test_damaged_knowledge_is_one_message(tmp_path, read, content):
    config, layout = warm(tmp_path, read)
    layout.known.write_text(content)
    with pytest.raises(RunFileError, match=r"known.json is damaged; put a copy in its place"):
        known_trials(config, layout)


def test_what_was_known_at_the_start_stays_known_whatever_becomes_of_the_earlier_run(tmp_path, read):
    config, layout = warm(tmp_path, read)
    known = layout.known.read_bytes()
    ended_run(tmp_path / "other", read(name="other"), [0.9])
    for trial in RunLayout(tmp_path / "old").all_trials():
        trial.trial.unlink()
    write_known_trials(config, layout)
    assert layout.known.read_bytes() == known
    search, again = Search(layout.root, config), Search(tmp_path / "again", config)
    again.layout.known.write_bytes(known)
    again.take_up()
    search.suggest("a")
    again.suggest("a")
    assert search.record(0).params == again.record(0).params


def test_only_trials_whose_values_the_space_could_draw_are_known(tmp_path, read):
    ended_run(tmp_path / "old", read(name="old", trials=12), [0.5] * 12)
    narrow = {**SPACE, "train.batch_size": {"int": [8, 32]}}
    config, layout = read(space=narrow, warm_start=["old"]), RunLayout(tmp_path / "run")
    write_known_trials(config, layout)
    known = json.loads(layout.known.read_bytes())
    small = [t.number for t in RunLayout(tmp_path / "old").all_trials() if _batch_size(t) <= 32]
    assert 0 < len(small) < 12
    assert [trial["number"] for trial in known] == small


def _batch_size(folder):
    return yaml.safe_load(folder.recipe.read_text())["train"]["batch_size"]


@pytest.mark.parametrize(
    ("run", "message"),
    [
        ("nowhere", r"search.warm_start\[0\]: no run 'nowhere'"),
        (
            "by_loss",
            "by_loss was scored by val_loss, this search is scored by balanced_accuracy; its best config can be tried",
        ),
        ("other_data", r"other_data had other data \(data.validation\), so its scores are not comparable"),
        ("elsewhere", "no trial of these runs has ended at a point that this space could draw"),
    ],
)
def test_runs_that_say_nothing_about_this_search_are_refused(tmp_path, read, run, message):
    others = {
        "by_loss": (["train.metric=val_loss"], SPACE),
        "other_data": (["data.validation=0.2"], SPACE),
        "elsewhere": ([], {"train.batch_size": {"int": [100, 200]}}),
    }
    for name, (overrides, space) in others.items():
        ended_run(tmp_path / name, read(*overrides, name=name, space=space), [0.5, 0.6])
    with pytest.raises(InputError, match=message):
        write_known_trials(read(warm_start=[run]), RunLayout(tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_known_trials_are_numbered_before_all_others(tmp_path, read):
    config, layout = warm(tmp_path, read)
    numbers = [trial.number for trial in known_trials(config, layout)]
    assert numbers == sorted(numbers)
    assert all(-1 < number < 0 for number in numbers)
    assert all(isinstance(trial, optuna.trial.FrozenTrial) for trial in known_trials(config, layout))


def test_editors_know_the_settings():
    text = json.dumps(json_schema())
    assert all(name in text for name in ("enqueue", "warm_start", "objectives", "constraints", "storage", "nsga2"))
