"""Contract of schedulers, for each in `SCHEDULERS`. A new one needs an example below, and is tested with it."""

import json
import random
from typing import get_args

import pytest
from ray.tune.schedulers import TrialScheduler

from search.config.scheduler import SCHEDULERS, Asha, Hyperband, Median, NoPruning, Pbt, Scheduler
from search.config.search_config import SearchSettings
from search.config.yaml_source import InputError
from search.preflight.forecast import Timeline, share_left
from search.tuning.schedulers import PopulationScheduler, build_scheduler
from search.tuning.study import pruning_reason
from tests.support.ray_trials import ray_trial
from tests.support.sampled_searches import load_space
from trainables.core.vocabulary import Metric

EPOCHS, TRIALS = 12, 24
EXAMPLES = {
    "asha": Asha(rungs="epochs", grace_epochs=2),
    "hyperband": Hyperband(kind="hyperband", grace_epochs=2, reduction=2),
    "median": Median(kind="median", grace_epochs=2),
    "pbt": Pbt(kind="pbt", population=4, every_epochs=2),
    "none": NoPruning(kind="none"),
}
each_scheduler = pytest.mark.parametrize("spec", SCHEDULERS, ids=lambda spec: spec.kind)


def search(folder, spec, **fields):
    """A search with the example of a scheduler and other settings, read from a file."""
    return load_space(folder, scheduler={**EXAMPLES[spec.kind].model_dump(mode="json"), **fields})


def build(settings, records):
    where = settings.place_rungs(epochs=EPOCHS, stages=1)
    return build_scheduler(settings, where, metric=Metric.BALANCED_ACCURACY, seed=0, records=records)


def decisions(settings, *, killed_every):
    """Decisions about trials that report by turns, with a scheduler that is built again after so many reports."""
    rng = random.Random(0)
    scores = {number: sorted(rng.random() for _ in range(EPOCHS)) for number in range(TRIALS)}
    records, decided = {}, {}
    scheduler = build(settings, records)
    for epoch in range(1, EPOCHS + 1):
        for number in range(TRIALS):
            if "STOP" in (decided.get((number, earlier)) for earlier in range(1, epoch)):
                continue
            if len(decided) % killed_every == killed_every - 1:
                scheduler = build(settings, json.loads(json.dumps(records), object_pairs_hook=numbered))
            best = scores[number][epoch - 1]
            report = {
                "epoch": epoch, "best_score": best, "best_corrected": best, "drw_pending": False, "compute_share": epoch / EPOCHS,
                "stage_index": 0, "stage_over": epoch == EPOCHS, "finished": epoch == EPOCHS, "time": f"{len(decided):06d}",
            }  # fmt: skip
            records.setdefault(number, []).append(report)
            decided[number, epoch] = scheduler.on_trial_result(None, ray_trial(number), {"reports": [report]})
    return decided


def numbered(pairs):
    return {int(key) if key.isdecimal() else key: value for key, value in pairs}


def test_a_search_file_can_name_the_declared_schedulers_and_no_others():
    assert set(get_args(get_args(Scheduler)[0])) == {spec.config for spec in SCHEDULERS}
    assert EXAMPLES.keys() == {spec.kind for spec in SCHEDULERS}
    assert all(type(EXAMPLES[spec.kind]) is spec.config for spec in SCHEDULERS)


@each_scheduler
def test_its_rungs_ascend_within_the_longest_trial(spec):
    for stages in (1, 3):
        rungs = EXAMPLES[spec.kind].place_rungs(epochs=EPOCHS, stages=stages)
        assert list(rungs.positions) == sorted(set(rungs.positions))
        assert bool(rungs.positions) == (spec.first_rung is not None)
        assert all(0 < at <= EPOCHS for at in rungs.positions)


@each_scheduler
def test_a_search_too_short_for_its_first_rung_is_refused(spec, tmp_path):
    if spec.first_rung is None:
        return
    message = (
        rf"search.scheduler.{spec.first_rung}: 99: no trial has more than \d+ epochs, so none would be pruned; lower it"
    )
    with pytest.raises(InputError, match=message):
        search(tmp_path, spec, **{spec.first_rung: 99})


@each_scheduler
def test_it_prunes_at_its_rungs_only(spec):
    settings = EXAMPLES[spec.kind]
    rungs, decided = settings.place_rungs(epochs=EPOCHS, stages=1), decisions(settings, killed_every=10**6)
    stopped = {epoch for (_, epoch), decision in decided.items() if decision == TrialScheduler.STOP}
    assert {*decided.values()} <= {TrialScheduler.STOP, TrialScheduler.CONTINUE}
    assert bool(stopped) == bool(rungs.positions)
    assert stopped <= {*rungs.positions}


@each_scheduler
@pytest.mark.parametrize("killed_every", [1, 7])
def test_an_interrupted_search_prunes_as_an_uninterrupted_one(spec, killed_every):
    settings = EXAMPLES[spec.kind]
    assert decisions(settings, killed_every=killed_every) == decisions(settings, killed_every=10**6)


@each_scheduler
def test_its_forecast_is_shorter_where_it_prunes(spec):
    settings = EXAMPLES[spec.kind]
    positions = settings.place_rungs(epochs=EPOCHS, stages=1).positions
    timelines = [Timeline(list(range(1, EPOCHS + 1)), [(i, int(at)) for i, at in enumerate(positions) if at < EPOCHS])]
    share = share_left(timelines, trials=40, scheduler=settings)
    assert 0.1 < share < 0.95 if positions else share == 1
    assert (spec.simulate is None) == (not positions)


@each_scheduler
def test_it_starts_trials_from_others_where_it_says_so(spec, tmp_path):
    settings = EXAMPLES[spec.kind]
    assert isinstance(build(settings, {}), PopulationScheduler) == spec.forks
    assert (settings.checkpoint_every_epochs is not None) == spec.forks
    assert (search(tmp_path, spec).recipe.train.checkpoints.keep_every_epochs is not None) == spec.forks
    most = SearchSettings(scheduler=settings, max_concurrent=50).most_at_once
    assert most == (settings.most_at_once or 50)


@each_scheduler
def test_it_says_why_a_trial_was_pruned(spec):
    reason = pruning_reason(0.25, 4, EXAMPLES[spec.kind])
    assert reason.startswith("0.25 at epoch 4 was ")
    assert "among the" in reason
