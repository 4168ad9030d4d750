import copy
import pickle

import pytest

from trainables.core.config_errors import ConfigError
from trainables.recipe.backbone_catalog import BACKBONES
from trainables.recipe.loss_config import CrossEntropy, Ldam
from trainables.recipe.recipe import channel_problems, parse_recipe
from trainables.recipe.rules.stage_openings import first_open_block
from trainables.recipe.stage_config import Cosine, Stage, Step
from trainables.recipe.train_config import TrainConfig

HEAD = {"name": "head", "unfreeze_from": "head"}
TAIL = {"name": "tail", "unfreeze_from": "layer4"}
ALL = {"name": "all", "unfreeze_from": "all"}


FILES = {"source": "folder", "path": "photos"}


def plain(stages=(HEAD,), *, data=None, model=None, **train):
    """A recipe's plain data."""
    return {
        "data": {"source": "digits", **(data or {})},
        "model": {"backbone": "resnet18", **(model or {})},
        "train": {"stages": copy.deepcopy(list(stages)), **train},
    }


def mistakes(data):
    with pytest.raises(ConfigError, match=r"\w") as caught:
        parse_recipe(data)
    return str(caught.value).splitlines()


@pytest.mark.parametrize(
    ("data", "mistake"),
    [
        pytest.param(
            plain([HEAD, {**ALL, "schedule": "cosine"}], one_cycle={}),
            "train: one_cycle replaces schedules, but all has one; keep one of the two",
            id="two learning-rate curves",
        ),
        pytest.param(
            plain([HEAD, {**ALL, "schedule": "cosine"}], cosine={}),
            "train: cosine replaces schedules, but all has one; keep one of the two",
            id="two cosines",
        ),
        pytest.param(
            plain([HEAD, ALL], cosine={}, one_cycle={}),
            "train: one_cycle and cosine are both curves over the whole run; keep one of the two",
            id="two curves over the run",
        ),
        pytest.param(
            plain([HEAD, ALL], one_cycle={"momentum": {"low": 0.95, "high": 0.85}}),
            "train.one_cycle.momentum: low 0.95 is not below high 0.85; swap them, or remove momentum",
            id="momentum upside down",
        ),
        pytest.param(
            plain([{**HEAD, "schedule": "cosin"}]),
            "train.stages[0].schedule: 'cosin' is not one of 'constant', 'cosine', 'step', 'reduce_on_plateau'",
            id="unknown schedule",
        ),
        pytest.param(plain(losss=1), "train.losss: unknown key; did you mean 'loss'?", id="unknown key"),
        pytest.param(
            plain([{**HEAD, "plateau": {"treshold": 0.1}}]),
            "train.stages[0].plateau.treshold: unknown key; did you mean 'threshold'?",
            id="unknown key deep inside",
        ),
        pytest.param(
            plain(loss={"kind": "ldam", "max_margn": 0.3}),
            "train.loss.max_margn: unknown key; did you mean 'max_margin'?",
            id="unknown key of one of several kinds",
        ),
        pytest.param(
            plain(model={"xyz": 1}), "model.xyz: unknown key; valid: backbone, weights", id="unknown key like no other"
        ),
        pytest.param(
            plain([{**HEAD, "epochs": "ten"}]),
            "train.stages[0].epochs: 'ten': input should be a whole number",
            id="wrong type",
        ),
        pytest.param(
            plain(ema=0.9),
            "train.ema: 0.9: input should be a section with keys such as decay, warmup, judge, or null for none",
            id="no map",
        ),
        pytest.param(
            plain(stop_on=["nan", "colapse"]),
            "train.stop_on[1]: 'colapse': input should be 'nan', 'spike', 'collapse', 'drw_drop', 'stuck_auc' or 'gap'",
            id="unknown flag",
        ),
        pytest.param(plain(batch_size=0), "train.batch_size: 0: input should be at least 1", id="out of range"),
        pytest.param(
            plain([{**HEAD, "head_lr": float("inf")}]),
            "train.stages[0].head_lr: inf: input should be a finite number",
            id="not finite",
        ),
        pytest.param(plain([{"name": "head"}]), "train.stages[0].unfreeze_from: is required and missing", id="missing"),
        pytest.param(plain([]), "train.stages: []: list should have at least 1 item, not 0", id="none"),
        pytest.param([], "[]: input should be a section with keys such as data, model, train", id="no map at the top"),
        pytest.param(
            plain(loss={"kind": "ldm"}),
            "train.loss: 'ldm' is not one of 'cross_entropy', 'focal', 'balanced_softmax', 'ldam', 'huber', 'mse'",
            id="unknown kind",
        ),
        pytest.param(plain(loss={"max_margin": 0.3}), "train.loss: needs the key 'kind'", id="no kind"),
        pytest.param(
            plain(data={"source": "folder"}),
            "data: source 'folder' needs `path`, the folder of the data",
            id="folder without path",
        ),
        pytest.param(
            plain([HEAD, TAIL, {**HEAD, "unfreeze_from": "all"}]),
            "train: two stages have the same name: head",
            id="one stage name twice",
        ),
        pytest.param(
            plain(
                [{**HEAD, "image_size": 40}, {**ALL, "image_size": 64}],
                data={"image_size": 32},
                model={"backbone": "efficientnet_lite0"},
            ),
            "train.stages[0].image_size: 40: efficientnet_lite0 takes only multiples of 32",
            id="a stage's images of a size the network does not take",
        ),
        pytest.param(
            plain([{**HEAD, "data_fraction": 0}]),
            "train.stages[0].data_fraction: 0: input should be above 0",
            id="a stage without images",
        ),
        pytest.param(
            plain([{**HEAD, "data_fraction": 50}]),
            "train.stages[0].data_fraction: 50: input should be at most 1",
            id="a share in percent",
        ),
        pytest.param(
            plain([{**HEAD, "lr_scale": 0}]),
            "train.stages[0].lr_scale: 0: input should be above 0",
            id="a stage that cannot learn",
        ),
        pytest.param(plain(mix={}), "train.mix: needs mixup_alpha, cutmix_alpha or both", id="mixing in no way"),
        pytest.param(
            plain(mix={"cutmix_alpha": 1, "mixup_alpha": 1, "at": "cut"}),
            "train.mix.at: 'cut' works with MixUp only, because CutMix cuts rectangles from images; "
            "set at: input or drop cutmix_alpha",
            id="rectangles of features",
        ),
        pytest.param(
            plain(mix={"mixup": 1}), "train.mix.mixup: unknown key; did you mean 'mixup_alpha'?", id="a key of mix"
        ),
        pytest.param(
            plain([{**TAIL, "backbone_lr": 1e-4, "backbone_lr_ratio": 0.1}]),
            "train.stages[0]: backbone_lr and backbone_lr_ratio set the same learning rate; keep one of the two",
            id="both backbone learning rates",
        ),
        pytest.param(
            plain([{**TAIL, "unfreeze_from": "features.3"}]),
            "train.stages[0].unfreeze_from: 'features.3' is not a block"
            " (stem … layer4, head, all, last:1 … last:5) of resnet18",
            id="another network's block",
        ),
        pytest.param(
            plain([{**HEAD, "head_frozen_epochs": 2}]),
            "train.stages[0].head_frozen_epochs: only the head trains in stage 'head', so it cannot be frozen; remove it",
            id="frozen head in a head-only stage",
        ),
        pytest.param(
            plain(data={"image_size": 80}, model={"backbone": "efficientnet_lite0"}),
            "data.image_size: 80: efficientnet_lite0 takes only multiples of 32",
            id="image size",
        ),
        pytest.param(
            plain(model={"backbone": "r3d_18"}),
            "model.backbone: r3d_18 takes volumes, but source 'digits' gives images; backbones for images:"
            " mobilenet_v3_small, mobilenet_v3_large, resnet18, resnet34, resnet50, efficientnet_b0, efficientnet_lite0",
            id="a network for volumes",
        ),
        pytest.param(
            plain(data={**FILES, "image_size": 64}, model={"backbone": "r3d_18"}),
            "model.backbone: r3d_18 takes volumes, but source 'folder' gives images; backbones for images:"
            " mobilenet_v3_small, mobilenet_v3_large, resnet18, resnet34, resnet50, efficientnet_b0, efficientnet_lite0;"
            " if the data are volumes, set data.depth to the number of slices the network sees of each",
            id="a network for volumes, and files that may be some",
        ),
        pytest.param(
            plain(data={**FILES, "depth": 16}),
            "model.backbone: resnet18 takes images, but the data are volumes (data.depth is set); backbones for volumes:"
            " r3d_18, mc3_18, r2plus1d_18, medicalnet_resnet10, medicalnet_resnet18, medicalnet_resnet34,"
            " medicalnet_resnet50",
            id="a network for images",
        ),
        pytest.param(
            plain(data={"depth": 16}, model={"backbone": "r3d_18"}),
            "data.depth: source 'digits' cannot hold volumes, only folder, npz, table can; remove it",
            id="volumes of digits",
        ),
        pytest.param(
            plain(data={**FILES, "depth": 16, "frame": 3}, model={"backbone": "r3d_18"}),
            "data.depth: 16: a volume is read whole, but data.frame chooses one of its slices; remove one of the two",
            id="a slice of a volume",
        ),
        pytest.param(
            plain(data={**FILES, "depth": 16, "fit": "pad"}, model={"backbone": "r3d_18"}),
            "data.fit: 'pad' is for images, but a volume is resampled whole unless data.spacing_mm is set; remove it",
            id="a volume made square",
        ),
        pytest.param(
            plain(data={**FILES, "depth": 16, "spacing_mm": 1, "fit": "stretch"}, model={"backbone": "r3d_18"}),
            "data.fit: 'stretch' ignores the spacing; remove it, or data.spacing_mm",
            id="a volume of known spacing stretched",
        ),
        pytest.param(
            plain(data={**FILES, "target": {"transform": "log"}}),
            "data.target: applies only to numbers, but data.task is 'classification'; remove it",
            id="a scale of classes",
        ),
        pytest.param(
            plain(data={**FILES, "mean": 123.7}),
            "data.mean: 123.7: values are scaled to 0 … 1 first; divide mean and std by 255",
            id="a mean of 0 to 255",
        ),
        pytest.param(
            plain(data={**FILES, "std": [0.2, 0.2]}),
            "data.std: 2 numbers, but resnet18 takes 3 channels; give as many, or one number",
            id="statistics of too few channels",
        ),
        pytest.param(
            plain(data={**FILES, "bits": 16, "channels": 3}),
            "data.channels: 3: images of data.bits 16 are grey; keep one of the two",
            id="16 bits in colour",
        ),
        pytest.param(
            plain(
                data={**FILES, "depth": 16, "mean": 0.5}, model={"backbone": "medicalnet_resnet10", "weights": "none"}
            ),
            "data.mean: medicalnet_resnet10 gets each volume standardised by its own voxels; remove it",
            id="a mean for MedicalNet",
        ),
        pytest.param(
            plain(class_weights={"a": 2}, balance="sampler"),
            "train: class_weights and balance 'sampler' would correct the imbalance twice; drop all but one of class_weights, "
            "balance 'sampler'",
            id="weights and the sampler",
        ),
        pytest.param(
            plain(class_weights={"a": 0}),
            "train.class_weights.a: 0: input should be above 0",
            id="a class without weight",
        ),
        pytest.param(
            plain(class_weights="auto"),
            "train.class_weights: 'auto': give a weight for each class, as in {rare: 5, common: 1}, or a list in their order",
            id="weights in words",
        ),
        pytest.param(
            plain(data={**FILES, "depth": 16, "spacing_mm": [1, -1, 1]}, model={"backbone": "r3d_18"}),
            "data.spacing_mm[1]: -1: input should be above 0",
            id="a negative spacing",
        ),
        pytest.param(
            plain(data={**FILES, "spacing_mm": [1, 1, 1]}),
            "data.spacing_mm: applies only to volumes; set data.depth to the slices that the network sees, or remove it",
            id="spacing of images",
        ),
        pytest.param(
            plain(
                data={"source": "npz", "path": "a.npz", "depth": 16, "spacing_mm": 1.5}, model={"backbone": "r3d_18"}
            ),
            "data.spacing_mm: applies only to source folder, table, not to 'npz'; remove it",
            id="spacing of arrays",
        ),
        pytest.param(
            plain(data={**FILES, "depth": 16, "background": "noise"}, model={"backbone": "r3d_18"}),
            "data.background: 'noise' is for networks that standardise each volume, MedicalNet's, not for r3d_18; remove it",
            id="noise for a network without it",
        ),
        pytest.param(
            plain(data={**FILES, "depth": 16}, model={"backbone": "r3d_18"}, mix={"cutmix_alpha": 1}),
            "train.mix.cutmix_alpha: 1: CutMix works on images only; use mixup_alpha for volumes",
            id="CutMix of volumes",
        ),
        pytest.param(
            plain(augment={"depth_flip": 0.5}),
            "train.augment.depth_flip: 0.5: applies only to volumes (data.depth); remove it",
            id="images without a depth",
        ),
        pytest.param(
            plain(augment={"tilt_degrees": 10}),
            "train.augment.tilt_degrees: 10: applies only to volumes (data.depth); remove it",
            id="images that lean",
        ),
        pytest.param(
            plain(model={"backbone": "resnet"}),
            "model.backbone: 'resnet' is not a backbone; did you mean 'resnet50'?,"
            " or timm/NAME, or module:function for your own",
            id="no backbone",
        ),
        pytest.param(
            plain(model={"backbone": "own:net", "weights": "none"}),
            "model: own:net loads its own weights; remove weights: none",
            id="weights beside a function",
        ),
        pytest.param(
            plain(drw={}), "train.drw: needs either start_epoch or start_fraction, but not both", id="no start"
        ),
        pytest.param(
            plain(drw={"start_epoch": 3, "start_fraction": 0.5}),
            "train.drw: needs either start_epoch or start_fraction, but not both",
            id="two starts",
        ),
        pytest.param(
            plain([HEAD, ALL], drw={"start_epoch": 21}),
            "train.drw.start_epoch: 21: re-weighting would start after the last epoch (20)",
            id="re-weighting after the last epoch",
        ),
        pytest.param(
            plain(augment={"rotate": 10}),
            "train.augment.rotate: unknown key; did you mean 'rotate_degrees'?",
            id="unknown augmentation",
        ),
        pytest.param(
            plain(augment={"crop": {"min_scale": 0}}),
            "train.augment.crop.min_scale: 0: input should be above 0",
            id="a crop of nothing",
        ),
        *(
            pytest.param(
                plain(drw={"start_epoch": 3}, balance=balance),
                f"train: drw and balance '{balance}' would correct the imbalance twice; set balance: none or drop drw",
                id=f"drw and {balance}",
            )
            for balance in ("sampler", "class_weights")
        ),
    ],
)
def test_a_mistake_is_named_with_its_place_its_value_and_what_would_be_right(data, mistake):
    assert mistakes(data) == [mistake]


def test_all_mistakes_within_the_sections_are_reported_at_once():
    data = plain([{**HEAD, "epochs": 0, "plateau": {"patience": 0}}, {"name": "b"}, "all"], metric="acc", sed=1)
    assert [line.split(": ")[0] for line in mistakes(data)] == [
        "train.stages[0].epochs",
        "train.stages[0].plateau.patience",
        "train.stages[1].unfreeze_from",
        "train.stages[2]",
        "train.metric",
        "train.sed",
    ]


def test_all_mistakes_between_the_sections_are_reported_at_once():
    stages = [
        {**HEAD, "head_frozen_epochs": 1},
        {**TAIL, "unfreeze_from": "features.13"},
        {**ALL, "unfreeze_from": "last:14"},
    ]
    data = plain(stages, data={"image_size": 80}, model={"backbone": "efficientnet_lite0"}, drw={"start_epoch": 31})
    assert [line.split(": ")[0] for line in mistakes(data)] == [
        "train.stages[0].head_frozen_epochs",
        "train.stages[1].unfreeze_from",
        "train.stages[2].unfreeze_from",
        "data.image_size",
        "train.drw.start_epoch",
    ]


def test_a_wrong_block_before_a_right_one_is_reported_like_any_other():
    assert len(mistakes(plain([{**HEAD, "unfreeze_from": "nope"}, ALL]))) == 1


def test_mistakes_survive_the_way_to_another_process():
    with pytest.raises(ConfigError, match="unknown key") as caught:
        parse_recipe(plain(losss=1))
    again = pickle.loads(pickle.dumps(caught.value))
    assert again.problems == caught.value.problems
    assert str(again) == str(caught.value)


@pytest.mark.parametrize(
    "train",
    [
        {"drw": {"start_epoch": 10}},
        {"drw": {"start_fraction": 0.99}},
        {"drw": {"start_epoch": 1}, "balance": "auto"},
        {"balance": "sampler"},
    ],
    ids=str,
)
def test_what_is_at_the_border_of_a_rule_is_accepted(train):
    parse_recipe(plain([HEAD], **train))


def test_a_recipe_is_frozen_and_complete():
    recipe = parse_recipe(plain([HEAD, ALL]))
    assert recipe.train.loss == CrossEntropy()
    assert recipe.train.max_epochs == 20
    assert parse_recipe(recipe.model_dump(mode="json")) == recipe
    with pytest.raises(ValueError, match="frozen"):
        recipe.train.batch_size = 1


@pytest.mark.parametrize(
    ("given", "schedule"),
    [
        ("cosine", Cosine(kind="cosine")),
        ({"kind": "cosine", "min_lr": 0.01}, Cosine(kind="cosine", min_lr=0.01)),
        ({"kind": "step", "every_epochs": 3}, Step(kind="step", every_epochs=3)),
    ],
)
def test_a_schedule_is_a_kind_alone_or_with_its_numbers(given, schedule):
    assert Stage(**HEAD, schedule=given).schedule == schedule


def test_the_kind_chooses_the_loss():
    assert parse_recipe(plain(loss={"kind": "ldam", "scale": 20})).train.loss == Ldam(kind="ldam", scale=20)


@pytest.mark.parametrize(
    ("given", "peak"),
    [
        ({"head_lr": 0.01}, 0.001),
        ({"head_lr": 0.01, "backbone_lr_ratio": 0.5}, 0.005),
        ({"head_lr": 0.01, "backbone_lr": 3e-4}, 3e-4),
    ],
)
def test_the_backbones_learning_rate_is_given_or_a_multiple_of_the_heads(given, peak):
    assert Stage(name="s", unfreeze_from="all", **given).peak_backbone_lr == pytest.approx(peak)


@pytest.mark.parametrize(
    ("epochs", "drw", "start"),
    [
        (10, None, None),
        (10, {"start_epoch": 7}, 7),
        (10, {"start_fraction": 0.0}, 1),
        (10, {"start_fraction": 0.5}, 6),
        (10, {"start_fraction": 0.55}, 6),
        (10, {"start_fraction": 0.99}, 10),
        (200, {"start_fraction": 0.795}, 160),
        (100, {"start_fraction": 0.29}, 30),  # 0.29 · 100 is a little less than 29 in binary
    ],
)
def test_re_weighting_starts_after_its_share_of_all_epochs(epochs, drw, start):
    assert TrainConfig.model_validate({"stages": [{**HEAD, "epochs": epochs}], "drw": drw}).drw_start == start


MOBILENET = BACKBONES["mobilenet_v3_small"].blocks


@pytest.mark.parametrize(
    ("unfreeze_from", "cut"),
    [("head", 13), ("all", 0), ("features.0", 0), ("features.12", 12), ("last:1", 12), ("last:13", 0)],
)
def test_a_stage_names_its_first_open_block_in_several_ways(unfreeze_from, cut):
    assert first_open_block(unfreeze_from, MOBILENET) == cut
    recipe = parse_recipe(plain([{**HEAD, "unfreeze_from": unfreeze_from}], model={"backbone": "mobilenet_v3_small"}))
    assert recipe.cut(0) == cut


@pytest.mark.parametrize("unfreeze_from", ["features.13", "last:0", "last:14", "last:-1", "last:", "last", "", "Head"])
def test_what_names_no_block_is_refused_with_what_would(unfreeze_from):
    with pytest.raises(ValueError, match=r"is not a block \(features.0 … features.12, head, all, last:1 … last:13\)"):
        first_open_block(unfreeze_from, MOBILENET)


@pytest.mark.parametrize(
    ("stages", "frozen"),
    [
        pytest.param([HEAD, TAIL, ALL], [0, 3, 0], id="where blocks first open under a trained head"),
        pytest.param([HEAD, {**HEAD, "name": "again"}, ALL], [0, 0, 3], id="after two head-only stages"),
        pytest.param([TAIL, ALL], [0, 0], id="no trained head: it learns from the start"),
        pytest.param([ALL, HEAD, TAIL], [0, 0, 0], id="blocks were open before"),
        pytest.param([HEAD, {**TAIL, "head_frozen_epochs": 1}], [0, 1], id="given"),
        pytest.param([HEAD, {**TAIL, "head_frozen_epochs": 0}], [0, 0], id="switched off"),
        pytest.param([HEAD, {**TAIL, "continues": True}], [0, 0], id="no rest where nothing breaks off"),
        pytest.param([{**ALL, "head_frozen_epochs": 2}], [2], id="given where the default is none"),
    ],
)
def test_the_head_rests_when_blocks_open_under_it(stages, frozen):
    recipe = parse_recipe(plain(stages))
    assert [recipe.head_frozen_epochs(stage) for stage in range(len(stages))] == frozen


# --- data -----------------------------------------------------------------------------------------------------------

TABLE = {"source": "table", "path": "t.csv"}
FOLDER = {"source": "folder", "path": "photos"}


@pytest.mark.parametrize(
    ("data", "mistake"),
    [
        ({"source": "table"}, "data: source 'table' needs `path`, the CSV, TSV or Parquet file"),
        (
            {**FOLDER, "columns": {"group": "patient"}},
            "data.columns: applies only to source 'table', not to 'folder'; remove it",
        ),
        ({**FOLDER, "images": "x"}, "data.images: applies only to source 'table', not to 'folder'; remove it"),
        ({**TABLE, "columns": {"labl": "x"}}, "data.columns.labl: unknown key; did you mean 'label'?"),
        (
            {**TABLE, "columns": {"group": "path"}},
            "data.columns: a column can have only one role; named more than once: 'path'",
        ),
        (
            {"folds": 5, "validation": 0.2},
            "data.validation: 0.2: one of the 5 folds (data.folds) is for validation; keep one of the two",
        ),
        ({"folds": 5, "fold": 5}, "data.fold: 5: with 5 folds it must be from 0 to 4"),
        ({"fold": 0}, "data.fold: 0: there are no folds; set their number in data.folds, or remove it"),
        ({"folds": 1}, "data.folds: 1: input should be at least 2"),
        ({"fold": -1, "folds": 2}, "data.fold: -1: input should be at least 0"),
        ({"validation": 0}, "data.validation: 0: input should be above 0"),
        ({"labels": {}}, "data.labels: {}: value should have at least 1 item, not 0"),
        ({"labels": [1, 2]}, "data.labels: [1, 2]: input should be a section of keys and values"),
        ({"labels": {1: "a", "1.0": "b"}}, "data.labels: '1' is given twice"),
        (
            {"labels": {True: "a"}},
            "data.labels: True is neither a name nor a number; put quotes around it if it is meant as a name",
        ),
        (
            {"labels": {1: False}},
            "data.labels: False is neither a name nor a number; put quotes around it if it is meant as a name",
        ),
    ],
)
def test_a_mistake_of_the_data_is_told_at_its_field(data, mistake):
    assert mistakes(plain(data=data)) == [mistake]


@pytest.mark.parametrize("key", ["path", "images"])
def test_a_password_in_a_url_is_refused_and_not_shown(key):
    data = {**TABLE, "path": "labels.csv", key: "sftp://me:secret@host/photos"}
    (mistake,) = mistakes(plain(data=data))
    assert mistake.startswith(f"data.{key}: the URL contains a password")
    assert "secret" not in mistake


@pytest.mark.parametrize(
    ("data", "validation", "folds", "fold"),
    [
        ({}, 0.2, None, None),
        ({"validation": None}, 0.2, None, None),
        ({"validation": 0.3}, 0.3, None, None),
        ({"folds": 5}, None, 5, 0),
        ({"folds": 5, "fold": 4}, None, 5, 4),
        ({**TABLE, "columns": {"split": "part"}}, None, None, None),
        ({**TABLE, "columns": {"group": "patient"}}, 0.2, None, None),
    ],
)
def test_there_is_one_way_to_split(data, validation, folds, fold):
    config = parse_recipe(plain(data=data)).data
    assert (config.validation, config.folds, config.fold) == (validation, folds, fold)
    assert type(config).model_validate(config.model_dump()) == config


def test_a_table_has_columns_and_nothing_else_has():
    assert parse_recipe(plain(data=TABLE)).data.columns.named() == {"path": "path", "label": "label"}
    assert parse_recipe(plain()).data.columns is None


def test_equal_mappings_are_equal_keys_whatever_their_order():
    first, second = (
        parse_recipe(plain(data={"labels": labels})).data for labels in ({1: "a", 2: 0}, {"2": "0", "1": "a"})
    )
    assert first.labels == {"1": "a", "2": "0"}
    assert len({first, second}) == 1
    assert len({first, parse_recipe(plain(data={"labels": {1: "b", 2: "0"}})).data}) == 2


# --- stages that grow -----------------------------------------------------------------------------------------------


def test_a_stage_has_its_own_sizes_or_the_runs():
    stages = [HEAD, {**TAIL, "image_size": 128, "batch_size": 8}, {**ALL, "image_size": 96}]
    recipe = parse_recipe(plain(stages, data={"image_size": 64}, batch_size=20))
    assert [recipe.image_size(i) for i in range(3)] == [64, 128, 96]
    assert [recipe.batch_size(i) for i in range(3)] == [20, 8, 20]
    assert recipe.image_sizes == (96, 128)


@pytest.mark.parametrize(
    ("rates", "head", "backbone"),
    [
        ({"head_lr": 0.2}, 0.1, 0.01),
        ({"head_lr": 0.2, "backbone_lr_ratio": 0.5}, 0.1, 0.05),
        ({"head_lr": 0.2, "backbone_lr": 0.04}, 0.1, 0.02),
    ],
)
def test_both_peaks_are_scaled(rates, head, backbone):
    stage = Stage(name="s", unfreeze_from="all", lr_scale=0.5, **rates)
    assert (stage.peak_head_lr, stage.peak_backbone_lr) == pytest.approx((head, backbone))


BEFORE = {"name": "before", "unfreeze_from": "last:1"}


@pytest.mark.parametrize(
    ("fields", "goes_on"),
    [
        ({}, True),
        ({"epochs": 3, "plateau": None}, True),
        ({"unfreeze_from": "layer4"}, True),
        ({"image_size": 224}, True),
        ({"batch_size": 32}, True),
        ({"unfreeze_from": "last:2"}, False),
        ({"unfreeze_from": "head"}, False),
        ({"data_fraction": 0.5}, False),
        ({"image_size": 128}, False),
        ({"batch_size": 64}, False),
        ({"lr_scale": 0.5}, False),
        ({"head_lr": 0.5}, False),
        ({"dropout": 0.5}, False),
    ],
)
def test_a_stage_goes_on_unchanged_where_nothing_tells_it_from_the_one_before(fields, goes_on):
    recipe = parse_recipe(plain([BEFORE, {**BEFORE, "name": "after", **fields}]))
    assert [recipe.continues_unchanged(i) for i in range(3)] == [False, goes_on, False]


def test_a_schedule_that_starts_anew_is_a_change():
    cosine = {"schedule": "cosine"}
    recipe = parse_recipe(plain([{**BEFORE, **cosine}, {**BEFORE, "name": "after", **cosine}]))
    assert not recipe.continues_unchanged(1)


def test_a_network_of_one_channel_takes_no_colours():
    volumes = {**FILES, "depth": 16, "image_size": 16}
    grey, colour = (
        parse_recipe(plain(data=volumes, model={"backbone": name, "weights": "none"}))
        for name in ("medicalnet_resnet10", "r3d_18")
    )
    assert channel_problems(grey, 1) == channel_problems(colour, 1) == channel_problems(colour, 3) == []
    (problem,) = channel_problems(grey, 3)
    message = "medicalnet_resnet10 takes 1 channel, but the volumes are in colour, with 3"
    assert problem == (("model", "backbone"), message)
