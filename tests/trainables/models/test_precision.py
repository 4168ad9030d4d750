"""Where a run computes and in which precision. The scaler's arithmetic is the same on CPU and GPU; the rest of fp16 needs a GPU."""

from functools import partial

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from trainables.core.config_errors import ConfigError
from trainables.data.dataset import open_dataset
from trainables.models import precision
from trainables.models.build_model import build_model
from trainables.models.precision import chosen_device
from trainables.tasks.classification import task_of
from trainables.training.active_stage import ActiveStage
from trainables.training.batch_feed import Feed
from trainables.training.replicas import ALONE
from trainables.training.stage_plan import Position, plan_epoch
from trainables.training.trainer import Trainer

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
    ("wanted", "cuda", "mps", "device"),
    [
        ("auto", True, False, "cuda"),
        ("auto", True, True, "cuda"),
        ("auto", False, True, "cpu"),  # an Apple GPU is used only by name
        ("auto", False, False, "cpu"),
        ("cpu", True, True, "cpu"),
        ("cuda", True, False, "cuda"),
        ("cuda", False, True, None),
        ("mps", False, True, "mps"),
        ("mps", True, False, None),
    ],
)
def test_a_run_is_placed_where_the_recipe_says(wanted, cuda, mps, device):
    assert chosen_device(wanted, cuda=cuda, mps=mps) == device


@pytest.mark.parametrize(
    ("train", "message"),
    [
        ({"device": "cuda"}, r"^train\.device: cuda needs a GPU, but there is none here$"),
        ({"device": "mps"}, r"^train\.device: mps needs an Apple GPU, but there is none here$"),
        ({"precision": "fp16"}, r"^train\.precision: fp16 needs a GPU, but there is none here$"),
    ],
)
def test_what_needs_a_gpu_is_refused_without_one(make_recipe, monkeypatch, train, message):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    recipe = make_recipe(**train)
    with pytest.raises(ConfigError, match=message):
        Trainer(recipe, open_dataset(recipe.data))


@pytest.mark.parametrize(
    ("train", "message"),
    [
        ({"precision": "fp16"}, r"^train\.precision: fp16 scales gradients, which .* mps; use bf16 or fp32$"),
        ({"compile": True}, r"^train\.compile: true: torch\.compile is not for mps yet; remove it$"),
        ({"workers": 2}, r"^train\.workers: 2: an Apple computer has one GPU; give 1$"),
    ],
)
def test_what_apple_gpus_cannot_do_is_a_mistake_in_the_recipe(make_recipe, train, message):
    with pytest.raises(ConfigError, match=message):
        make_recipe(device="mps", **train)


class _WithoutFloat64(TorchDispatchMode):
    """Refuses what mps refuses: float64 on the device; and layouts other than channels first in convolutions."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if torch.is_tensor(tensor) and tensor.device.type == "meta":
                assert tensor.dtype not in {torch.float64, torch.uint16}, func
        if func is torch.ops.aten.convolution.default:
            assert args[0].is_contiguous()
            assert args[1].is_contiguous()
        return result


@pytest.mark.parametrize(
    "train",
    [
        {"augment": {"rotate_degrees": 9, "brightness": 0.2, "erase": {}}, "balance": "class_weights"},
        {"loss": {"kind": "ldam"}, "drw": {"start_epoch": 1}, "mix": {"mixup_alpha": 1.0}},
    ],
)
def test_a_training_pass_does_without_what_apple_gpus_lack(make_recipe, monkeypatch, train):
    """On the device `meta`, which has shapes and types but no values: there is no Apple GPU to try."""
    monkeypatch.setattr(precision, "APPLE", "meta")
    device = torch.device("meta")
    recipe = make_recipe(data={"validation": 0.02}, stages=[OPEN], ema={"decay": 0.5}, **train)
    dataset = open_dataset(recipe.data)
    with _WithoutFloat64():
        task = task_of(recipe, dataset, device=device)
        numbers = torch.Generator().manual_seed(0)
        built = build_model(recipe.model, classes=10, cosine_scale=task.cosine_scale, generator=numbers)
        precision.place(built.model, device)
        feed = Feed(recipe, dataset, built, balanced=False, device=device, replicas=ALONE)
        stage = ActiveStage(built.model, recipe, 0, device=device, replicas=ALONE)
        stage.begin_epoch(plan_epoch(recipe, Position()))
        (batch,) = next(iter(feed.steps(1, stage=0)))
        outputs = stage.tail(batch.features)
        task.loss(outputs, batch.labels, reweighted=True, mixing=batch.mixing, weights=batch.weights).backward()
        stage.step()


def test_fp16_on_a_cpu_by_request_is_a_mistake_in_the_recipe(make_recipe):
    with pytest.raises(
        ConfigError, match=r"^train\.precision: fp16 needs a GPU, but train\.device is cpu; use bf16 or fp32$"
    ):
        make_recipe(precision="fp16", device="cpu")


def test_bf16_computes_in_bf16_and_keeps_weights_and_results_in_full_precision(make_recipe):
    reports, dtypes = {}, set()

    def note(kind, _module, _inputs, output):
        dtypes.add((kind, output.dtype))

    for kind in ("fp32", "bf16"):
        recipe = make_recipe(data={"validation": 0.02}, stages=[OPEN], precision=kind)
        trainer = Trainer(recipe, open_dataset(recipe.data))
        handle = trainer.model.blocks[-1].register_forward_hook(partial(note, kind))
        reports[kind] = next(trainer)
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
