"""What a stage costs is found by training it on a few batches, of which nothing is kept."""

import math
import os
import time

import numpy as np
import pytest
import torch

from tests.support.own_processes import CONTEXT, OwnProcess
from tests.support.recipes import FEW, RECIPE
from trainables.data.dataset import Dataset, open_dataset
from trainables.frozen_prefix import feature_cache
from trainables.recipe.recipe import parse_recipe
from trainables.recipe.rules.prefix_rules import PREFIX_BATCH
from trainables.storage import cache_folder
from trainables.trial.dry_run import dry_run, measure_stage, sample
from trainables.trial.peak_memory import PeakMemory


@pytest.fixture
def uneven():
    """Images that say which they are; 40 train and 20 judge, of classes with 30 + 10, 8 + 8 and 2 + 2 of them."""
    labels = np.repeat([0, 1, 2, 0, 1, 2], [30, 8, 2, 10, 8, 2])
    images = np.arange(60, dtype=np.uint8)[:, None, None, None].repeat(8, 1).repeat(8, 2)
    return Dataset(images, labels, ("a", "b", "c"), np.arange(40), np.arange(40, 60), "whole")


@pytest.mark.parametrize(
    ("count", "train", "validation"), [(1, 3, 3), (3, 3, 3), (12, 12, 12), (25, 25, 20), (999, 40, 20)]
)
def test_a_sample_is_about_as_large_as_asked_and_has_every_class_on_both_sides(uneven, count, train, validation):
    small = sample(uneven, count, seed=0)
    assert (len(small.train), len(small.validation)) == (train, validation)
    for side in (small.train, small.validation):
        assert set(small.labels[side]) == {0, 1, 2}


def test_a_sample_holds_images_of_either_side_with_their_labels(uneven):
    small = sample(uneven, 12, seed=0)
    original = small.images[:, 0, 0, 0].astype(int)
    assert len(set(original)) == len(original)
    assert set(original[small.train]) <= set(uneven.train)
    assert set(original[small.validation]) <= set(uneven.validation)
    assert (small.labels == uneven.labels[original]).all()
    assert not np.shares_memory(small.images, uneven.images)


def test_samples_are_never_taken_for_the_whole_or_for_each_other(uneven):
    samples = [sample(uneven, count, seed=seed) for count, seed in [(12, 0), (12, 1), (13, 0)]]
    assert len({"whole", *(small.fingerprint for small in samples)}) == 4
    assert sample(uneven, 12, seed=0).fingerprint == samples[0].fingerprint


@pytest.fixture(scope="module")
def tried():
    """The small recipe, its data and what trying its two stages found."""
    recipe = parse_recipe(RECIPE)
    dataset = open_dataset(recipe.data)
    return recipe, dataset, dry_run([(recipe, 0), (recipe, 1)], dataset)


@pytest.fixture
def at_a_glance(monkeypatch):
    """One batch is enough, however fast the machine is at the moment."""
    monkeypatch.setattr("trainables.trial.dry_run._MEASURE_FOR_S", 0.0)


def test_as_many_images_are_measured_as_pass_the_frozen_blocks_together(at_a_glance, make_recipe):
    """With fewer, an image would seem to take several times as long as it does."""
    recipe = make_recipe(data=FEW, batch_size=4, prefix_cache=False)
    (frozen,) = dry_run([(recipe, 0)], open_dataset(recipe.data)).stages
    assert frozen.images >= 2 * PREFIX_BATCH


def test_each_stage_is_tried_as_the_recipe_has_it(tried):
    _, _, done = tried
    head, top = done.stages
    assert (head.stage, head.unfreeze_from, head.depth, head.epochs) == ("head", "head", 9, 2)
    assert (top.stage, top.unfreeze_from, top.depth, top.epochs) == ("top", "last:2", 7, 2)
    assert (head.batch, head.features, head.logits) == ((16, 3, 32, 32), (16, 1280), (16, 10))
    assert (top.batch, top.features, top.logits) == ((16, 3, 32, 32), (16, 192, 1, 1), (16, 10))
    assert head.trained_parameters == 1280 * 10 + 10
    assert top.trained_parameters > 1_000_000  # its last convolution alone has 320 · 1280


def test_losses_are_those_of_a_new_head(tried):
    _, _, done = tried
    for cost in done.stages:
        assert cost.finite
        assert cost.train_loss == pytest.approx(math.log(10), rel=0.25)


def test_times_are_those_of_the_whole_data_set(tried):
    recipe, dataset, done = tried
    for cost in done.stages:
        assert 0 < cost.train_s < 60
        assert 0 < cost.val_s < 60
        assert cost.epoch_s == cost.train_s + cost.val_s
    larger = Dataset(
        dataset.images, dataset.labels, dataset.classes, dataset.train.repeat(50), dataset.validation, "larger"
    )
    assert measure_stage(recipe, 0, larger).train_s > 5 * done.stages[0].train_s


def _tried_elsewhere(recipe, results):
    results.put(dry_run([(recipe, 0)], open_dataset(recipe.data)))


def test_memory_is_what_models_and_batches_take(make_recipe):
    """In a process of its own: one that has run before takes over what it freed."""
    results = CONTEXT.Queue()
    process = OwnProcess(_tried_elsewhere, make_recipe(), results)
    process.start()
    done = results.get(timeout=120)
    process.join(timeout=60)
    assert 10e6 < done.ram_bytes < 2e9  # the network's weights alone are 13 MB
    assert done.gpu_bytes is None or done.gpu_bytes > 10e6


def test_features_are_kept_once_for_each_view(make_recipe, at_a_glance):
    recipes = [make_recipe(augment={"views": views, "crop": {}}) for views in (1, 4)]
    one, four = (dry_run([(recipe, 0)], open_dataset(recipe.data)).stages[0] for recipe in recipes)
    assert four.cache_bytes == 4 * one.cache_bytes > 0


def test_features_that_can_be_kept_are_counted_once_and_leave_nothing_behind(make_recipe, monkeypatch):
    monkeypatch.setattr(feature_cache, "is_worth_caching", lambda **costs: True)  # on a busy machine, too
    recipe = make_recipe()
    dataset, before = open_dataset(recipe.data), cache_folder.entries()
    (kept,) = dry_run([(recipe, 0)], dataset).stages
    (computed,) = dry_run([(make_recipe(prefix_cache=False), 0)], dataset).stages
    images = len(dataset.train) + len(dataset.validation)
    assert kept.cache_bytes == pytest.approx(4 * 1280 * images, rel=0.2)  # the header aside, 1,280 features an image
    assert kept.cache_s > 0  # what an epoch then costs is no matter for a test
    assert (computed.cache_s, computed.cache_bytes) == (0, 0)
    assert [entry.array for entry in cache_folder.entries()] == [entry.array for entry in before]


def test_a_loss_that_is_no_number_is_reported(make_recipe, at_a_glance):
    recipe = make_recipe(stages=[{"name": "wild", "unfreeze_from": "all", "epochs": 1, "head_lr": 1e38}])
    cost = measure_stage(recipe, 0, open_dataset(recipe.data))
    assert not cost.finite


@pytest.mark.parametrize(
    "more",
    [
        {"loss": {"kind": "ldam"}, "drw": {"start_epoch": 4}},
        {"balance": "sampler", "ema": {"decay": 0.9}, "augment": {"horizontal_flip": 0.5, "views": 2}},
        {"early_stop": {"patience": 1}, "one_cycle": {}},
    ],
    ids=lambda more: next(iter(more)),
)
def test_whatever_a_recipe_asks_for_is_tried_with_it(make_recipe, at_a_glance, more):
    recipe = make_recipe(**more)
    assert measure_stage(recipe, 1, open_dataset(recipe.data)).finite


# --- memory -----------------------------------------------------------------------------------------------------------

MIB = 2**20


def test_the_peak_counts_though_it_is_gone_at_the_end():
    with PeakMemory(torch.device("cpu")) as peak:
        block = np.ones(96 * MIB, np.uint8)
        time.sleep(0.1)  # it is sampled every few milliseconds, where the processor has time for that
        del block
    assert 90 * MIB < peak.ram_bytes < 200 * MIB
    assert peak.gpu_bytes is None


def test_what_was_held_before_does_not_count():
    block = np.ones(96 * MIB, np.uint8)
    with PeakMemory(torch.device("cpu")) as peak:
        assert block[os.getpid() % len(block)] == 1
    assert peak.ram_bytes < 30 * MIB
