import pytest
import torch
from torch import nn
from torch.optim.optimizer import register_optimizer_step_pre_hook

from trainables.data.dataset import open_dataset
from trainables.models.build_model import build_model
from trainables.recipe.model_config import ModelConfig
from trainables.training.freezing import apply_opening, set_training_mode
from trainables.training.optimizers import parameter_groups
from trainables.training.stage_plan import Opening
from trainables.training.trainer import Trainer

BLOCKS = 9
"""Of EfficientNet-Lite0."""


def stage(name, unfreeze_from, **fields):
    return {
        "name": name,
        "unfreeze_from": unfreeze_from,
        "epochs": 1,
        "plateau": None,
        "head_frozen_epochs": 0,
    } | fields


def trainer_of(recipe):
    return Trainer(recipe, open_dataset(recipe.data))


def copy_of(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def kind_of(model, name):
    """`weight`, `affine` or `statistic`."""
    owner, _, last = name.rpartition(".")
    if not isinstance(model.get_submodule(owner), nn.BatchNorm2d):
        return "weight"
    return "affine" if last in {"weight", "bias"} else "statistic"


def moved(model, before):
    """Where anything changed by a single bit, as {(block or `head`, kind)}."""
    changed = set()
    for name, tensor in model.state_dict().items():
        if not torch.equal(tensor, before[name]):
            part = name.split(".")[1] if name.startswith("blocks.") else "head"
            changed.add((int(part) if part.isdecimal() else part, kind_of(model, name)))
    return changed


@pytest.fixture
def steps():
    """For every optimizer step: the optimizer's parameters and those that have a gradient, by id."""
    seen = []

    def look(optimizer, *args):
        held = [p for group in optimizer.param_groups for p in group["params"]]
        seen.append(([id(p) for p in held], {id(p) for p in held if p.grad is not None}))

    handle = register_optimizer_step_pre_hook(look)
    yield seen
    handle.remove()


# --- what an opening opens ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model():
    config = ModelConfig(backbone="efficientnet_lite0", weights="none")
    return build_model(config, classes=3, cosine_scale=None, generator=torch.Generator().manual_seed(0)).model


@pytest.mark.parametrize("bn_affine", ["frozen", "train"])
@pytest.mark.parametrize("head", [True, False])
@pytest.mark.parametrize("cut", [0, 4, 8, 9])
def test_an_opening_opens_blocks_from_the_cut_on(model, cut, head, bn_affine):
    apply_opening(model, Opening(0, head=True), bn_affine=True)
    apply_opening(model, Opening(cut, head=head), bn_affine=bn_affine == "train")
    opened = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    kinds = {"weight"} if bn_affine == "frozen" else {"weight", "affine"}
    in_blocks = {
        name
        for name, _ in model.named_parameters()
        if name.startswith("blocks.") and int(name.split(".")[1]) >= cut and kind_of(model, name) in kinds
    }
    in_head = {"head.last.weight", "head.last.bias"} if head else set()
    assert opened == in_blocks | in_head
    names = {id(p): name for name, p in model.named_parameters()}
    found = {"backbone": set(), "head": set()}
    for group in parameter_groups(model, layer_decay=0.5, weight_decay=0.1):
        found[group["name"]] |= {names[id(p)] for p in group["params"]}
    assert found == {"backbone": in_blocks, "head": in_head}


@pytest.mark.parametrize("cut", [0, 4, 9])
def test_frozen_blocks_stand_still_and_open_ones_train(model, cut):
    model.eval()
    set_training_mode(model, Opening(cut, head=True))
    modes = [{module.training for module in block.modules()} for block in model.blocks]
    assert modes == [{False}] * cut + [{True}] * (BLOCKS - cut)
    assert all(module.training for module in model.head.modules())


def test_freezing_after_opening_puts_blocks_back_to_rest(model):
    set_training_mode(model, Opening(0, head=True))
    set_training_mode(model, Opening(BLOCKS, head=True))
    assert not any(module.training for module in model.blocks.modules() if module is not model.blocks)


# --- after a real epoch ---------------------------------------------------------------------------------------------


def parts(blocks, *kinds):
    return {(block, kind) for block in blocks for kind in kinds}


HEAD_MOVED = {("head", "weight")}


@pytest.mark.parametrize(
    ("opened", "bn_affine", "changed"),
    [
        pytest.param(stage("s", "head"), "frozen", HEAD_MOVED, id="the head alone"),
        pytest.param(stage("s", "head"), "train", HEAD_MOVED, id="bn_affine opens no frozen block"),
        pytest.param(
            stage("s", "last:2"),
            "frozen",
            HEAD_MOVED | parts((7, 8), "weight", "statistic"),
            id="selective BatchNorm: statistics move, scale and shift do not",
        ),
        pytest.param(
            stage("s", "last:2"),
            "train",
            HEAD_MOVED | parts((7, 8), "weight", "statistic", "affine"),
            id="bn_affine: train moves scale and shift too",
        ),
        pytest.param(
            stage("s", "all"),
            "frozen",
            HEAD_MOVED | parts(range(BLOCKS), "weight", "statistic"),
            id="everything",
        ),
        pytest.param(
            stage("s", "last:2", head_frozen_epochs=1),
            "frozen",
            parts((7, 8), "weight", "statistic"),
            id="blocks under a resting head",
        ),
    ],
)
def test_an_epoch_moves_what_the_stage_opens_and_nothing_else(make_recipe, opened, bn_affine, changed):
    trainer = trainer_of(make_recipe(stages=[opened], bn_affine=bn_affine))
    before = copy_of(trainer.model)
    next(trainer)
    assert moved(trainer.model, before) == changed


def test_blocks_that_a_later_stage_freezes_stay_as_the_stage_before_left_them(make_recipe):
    recipe = make_recipe(stages=[stage("wide", "last:3"), stage("narrow", "last:1")])
    trainer = trainer_of(recipe)
    next(trainer)
    before = copy_of(trainer.model)
    next(trainer)
    assert moved(trainer.model, before) == HEAD_MOVED | parts([8], "weight", "statistic")


def test_a_stage_that_opens_part_of_a_block_moves_that_part_and_what_follows(make_recipe):
    trainer = trainer_of(make_recipe(stages=[stage("s", "features.6.3")]))
    before = copy_of(trainer.model)
    report = next(trainer)
    assert report.open_from == "features.6.3"
    names = [name for name, tensor in trainer.model.state_dict().items() if not torch.equal(tensor, before[name])]
    assert {name.split(".")[2] for name in names if name.startswith("blocks.6.")} == {"3"}
    assert {name.split(".")[1] for name in names if name.startswith("blocks.")} == {"6", "7", "8"}
    assert trainer.changed_weights().keys() >= set(names)
    assert not [
        name for name in trainer.changed_weights() if name.startswith(("blocks.5.", "blocks.6.0.", "blocks.6.2."))
    ]


def test_blocks_that_a_stage_freezes_above_an_open_stem_stay_as_they_are(make_recipe):
    frozen = stage("s", "all", freeze=["features.1", "features.2", "features.6.0"])
    trainer = trainer_of(make_recipe(stages=[frozen]))
    before = copy_of(trainer.model)
    report = next(trainer)
    assert (report.open_from, report.uncached) == ("features.0", "the first block trains")
    moved_blocks = moved(trainer.model, before)
    assert moved_blocks == HEAD_MOVED | parts((0, 3, 4, 5, 6, 7, 8), "weight", "statistic")
    state = trainer.model.state_dict()
    still = [name for name in state if name.startswith("blocks.6.0.")]
    assert still
    assert all(torch.equal(state[name], before[name]) for name in still)


def test_blocks_that_were_frozen_above_an_open_stem_start_without_moments_when_they_open(make_recipe):
    trainer = trainer_of(make_recipe(stages=[stage("stem", "all", freeze=["features.1"]), stage("all", "all")]))
    next(trainer)
    steps = []
    handle = register_optimizer_step_pre_hook(lambda optimizer, *_: steps.append(len(optimizer.state)))
    next(trainer)
    handle.remove()
    assert steps[0] == 0


def test_validation_moves_nothing(make_recipe):
    trainer = trainer_of(make_recipe(stages=[stage("s", "all", epochs=3)]))
    next(trainer)
    before = copy_of(trainer.model)
    trainer.evaluate(trainer.dataset, reweighted=False)
    assert moved(trainer.model, before) == set()


STAGED = [
    stage("head", "head"),
    stage("top", "last:2", epochs=3, head_frozen_epochs=2),
    stage("again", "last:2"),
    stage("more", "last:3", head_frozen_epochs=1, epochs=2),
    stage("less", "last:1"),
]


@pytest.mark.parametrize("bn_affine", ["frozen", "train"])
def test_the_optimizer_holds_exactly_what_trains_in_every_epoch(make_recipe, steps, bn_affine):
    trainer = trainer_of(make_recipe(stages=STAGED, bn_affine=bn_affine))
    openings = []
    for report in trainer:
        trains = [p for p in trainer.model.parameters() if p.requires_grad]
        openings.append((report.open_from, report.head_frozen))
        assert steps
        for held, with_gradient in steps:
            assert len(held) == len(set(held))
            assert set(held) == {id(p) for p in trains} == with_gradient
        frozen = [p for p in trainer.model.parameters() if not p.requires_grad]
        assert all(p.grad is None for p in frozen)
        steps.clear()
    assert openings == [
        ("head", False),
        ("features.7", True),
        ("features.7", True),
        ("features.7", False),
        ("features.7", False),
        ("features.6", True),
        ("features.6", False),
        ("features.8", False),
    ]


def test_frozen_parameters_get_no_gradient_even_while_the_loss_is_known(make_recipe):
    """Between backward and step: gradients exist exactly for what the stage opens."""
    trainer = trainer_of(make_recipe(stages=[stage("top", "last:2")]))
    with_gradient = []

    def look(*args):
        with_gradient.append({name for name, p in trainer.model.named_parameters() if p.grad is not None})

    handle = register_optimizer_step_pre_hook(look)
    next(trainer)
    handle.remove()
    opened = {name for name, p in trainer.model.named_parameters() if p.requires_grad}
    assert with_gradient == [opened] * 3
    assert {name.split(".")[1] for name in opened} == {"7", "8", "last"}


@pytest.mark.parametrize(
    ("weights", "given", "trains"),
    [("none", {}, True), ("none", {"bn_affine": "frozen"}, False), ("default", {}, False)],
)
def test_batch_norms_scale_trains_by_default_only_with_random_weights(make_recipe, weights, given, trains):
    assert make_recipe(model={"weights": weights}, **given).bn_affine is trains
