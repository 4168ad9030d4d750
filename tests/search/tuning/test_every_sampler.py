"""Contract of samplers, for each in `SAMPLERS`. A new one needs an example in `tests/support/sampled_searches.py`, and is tested
with it."""

import json
from typing import get_args

import pytest

from search.config.sampler import SAMPLERS, Sampler
from search.config.yaml_source import InputError
from search.tuning.samplers import Samplers
from tests.support.driven_search import Search
from tests.support.sampled_searches import (
    CHOICES,
    CONDITIONAL,
    COUNTABLE,
    EXAMPLES,
    NUMBERS,
    load_space,
    proposals,
    score_of,
)
from trainables.run_folder.layout import RunLayout

each_sampler = pytest.mark.parametrize("spec", SAMPLERS, ids=lambda spec: spec.kind)


def example(folder, spec, space=None, **search):
    """A search with the example of a sampler."""
    settings, fitting = EXAMPLES[spec.kind]
    return load_space(folder, fitting if space is None else space, sampler={"kind": spec.kind, **settings}, **search)


def check(taken, message, folder, spec, space=None, **search):
    """Checks that a search is accepted where the sampler says so, and refused with this message where not."""
    if taken:
        example(folder, spec, space, **search)
    else:
        with pytest.raises(InputError, match=message):
            example(folder, spec, space, **search)


def test_a_search_file_can_name_the_declared_samplers_and_no_others():
    assert set(get_args(get_args(Sampler)[0])) == {spec.config for spec in SAMPLERS}
    assert EXAMPLES.keys() == {spec.kind for spec in SAMPLERS}


@pytest.mark.slow
@each_sampler
def test_a_search_killed_again_and_again_proposes_what_an_undisturbed_one_does(tmp_path, spec):
    config = example(tmp_path, spec, trials=16)
    whole = proposals(tmp_path / "whole", config)
    assert proposals(tmp_path / "cut", config, killed_every=3) == whole
    assert len({json.dumps(point) for point in whole}) > 12  # the best point may be proposed again


@pytest.mark.slow
@each_sampler
def test_a_search_that_was_extended_proposes_what_a_longer_one_would_have(tmp_path, spec):
    short, long = (example(tmp_path, spec, trials=trials) for trials in (8, 16))
    first = proposals(tmp_path / "run", short)
    search = Search(tmp_path / "run", long)
    for number in range(8, 16):
        search.suggest(str(number))
        params = search.record(number).params
        first.append(params)
        search.run(str(number), [score_of(params)], finished=number % 3 != 2)
    assert first == proposals(tmp_path / "long", long)


@each_sampler
def test_proposals_differ_from_those_of_another_seed(tmp_path, spec):
    one, other = (proposals(tmp_path / str(seed), example(tmp_path, spec, seed=seed)) for seed in (0, 1))
    assert one != other


@each_sampler
def test_it_learns_from_earlier_runs_where_it_says_so(tmp_path, spec):
    config = example(tmp_path, spec)
    params = [config.space.parameters_of(point) for point in config.draws(12)]
    known = [{"params": p, "complete": True, "values": [score_of(p)], "epochs": {}, "excess": {}} for p in params]
    points = []
    for earlier in ([], known):
        layout = RunLayout(tmp_path / str(len(earlier)))
        layout.root.mkdir()
        layout.known.write_text(json.dumps(earlier))
        search = Search(layout.root, config)
        search.suggest("0")
        points.append(search.record(0).params)
    assert (points[0] != points[1]) == spec.learns
    check(spec.learns, f"{spec.kind} does not learn from earlier runs", tmp_path, spec, warm_start=["old"])


@each_sampler
def test_it_takes_conditional_spaces_where_it_says_so(tmp_path, spec):
    space = COUNTABLE if spec.finite else CONDITIONAL
    check(spec.conditional, f"{spec.kind} models the same parameters in all trials", tmp_path, spec, space)


@each_sampler
def test_it_takes_several_objectives_where_it_says_so(tmp_path, spec):
    search = {"objectives": ["score", "macs"], "trials": 8}
    check(spec.multi_objective, f"{spec.kind} optimizes one objective", tmp_path, spec, **search)
    if spec.multi_objective:
        search = Search(tmp_path / "run", example(tmp_path, spec, **search))
        for number in range(8):
            search.suggest(str(number))
            search.run(str(number), [0.1 * number], macs=100 - number)
        assert search.states == ["COMPLETE"] * 8


@each_sampler
def test_it_takes_spaces_without_numbers_where_it_says_so(tmp_path, spec):
    check(not spec.numbers, f"{spec.kind} proposes numbers", tmp_path, spec, CHOICES, trials=2)


@each_sampler
def test_it_takes_endless_spaces_where_it_says_so(tmp_path, spec):
    check(not spec.finite, "the grid needs a finite number of values", tmp_path, spec, NUMBERS)


@each_sampler
def test_it_lets_trials_start_from_others_where_it_says_so(tmp_path, spec):
    space = {"train.clip_norm": {"float": [0.5, 1.0], "step": 0.1}} if spec.finite else NUMBERS
    search = {"scheduler": {"kind": "pbt", "every_epochs": 1}, "trials": 4}
    check(not spec.every_trial, f"{spec.kind} must propose every trial", tmp_path, spec, space, **search)


@each_sampler
def test_nothing_is_said_about_experimental_features(tmp_path, spec, recwarn):
    Samplers(example(tmp_path, spec)).of(3)
    assert [str(warning.message) for warning in recwarn] == []
