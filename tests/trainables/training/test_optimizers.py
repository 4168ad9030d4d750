import pytest
import torch
from torch import nn
from torch.optim.optimizer import register_optimizer_step_pre_hook

from trainables.data.dataset import open_dataset
from trainables.models.build_model import build_model
from trainables.recipe.model_config import ModelConfig
from trainables.recipe.train_config import Optimizer
from trainables.training.freezing import apply_opening
from trainables.training.optimizers import build_optimizer, carry_state, parameter_groups
from trainables.training.stage_plan import Opening
from trainables.training.trainer import Trainer


def parameters(*sizes):
    return [nn.Parameter(torch.ones(size)) for size in sizes]


def step(optimizer):
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            parameter.grad = torch.full_like(parameter, 0.5)
    optimizer.step()


def group(name, *params):
    return {"name": name, "lr_scale": 1.0, "weight_decay": 0.01, "params": list(params)}


@pytest.mark.parametrize(
    ("config", "kind", "options"),
    [
        ({"kind": "sgd"}, torch.optim.SGD, {"momentum": 0.9, "nesterov": False}),
        ({"kind": "sgd", "momentum": 0.0}, torch.optim.SGD, {"momentum": 0.0}),
        ({"kind": "adam"}, torch.optim.Adam, {"betas": (0.9, 0.999)}),
        ({"kind": "adamw"}, torch.optim.AdamW, {"betas": (0.9, 0.999)}),
        ({"kind": "adamw", "momentum": 0.8}, torch.optim.AdamW, {"betas": (0.8, 0.999)}),
    ],
)
def test_an_optimizer_is_built_as_the_config_says(config, kind, options):
    groups = [group("backbone", *parameters(2, 3)), group("head", *parameters(4))]
    optimizer = build_optimizer(Optimizer(**config), groups)
    assert isinstance(optimizer, kind)
    for built, given in zip(optimizer.param_groups, groups, strict=True):
        assert built["lr"] == 0.0
        assert {name: built[name] for name in options} == options
        assert {name: built[name] for name in given} == given


@pytest.fixture
def open_model():
    """All of a network open, its norms too."""
    config = ModelConfig(backbone="efficientnet_lite0", weights="none")
    model = build_model(config, classes=3, cosine_scale=None, generator=torch.Generator().manual_seed(0)).model
    apply_opening(model, Opening(0, head=True), bn_affine=True)
    return model


def test_weights_decay_and_what_shifts_or_scales_does_not(open_model):
    groups = parameter_groups(open_model, layer_decay=1.0, weight_decay=0.1)
    assert [(g["name"], g["weight_decay"], g["lr_scale"]) for g in groups] == [
        ("backbone", 0.1, 1.0),
        ("backbone", 0.0, 1.0),
        ("head", 0.1, 1.0),
        ("head", 0.0, 1.0),
    ]
    names = {id(p): name for name, p in open_model.named_parameters()}
    for g in groups:
        kinds = {names[id(p)].rpartition(".")[2] for p in g["params"]}
        assert kinds <= ({"weight"} if g["weight_decay"] else {"weight", "bias"})
        assert all((p.ndim > 1) == (g["weight_decay"] > 0) for p in g["params"])
    assert sum(len(g["params"]) for g in groups) == len(names)


def test_layer_decay_slows_blocks_by_their_distance_to_the_head(open_model):
    groups = parameter_groups(open_model, layer_decay=0.5, weight_decay=0.0)
    scale_of = {id(p): g["lr_scale"] for g in groups for p in g["params"]}
    for i, block in enumerate(open_model.blocks):
        assert {scale_of[id(p)] for p in block.parameters()} == {0.5 ** (8 - i)}
    assert {scale_of[id(p)] for p in open_model.head.parameters()} == {1.0}


@pytest.mark.parametrize("kind", ["sgd", "adamw"])
def test_moments_of_shared_parameters_are_carried_and_no_others(kind):
    kept, dropped, added = parameters(2, 3, 4)
    old = build_optimizer(Optimizer(kind=kind), [group("backbone", dropped), group("head", kept)])
    step(old)
    new = build_optimizer(Optimizer(kind=kind), [group("backbone", added), group("head", kept)])
    carry_state(old, new)
    assert set(new.state) == {kept}
    for name, value in old.state[kept].items():
        assert value is new.state[kept][name]
    assert new.state[kept]["momentum_buffer" if kind == "sgd" else "exp_avg"].any()


@pytest.mark.parametrize("kind", ["sgd", "adam", "adamw"])
def test_a_carried_optimizer_steps_as_if_it_were_the_old_one(kind):
    ways = []
    for rebuild in (False, True):
        (parameter,) = parameters(3)
        optimizer = build_optimizer(Optimizer(kind=kind), [group("head", parameter)])
        for _ in range(3):
            if rebuild:
                old, optimizer = optimizer, build_optimizer(Optimizer(kind=kind), [group("head", parameter)])
                carry_state(old, optimizer)
            optimizer.param_groups[0]["lr"] = 0.1
            step(optimizer)
        ways.append(parameter.detach())
    assert torch.equal(*ways)


def trajectory(optimizer, parameters, *, overflows_first, scaler):
    """Values after each of three steps, the first of which may be preceded by one that the scaler skips."""
    numbers, values = torch.Generator().manual_seed(0), []
    if overflows_first:
        step_scaled(optimizer, parameters, [torch.full_like(p, torch.inf) for p in parameters], scaler)
    for _ in range(3):
        step_scaled(optimizer, parameters, [torch.randn(p.shape, generator=numbers) for p in parameters], scaler)
        values.append(torch.cat([p.detach().flatten() for p in parameters]).clone())
    return torch.stack(values)


def step_scaled(optimizer, parameters, gradients, scaler):
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = gradient * scaler.get_scale()
    scaler.scale(torch.zeros(()))
    scaler.step(optimizer)
    scaler.update()


@pytest.mark.parametrize("overflows_first", [False, True], ids=["at once", "after a skipped step"])
@pytest.mark.parametrize("kind", ["sgd", "adam", "adamw"])
def test_a_scaled_optimizer_steps_as_torchs_own_whether_or_not_its_first_step_was_skipped(kind, overflows_first):
    ours, theirs = parameters(5, 300), parameters(5, 300)
    optimizer = build_optimizer(Optimizer(kind=kind), [group("head", *ours)])
    optimizer.param_groups[0]["lr"] = 0.1
    plain = {"lr": 0.1, "weight_decay": 0.01, "fused": True}
    match kind:
        case "sgd":
            expected = torch.optim.SGD(theirs, momentum=0.9, **plain)
        case "adam":
            expected = torch.optim.Adam(theirs, **plain)
        case "adamw":
            expected = torch.optim.AdamW(theirs, **plain)
    # Memory that torch would reuse for moments without values.
    rubbish = [torch.full((size,), 1e30) for size in (5, 300) for _ in range(50)]
    del rubbish
    found = trajectory(optimizer, ours, overflows_first=overflows_first, scaler=torch.amp.GradScaler("cpu"))
    right = trajectory(expected, theirs, overflows_first=False, scaler=torch.amp.GradScaler("cpu", init_scale=2.0**15))
    assert torch.equal(found, right)


# --- in a run -------------------------------------------------------------------------------------------------------


def stage(name, unfreeze_from, epochs=1, frozen=0, **fields):
    return {
        "name": name,
        "unfreeze_from": unfreeze_from,
        "epochs": epochs,
        "plateau": None,
        "head_frozen_epochs": frozen,
    } | fields


BOTH, BACKBONE, HEAD = {"backbone", "head"}, {"backbone"}, {"head"}


@pytest.mark.parametrize("kind", ["sgd", "adamw"])
@pytest.mark.parametrize(
    ("stages", "with_moments"),
    [
        pytest.param([stage("a", "head", 2)], [set(), HEAD], id="carried from epoch to epoch"),
        pytest.param([stage("a", "head"), stage("b", "head")], [set(), HEAD], id="the same depth goes on"),
        pytest.param([stage("a", "head"), stage("b", "last:1")], [set(), set()], id="reset where blocks open"),
        pytest.param(
            [stage("a", "head"), stage("b", "last:1", 3, frozen=1)],
            [set(), set(), BACKBONE, BOTH],
            id="carried where only the head joins",
        ),
        pytest.param(
            [stage("a", "last:1"), stage("b", "last:1"), stage("c", "last:2")],
            [set(), BOTH, set()],
            id="the same blocks go on, new ones reset",
        ),
        pytest.param(
            [stage("a", "last:2"), stage("b", "last:1"), stage("c", "last:2")],
            [set(), BOTH, BOTH],
            id="blocks that freeze reset nothing; opened again they are not new",
        ),
    ],
)
def test_moments_at_the_start_of_each_epoch(make_recipe, kind, stages, with_moments):
    recipe = make_recipe(data={"validation": 0.02}, stages=stages, optimizer={"kind": kind})
    found = []

    def look(optimizer, *args):
        found.append(
            {group["name"] for group in optimizer.param_groups if any(p in optimizer.state for p in group["params"])}
        )

    handle = register_optimizer_step_pre_hook(look)
    first_steps = []
    for _ in Trainer(recipe, open_dataset(recipe.data)):
        first_steps.append(found[0])
        found.clear()
    handle.remove()
    assert first_steps == with_moments


def test_a_blocks_learning_rate_is_scaled_by_its_distance_to_the_head(make_recipe):
    stages = [stage("a", "last:3", head_lr=0.1, backbone_lr=0.08, backbone_warmup_epochs=0)]
    recipe = make_recipe(data={"validation": 0.02}, stages=stages, optimizer={"kind": "sgd", "layer_decay": 0.5})
    rates = []
    handle = register_optimizer_step_pre_hook(
        lambda optimizer, *_: rates.append([(g["name"], g["lr"]) for g in optimizer.param_groups])
    )
    next(Trainer(recipe, open_dataset(recipe.data)))
    handle.remove()
    backbone = [("backbone", rate) for rate in (0.02, 0.04, 0.08)]
    assert rates == [[*backbone, ("head", 0.1), ("head", 0.1)]] * len(rates)


def test_each_stage_has_its_own_weight_decay_and_dropout(make_recipe):
    stages = [
        stage("a", "last:1", weight_decay=1e-4, dropout=0.2),
        stage("b", "last:1", weight_decay=2e-4, dropout=0.3),
    ]
    recipe = make_recipe(data={"validation": 0.02}, stages=stages)
    trainer = Trainer(recipe, open_dataset(recipe.data))
    seen = set()

    def look(optimizer, *args):
        decays = max(group["weight_decay"] for group in optimizer.param_groups)
        seen.add((trainer.model.head.dropout.p, decays))

    handle = register_optimizer_step_pre_hook(look)
    next(trainer)
    assert seen == {(0.2, 1e-4)}
    seen.clear()
    next(trainer)
    handle.remove()
    assert seen == {(0.3, 2e-4)}
