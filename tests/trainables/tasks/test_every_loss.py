"""What every declared loss must do. A new line in `LOSSES` is tested here without a word in this file."""

from pkgutil import resolve_name
from typing import get_args

import pytest
import torch
import torch.nn.functional as F

from trainables.core.config_errors import ConfigError
from trainables.core.vocabulary import Task
from trainables.data.dataset import open_dataset
from trainables.recipe.loss_config import LOSSES, Loss, loss_spec
from trainables.recipe.recipe import parse_recipe
from trainables.recipe.scheduled_changes import fixed_reason
from trainables.tasks.classification import task_of
from trainables.tasks.classification_loss import build_loss

COUNTS = [80, 15, 5]
CLASSIFICATION = [spec for spec in LOSSES if spec.task == "classification"]

each_loss = pytest.mark.parametrize("spec", LOSSES, ids=lambda spec: spec.kind)
each_loss_of_classes = pytest.mark.parametrize("spec", CLASSIFICATION, ids=lambda spec: spec.kind)


def recipe_of(spec, task=None):
    """A recipe with the loss, its settings as they are by default."""
    return parse_recipe(
        {
            "data": {"source": "table", "path": "images.csv", "task": task or spec.task},
            "model": {"backbone": "resnet18"},
            "train": {"stages": [{"name": "head", "unfreeze_from": "head"}], "loss": {"kind": spec.kind}},
        }
    )


def loss_of_classes(spec, counts=COUNTS):
    return build_loss(spec.config(kind=spec.kind), counts, drw=None, class_weights=None, device="cpu")


def test_the_recipe_knows_the_declared_losses_and_no_others():
    union, _ = get_args(Loss)
    assert list(get_args(union)) == [
        *(spec.config for spec in LOSSES if spec.task == "classification"),
        *(spec.config for spec in LOSSES if spec.task == "regression"),
    ]
    assert len({spec.kind for spec in LOSSES}) == len(LOSSES)


@each_loss
def test_a_recipe_with_it_survives_writing_and_reading(spec):
    recipe = recipe_of(spec)
    assert type(recipe.train.loss) is spec.config
    assert loss_spec(recipe.train.loss) is spec
    assert parse_recipe(recipe.model_dump(mode="json")) == recipe


@each_loss
def test_the_other_task_refuses_it(spec):
    (other,) = {*get_args(Task)} - {spec.task}
    with pytest.raises(ConfigError, match=f"{spec.kind!r} is a loss of {spec.task}, but data.task is {other!r}"):
        recipe_of(spec, other)


@each_loss
def test_its_settings_can_change_while_a_run_continues(spec):
    data = recipe_of(spec).model_dump(mode="json")
    for name in spec.config.model_fields:
        assert (fixed_reason(f"train.loss.{name}", data) is None) == (name != "kind")


@each_loss
def test_the_settings_it_declares_exist(spec):
    assert {spec.cosine_scale, spec.prior_power} - {None} <= {*spec.config.model_fields}


@each_loss_of_classes
def test_it_teaches_classes(spec):
    loss, labels = loss_of_classes(spec), torch.tensor([0, 1, 2, 0])
    logits = torch.zeros(4, 3, requires_grad=True)
    value = loss(logits, labels, reweighted=False)
    (gradient,) = torch.autograd.grad(value, logits)
    assert value.isfinite()
    assert gradient.isfinite().all()
    assert (gradient.gather(1, labels[:, None]) < 0).all(), "the true class's logit should rise"
    assert loss(20 * F.one_hot(labels, 3), labels, reweighted=False) < value


@pytest.mark.parametrize("spec", [s for s in LOSSES if s.task == "regression"], ids=lambda spec: spec.kind)
def test_it_teaches_numbers(spec):
    loss, true = resolve_name(spec.build)(spec.config(kind=spec.kind)), torch.tensor([-3.0, 0.1, 3.0])
    predicted = torch.zeros(3, requires_grad=True)
    each = loss(predicted, true, reduction="none")
    assert each.shape == (3,)
    assert loss(predicted, true, reduction="mean").item() == pytest.approx(each.mean().item())
    (gradient,) = torch.autograd.grad(each.sum(), predicted)
    assert gradient.sign().equal(-true.sign()), "each prediction should move towards its target"
    assert loss(true, true, reduction="mean").item() == 0


@each_loss_of_classes
def test_the_scale_it_declares_is_the_heads(spec, make_recipe):
    recipe = make_recipe(loss={"kind": spec.kind})
    task = task_of(recipe, open_dataset(recipe.data), device=torch.device("cpu"))
    assert task.cosine_scale == (getattr(recipe.train.loss, spec.cosine_scale) if spec.cosine_scale else None)


@each_loss_of_classes
def test_a_rare_class_costs_more_just_where_it_says_so(spec):
    loss, logits = loss_of_classes(spec), torch.zeros(1, 3)
    common, rare = (loss(logits, torch.tensor([label]), reweighted=False).item() for label in (0, 2))
    assert (rare > common + 1e-3) == spec.corrects_imbalance


@pytest.mark.parametrize("spec", [s for s in CLASSIFICATION if s.prior_power], ids=lambda spec: spec.kind)
def test_the_power_it_declares_is_what_it_adds_of_the_prior(spec):
    shares = torch.tensor(COUNTS) / sum(COUNTS)
    logits, labels = torch.tensor([[1.0, -2.0, 0.5], [0.0, 0.3, -1.0]]), torch.tensor([2, 0])
    for power in (0.0, 0.7, 1.0):
        config = spec.config(kind=spec.kind, **{spec.prior_power: power})
        loss = build_loss(config, COUNTS, drw=None, class_weights=None, device="cpu")
        expected = F.cross_entropy(logits + power * shares.log(), labels).item()
        assert loss(logits, labels, reweighted=False).item() == pytest.approx(expected)
