"""Population-based training on paper: who stops, who goes on from whom, and that a kill changes none of it."""

import copy
import json
import math
from types import SimpleNamespace

import pytest
import yaml

from search.config.rung_positions import rungs_of
from search.config.scheduler import Pbt
from search.config.yaml_source import read_source
from search.config_file.load import load_search
from search.tuning.population import Population
from search.tuning.schedulers import build_scheduler
from search.tuning.study import end_stopped_at_rungs, report_recorded_ends
from search.tuning.study_searcher import StudySearcher
from search.tuning.study_storage import open_study
from tests.search.tuning.test_schedulers import EPOCHS, line, tell
from tests.support.driven_search import Search
from tests.support.ray_trials import ray_trial
from tests.support.recipes import RECIPE
from trainables.core.config_errors import ConfigError
from trainables.core.rungs import Rungs
from trainables.core.vocabulary import Metric
from trainables.recipe.recipe import parse_recipe
from trainables.run_folder.epoch_report import read_epochs
from trainables.run_folder.trial_record import Parent, read_record


def pbt(**fields):
    return Pbt(kind="pbt", **{"population": 4, "every_epochs": 2, "quantile": 0.25, **fields})


def population_of(*came, metric=Metric.ACCURACY, **fields):
    """Trials by number: what they came to at epoch 2, and whether it was their end. And whether each was stopped."""
    population = Population(pbt(**fields), metric=metric, seed=0)
    values = [value if isinstance(value, tuple) else (value, False) for value in came]
    stopped = [
        population.arrive(Parent(trial=number, epoch=2, stage=1), value, finished=finished)
        for number, (value, finished) in enumerate(values)
    ]
    return population, stopped


# --- who stops --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("came", "fields", "stopped"),
    [
        pytest.param([0.9, 0.8, 0.1], {}, [0, 0, 0], id="a quarter of three is nobody"),
        pytest.param([0.9, 0.8, 0.7, 0.1], {}, [0, 0, 0, 1], id="the worst of four"),
        pytest.param([0.1, 0.7, 0.8, 0.9], {}, [0, 0, 0, 0], id="who came when nobody was there went on"),
        pytest.param([0.9, 0.1], {"quantile": 0.5}, [0, 1], id="the worse half"),
        pytest.param([0.1, 0.9], {"quantile": 0.5, "metric": Metric.VAL_LOSS}, [0, 1], id="of losses the largest"),
        pytest.param([0.9, 0.9, 0.9, 0.9, 0.1, 0.05], {}, [0, 0, 0, 0, 1, 1], id="each time"),
        pytest.param([0.5, 0.5, 0.5, 0.5], {"quantile": 0.5}, [0, 0, 0, 0], id="nobody is worse than the best"),
        pytest.param([0.9, 0.1, 0.2], {"population": 2, "quantile": 0.5}, [0, 1, 0], id="among the last two"),
        pytest.param([0.9, 0.8, 0.7, (0.1, True)], {}, [0, 0, 0, 0], id="who has come to his own end"),
        pytest.param([0.9, 0.8, 0.7, -math.inf], {}, [0, 0, 0, 1], id="without a score"),
        pytest.param([0.1, 0.2, 0.3, math.inf], {"metric": Metric.VAL_LOSS}, [0, 0, 0, 1], id="without a loss"),
    ],
)
def test_the_worst_of_those_that_came_to_an_interval_stop(came, fields, stopped):
    assert population_of(*came, **fields)[1] == [bool(one) for one in stopped]


# --- who goes on from whom --------------------------------------------------------------------------------------------


def anyone(_parent):
    return True


@pytest.mark.parametrize(
    ("came", "fields", "parents"),
    [
        pytest.param([0.9, 0.8, 0.7], {}, [None], id="no place is free"),
        pytest.param([0.7, 0.9, 0.8, 0.1], {}, [1, None], id="the best, once for each place"),
        pytest.param([(0.9, True), 0.8, 0.7, 0.1], {}, [None], id="the best has come to its end"),
        pytest.param(
            [0.2, 0.1], {"quantile": 0.5, "metric": Metric.VAL_LOSS, "population": 2}, [None], id="none stopped"
        ),
        pytest.param([0.1, 0.2], {"quantile": 0.5, "metric": Metric.VAL_LOSS, "population": 2}, [0], id="by loss"),
    ],
)
def test_a_new_trial_goes_on_from_one_of_the_best_where_another_one_stopped(came, fields, parents):
    population, _ = population_of(*came, **fields)
    found = [population.parent_of(number, fits=anyone) for number in range(10, 10 + len(parents))]
    assert found == [None if trial is None else Parent(trial=trial, epoch=2, stage=1) for trial in parents]


def test_all_of_the_best_have_descendants_and_the_number_decides_whose_a_trial_is():
    came = [0.9, 0.9, 0.1, 0.1]

    def parents(numbers):
        return [population_of(*came, quantile=0.5)[0].parent_of(number, fits=anyone).trial for number in numbers]

    assert set(parents(range(40))) == {0, 1}
    assert parents(range(40)) == parents(range(40))


def test_the_place_that_has_been_free_for_longest_is_taken_first():
    population, _ = population_of(0.9, 0.8, 0.7, 0.1)
    for number, value in enumerate((0.9, 0.8, 0.7, 0.1)):
        population.arrive(Parent(trial=number, epoch=4, stage=1), value, finished=False)
    assert [population.parent_of(number, fits=anyone).epoch for number in (4, 5)] == [2, 4]
    assert population.parent_of(6, fits=anyone) is None


def test_a_place_from_which_nobody_can_go_on_stays_free_until_somebody_can():
    population, _ = population_of(0.9, 0.8, 0.7, 0.1)
    assert population.parent_of(4, fits=lambda parent: parent.trial != 0) is None
    population.arrive(Parent(trial=5, epoch=2, stage=1), 0.95, finished=False)
    assert population.parent_of(6, fits=lambda parent: parent.trial != 0).trial == 5


# --- with the scheduler: kills ----------------------------------------------------------------------------------------

TRIALS = 24


class Driver:
    """Trials that report by turns, as Ray tells a scheduler, and go on from each other; can be killed and taken up again."""

    def __init__(self, settings, at_once):
        self.settings, self.at_once, self.time = settings, at_once, 0
        self.where = settings.place_rungs(epochs=EPOCHS, stages=3)
        self.records, self.parents, self.ended = {}, {}, set()
        self.start()

    def start(self):
        """Anew, from what is on disk."""
        on_disk = {int(number): lines for number, lines in json.loads(json.dumps(self.records)).items()}
        asked = {"metric": Metric.ACCURACY, "seed": 0, "records": on_disk, "parents": dict(self.parents)}
        self.scheduler = build_scheduler(self.settings, self.where, **asked)
        for number, epoch in self.scheduler.stopped.items():
            if len(self.records[number]) == epoch:
                self.ended.add(number)

    def running(self):
        return [number for number in self.records if number not in self.ended]

    def turn(self, *, killed_before_judging=()):
        """One more epoch of each trial that runs, after new ones have begun."""
        while len(self.running()) < self.at_once and len(self.records) < TRIALS:
            self.begin(len(self.records))
        for number in self.running():
            self.epoch(number, killed=self.time in killed_before_judging)
        return self.running() or len(self.records) < TRIALS

    def begin(self, number):
        parent = None
        if number >= self.settings.population:
            parent = self.scheduler.population.parent_of(number, fits=anyone)
        self.records[number] = []
        if parent:
            self.parents[number] = parent
            self.records[number] = [{**done, "inherited": True} for done in self.records[parent.trial][: parent.epoch]]
            self.scheduler.on_trial_add(None, ray_trial(number, parent=parent))
            assert tell(self.scheduler, number, self.records[number][-1]) == "CONTINUE"  # told of once more

    def epoch(self, number, *, killed):
        lines = self.records[number]
        epoch, self.time = len(lines) + 1, self.time + 1
        score = math.sin(number * 7919) + epoch / 10
        lines.append(line(epoch, max([score, *(done["best_score"] for done in lines)]), time=self.time))
        if lines[-1]["finished"]:
            self.ended.add(number)
        if killed:
            self.start()
        elif tell(self.scheduler, number, lines[-1]) == "STOP":
            self.ended.add(number)


@pytest.mark.parametrize("at_once", [1, 3])
@pytest.mark.parametrize("killed_every", [1, 7])
def test_a_killed_search_goes_on_from_the_same_trials(at_once, killed_every):
    whole, cut = Driver(pbt(), at_once), Driver(pbt(), at_once)
    turns = 0
    while whole.turn():
        cut.turn()
        turns += 1
        if turns % killed_every == 0:
            cut.start()
    cut.turn()
    assert (cut.records, cut.parents) == (whole.records, whole.parents)
    assert len(whole.parents) >= 5
    assert any(parent.trial in whole.parents for parent in whole.parents.values())  # of the second generation


def test_a_trial_that_failed_at_its_interval_ends_there_though_the_driver_died_before_it_was_judged():
    whole, cut = Driver(pbt(), 1), Driver(pbt(), 1)
    while whole.turn():
        pass
    while cut.turn(killed_before_judging=range(0, 100_000, 5)):
        pass
    assert (cut.records, cut.parents) == (whole.records, whole.parents)


def test_who_goes_on_from_another_one_is_not_judged_where_that_one_was():
    driver = Driver(pbt(), 1)
    while driver.turn():
        pass
    came = driver.scheduler.population._arrivals
    assert [len(there) for there in came.values()] == [
        sum(
            len(lines) >= epoch > (driver.parents[n].epoch if n in driver.parents else 0)
            for n, lines in driver.records.items()
        )
        for epoch in came
    ]


def test_the_place_of_a_trial_that_went_on_all_the_same_is_not_free():
    """What is on disk does not tell in which order trials of one moment were judged."""
    records = {number: [line(2, 0.9), line(3, 0.9)] for number in range(3)}
    for went_on, parent in ((True, None), (False, 0)):
        lines = [line(2, 0.1, time=1), *([line(3, 0.1, time=2)] if went_on else [])]
        asked = {"metric": Metric.ACCURACY, "seed": 0, "records": records | {3: lines}}
        found = build_scheduler(pbt(), Rungs("epochs", (2, 4)), **asked).population.parent_of(4, fits=anyone)
        assert (None if found is None else found.trial) == parent


# --- with the searcher ------------------------------------------------------------------------------------------------

SPACE = {
    "train.stages[*].head_lr": {"log": [1e-3, 0.3]},
    "train.batch_size": {"int": [8, 64]},
    "train.stages[0].dropout": {"float": [0.0, 0.5]},
}


class PopulationSearch(Search):
    """Of trials with four epochs in two stages, which are judged after each; see `Search`."""

    def take_up(self):
        self.attempt += 1
        self.study = open_study(self.layout, self.config)
        report_recorded_ends(self.study, self.layout, self.config)
        self.where, settings = rungs_of(self.config), self.config.settings
        records = [read_record(folder) for folder in self.layout.all_trials() if folder.trial.exists()]
        self.scheduler = build_scheduler(
            settings.scheduler,
            self.where,
            metric=self.config.recipe.train.metric,
            seed=settings.seed,
            records={record.number: read_epochs(self.layout.trial(record.number).epochs) for record in records},
            parents={record.number: record.parent for record in records if record.parent},
        )
        end_stopped_at_rungs(self.study, self.layout, self.config, self.scheduler.stopped)
        population = self.scheduler.population
        self.searcher = StudySearcher(
            self.config, self.layout, self.study, attempt=self.attempt, rungs=self.where, population=population
        )

    def train(self, assignment, score):
        """As Ray does, until the scheduler stops it or it has come to its end."""
        number, parent = assignment["number"], assignment["parent"]
        trial = SimpleNamespace(config=assignment)
        self.scheduler.on_trial_add(None, trial)
        folder, lines = self.layout.trial(number), []
        if parent:
            lines = read_epochs(self.layout.trial(parent["trial"]).epochs)[: parent["epoch"]]
        for epoch in range(len(lines) + 1, 5):
            stage = (epoch - 1) // 2
            fields = {"epoch": epoch, "stage": "s", "stage_index": stage, "stage_over": epoch % 2 == 0, "score": score}
            fields |= {"best_score": score, "best_epoch": epoch, "flags": [], "train_s": 1.0, "drw_pending": False}
            lines.append({**fields, "time": f"{number:04d}{epoch}", "finished": epoch == 4, "stopped_for": None})
            folder.epochs.write_text("".join(json.dumps(done) + "\n" for done in lines))
            result = {**lines[-1], "reports": lines[-1:], "objectives": [score]}
            stops = self.scheduler.on_trial_result(None, trial, result) == "STOP"
            if stops or epoch == 4:
                self.searcher.on_trial_complete(str(number), result)
                return
            self.searcher.on_trial_result(str(number), result)


@pytest.fixture
def search(tmp_path):
    """`search(**search)`: two that go on for themselves, then others that may go on from the better one."""

    def make(name="run", space=SPACE, **search):
        data = copy.deepcopy(RECIPE)
        fields = {"kind": "pbt", "population": 2, "every_epochs": 1, "quantile": 0.5}
        data |= {"space": space, "search": {"trials": 8, "sampler": {"kind": "random"}, "scheduler": fields, **search}}
        file = tmp_path / "small.yaml"
        file.write_text(yaml.safe_dump(data))
        return PopulationSearch(tmp_path / name, load_search(read_source(file)))

    return make


def begun(search, scores=(0.9, 0.1)):
    """The first of the population have ended, or stopped."""
    for number, score in enumerate(scores):
        search.train(search.suggest(str(number)), score)
    return search


def test_who_goes_on_has_its_parents_recipe_and_a_change(search):
    run = begun(search())
    assert (run.record(1).status, run.record(1).reason) == ("pruned", "0.1 at epoch 1 was among the worst 50% there")
    assignment = run.suggest("2")
    assert assignment["parent"] == {"trial": 0, "epoch": 1, "stage": 0}
    parent, child = run.record(0), run.record(2)
    assert (child.parent, child.params["train.batch_size"]) == (
        Parent(trial=0, epoch=1, stage=0),
        parent.params["train.batch_size"],
    )
    assert child.params != parent.params
    recipe = parse_recipe(json.loads(assignment["recipe"]))
    changed = {path: child.params[path] for path in ("train.stages[*].head_lr", "train.stages[0].dropout")}
    assert [(change.after_epoch, change.set) for change in recipe.train.changes] == [(1, changed)]
    assert recipe.in_epoch(1) == run.config.recipe_of(parent.params)
    assert recipe.in_epoch(2) == run.config.recipe_of({**parent.params, **changed})
    assert run.trials[2].params == child.params


def test_a_grandchild_has_the_changes_of_both_and_none_of_a_stage_that_is_over(search):
    run = begun(search())
    child = run.suggest("2")
    run.train(child, 0.95)
    run.train(run.suggest("3"), 0.5)  # no place was free: it began anew, and stops where 2 is better
    assert [run.record(number).status for number in range(4)] == ["finished", "pruned", "finished", "pruned"]
    assignment = run.suggest("4")
    assert assignment["parent"] == {"trial": 2, "epoch": 2, "stage": 1}
    recipe = parse_recipe(json.loads(assignment["recipe"]))
    assert [change.after_epoch for change in recipe.train.changes] == [1, 2]
    assert set(recipe.train.changes[1].set) == {"train.stages[*].head_lr"}
    assert recipe.in_epoch(2) == parse_recipe(json.loads(child["recipe"])).in_epoch(2)
    assert run.record(4).params["train.stages[0].dropout"] == run.record(2).params["train.stages[0].dropout"]


def test_where_nothing_is_left_to_change_a_trial_begins_anew(search):
    space = {"train.stages[0].dropout": {"float": [0.0, 0.5]}, "train.batch_size": {"int": [8, 64]}}
    fields = {"kind": "pbt", "population": 2, "every_epochs": 2, "quantile": 0.5}  # after the first stage
    run = begun(search(space=space, scheduler=fields))
    assert run.record(1).status == "pruned"
    assert run.suggest("2")["parent"] is None


def test_no_more_train_at_once_than_the_population_has(search):
    run = search()
    assert [run.suggest(str(number)) is None for number in range(3)] == [False, False, True]


def test_enqueued_trials_come_before_any_goes_on_from_another_one(search):
    run = begun(search(enqueue=[{"train.batch_size": 9}, {"train.batch_size": 10}, {"train.batch_size": 11}]))
    assert (run.suggest("2")["parent"], run.record(2).params["train.batch_size"]) == (None, 11)
    assert run.suggest("3")["parent"] is not None


@pytest.mark.parametrize("killed", ["before its record", "before its values", "after them"])
def test_a_trial_that_was_cut_off_goes_on_from_the_same_one_with_the_same_values(search, killed):
    whole, cut = begun(search("whole")), begun(search("cut"))
    if killed == "before its record":
        cut.study.ask()
    else:
        cut.suggest("2")
        if killed == "before its values":
            record = cut.record(2)
            record.model_copy(update={"params": {}}).write(cut.layout.trial(2))
    cut.take_up()
    again, expected = cut.suggest("x"), whole.suggest("2")
    assert [again[key] for key in ("number", "parent", "recipe")] == [
        expected[key] for key in ("number", "parent", "recipe")
    ]


def test_values_that_do_not_go_together_fail_as_any_others(search, monkeypatch):
    run = begun(search())

    def refuse(*_):
        raise ConfigError([])

    monkeypatch.setattr("search.tuning.study_searcher.recipe_of_child", refuse)
    assert run.suggest("2") is None
    assert (run.record(2).status, run.record(2).parent.trial) == ("failed", 0)
