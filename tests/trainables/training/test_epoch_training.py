"""Training accuracy and gradient norm of an epoch, against an independent account of its steps."""

import math

import pytest
import torch
from torch.optim.optimizer import register_optimizer_step_pre_hook

from tests.support.small_runs import small_recipe, stage
from trainables.data.dataset import open_dataset
from trainables.training.epoch_training import GRAD_NORM_EVERY
from trainables.training.trainer import Trainer

STAGES = [stage("top", "last:1", 2, head_frozen_epochs=0, backbone_lr_ratio=0.1)]


def trainer_of(**train):
    recipe = small_recipe(**{"stages": STAGES, "batch_size": 4, **train})
    return Trainer(recipe, open_dataset(recipe.data))


@pytest.fixture
def norms():
    """Norm of the gradient at each step of the optimizer."""
    seen = []

    def look(optimizer, *_):
        gradients = [p.grad.norm() for group in optimizer.param_groups for p in group["params"]]
        seen.append(torch.stack(gradients).norm().item())

    handle = register_optimizer_step_pre_hook(look)
    yield seen
    handle.remove()


def test_the_gradient_norm_is_the_mean_of_every_eighth_step(norms):
    report = next(trainer_of())
    assert len(norms) == 12
    assert report.grad_norm == pytest.approx(sum(norms[::GRAD_NORM_EVERY]) / 2, rel=1e-5)


def test_the_gradient_norm_is_that_before_clipping_of_every_step(norms):
    usual = next(trainer_of(clip_norm=1e6))
    assert usual.grad_norm == pytest.approx(sum(norms) / 12, rel=1e-5)
    assert next(trainer_of(clip_norm=1e-9)).grad_norm > 1e-3


def test_the_training_accuracy_is_that_of_the_outputs_that_made_the_loss():
    trainer = trainer_of(stages=[stage("head", "head", 2, dropout=0.0, head_lr=1e-30)])
    report = next(trainer)
    images = trainer.feed.images.load(trainer.dataset.train, None)
    with torch.inference_mode():
        predicted = trainer.model.eval()(images).argmax(dim=1)
    right = predicted == torch.from_numpy(trainer.dataset.labels[trainer.dataset.train])
    assert report.train_accuracy == pytest.approx(right.double().mean().item())
    assert 0 < report.train_accuracy < 1


def test_mixed_images_have_no_training_accuracy():
    report = next(trainer_of(mix={"mixup_alpha": 0.2}))
    assert report.train_accuracy is None
    assert math.isfinite(report.grad_norm)
    assert '"train_accuracy": null' in report.to_json()
