"""Weights of images in the training loss: what a table's column says, with and without class weights and mixing."""

import numpy as np
import pytest
import torch

from trainables.data.batches.mixing import Mixing
from trainables.data.dataset import open_dataset
from trainables.recipe.loss_config import loss_kinds
from trainables.recipe.train_config import TrainConfig
from trainables.tasks.classification_loss import build_loss
from trainables.tasks.losses import inverse_frequency_weights
from trainables.training.trainer import Trainer

COUNTS = torch.tensor([6, 3, 2])
LOSSES = [{"kind": kind} for kind in loss_kinds("classification")]


def loss_of(config, *, class_weights=False):
    train = TrainConfig.model_validate({"stages": [{"name": "s", "unfreeze_from": "head"}], "loss": config})
    return build_loss(
        train.loss,
        COUNTS,
        drw=None,
        class_weights=inverse_frequency_weights(torch.as_tensor(COUNTS)) if class_weights else None,
        device="cpu",
    )


@pytest.fixture
def batch():
    random = torch.Generator().manual_seed(0)
    return torch.randn(5, 3, generator=random), torch.tensor([0, 1, 2, 0, 0])


@pytest.mark.parametrize("class_weights", [False, True])
@pytest.mark.parametrize("config", LOSSES, ids=lambda config: config["kind"])
def test_an_image_of_weight_two_counts_as_if_it_stood_twice(batch, config, class_weights):
    loss, (logits, labels) = loss_of(config, class_weights=class_weights), batch
    weights = torch.tensor([2.0, 1.0, 1.0, 0.0, 1.0])
    twice = [0, 0, 1, 2, 4]
    expected = loss(logits[twice], labels[twice], reweighted=False)
    weighted = loss(logits, labels, reweighted=False, image_weights=weights)
    assert weighted.item() == pytest.approx(expected.item(), rel=1e-5)
    assert loss(logits, labels, reweighted=False).item() != pytest.approx(expected.item(), rel=1e-3)


def test_a_batch_in_which_no_image_counts_teaches_nothing(batch):
    logits, labels = batch
    logits.requires_grad_()
    loss = loss_of(LOSSES[0])(logits, labels, reweighted=False, image_weights=torch.zeros(5))
    loss.backward()
    assert loss.item() == 0
    assert not logits.grad.any()


@pytest.mark.parametrize("train", [{}, {"mix": {"mixup_alpha": 1.0}}, {"balance": "class_weights"}], ids=str)
def test_a_run_counts_images_by_their_weights(make_recipe, train):
    """Images of weight 0 are as if their labels were others: nothing of the run depends on these."""
    recipe = make_recipe(stages=[{"name": "head", "unfreeze_from": "head", "epochs": 2, "head_lr": 0.05}], **train)
    dataset = open_dataset(recipe.data)
    counted = np.ones(len(dataset.labels))
    counted[dataset.train[:10]] = 0
    scrambled = dataset.labels.copy()
    scrambled[dataset.train[:10]] = np.roll(scrambled[dataset.train[:10]], 1)  # the counts of classes stay

    def losses(labels, weights):
        changed = type(dataset)(**{**vars(dataset), "labels": labels, "weights": weights})
        return [(report.train_loss, report.metrics["val_loss"]) for report in Trainer(recipe, changed)]

    assert losses(dataset.labels, counted) == losses(scrambled, counted)
    assert losses(dataset.labels, counted) != losses(dataset.labels, None)
    every = losses(dataset.labels, np.ones(len(dataset.labels)))
    assert np.array(every) == pytest.approx(np.array(losses(dataset.labels, None)), rel=1e-4)


def test_a_mixed_image_counts_by_both_weights(make_recipe):
    recipe = make_recipe()
    trainer = Trainer(recipe, open_dataset(recipe.data))
    logits = torch.randn(2, 10, generator=torch.Generator().manual_seed(0))
    labels, weights = torch.tensor([0, 3]), torch.tensor([2.0, 1.0])
    mixing = Mixing(partners=torch.tensor([1, 0]), share=torch.tensor([0.75, 0.5]))
    loss = trainer.task.loss(logits, labels, reweighted=False, mixing=mixing, weights=weights)
    nll = -logits.log_softmax(dim=1)
    parts = [(1.5, nll[0, 0]), (0.25, nll[0, 3]), (0.5, nll[1, 3]), (1.0, nll[1, 0])]
    assert loss.item() == pytest.approx((sum(w * n for w, n in parts) / sum(w for w, _ in parts)).item(), rel=1e-5)
