import re

import numpy as np
import pytest
import torch

from trainables.core.config_errors import ConfigError
from trainables.data.dataset import open_dataset
from trainables.recipe.train_config import TrainConfig
from trainables.tasks.class_balance import chosen_balance, given_weights
from trainables.training.trainer import Trainer

EVEN, ALMOST_EVEN, UNEVEN, LONG_TAIL = [50, 50, 50], [59, 50, 40], [60, 50, 40], [1000, 100, 10]
DRW = {"drw": {"start_epoch": 2}}


@pytest.mark.parametrize(
    ("train", "counts", "balance"),
    [
        pytest.param({}, LONG_TAIL, "none", id="by default nothing"),
        pytest.param({"balance": "none"}, LONG_TAIL, "none", id="none"),
        pytest.param({"balance": "sampler"}, EVEN, "sampler", id="sampler, asked for"),
        pytest.param({"balance": "class_weights"}, EVEN, "class_weights", id="class weights, asked for"),
        pytest.param({"balance": "auto"}, EVEN, "none", id="auto: balanced already"),
        pytest.param({"balance": "auto"}, ALMOST_EVEN, "none", id="auto: less than half as many again"),
        pytest.param({"balance": "auto"}, UNEVEN, "class_weights", id="auto: half as many again"),
        pytest.param({"balance": "auto", "batch_size": 111}, LONG_TAIL, "class_weights", id="auto: one a batch"),
        pytest.param({"balance": "auto", "batch_size": 110}, LONG_TAIL, "sampler", id="auto: less than one a batch"),
        pytest.param({"balance": "auto", **DRW}, LONG_TAIL, "none", id="auto: DRW corrects already"),
        pytest.param({"balance": "auto", "loss": {"kind": "ldam"}}, LONG_TAIL, "none", id="auto: LDAM does"),
        pytest.param(
            {"balance": "auto", "loss": {"kind": "balanced_softmax"}},
            LONG_TAIL,
            "none",
            id="auto: balanced softmax does",
        ),
        pytest.param(
            {"balance": "auto", "loss": {"kind": "balanced_softmax", "tau": 0}},
            LONG_TAIL,
            "sampler",
            id="auto: not with tau 0",
        ),
        pytest.param(
            {"balance": "auto", "class_weights": {"b": 9}}, LONG_TAIL, "none", id="auto: given weights correct already"
        ),
        pytest.param({"balance": "auto", "loss": {"kind": "focal"}}, LONG_TAIL, "sampler", id="auto: focal does not"),
        pytest.param({"balance": "sampler", "loss": {"kind": "ldam"}}, LONG_TAIL, "sampler", id="asked for with LDAM"),
    ],
)
def test_the_balance_that_is_chosen(train, counts, balance):
    config = TrainConfig.model_validate({"stages": [{"name": "s", "unfreeze_from": "head"}], **train})
    assert chosen_balance(config, np.array(counts)) == balance


CLASSES = ("1", "a", "b")


@pytest.mark.parametrize(
    ("given", "weights"),
    [(None, None), ({1.0: 4, "b": 2}, [4, 1, 2]), ([1, 2, 6], [1, 2, 6])],
)
def test_given_weights_are_those_of_the_classes_whatever_their_scale(given, weights):
    config = TrainConfig.model_validate({"stages": [{"name": "s", "unfreeze_from": "head"}], "class_weights": given})
    found = given_weights(config, CLASSES)
    assert found is weights or found == pytest.approx(np.array(weights) / np.mean(weights))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"aa": 2}, "train.class_weights.aa: 'aa' is not a class; did you mean 'a'?"),
        ([1, 2], "train.class_weights: 2 weights for 3 classes (1, a, b)"),
    ],
)
def test_weights_that_do_not_fit_the_classes_are_refused(given, message):
    config = TrainConfig.model_validate({"stages": [{"name": "s", "unfreeze_from": "head"}], "class_weights": given})
    with pytest.raises(ConfigError, match=re.escape(message)):
        given_weights(config, CLASSES)


# --- in a run -------------------------------------------------------------------------------------------------------


def labels_of_an_epoch(recipe):
    """The labels of all images that a run's first epoch trains on."""
    dataset = open_dataset(recipe.data)
    trainer = Trainer(recipe, dataset)
    drawn = [label for step in trainer.feed.steps(1, stage=0) for batch in step for label in batch.labels.tolist()]
    return dataset, np.bincount(drawn, minlength=len(dataset.classes))


LONG = {"validation": 0.02, "long_tail": {"imbalance": 40, "largest": 160}}
ONE_EPOCH = [{"name": "s", "unfreeze_from": "head", "epochs": 1}]


def test_a_balanced_run_draws_every_class_alike(make_recipe):
    recipe = make_recipe(data=LONG, stages=ONE_EPOCH, balance="sampler")
    dataset, drawn = labels_of_an_epoch(recipe)
    assert dataset.train_counts.max() == 160
    assert drawn.sum() == len(dataset.train)
    expected = len(dataset.train) / len(dataset.classes)
    chi2 = ((drawn - expected) ** 2 / expected).sum()
    assert chi2 < 27.9  # 99.9th percentile at 9 degrees of freedom


@pytest.mark.parametrize("balance", ["none", "class_weights"])
def test_any_other_run_trains_on_each_image_once(make_recipe, balance):
    recipe = make_recipe(data=LONG, stages=ONE_EPOCH, balance=balance)
    dataset, drawn = labels_of_an_epoch(recipe)
    assert drawn.tolist() == dataset.train_counts.tolist()


def test_class_weights_enter_the_training_loss_and_not_the_validation_loss(make_recipe):
    """A learning rate of almost nothing leaves the network as it was: what differs is how the loss weighs."""
    losses = {}
    stages = [{"name": "s", "unfreeze_from": "head", "epochs": 1, "head_lr": 1e-30, "dropout": 0.0}]
    for balance in ("none", "class_weights"):
        recipe = make_recipe(data=LONG, stages=stages, balance=balance, batch_size=1000)
        trainer = Trainer(recipe, open_dataset(recipe.data))
        report = next(trainer)
        losses[balance] = (report.train_loss, report.metrics["val_loss"])
    assert losses["none"][1] == losses["class_weights"][1]
    dataset = trainer.dataset
    images, labels = trainer.feed.images.load(dataset.train, None), torch.from_numpy(dataset.labels[dataset.train])
    with torch.inference_mode():
        each = torch.nn.functional.cross_entropy(trainer.model.eval()(images), labels, reduction="none")
    weights = torch.from_numpy(1 / dataset.train_counts)[labels]
    assert losses["none"][0] == pytest.approx(each.mean().item(), rel=1e-4)
    assert losses["class_weights"][0] == pytest.approx(((weights * each).sum() / weights.sum()).item(), rel=1e-4)


def test_given_weights_are_those_of_the_loss_and_of_the_learned_prior(make_recipe):
    recipe = make_recipe(data=LONG, stages=ONE_EPOCH, class_weights={"9": 8, "0": 0.5})
    trainer = Trainer(recipe, open_dataset(recipe.data))
    logits, labels = torch.randn(20, 10, generator=torch.Generator().manual_seed(0)), torch.arange(20) % 10
    weights = torch.tensor([0.5, *[1.0] * 8, 8.0])
    expected = torch.nn.functional.cross_entropy(logits, labels, weights)
    torch.testing.assert_close(trainer.task.loss(logits, labels, reweighted=False), expected)
    prior = trainer.dataset.train_counts * weights.numpy()
    assert trainer.task.learned_prior(reweighted=False) == pytest.approx(prior / prior.mean(), rel=1e-6)
