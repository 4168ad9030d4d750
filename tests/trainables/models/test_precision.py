"""Where a run computes and in which precision. The scaler's arithmetic is the same on CPU and GPU; the rest of fp16 needs a GPU."""

from functools import partial

import pytest
import torch

from trainables.core.config_errors import ConfigError
from trainables.data.dataset import open_dataset
from trainables.models.build_model import build_model
from trainables.training.active_stage import ActiveStage
from trainables.training.replicas import ALONE
from trainables.training.stage_plan import Position, plan_epoch
from trainables.training.trainer import Trainer, device_of

CPU = torch.device("cpu")
OPEN = {
    "name": "top",
    "unfreeze_from": "last:2",
    "epochs": 1,
    "head_lr": 0.1,
    "backbone_lr": 0.1,
    "head_frozen_epochs": 0,
    "backbone_warmup_epochs": 0,
    "weight_decay": 0.0,
}


@pytest.mark.parametrize(
    ("gpu", "train", "device"),
    [
        (True, {"device": "auto"}, "cuda"),
        (True, {"device": "cuda", "precision": "fp16"}, "cuda"),
        (True, {"device": "cpu"}, "cpu"),
        (False, {"device": "auto"}, "cpu"),
        (False, {"device": "auto", "precision": "bf16"}, "cpu"),
        (False, {"device": "cpu"}, "cpu"),
    ],
)
def test_a_run_is_placed_where_the_recipe_says(make_recipe, monkeypatch, gpu, train, device):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    assert device_of(make_recipe(**train)).type == device


@pytest.mark.parametrize(
    ("train", "message"),
    [
        ({"device": "cuda"}, r"^train\.device: cuda needs a GPU, but there is none here$"),
        ({"precision": "fp16"}, r"^train\.precision: fp16 needs a GPU, but there is none here$"),
    ],
)
def test_what_needs_a_gpu_is_refused_without_one(make_recipe, monkeypatch, train, message):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    recipe = make_recipe(**train)
    with pytest.raises(ConfigError, match=message):
        Trainer(recipe, open_dataset(recipe.data))


def test_fp16_on_a_cpu_by_request_is_a_mistake_in_the_recipe(make_recipe):
    with pytest.raises(
        ConfigError, match=r"^train\.precision: fp16 needs a GPU, but train\.device is cpu; use bf16 or fp32$"
    ):
        make_recipe(precision="fp16", device="cpu")


def test_bf16_computes_in_bf16_and_keeps_weights_and_results_in_full_precision(make_recipe):
    reports, dtypes = {}, set()

    def note(precision, _module, _inputs, output):
        dtypes.add((precision, output.dtype))

    for precision in ("fp32", "bf16"):
        recipe = make_recipe(data={"validation": 0.02}, stages=[OPEN], precision=precision)
        trainer = Trainer(recipe, open_dataset(recipe.data))
        handle = trainer.model.blocks[-1].register_forward_hook(partial(note, precision))
        reports[precision] = next(trainer)
        handle.remove()
        assert {p.dtype for p in trainer.model.parameters()} == {torch.float32}
    assert dtypes == {("fp32", torch.float32), ("bf16", torch.bfloat16)}
    exact, rough = reports["fp32"], reports["bf16"]
    assert rough.train_loss != exact.train_loss
    assert rough.train_loss == pytest.approx(exact.train_loss, rel=0.05)


def test_all_that_is_open_gets_gradients_under_autocast(make_recipe):
    recipe = make_recipe(data={"validation": 0.02}, stages=[OPEN], precision="bf16")
    trainer = Trainer(recipe, open_dataset(recipe.data))
    before = {name: tensor.clone() for name, tensor in trainer.model.named_parameters()}
    next(trainer)
    for name, parameter in trainer.model.named_parameters():
        assert torch.equal(parameter, before[name]) != parameter.requires_grad, name


# --- fp16's scaled gradients ----------------------------------------------------------------------------------------


@pytest.fixture
def fp16_stage(make_recipe):
    """A stage of an fp16 recipe with EMA, at the start of its epoch, its gradients to be filled in by hand."""

    def make(**train):
        recipe = make_recipe(
            stages=[OPEN], precision="fp16", ema={"decay": 0.5}, optimizer={"kind": "sgd", "momentum": 0}, **train
        )
        numbers = torch.Generator().manual_seed(0)
        model = build_model(recipe.model, classes=10, cosine_scale=None, generator=numbers).model
        stage = ActiveStage(model, recipe, 0, device=CPU, replicas=ALONE)
        stage.begin_epoch(plan_epoch(recipe, Position()))
        return stage

    return make


def step_along(stage, gradient):
    """Steps with this gradient of the head's first weight, and returns how far that weight went."""
    weight = stage.tail.head.last.weight
    before = weight.detach().clone()
    stage.backward((weight.flatten()[0] * gradient).sum())
    stage.step()
    return (weight.detach() - before).flatten()[0].item()


def test_a_scaled_gradient_moves_as_far_as_an_unscaled_one(fp16_stage):
    stage = fp16_stage()
    assert stage.state_dict()["scaler"]["scale"] > 1
    assert step_along(stage, 0.25) == pytest.approx(-0.1 * 0.25, rel=1e-4)


def test_a_scaled_gradient_is_clipped_by_its_true_norm(fp16_stage):
    assert step_along(fp16_stage(clip_norm=1.0), 8.0) == pytest.approx(-0.1, rel=1e-4)
    assert step_along(fp16_stage(clip_norm=1.0), 0.5) == pytest.approx(-0.05, rel=1e-4)


def test_an_overflow_steps_neither_weights_nor_average_and_lowers_the_scale(fp16_stage):
    stage = fp16_stage()
    scale = stage.state_dict()["scaler"]["scale"]
    assert step_along(stage, float("inf")) == 0
    state = stage.state_dict()
    assert (state["ema"]["n_averaged"], state["scaler"]["scale"]) == (0, scale / 2)
    assert step_along(stage, 0.25) != 0
    assert stage.state_dict()["ema"]["n_averaged"] == 1


def test_the_scale_is_part_of_the_state(fp16_stage):
    stage, other = fp16_stage(), fp16_stage()
    step_along(stage, float("inf"))
    other.load_state_dict(stage.state_dict())
    assert other.state_dict()["scaler"] == stage.state_dict()["scaler"]
