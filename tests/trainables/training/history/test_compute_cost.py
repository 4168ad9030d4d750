"""What training costs, counted: from the network's sizes, and as the trainer adds it up."""

import pytest

from trainables.data.dataset import open_dataset
from trainables.training.history.compute_cost import planned_compute, trained_parameters
from trainables.training.trainer import Trainer

HEAD = {"name": "head", "unfreeze_from": "head", "epochs": 2, "plateau": None}
TOP = {"name": "top", "unfreeze_from": "last:1", "epochs": 3, "head_frozen_epochs": 1, "plateau": None}
HEAD_SIZE = 1280 * 10 + 10
BLOCK_SIZE = 320 * 1280
"""The last block of EfficientNet-Lite0 is a convolution; its BatchNorm has another 2 · 1280 numbers."""


def trained(recipe):
    trainer = Trainer(recipe, open_dataset(recipe.data))
    return trainer, list(trainer)


@pytest.mark.parametrize(
    ("train", "block"), [({}, BLOCK_SIZE), ({"bn_affine": "train"}, BLOCK_SIZE + 2 * 1280)], ids=["frozen", "train"]
)
def test_an_epoch_costs_what_trains_times_the_images_it_trains_on(make_recipe, train, block):
    trainer, reports = trained(make_recipe(stages=[HEAD, TOP], **train))
    images = len(trainer.dataset.train)
    moved = [HEAD_SIZE, HEAD_SIZE, block, HEAD_SIZE + block, HEAD_SIZE + block]  # the head rests for an epoch
    assert [r.compute for r in reports] == [images * sum(moved[: i + 1]) for i in range(5)]
    assert reports[-1].compute_share == 1
    assert [r.compute_share for r in reports] == pytest.approx([r.compute / reports[-1].compute for r in reports])


def test_a_share_of_the_images_costs_a_share(make_recipe):
    trainer, reports = trained(make_recipe(stages=[HEAD | {"data_fraction": 0.5, "epochs": 1}, TOP]))
    half = len(trainer.feed.images.of_stage(0).train)
    assert half < len(trainer.dataset.train)
    assert reports[0].compute == half * HEAD_SIZE
    assert reports[-1].compute_share == 1


def test_a_run_that_ends_on_its_plateau_has_not_spent_all(make_recipe):
    early = {"patience": 1, "threshold": 9.0}
    _, reports = trained(make_recipe(stages=[HEAD, TOP | {"epochs": 5}], early_stop=early))
    assert len(reports) < 7
    assert reports[-1].compute_share < 1


def test_a_resumed_run_goes_on_counting(make_recipe):
    recipe = make_recipe(stages=[HEAD, TOP])
    whole, reports = trained(recipe)
    cut = Trainer(recipe, whole.dataset)
    next(cut), next(cut), next(cut)
    resumed = Trainer(recipe, whole.dataset)
    resumed.load_state_dict(cut.state_dict())
    told = [(r.compute, r.compute_share, r.best_corrected) for r in resumed]
    assert told == [(r.compute, r.compute_share, r.best_corrected) for r in reports[3:]]


def test_planning_opens_all_that_may_ever_train(make_recipe):
    recipe = make_recipe(stages=[HEAD])
    trainer = Trainer(recipe, open_dataset(recipe.data))
    assert planned_compute(recipe, trainer.model, lambda stage: 10) == 10 * 2 * HEAD_SIZE
    assert trained_parameters(trainer.model.head) == HEAD_SIZE
