"""`train.changes`: a run goes on with other values as if it had been trained so from the start, however it came there."""

import copy
import dataclasses

import pytest
import torch
import yaml

from search.config.yaml_source import InputError, read_source
from search.config_file.load import load_recipe
from tests.support.recipes import RECIPE
from trainables.checkpoints.checkpoint_file import load_checkpoint
from trainables.checkpoints.checkpoint_folder import CheckpointFolder
from trainables.core.config_errors import ConfigError
from trainables.data.dataset import open_dataset
from trainables.model_package.write_package import validated_network
from trainables.recipe.recipe import parse_recipe
from trainables.recipe.scheduled_changes import CHANGEABLE
from trainables.run_folder.epoch_report import OF_THE_MACHINE, read_epochs
from trainables.run_folder.layout import TrialLayout
from trainables.training.trainer import Trainer
from trainables.trial.training_run import TrainingRun

EPOCHS, AFTER = 4, 2
LDAM = {"loss": {"kind": "ldam", "max_margin": 0.3, "scale": 20.0}, "drw": {"start_epoch": 2, "beta": 0.99}}
NEW_VALUES = [
    ("head_lr", 0.5, {}),
    ("backbone_lr", 0.2, {"backbone_lr_ratio": None, "backbone_lr": 0.01}),
    ("backbone_lr_ratio", 2.0, {}),
    ("lr_scale", 0.1, {}),
    ("schedule", {"kind": "step", "every_epochs": 1, "factor": 0.1}, {}),
    ("head_warmup_epochs", 9, {}),
    ("backbone_warmup_epochs", 9, {}),
    ("dropout", 0.7, {}),
    ("weight_decay", 0.9, {}),
]
OF_STAGES = [({"stages": fields}, f"train.stages[*].{name}", value) for name, value, fields in NEW_VALUES]
OTHERS = [
    ({"one_cycle": {}}, "train.one_cycle.warmup_fraction", 0.9),
    ({"cosine": {}}, "train.cosine.head_warmup_epochs", 3),
    ({"one_cycle": {}}, "train.schedule_by", "step"),
    ({}, "train.clip_norm", 0.01),
    ({"clip_norm": 0.01}, "train.clip_norm", None),
    ({"optimizer": {"kind": "adam"}}, "train.optimizer.momentum", 0.1),
    ({}, "train.optimizer.momentum", 0.1),
    ({}, "train.optimizer.layer_decay", 0.3),
    ({}, "train.loss.label_smoothing", 0.3),
    ({"loss": {"kind": "focal"}}, "train.loss.gamma", 5.0),
    ({"loss": {"kind": "balanced_softmax"}}, "train.loss.tau", 0.2),
    (LDAM, "train.loss.max_margin", 0.9),
    (LDAM, "train.loss.scale", 5.0),
    (LDAM, "train.drw.beta", 0.2),
    ({"ema": {"decay": 0.5}}, "train.ema.decay", 0.01),
]


@pytest.fixture
def trainer_of(own_module, make_recipe):
    """`trainer_of(*changes, **train)`: four epochs of a tiny network, all of it open from the first one."""
    backbone = f"{own_module()}:tiny"

    def make(*changes, stages=None, borders=(), **train):
        parts = [*borders, EPOCHS - sum(borders)]
        each = {"unfreeze_from": "two", "plateau": None, "head_lr": 0.05, "backbone_lr_ratio": 0.5, **(stages or {})}
        train["stages"] = [{"name": f"s{i}", "epochs": epochs, **each} for i, epochs in enumerate(parts)]
        recipe = make_recipe(model={"backbone": backbone}, changes=list(changes), **train)
        return Trainer(recipe, open_dataset(recipe.data))

    return make


def told(reports):
    return [
        {name: value for name, value in dataclasses.asdict(report).items() if name not in OF_THE_MACHINE}
        for report in reports
    ]


def after(epoch, **paths):
    return {"after_epoch": epoch, "set": paths}


def epochs_and_weights(trainer, count=EPOCHS):
    reports = [next(trainer) for _ in range(count)]
    return told(reports), {name: tensor.clone() for name, tensor in trainer.model.state_dict().items()}


def goes_on(trainer, state):
    """What is left of a run after a state was loaded."""
    trainer.load_state_dict(copy.deepcopy(state))
    return epochs_and_weights(trainer, EPOCHS - trainer.position.epoch)


def assert_same(one, other):
    assert one[0] == other[0]
    assert all(torch.equal(one[1][name], other[1][name]) for name in one[1])


@pytest.mark.parametrize(("train", "path", "value"), [*OF_STAGES, *OTHERS], ids=lambda item: str(item)[:40])
def test_a_changed_run_is_the_same_from_scratch_forked_or_resumed(trainer_of, train, path, value):
    change = after(AFTER, **{path: value})
    plain, changed = trainer_of(**train), trainer_of(change, **train)
    states = {}
    before = epochs_and_weights(plain, AFTER)[0]
    forked_at = copy.deepcopy(plain.state_dict())
    unchanged = epochs_and_weights(plain, EPOCHS - AFTER)
    whole = []
    for epoch in range(1, EPOCHS + 1):
        whole.append(next(changed))
        states[epoch] = copy.deepcopy(changed.state_dict())
    weights = changed.model.state_dict()
    assert told(whole[:AFTER]) == before
    assert told(whole[AFTER:]) != unchanged[0]  # the value does something
    assert_same(goes_on(trainer_of(change, **train), forked_at), (told(whole[AFTER:]), weights))
    for epoch in (1, AFTER, AFTER + 1):
        assert_same(goes_on(trainer_of(change, **train), states[epoch]), (told(whole[epoch:]), weights))


def test_every_value_that_may_change_is_tried_above():
    tried = {path for _, path, _ in [*OF_STAGES, *OTHERS]}
    fixed_elsewhere = {"train.loss.delta"}  # of regression
    assert {
        path for path in CHANGEABLE if not any(t == path or t.startswith(f"{path}.") for t in tried)
    } == fixed_elsewhere


def test_moments_averages_and_the_place_in_the_plan_stay(trainer_of):
    train = {"ema": {"decay": 0.2}, "borders": (2,), "stages": {"weight_decay": 0.0}}
    plain, changed = trainer_of(**train), trainer_of(after(1, **{"train.stages[*].weight_decay": 0.1}), **train)
    next(plain)
    next(changed)
    before = changed._active.optimizer
    changed._adopt(changed._given.in_epoch(2))
    changed._active.change(changed.recipe, cosine_scale=None)
    now = changed._active.optimizer
    assert before.state
    assert all(now.state[parameter] is moments for parameter, moments in before.state.items())
    assert changed.position == plain.position
    assert len(now.param_groups) > len(before.param_groups)  # what decays now is apart


@pytest.mark.parametrize("borders", [(AFTER,), (1,), (3,)])
def test_a_change_at_a_stages_end_holds_from_the_next_ones_start(trainer_of, borders):
    change = after(AFTER, **{"train.stages[*].head_lr": 0.3, "train.stages[*].dropout": 0.6})
    trainer = trainer_of(change, borders=borders, stages={"backbone_warmup_epochs": 0, "head_frozen_epochs": 0})
    assert [report.head_lr for report in trainer] == [0.05, 0.05, 0.3, 0.3]
    assert trainer.model.head.dropout.p == 0.6


def test_several_changes_follow_each_other(trainer_of):
    path = "train.stages[*].head_lr"
    trainer = trainer_of(after(1, **{path: 0.3}), after(2, **{path: 0.2, "train.clip_norm": 1.0}))
    assert [report.head_lr for report in trainer] == [0.05, 0.3, 0.2, 0.2]


@pytest.mark.parametrize("best", [1, 4])
def test_a_model_is_packed_as_it_was_when_it_was_judged(tmp_path, trainer_of, best):
    """The scale of a cosine head is none of its weights."""
    trainer = trainer_of(after(AFTER, **{"train.loss.scale": 4.0}), **LDAM, checkpoints={"keep_every_epochs": 1})
    recipe, dataset, folder = trainer._given, trainer.dataset, TrialLayout(tmp_path / "run")
    list(TrainingRun(recipe, folder, dataset=dataset))
    report = read_epochs(folder.epochs)[best - 1]
    packed = validated_network(recipe, dataset, folder, report, origin={})
    assert packed.reproduces
    assert packed.network.manifest.cosine_scale == (20.0 if best <= AFTER else 4.0)
    assert load_checkpoint(CheckpointFolder(folder.checkpoints).named(str(best)))["recipe"] == recipe.model_dump(
        mode="json"
    )


# --- mistakes -------------------------------------------------------------------------------------------------------

HEAD_LR = "train.stages[*].head_lr"
PLACE = "train.changes[0].set"


@pytest.mark.parametrize(
    ("changes", "mistake"),
    [
        (
            [after(4, **{HEAD_LR: 0.1})],
            "train.changes[0].after_epoch: 4: no epoch follows it (the run has at most 4)",
        ),
        ([after(0, **{HEAD_LR: 0.1})], "train.changes[0].after_epoch: 0: input should be at least 1"),
        ([{"after_epoch": 1, "set": {}}], "train.changes[0].set: {}: dictionary should have at least 1 item"),
        (
            [after(2, **{HEAD_LR: 0.1}), after(1, **{HEAD_LR: 0.2})],
            "train.changes: after_epoch 2, 1: must be ascending, each epoch only once",
        ),
        (
            [after(1, **{HEAD_LR: 0.1}), after(1, **{HEAD_LR: 0.2})],
            "train.changes: after_epoch 1, 1: must be ascending",
        ),
        ([after(1, **{HEAD_LR: -1})], f"{PLACE}.{HEAD_LR}: -1: input should be above 0"),
        (
            [after(1, **{"train.stages[7].head_lr": 1})],
            f"{PLACE}.train.stages[7].head_lr: train.stages has no item [7]",
        ),
        (
            [after(1, **{"train.stages[0].head_ls": 1})],
            f"{PLACE}.train.stages[0].head_ls: cannot change during a run",
        ),
        (
            [after(1, **{"head_lr": 1})],
            f"{PLACE}.head_lr: cannot change during a run; these can: train.stages[*]",
        ),
        *(
            (
                [after(1, **{path: value})],
                f"{PLACE}.{path}: cannot change during a run; these can: train.stages[*]",
            )
            for path, value in [
                ("train.stages[0].epochs", 9),
                ("train.stages[0]", {}),
                ("train.stages[0].unfreeze_from", "all"),
                ("train.batch_size", 8),
                ("train.loss.kind", "focal"),
                ("train.loss", {"kind": "focal"}),
                ("train.drw.start_epoch", 2),
                ("train.seed", 2),
                ("data.image_size", 64),
                ("model.backbone", "resnet18"),
            ]
        ),
        (
            [after(1, **{"train.ema.decay": 0.9})],
            f"{PLACE}.train.ema.decay: cannot change, because this run has no train.ema",
        ),
        (
            [after(1, **{"train.drw.beta": 0.9})],
            f"{PLACE}.train.drw.beta: cannot change, because this run has no train.drw",
        ),
        ([after(1, **{"train.loss.gamma": 2})], f"{PLACE}.train.loss.gamma: unknown key; valid: kind, label_smoothing"),
        (
            [after(1, **{"train.stages[1].backbone_lr": 0.1})],
            f"{PLACE}.train.stages[1].backbone_lr: backbone_lr and backbone_lr_ratio set the same learning rate",
        ),
        (
            [after(1, **{"train.stages[0].schedule": "cosine", "train.one_cycle": {}})],
            "one_cycle replaces schedules, but head has one; keep one of the two",
        ),
    ],
)
def test_a_change_that_cannot_be_is_told_at_its_place(changes, mistake):
    data = copy.deepcopy(RECIPE)
    data["train"]["changes"] = changes
    with pytest.raises(ConfigError) as caught:
        parse_recipe(data)
    said = str(caught.value)
    assert mistake in said
    assert len(said.splitlines()) == 1


def test_a_wrong_change_is_told_with_file_and_line(tmp_path):
    file = tmp_path / "train.yaml"
    text = yaml.safe_dump(RECIPE) + "  changes:\n  - after_epoch: 1\n    set:\n      train.stages[0].epochs: 3\n"
    file.write_text(text)
    with pytest.raises(
        InputError, match=f"train.yaml:{len(text.splitlines())} train.changes.0..set.train.stages.0..epochs: cannot"
    ):
        load_recipe(read_source(file))


def test_all_wrong_changes_are_told_at_once():
    data = copy.deepcopy(RECIPE)
    data["train"]["changes"] = [after(1, **{"train.seed": 1, HEAD_LR: 0}), after(9, **{"train.clip_norm": -1})]
    with pytest.raises(ConfigError) as caught:
        parse_recipe(data)
    assert [problem.path for problem in caught.value.problems] == [
        ("train", "changes", 0, "set", "train.seed"),
        ("train", "changes", 0, "set", HEAD_LR),
        ("train", "changes", 1, "after_epoch"),
        ("train", "changes", 1, "set", "train.clip_norm"),
    ]


def test_a_change_goes_on_from_the_one_before():
    """A ratio in place of a learning rate: neither change is right by itself alone."""
    data = copy.deepcopy(RECIPE)
    top = "train.stages[top]"
    data["train"]["changes"] = [
        after(1, **{f"{top}.backbone_lr_ratio": None}),
        after(2, **{f"{top}.backbone_lr": 0.01}),
    ]
    recipe = parse_recipe(data)
    assert [recipe.in_epoch(epoch).train.stages[1].backbone_lr for epoch in (1, 2, 3)] == [None, None, 0.01]
    assert recipe.in_epoch(3).train.changes == ()
    assert parse_recipe(recipe.model_dump(mode="json")) == recipe
