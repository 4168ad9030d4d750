"""Every field of a recipe changes something that a user can see, or is refused where it cannot: by training with and without it."""

import copy
import functools
import hashlib
import re
import typing
import zipfile

import pytest
from pydantic import BaseModel

from tests.support.recipes import FEW, TINY_NETWORK
from tests.support.small_runs import timeless
from trainables.core.dotted_paths import with_values
from trainables.data.dataset import open_dataset
from trainables.recipe import recipe
from trainables.recipe.data_config import SEARCHABLE, DataConfig
from trainables.recipe.recipe import Recipe, parse_recipe
from trainables.recipe.rules.unused_settings import RULES, unused_settings
from trainables.run_folder.layout import TrialLayout
from trainables.trial.training_run import TrainingRun

BASE = {
    "data": {"source": "digits", "image_size": 16, "long_tail": {"imbalance": 4, "largest": 8}, **FEW},
    "model": {"backbone": "own_tiny_network:tiny"},
    "train": {
        "batch_size": 8,
        "optimizer": {"kind": "sgd"},
        "metric": "val_loss",
        "stages": [
            {"name": "head", "unfreeze_from": "head", "epochs": 2, "head_lr": 0.05},
            {"name": "top", "unfreeze_from": "two", "epochs": 4, "head_lr": 0.05, "backbone_warmup_epochs": 0},
        ],
    },
}
TOP = "train.stages[top]"
AUGMENTED = {"train.augment": {"horizontal_flip": 0.5}}
ENDS_AT_ONCE = {"patience": 1, "threshold": 100.0}
COSINE = {f"{TOP}.schedule": {"kind": "cosine"}}
STEP = {f"{TOP}.schedule": {"kind": "step", "every_epochs": 1, "factor": 0.5}}
ON_PLATEAU = {f"{TOP}.schedule": {"kind": "reduce_on_plateau", "patience": 0, "threshold": 100.0}}
MIX = {"train.mix": {"mixup_alpha": 0.4}}
CUTMIX = {"train.mix": {"cutmix_alpha": 0.4}}
LDAM = {"train.loss": {"kind": "ldam"}}
SLOW = {"train.stages[head].head_lr": 1e-3}
DRW = {"train.drw": {"start_epoch": 2}}
EMA = {"train.ema": {"decay": 0.5}}
ONE_CYCLE = {"train.one_cycle": {}}
DEEPER = {
    "train.stages": [*BASE["train"]["stages"], {"name": "deep", "unfreeze_from": "all", "epochs": 2, "head_lr": 0.05}]
}
CYCLED = {"train.one_cycle": {"momentum": {}}}
RUN_COSINE = {"train.cosine": {}}
CHANGE = {"train.changes": [{"after_epoch": 3, "set": {"train.clip_norm": 0.01}}]}

ACTS: dict[str, tuple[dict[str, object], object]] = {
    # field: (what it needs, another value)
    "data.labels": ({}, {"0": "a", "1": "a"} | {str(n): str(n) for n in range(2, 10)}),
    "data.mean": ({}, 0.5),
    "data.std": ({}, [0.3, 0.4, 0.5]),
    "data.image_size": ({}, 24),
    "data.folds": ({"data.validation": None}, 5),
    "data.fold": ({"data.validation": None, "data.folds": 5}, 1),
    "data.validation": ({}, 0.1),
    "data.test": ({}, 0.2),
    "data.seed": ({}, 1),
    "data.long_tail.imbalance": ({}, 8),
    "data.long_tail.largest": ({}, 10),
    "model.weights": (
        {"model.backbone": "efficientnet_lite0", "data.image_size": 32, f"{TOP}.unfreeze_from": "last:1"},
        "none",
    ),
    "train.plan": ({"train.plan": "three_depths", "train.stages[*].epochs": 1}, "head_only"),
    "train.stages.name": ({}, "crown"),
    "train.stages.unfreeze_from": ({}, "all"),
    "train.stages.freeze": ({f"{TOP}.unfreeze_from": "all"}, ["two"]),
    "train.stages.epochs": ({}, 3),
    "train.stages.plateau.patience": ({"train.stages[head].epochs": 4, "train.stages[head].plateau": ENDS_AT_ONCE}, 2),
    "train.stages.plateau.threshold": (
        {"train.stages[head].epochs": 4, "train.stages[head].plateau": ENDS_AT_ONCE} | SLOW,
        0.0,
    ),
    "train.stages.plateau.metric": (
        {"train.stages[head].epochs": 4, "train.stages[head].plateau": ENDS_AT_ONCE | {"threshold": 0.0}},
        "kappa",
    ),
    "train.stages.data_fraction": ({}, 0.5),
    "train.stages.image_size": ({}, 24),
    "train.stages.batch_size": ({}, 4),
    "train.stages.head_lr": ({}, 0.02),
    "train.stages.backbone_lr": ({}, 0.02),
    "train.stages.backbone_lr_ratio": ({}, 0.5),
    "train.stages.lr_scale": ({}, 0.5),
    "train.stages.schedule.kind": ({}, "cosine"),
    "train.stages.schedule(cosine).min_lr": (COSINE, 0.04),
    "train.stages.schedule(step).every_epochs": (STEP, 2),
    "train.stages.schedule(step).factor": (STEP, 0.1),
    "train.stages.schedule(step).min_lr": (STEP, 0.04),
    "train.stages.schedule(reduce_on_plateau).patience": (ON_PLATEAU, 1),
    "train.stages.schedule(reduce_on_plateau).threshold": (ON_PLATEAU, 0.0),
    "train.stages.schedule(reduce_on_plateau).factor": (ON_PLATEAU, 0.1),
    "train.stages.schedule(reduce_on_plateau).min_lr": (ON_PLATEAU, 0.04),
    "train.stages.head_warmup_epochs": ({f"{TOP}.head_frozen_epochs": 0}, 3),
    "train.stages.backbone_warmup_epochs": ({}, 3),
    "train.stages.head_frozen_epochs": ({}, 1),
    "train.stages.continues": ({f"{TOP}.head_frozen_epochs": 0}, True),
    "train.stages.dropout": ({}, 0.5),
    "train.stages.weight_decay": ({}, 0.1),
    "train.one_cycle.warmup_fraction": (ONE_CYCLE, 0.6),
    "train.one_cycle.start_divisor": (ONE_CYCLE, 2),
    "train.one_cycle.end_divisor": (ONE_CYCLE, 2),
    "train.one_cycle.momentum.low": (CYCLED, 0.5),
    "train.one_cycle.momentum.high": (CYCLED, 0.99),
    "train.cosine.head_warmup_epochs": (RUN_COSINE, 2),
    "train.cosine.backbone_warmup_epochs": (RUN_COSINE, 4),
    "train.cosine.min_lr": (RUN_COSINE, 0.04),
    "train.schedule_by": (COSINE, "step"),
    "train.metric": ({}, "kappa"),
    "train.batch_size": ({}, 4),
    "train.accumulate": ({}, 2),
    "train.clip_norm": ({}, 0.01),
    "train.optimizer.kind": ({}, "adam"),
    "train.optimizer.momentum": ({}, 0.5),
    "train.optimizer.layer_decay": ({}, 0.5),
    "train.freeze_head_at": (DEEPER, "every_opening"),
    "train.bn_affine": ({}, "train"),
    "train.loss.kind": ({}, "focal"),
    "train.loss(cross_entropy).label_smoothing": ({"train.loss": {"kind": "cross_entropy"}}, 0.1),
    "train.loss(focal).gamma": ({"train.loss": {"kind": "focal"}}, 4),
    "train.loss(balanced_softmax).tau": ({"train.loss": {"kind": "balanced_softmax"}}, 0.5),
    "train.loss(ldam).max_margin": (LDAM, 0.1),
    "train.loss(ldam).scale": (LDAM, 10),
    "train.drw.start_epoch": (DRW, 4),
    "train.drw.start_fraction": ({"train.drw": {"start_fraction": 0.2}}, 0.5),
    "train.drw.beta": (DRW, 0.5),
    "train.balance": ({}, "sampler"),
    "train.class_weights": ({}, {"0": 5}),
    "train.ema.decay": (EMA, 0.05),
    "train.ema.warmup": (EMA, False),
    "train.ema.judge": (EMA, "raw"),
    "train.augment.views": (AUGMENTED, 1),
    "train.augment.horizontal_flip": (AUGMENTED, 1.0),
    "train.augment.vertical_flip": (AUGMENTED, 0.5),
    "train.augment.crop.min_scale": ({"train.augment": {"crop": {}}}, 0.2),
    "train.augment.crop.max_ratio": ({"train.augment": {"crop": {}}}, 3),
    "train.augment.rotate_degrees": (AUGMENTED, 90),
    "train.augment.translate": (AUGMENTED, 0.3),
    "train.augment.zoom": (AUGMENTED, 0.5),
    "train.augment.brightness": (AUGMENTED, 0.5),
    "train.augment.contrast": (AUGMENTED, 0.5),
    "train.augment.erase.probability": ({"train.augment": {"erase": {}}}, 1),
    "train.augment.erase.max_scale": ({"train.augment": {"erase": {"probability": 1}}}, 0.9),
    "train.mix.mixup_alpha": (MIX, 4.0),
    "train.mix.cutmix_alpha": (CUTMIX, 4.0),
    "train.mix.probability": (MIX, 0.3),
    "train.mix.at": (MIX, "cut"),
    "train.early_stop.patience": ({f"{TOP}.epochs": 6, "train.early_stop": ENDS_AT_ONCE}, 3),
    "train.early_stop.metric": (
        {f"{TOP}.epochs": 6, "train.early_stop": ENDS_AT_ONCE | {"threshold": 0.0}},
        "kappa",
    ),
    "train.early_stop.threshold": ({f"{TOP}.epochs": 6, "train.early_stop": ENDS_AT_ONCE}, 0),
    "train.stop_on": ({f"{TOP}.head_lr": 1e30}, []),
    "train.seed": ({}, 1),
    "train.precision": ({}, "bf16"),
    "train.prefix_dtype": ({}, "bf16"),
    "train.checkpoints.save_every_epochs": ({"train.checkpoints.milestones": []}, 3),
    "train.checkpoints.keep_last": ({"train.checkpoints.milestones": []}, 1),
    "train.checkpoints.keep_best": ({}, 6),
    "train.checkpoints.keep_every_epochs": ({}, 1),
    "train.checkpoints.milestones": ({}, [1]),
    "train.checkpoints.compress": ({}, True),
    "train.changes.after_epoch": (CHANGE, 5),
    "train.changes.set": (CHANGE, {"train.clip_norm": 1e-4}),
}
OF_THE_MACHINE = {
    "train.device",
    "train.prefix_cache",
    "train.compile",
    "train.gradient_checkpointing",
    "train.cpu_threads",
    "train.workers",
    "train.checkpoints.backup",
}
"""Where and how fast a run trains: on CPU the results are the same."""
OF_OTHER_DATA = {
    "data.source",
    "data.task",
    "data.target.transform",
    "data.adjust_time.by",
    "data.adjust_time.span",
    "data.columns.time",
    "data.path",
    "data.name",
    "data.columns.path",
    "data.columns.label",
    "data.columns.group",
    "data.columns.split",
    "data.columns.weight",
    "data.images",
    "data.bits",
    "data.frame",
    "data.window.center",
    "data.window.width",
    "data.depth",
    "data.fit",
    "data.channels",
    "data.spacing_mm",
    "data.background",
    "data.on_bad",
    "data.on_conflict",
    "data.duplicates",
    "model.backbone",
    "train.loss(huber).delta",
    "train.augment.depth_flip",
    "train.augment.tilt_degrees",
    "train.augment.saturation",
}
"""Fields that digits in grey do not have: tested with files, volumes, colours and targets where they are read."""


def leaves(model, place):
    """Paths of a config's fields, without list positions; the members of a union have their kind in the path."""
    for name, field in model.model_fields.items():
        below = models_in(field.annotation)
        if not below:
            yield f"{place}.{name}"
        for one in below:
            kind = one.model_fields["kind"].annotation if len(below) > 1 else None
            mark = f"({typing.get_args(kind)[0]})" if kind else ""
            yield from (
                leaf.replace(f"{mark}.kind", ".kind") if mark else leaf for leaf in leaves(one, f"{place}.{name}{mark}")
            )


def models_in(annotation):
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in typing.get_args(annotation) for model in models_in(part)]


def test_every_field_of_a_recipe_is_tried_here_or_named_as_one_of_the_machine_or_of_other_data():
    fields = {
        leaf for name in ("data", "model", "train") for leaf in leaves(Recipe.model_fields[name].annotation, name)
    }
    assert fields == {*ACTS, *OF_THE_MACHINE, *OF_OTHER_DATA}


def deflated(file):
    with zipfile.ZipFile(file) as archive:
        return {entry.compress_type for entry in archive.infolist()}


@pytest.fixture(scope="module", autouse=True)
def _network(tmp_path_factory):
    home = tmp_path_factory.mktemp("network")
    (home / "own_tiny_network.py").write_text(TINY_NETWORK)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(home)
        yield


@pytest.fixture(scope="module")
def outcome_of(tmp_path_factory):
    """`outcome_of(changes)`: everything that training the recipe with some values leaves, but times."""

    def train(text):
        recipe = Recipe.model_validate_json(text)
        folder = TrialLayout(tmp_path_factory.mktemp("run"))
        dataset = open_dataset(recipe.data, image_sizes=recipe.image_sizes)
        run = TrainingRun(recipe, folder, dataset=dataset)
        reports = [timeless(report) for report in run]
        run.close()
        weights = hashlib.sha256()
        for tensor in run.trainer.model.state_dict().values():
            weights.update(tensor.contiguous().numpy().tobytes())
        checkpoints = sorted((file.name, deflated(file)) for file in folder.checkpoints.iterdir())
        split = dataset.train.tolist(), dataset.validation.tolist(), dataset.test.tolist(), dataset.classes
        return reports, weights.hexdigest(), checkpoints, split

    return functools.cache(train)


def recipe_with(*changes):
    data = copy.deepcopy(BASE)
    for values in changes:
        planned = "train.plan" in values
        data = recipe.recipe_with(data, values).model_dump(mode="json") if planned else with_values(data, values)
    return parse_recipe(data)


@pytest.mark.slow
@pytest.mark.parametrize("field", ACTS)
def test_another_value_of_a_field_changes_what_a_run_leaves(field, outcome_of):
    needs, value = ACTS[field]
    path = re.sub(r"\(.*\)", "", field)
    stage = "head" if ".plateau" in path else "top"
    path = path.replace("train.stages.", f"train.stages[{stage}].").replace("train.changes.", "train.changes[0].")
    before, after = recipe_with(needs), recipe_with(needs, {path: value})
    assert unused_settings([after]) == []
    assert outcome_of(before.model_dump_json()) != outcome_of(after.model_dump_json())


HEAD_ONLY = {"train.stages": [BASE["train"]["stages"][0]]}
ONE_EPOCH = {"train.stages": [{**BASE["train"]["stages"][0], "epochs": 1}]}
ALL_OPEN = {"train.stages": [{**BASE["train"]["stages"][1], "unfreeze_from": "all"}]}
UNUSED = [
    # what a recipe has, the setting without effect there, and a word of the reason
    ({}, {f"{TOP}.plateau": {"patience": 1, "threshold": 100.0}}, "early_stop"),
    (HEAD_ONLY, {"train.stages[0].backbone_lr_ratio": 0.5}, "only the head trains"),
    (HEAD_ONLY, {"train.stages[0].backbone_lr": 0.5}, "only the head trains"),
    (HEAD_ONLY, {"train.stages[0].backbone_warmup_epochs": 1}, "only the head trains"),
    (ONE_CYCLE, {f"{TOP}.head_warmup_epochs": 1}, "one_cycle replaces warm-ups"),
    (RUN_COSINE, {f"{TOP}.head_warmup_epochs": 1}, "cosine replaces warm-ups"),
    (RUN_COSINE | HEAD_ONLY, {"train.cosine.backbone_warmup_epochs": 1}, "no stage opens blocks"),
    (ONE_EPOCH, RUN_COSINE, "at least two epochs"),
    ({}, {"train.cosine.min_lr": 0.05}, "not below the peak"),
    (CYCLED, {"train.optimizer.momentum": 0.5}, "one_cycle.momentum replaces"),
    (ON_PLATEAU, {"train.schedule_by": "step"}, "could follow the steps"),
    ({}, {"train.stages[0].continues": True}, "the first stage"),
    ({}, {f"{TOP}.schedule": {"kind": "step", "every_epochs": 4}}, "at most 4 follow"),
    ({f"{TOP}.epochs": 1}, {f"{TOP}.schedule": {"kind": "cosine"}}, "at least two epochs"),
    ({}, {f"{TOP}.schedule": {"kind": "cosine", "min_lr": 0.05}}, "not below the peak"),
    ({"train.stages[*].batch_size": 4}, {"train.batch_size": 16}, "each stage has a batch_size"),
    (HEAD_ONLY, {"train.optimizer.layer_decay": 0.5}, "last block"),
    (HEAD_ONLY, {"train.bn_affine": "train"}, "no stage opens blocks"),
    ({}, {"train.freeze_head_at": "every_opening"}, "in the same epochs"),
    ({}, {f"{TOP}.freeze": ["one"]}, "frozen anyway"),
    (HEAD_ONLY, {"train.gradient_checkpointing": True}, "no stage opens blocks"),
    (ALL_OPEN, {"train.prefix_dtype": "bf16"}, "no stage has frozen blocks"),
    ({"train.precision": "bf16"}, {"train.prefix_dtype": "bf16"}, "have that type anyway"),
    ({}, {"train.augment": {"views": 4}}, "names no variation"),
    (AUGMENTED, {"train.augment.erase": {"probability": 0, "max_scale": 0.5}}, "nothing is erased"),
    ({**ALL_OPEN, **MIX}, {"train.mix.at": "cut"}, "no stage has frozen blocks"),
    ({}, {"train.stop_on": ["nan", "drw_drop"]}, "only with train.drw"),
    ({}, {"train.checkpoints.milestones": [500]}, "at most 6 epochs"),
    ({}, {"train.checkpoints.keep_every_epochs": 7}, "at most 6 epochs"),
    ({}, {"train.changes": [{"after_epoch": 2, "set": {"train.stages[head].head_lr": 1.0}}]}, "over after epoch 2"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("has", "setting", "reason"), UNUSED)
def test_a_setting_is_said_to_have_no_effect_where_it_has_none(has, setting, reason, outcome_of):
    before, after = recipe_with(has), recipe_with(has, setting)
    (problem,) = unused_settings([after])
    assert reason in problem.message
    assert outcome_of(before.model_dump_json()) == outcome_of(after.model_dump_json())


REFUSED = [
    # settings that contradict others, rather than have no effect
    ({f"{TOP}.plateau": None, f"{TOP}.epochs": 17}, "set train.early_stop: null"),
    ({"train.cosine.head_warmup_epochs": 7}, "7: longer than the run, 6 epochs"),
    ({f"{TOP}.head_warmup_epochs": 5}, "5: longer than the 1 epoch "),
    ({f"{TOP}.backbone_warmup_epochs": 5}, "5: longer than the 4 epochs"),
    ({f"{TOP}.head_frozen_epochs": 5}, "5: the stage has only 4 epochs"),
    ({"train.balance": "sampler", "train.loss": {"kind": "balanced_softmax"}}, "twice"),
    ({"train.balance": "class_weights", "train.loss": {"kind": "ldam"}}, "twice"),
    ({"train.drw": {"start_epoch": 2}, "train.loss": {"kind": "balanced_softmax"}}, "twice"),
    ({"train.class_weights": {"0": 2}, "train.loss": {"kind": "balanced_softmax"}}, "twice"),
    ({"train.class_weights": {"0": 2}, "train.loss": {"kind": "ldam"}}, "twice"),
    ({"train.class_weights": {"0": 1}}, "all classes have weight 1"),
    ({"train.class_weights": [3] * 10}, "all classes have the same weight"),
    ({"train.mix": {"mixup_alpha": 0.4, "probability": 0}}, "no image is mixed"),
    ({"train.drw": {"start_epoch": 2, "beta": 0}}, "all classes have the same weight"),
]


@pytest.mark.parametrize(("setting", "reason"), REFUSED)
def test_a_setting_that_contradicts_another_is_refused(setting, reason):
    (problem,) = unused_settings([recipe_with(setting)])
    assert reason in problem.message


def test_each_rule_is_tried_here():
    named = {path.partition("(")[0] for case in (*UNUSED, *REFUSED) for path in case[-2]}
    rules = {path.replace("[*]", "").replace("train.stages", TOP) for path in RULES}
    tried = {path.replace("train.stages[0]", TOP) for path in named}
    assert rules <= tried


@pytest.mark.parametrize(
    "setting", [{}, {f"{TOP}.plateau": {"patience": 5, "threshold": 0.005}}, {"train.drw": {"start_epoch": 2}}]
)
def test_defaults_are_never_refused_and_re_weighting_goes_with_every_other_loss(setting):
    assert unused_settings([recipe_with(setting)]) == []


def test_what_one_recipe_of_several_uses_is_not_refused():
    with_head_only, with_blocks = (
        {f"{TOP}.unfreeze_from": which, f"{TOP}.backbone_lr_ratio": 0.5} for which in ("head", "two")
    )
    assert len(unused_settings([recipe_with(with_head_only)])) == 1
    assert unused_settings([recipe_with(with_head_only), recipe_with(with_blocks)]) == []


@pytest.mark.parametrize("field", [field for field in ACTS if field.startswith("data.")])
def test_what_a_search_may_vary_of_the_data_leaves_the_images_that_are_validated_and_their_classes(field):
    needs, value = ACTS[field]
    configs = [recipe_with(needs).data, recipe_with(needs, {field: value}).data]
    before, after = (
        (one.classes, one.labels[one.validation].tolist(), one.validation.tolist())
        for one in map(open_dataset, configs)
    )
    name = field.split(".")[1]
    assert (before == after) == (SEARCHABLE in DataConfig.model_fields[name].metadata)
