"""Samplers from a config: what they propose depends on their seed alone."""

import optuna
import pytest

from search.sampler_config import Sampler
from search.samplers import build_sampler


def proposals(config, *, seed, study_trials=0):
    """Three points of a study that already knows some trials."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(seed=0))
    study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=study_trials)
    study.sampler = build_sampler(config, seed=seed)
    return [study.ask().suggest_float("x", 0, 1) for _ in range(3)]


@pytest.mark.parametrize("study_trials", [0, 20], ids=["random start", "after the start"])
@pytest.mark.parametrize("kind", ["tpe", "random"])
def test_the_seed_decides(kind, study_trials):
    config = Sampler(kind=kind)
    first = proposals(config, seed=1, study_trials=study_trials)
    assert proposals(config, seed=1, study_trials=study_trials) == first
    assert proposals(config, seed=2, study_trials=study_trials) != first


@pytest.mark.parametrize(
    ("kind", "sampler"), [("tpe", optuna.samplers.TPESampler), ("random", optuna.samplers.RandomSampler)]
)
def test_the_kind_is_optunas(kind, sampler):
    assert type(build_sampler(Sampler(kind=kind), seed=0)) is sampler


def test_tpe_leans_towards_what_was_good_once_its_start_is_over():
    early = proposals(Sampler(startup_trials=100), seed=3, study_trials=40)
    late = proposals(Sampler(startup_trials=10), seed=3, study_trials=40)
    assert sum(late) / 3 > 0.7 > sum(early) / 3


def test_nothing_is_said_about_experimental_features(recwarn):
    build_sampler(Sampler(), seed=0)
    assert list(recwarn) == []
