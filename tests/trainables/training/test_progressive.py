"""Stages that see more and more of the data, at sizes of their own, thawing or freezing: what a run does with them."""

import numpy as np
import pytest
import torch
from torch.optim.optimizer import register_optimizer_step_pre_hook

from trainables.core.vocabulary import Flag
from trainables.data.batches.mixing import mixed
from trainables.data.dataset import open_dataset
from trainables.training.trainer import Trainer


def stage(name="only", unfreeze_from="head", epochs=1, **fields):
    return {"name": name, "unfreeze_from": unfreeze_from, "epochs": epochs, "plateau": None, "head_lr": 0.05} | fields


@pytest.fixture
def trainer_of(make_recipe):
    """`trainer_of(*stages, **train)`: on 46 digits, judged by 39."""

    def make(*stages, data=None, model=None, **train):
        recipe = make_recipe(data=data, model=model, stages=list(stages), **train)
        return Trainer(recipe, open_dataset(recipe.data, image_sizes=recipe.image_sizes))

    return make


@pytest.fixture
def steps():
    """`steps(look)`: calls `look(optimizer)` before each optimizer step."""
    handles = []
    yield lambda look: handles.append(register_optimizer_step_pre_hook(lambda optimizer, *_: look(optimizer)))
    for handle in handles:
        handle.remove()


def copy_of(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def blocks_that_differ(model, before):
    """Positions of blocks in which any bit of a weight or of a BatchNorm statistic is another."""
    names = [name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])]
    return sorted({int(name.split(".")[1]) for name in names if name.startswith("blocks.")})


# --- data, size and batch size of a stage ---------------------------------------------------------------------------

GROWING = (
    stage("small", data_fraction=0.5, image_size=32, batch_size=5),
    stage("middle", data_fraction=0.75, image_size=96, batch_size=20),
    stage("whole", image_size=64, lr_scale=0.5),
)


def seen_in(trainer, stage, epoch=1):
    """Sizes of images or feature maps, sizes of batches, and labels by batch, of a training epoch."""
    return [batch for step in trainer.feed.steps(epoch, stage=stage) for batch in step]


def test_each_stage_sees_its_share_at_its_size_in_its_batches(trainer_of):
    trainer = trainer_of(*[fields | {"unfreeze_from": "all"} for fields in GROWING])
    counts = trainer.dataset.train_counts
    expected = [(np.ceil(counts * 0.5), 32, 5), (np.ceil(counts * 0.75), 96, 20), (counts, 64, 16)]
    for index, (of_class, size, batch_size) in enumerate(expected):
        batches = seen_in(trainer, index)
        assert {tuple(batch.features.shape[1:]) for batch in batches} == {(3, size, size)}
        labels = torch.cat([batch.labels for batch in batches])
        assert torch.bincount(labels).tolist() == of_class.tolist()
        assert len(batches) == -(-len(labels) // batch_size)
        assert max(len(batch.labels) for batch in batches) <= batch_size


def test_a_stages_images_are_among_the_next_ones_and_the_judges_stay(trainer_of):
    trainer = trainer_of(*GROWING)
    parts = [trainer.feed.images.of_stage(index) for index in range(3)]
    small, middle, whole = (set(part.train) for part in parts)
    assert small < middle < whole == set(trainer.dataset.train)
    assert all(part.validation is trainer.dataset.validation for part in parts)
    sizes = [{batch.features.shape[-1] for batch in trainer.feed.validation(stage=i)} for i in range(3)]
    assert sizes == [{1280}] * 3, "pooled features of the head's stages"
    assert [trainer.feed.images.load(np.arange(2), None, stage=i).shape[-1] for i in range(3)] == [32, 96, 64]


def test_an_image_is_the_same_one_at_every_size(trainer_of):
    trainer = trainer_of(*GROWING)
    positions = trainer.dataset.validation
    small, middle, _ = (trainer.feed.images.load(positions, None, stage=i) for i in range(3))
    shrunk = torch.nn.functional.interpolate(middle, size=32, mode="area").flatten(1)
    alike = torch.corrcoef(torch.cat([small.flatten(1), shrunk]))[: len(positions), len(positions) :]
    assert (alike.argmax(dim=1) == torch.arange(len(positions))).all()


def test_validation_sees_the_stages_size(trainer_of):
    """A rate of almost nothing: only the size can move the validation loss."""
    still = {"head_lr": 1e-30, "dropout": 0.0, "unfreeze_from": "head"}
    at_stage = list(trainer_of(stage("a", **still), stage("b", image_size=64, **still)))
    at_size = [next(trainer_of(stage(**still), data={"image_size": px})) for px in (32, 64)]
    losses = [report.metrics["val_loss"] for report in at_stage]
    assert losses == [report.metrics["val_loss"] for report in at_size]
    assert losses[0] != losses[1]


def test_all_fields_at_their_defaults_written_out_change_nothing(trainer_of):
    plain = trainer_of(stage(), stage("top", "last:1"))
    given = {"data_fraction": 1.0, "image_size": 32, "batch_size": 16, "lr_scale": 1.0}
    spelled = trainer_of(stage(**given), stage("top", "last:1", **given))
    for a, b in zip(plain, spelled, strict=True):
        assert (a.train_loss, a.metrics, a.head_lr, a.backbone_lr) == (
            b.train_loss,
            b.metrics,
            b.head_lr,
            b.backbone_lr,
        )
    assert not blocks_that_differ(plain.model, copy_of(spelled.model))


def test_a_balanced_sampler_draws_from_the_stages_share(trainer_of):
    data = {"long_tail": {"imbalance": 10, "largest": 100}}
    trainer = trainer_of(stage(data_fraction=0.3), balance="sampler", data=data)
    part = trainer.feed.images.of_stage(0)
    labels = torch.cat([batch.labels for batch in seen_in(trainer, 0)])
    assert len(labels) == len(part.train) < 0.4 * len(trainer.dataset.train)
    assert torch.bincount(labels, minlength=10).min() > 2, "the natural share of the rarest is 1 %"


def test_the_smallest_batch_decides_what_auto_balances_by(trainer_of):
    """A batch of 2 mostly lacks the rarest class, a batch of all images does not."""
    large = trainer_of(stage(batch_size=100), balance="auto", batch_size=2)
    small = trainer_of(stage(batch_size=100), stage("b", batch_size=2), balance="auto", batch_size=100)
    assert [trainer.task.balanced for trainer in (large, small)] == [False, True]


def test_images_a_second_are_those_of_the_stage(trainer_of):
    report = next(trainer_of(stage(data_fraction=0.5)))
    assert report.images_per_s * report.train_s == pytest.approx(
        len(trainer_of(*GROWING).feed.images.of_stage(0).train)
    )


# --- learning rates -------------------------------------------------------------------------------------------------

DAMPED = [
    stage(name, "last:1", backbone_lr=0.01, lr_scale=scale) for name, scale in zip("abc", (1, 0.8, 0.5), strict=True)
]


@pytest.mark.parametrize("one_cycle", [None, {}])
def test_rates_are_dampened_stage_by_stage(trainer_of, steps, one_cycle):
    stages = [fields | {"backbone_warmup_epochs": 0} for fields in DAMPED]
    damped = trainer_of(*stages, one_cycle=one_cycle)
    plain = trainer_of(*[fields | {"lr_scale": 1.0} for fields in stages], one_cycle=one_cycle)
    rates = []
    steps(lambda optimizer: rates.append({group["name"]: group["lr"] for group in optimizer.param_groups}))
    reports = [(report, report_plain) for report, report_plain in zip(damped, plain, strict=True)]
    for (report, undamped), scale in zip(reports, (1, 0.8, 0.5), strict=True):
        assert report.head_lr == pytest.approx(undamped.head_lr * scale)
        assert report.backbone_lr == pytest.approx(undamped.backbone_lr * scale)
    assert rates[0] == {"backbone": reports[0][0].backbone_lr, "head": reports[0][0].head_lr}
    if one_cycle is None:
        assert [report.head_lr for report, _ in reports] == pytest.approx([0.05, 0.04, 0.025])
        assert [report.backbone_lr for report, _ in reports] == pytest.approx([0.01, 0.008, 0.005])


# --- thawing and freezing -------------------------------------------------------------------------------------------

FREEZING = (
    stage("first", "all", data_fraction=0.2),
    stage("second", "all", image_size=64, batch_size=8, data_fraction=0.3),
    stage("third", "last:3", epochs=2, data_fraction=0.5),
)
"""Of 14, 18 and 25 images."""


@pytest.mark.parametrize(("bn_affine", "ema"), [("frozen", None), ("train", {"decay": 0.5})])
def test_blocks_that_freeze_again_stand_still_to_the_last_bit(trainer_of, bn_affine, ema):
    trainer = trainer_of(*FREEZING, bn_affine=bn_affine, ema=ema)
    pretrained = copy_of(trainer.model)
    next(trainer)
    next(trainer)
    assert blocks_that_differ(trainer.model, pretrained) == list(range(9))
    trainer._enter_next_stage()
    before = copy_of(trainer.model)
    list(trainer)
    assert blocks_that_differ(trainer.model, before) == [6, 7, 8]


@pytest.mark.parametrize("kind", ["sgd", "adamw"])
def test_what_stays_open_keeps_its_moments_whatever_the_size_of_images_and_batches(trainer_of, steps, kind):
    trainer = trainer_of(*FREEZING, optimizer={"kind": kind})
    key = "momentum_buffer" if kind == "sgd" else "exp_avg"
    first_steps = []

    def look(optimizer):
        held = [p for group in optimizer.param_groups for p in group["params"]]
        first_steps.append(
            [(id(p), optimizer.state[p][key].clone() if key in optimizer.state[p] else None) for p in held]
        )

    def moments():
        optimizer = trainer._active.optimizer
        return {id(p): state[key].clone() for p, state in optimizer.state.items()}

    steps(look)
    next(trainer)
    for _ in range(2):
        kept, _ = moments(), first_steps.clear()
        next(trainer)
        assert len(first_steps[0]) == len([p for p in trainer.model.parameters() if p.requires_grad])
        assert all(torch.equal(moment, kept[parameter]) for parameter, moment in first_steps[0])


MODES = {
    "unfreezing": (["last:2", "last:4", "all"], [[7, 8], [5, 6, 7, 8], list(range(9))]),
    "freezing": (["all", "all", "last:3"], [list(range(9)), list(range(9)), [6, 7, 8]]),
    "none": (["all", "all", "all"], [list(range(9))] * 3),
}


@pytest.mark.parametrize("mode", MODES)
def test_each_mode_moves_what_it_opens_stage_by_stage(trainer_of, mode):
    opened, moved = MODES[mode]
    growing = [
        {"data_fraction": 0.2, "image_size": 32, "lr_scale": 1.0},
        {"data_fraction": 0.25, "image_size": 64, "lr_scale": 0.8},
        {"data_fraction": 0.3, "image_size": 32, "lr_scale": 0.5},
    ]
    stages = [stage(f"s{i}", depth, head_frozen_epochs=0, **growing[i]) for i, depth in enumerate(opened)]
    trainer = trainer_of(*stages, one_cycle={})
    for expected in moved:
        before = copy_of(trainer.model)
        next(trainer)
        assert blocks_that_differ(trainer.model, before) == expected


# --- schedules by the step, and stages that continue ------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["sgd", "adamw"])
def test_each_step_goes_by_its_own_rates(trainer_of, steps, kind):
    """Half of the images in large batches, then all in small ones, two of them a step: the curve fits exactly."""
    stages = [
        stage("a", epochs=2, data_fraction=0.5, batch_size=20),
        stage("b", "last:1", epochs=2, batch_size=5, head_frozen_epochs=0),
    ]
    cycle = {"momentum": {"low": 0.8, "high": 0.9}}
    settings = {"schedule_by": "step", "accumulate": 2, "optimizer": {"kind": kind}}
    trainer = trainer_of(*stages, one_cycle=cycle, **settings)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.05, momentum=0.9)
    curve = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=0.05, total_steps=12, base_momentum=0.8, max_momentum=0.9
    )
    expected, seen = [], []
    for _ in range(12):
        expected.append((optimizer.param_groups[0]["lr"], optimizer.param_groups[0]["momentum"]))
        optimizer.step()
        curve.step()

    def look(optimizer):
        head = optimizer.param_groups[-1]
        seen.append((head["lr"], head["momentum"] if kind == "sgd" else head["betas"][0]))

    steps(look)
    reports = list(trainer)
    assert seen == [pytest.approx(rates, rel=1e-12) for rates in expected]
    assert reports[-1].head_lr == pytest.approx(np.mean([lr for lr, _ in seen[-5:]]))


def differences_of(one, other):
    return [
        name
        for name, tensor in one.model.state_dict().items()
        if not torch.equal(tensor, other.model.state_dict()[name])
    ]


CONTINUING = {
    "ema": {"decay": 0.9},
    "cosine": {"head_warmup_epochs": 2},
    "metric": "val_loss",
    "optimizer": {"kind": "adamw"},
}


@pytest.mark.parametrize("by", ["epoch", "step"])
def test_a_stage_that_continues_is_as_if_there_was_no_border(trainer_of, by):
    """A stage that does not would start from the best average of the weights."""
    open_blocks = {"unfreeze_from": "last:1", "head_frozen_epochs": 0, "head_lr": 0.5}
    parts = [
        stage("a", epochs=3, **open_blocks),
        stage("b", epochs=2, **open_blocks | {"dropout": 0.2}, continues=True),
    ]
    parted, whole = (
        trainer_of(*parts, schedule_by=by, **CONTINUING),
        trainer_of(stage("a", epochs=5, **open_blocks), schedule_by=by, early_stop=None, **CONTINUING),
    )
    losses = [[(report.train_loss, report.metrics["val_loss"]) for report in trainer] for trainer in (parted, whole)]
    assert losses[0] == losses[1]
    assert differences_of(parted, whole) == []


def test_the_backbone_opens_while_the_cosine_goes_on(trainer_of, steps):
    """`freeze_backbone_epochs: 2`: no restart of the curve, no rest of the head, no reset of its moments and average."""
    stages = [stage("head", epochs=2), stage("all", "last:2", epochs=2, continues=True)]
    trainer, moments = trainer_of(*stages, **CONTINUING), []

    def look(optimizer):
        moments.append(
            {g["name"]: {int(optimizer.state[p].get("step", 0)) for p in g["params"]} for g in optimizer.param_groups}
        )

    steps(look)
    reports = [next(trainer), next(trainer)]
    before = trainer.steps
    reports.append(next(trainer))
    assert [report.head_frozen for report in reports] == [False] * 3
    assert [report.head_lr for report in reports] == pytest.approx([0.025, 0.05, 0.05])
    assert reports[2].backbone_lr == pytest.approx(0.0025)  # half way down: it has no warm-up
    assert moments[before] == {"head": {before}, "backbone": {0}}
    assert trainer._active.state_dict()["ema"]["n_averaged"] == trainer.steps


# --- mixing ---------------------------------------------------------------------------------------------------------

STILL = {"head_lr": 1e-30, "dropout": 0.0}
BOTH = {"mixup_alpha": 0.4, "cutmix_alpha": 1.0}


@pytest.mark.parametrize("depth", ["all", "last:2", "head"])
def test_images_are_mixed_before_they_go_through_the_frozen_blocks(trainer_of, depth):
    trainer, whole = (trainer_of(stage("a", d), mix=BOTH, batch_size=23) for d in (depth, "all"))
    cut = trainer.recipe.cut(0)
    trainer.model.eval()
    for batch, images in zip(seen_in(trainer, 0), seen_in(whole, 0), strict=True):
        assert torch.equal(batch.labels, images.labels)
        assert torch.equal(batch.mixing.share, images.mixing.share)
        with torch.no_grad():
            by_hand = trainer.model.prefix(images.features, cut) if cut else images.features
        assert torch.allclose(batch.features, by_hand, atol=1e-4)


@pytest.mark.parametrize("depth", ["all", "last:2", "head"])
def test_at_the_cut_what_leaves_the_frozen_blocks_is_mixed(trainer_of, depth):
    trainer, plain = (trainer_of(stage("a", depth), mix=mix) for mix in ({"mixup_alpha": 1.0, "at": "cut"}, None))
    for batch, unmixed in zip(seen_in(trainer, 0), seen_in(plain, 0), strict=True):
        assert torch.equal(batch.labels, unmixed.labels)
        assert torch.equal(batch.features, mixed(unmixed.features, batch.mixing))
        assert not torch.equal(batch.features, unmixed.features)


@pytest.mark.parametrize("mix", [None, BOTH])
def test_features_are_rounded_alike_in_training_and_validation(trainer_of, mix):
    trainer, exact = (trainer_of(stage(), mix=mix, prefix_dtype=dtype) for dtype in ("bf16", "fp32"))
    trainer.model.eval()
    exact.model.eval()
    for seen in (lambda t: seen_in(t, 0)[0], lambda t: next(t.feed.validation(stage=0))):
        rounded, whole = seen(trainer).features, seen(exact).features
        assert torch.equal(rounded, whole.bfloat16().float())
        assert not torch.equal(rounded, whole)


def test_each_epoch_mixes_anew_and_each_run_alike(trainer_of):
    first, again, other = (trainer_of(stage(), mix=BOTH, seed=seed) for seed in (1, 1, 2))
    shares = [
        [batch.mixing.share for batch in seen_in(t, 0, epoch)] for t, epoch in [(first, 1), (first, 2), (again, 1)]
    ]
    assert all(torch.equal(a, b) for a, b in zip(shares[0], shares[2], strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(shares[0], shares[1], strict=True))
    assert not torch.equal(shares[0][0], seen_in(other, 0)[0].mixing.share)


@pytest.mark.parametrize("mix", [BOTH, {"mixup_alpha": 1.0, "at": "cut"}])
@pytest.mark.parametrize(
    "loss",
    [
        {"kind": "cross_entropy", "label_smoothing": 0.1},
        {"kind": "focal"},
        {"kind": "balanced_softmax"},
        {"kind": "ldam"},
    ],
)
def test_the_training_loss_is_that_of_the_shares(trainer_of, loss, mix):
    """One batch whose network stands still: the epoch's loss is that of its images by hand."""
    settings = {"loss": loss, "balance": "class_weights", "mix": mix, "batch_size": 1000}
    report, trainer = next(trainer_of(stage(**STILL), **settings)), trainer_of(stage(**STILL), **settings)
    trainer.model.eval()
    (batch,) = seen_in(trainer, 0)
    with torch.no_grad():
        logits = trainer.model.tail(trainer.recipe.cut(0))(batch.features)
    function, weight = trainer.task._loss.function, trainer.task._loss.class_weights
    own, other = (
        function(logits, y, weight=weight, reduction="none")
        for y in (batch.labels, batch.labels[batch.mixing.partners])
    )
    share, weights = batch.mixing.share, (weight[batch.labels], weight[batch.labels[batch.mixing.partners]])
    expected = (share * own + (1 - share) * other).sum() / (share * weights[0] + (1 - share) * weights[1]).sum()
    assert report.train_loss == pytest.approx(expected.item(), rel=1e-4)


def test_validation_images_are_not_mixed(trainer_of):
    plain, mixing = (next(trainer_of(stage(**STILL), mix=mix)) for mix in (None, BOTH))
    assert plain.metrics == mixing.metrics
    assert plain.train_loss != mixing.train_loss


def test_mixing_nothing_changes_nothing_but_how_sums_are_rounded(trainer_of):
    stages = (stage("top", "last:1", head_lr=1e-3),)
    plain, none = (next(trainer_of(*stages, mix=mix)) for mix in (None, BOTH | {"probability": 0.0}))
    assert none.train_loss == pytest.approx(plain.train_loss, rel=1e-4)
    assert none.metrics["val_loss"] == pytest.approx(plain.metrics["val_loss"], rel=1e-3)


def test_a_run_learns_from_mixed_images(make_recipe):
    data = {"validation": 0.05, "long_tail": {"imbalance": 1, "largest": 20}}
    recipe = make_recipe(data=data, stages=[stage("head", epochs=3, head_lr=0.02)], mix=BOTH, balance="class_weights")
    reports = list(Trainer(recipe, open_dataset(recipe.data, image_sizes=recipe.image_sizes)))
    assert reports[-1].best_score > 0.5, "chance is 0.1"
    assert not any(Flag.NAN in report.flags for report in reports)


@pytest.mark.parametrize(
    ("mix", "mixes"), [(None, False), ({"mixup_alpha": 1.0}, True), ({"mixup_alpha": 1.0, "at": "cut"}, False)]
)
def test_a_recipe_tells_whether_frozen_blocks_meet_mixed_images(make_recipe, mix, mixes):
    assert make_recipe(mix=mix).train.mixes_images is mixes
