"""A search whose trials are told of as Ray does, without training any: the real searcher, a real study, a real folder."""

import copy
import json
import math

import pytest
import yaml

from search.config.yaml_source import read_source
from search.config_file.load import load_search
from search.tuning.study import report_recorded_ends
from search.tuning.study_searcher import StudySearcher
from search.tuning.study_storage import open_study
from tests.support.recipes import RECIPE
from trainables.run_folder.layout import RunLayout
from trainables.run_folder.protocol import StepResult
from trainables.run_folder.trial_record import read_record

SPACE = {
    "train.stages[*].head_lr": {"log": [1e-3, 0.3]},
    "train.batch_size": {"int": [8, 64]},
    "train.loss.kind": {"choice": ["cross_entropy", "ldam"]},
    "train.loss.max_margin": {"float": [0.2, 0.8], "when": {"train.loss.kind": "ldam"}},
}
STARTUP = 4


class Search:
    """A run's folder, and the drivers that own it one after another."""

    def __init__(self, folder, config):
        self.config, self.layout, self.attempt = config, RunLayout(folder), 0
        folder.mkdir(exist_ok=True)
        self.take_up()

    def take_up(self):
        """A new driver, as after a kill: nothing is left but the folder."""
        self.attempt += 1
        self.study = open_study(self.layout, self.config)
        report_recorded_ends(self.study, self.layout, self.config)
        self.searcher = StudySearcher(self.config, self.layout, self.study, attempt=self.attempt)

    def suggest(self, trial_id):
        return self.searcher.suggest(trial_id)

    def run(self, trial_id, scores, *, finished=True, stopped_for=None, **objectives):
        """The results of a trial; Ray hands its last one to `on_trial_complete` alone."""
        results = [
            result(epoch, score, *(objectives[name] for name in self.config.goals[1:]))
            for epoch, score in enumerate(scores, start=1)
        ]
        for each in results[:-1]:
            self.searcher.on_trial_result(trial_id, each)
        self.searcher.on_trial_complete(trial_id, {**results[-1], "finished": finished, "stopped_for": stopped_for})

    def record(self, number):
        return read_record(self.layout.trial(number))

    @property
    def trials(self):
        return open_study(self.layout, self.config).get_trials()

    @property
    def states(self):
        return [trial.state.name for trial in self.trials]


def result(epoch, score, *others, finished=False):
    objectives = [score if score is not None and math.isfinite(score) else None, *others]
    return StepResult(epoch=epoch, best_score=score, finished=finished, objectives=objectives).to_result()


def write_epochs(folder, scores, *, finished=False):
    fields = {"stage": "top", "stage_index": 1, "best_epoch": 1, "flags": [], "train_s": 1.0, "time": "2025"}
    fields |= {"finished": finished, "stopped_for": None}
    lines = [{"epoch": n, "score": s, "best_score": s, **fields} for n, s in enumerate(scores, start=1)]
    folder.epochs.write_text("".join(json.dumps(line) + "\n" for line in lines))


@pytest.fixture
def make_config(tmp_path):
    """`make_config(metric=..., **search)`: a search of `SPACE`, TPE after four random trials."""

    def make(metric="balanced_accuracy", **search):
        data = copy.deepcopy(RECIPE)
        data["train"]["metric"] = metric
        data |= {
            "space": SPACE,
            "search": {"trials": 4, "sampler": {"kind": "tpe", "startup_trials": STARTUP}, **search},
        }
        file = tmp_path / "small.yaml"
        file.write_text(yaml.safe_dump(data))
        return load_search(read_source(file))

    return make


@pytest.fixture
def search(tmp_path, make_config):
    return Search(tmp_path / "run", make_config())
