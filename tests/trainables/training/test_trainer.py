import dataclasses
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

from trainables.core.vocabulary import Flag
from trainables.data.dataset import open_dataset
from trainables.recipe.train_config import CheckpointPolicy
from trainables.run_folder.epoch_report import EpochReport
from trainables.training.trainer import Trainer

AT_ONCE = {"patience": 1, "threshold": 100.0}
"""No drop is large enough: a plateau after the stage's second epoch."""
NO_TIME = {"train_s": 0.0, "val_s": 0.0, "cache_s": 0.0, "uncached": None, "images_per_s": 0.0, "time": ""}


def stage(name="only", unfreeze_from="head", epochs=1, **fields):
    return {"name": name, "unfreeze_from": unfreeze_from, "epochs": epochs, "plateau": None, "head_lr": 0.05} | fields


@pytest.fixture
def trainer_of(make_recipe):
    """`trainer_of(stages, **train)`: of the small recipe, judged on few images."""

    def make(*stages, model=None, **train):
        recipe = make_recipe(model=model, stages=list(stages), **train)
        return Trainer(recipe, open_dataset(recipe.data))

    return make


@pytest.fixture
def at_steps():
    """`at_steps(before=…, after=…)`: what to call with the optimizer before and after each of its steps."""
    handles = []

    def register(*, before=None, after=None):
        if before:
            handles.append(register_optimizer_step_pre_hook(lambda optimizer, *_: before(optimizer)))
        if after:
            handles.append(register_optimizer_step_post_hook(lambda optimizer, *_: after(optimizer)))

    yield register
    for handle in handles:
        handle.remove()


def copy_of(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def timeless(report: EpochReport) -> EpochReport:
    return dataclasses.replace(report, **NO_TIME)


# --- epochs ---------------------------------------------------------------------------------------------------------


def test_a_run_learns_what_digits_look_like(make_recipe):
    data = {"validation": 0.05, "long_tail": {"imbalance": 1, "largest": 20}}
    recipe = make_recipe(data=data, stages=[stage("head", epochs=3, head_lr=0.02)])
    reports = list(Trainer(recipe, open_dataset(recipe.data)))
    assert reports[2].train_loss < reports[0].train_loss * 0.6
    assert reports[-1].best_score > 0.6, "chance is 0.1"
    assert not any(report.flags for report in reports)


def test_reports_tell_which_epoch_of_which_stage_they_are_of(trainer_of):
    trainer = trainer_of(stage("head", epochs=2), stage("top", "last:2", 2))
    assert not trainer.finished
    reports = list(trainer)
    assert [(r.epoch, r.stage, r.stage_index, r.epoch_in_stage, r.open_from) for r in reports] == [
        (1, "head", 0, 1, "head"),
        (2, "head", 0, 2, "head"),
        (3, "top", 1, 1, "features.7"),
        (4, "top", 1, 2, "features.7"),
    ]
    assert [(r.stage_over, r.finished) for r in reports] == [
        (False, False),
        (True, False),
        (False, False),
        (True, True),
    ]
    assert trainer.finished
    assert list(trainer) == []


def test_a_report_describes_the_validation_split(trainer_of):
    trainer = trainer_of(stage())
    report = next(trainer)
    labels = trainer.dataset.labels[trainer.dataset.validation]
    confusion = np.array(report.confusion)
    assert confusion.sum(axis=1).tolist() == np.bincount(labels).tolist() == report.per_class["true_count"]
    assert report.metrics["accuracy"] == pytest.approx(confusion.trace() / confusion.sum())
    assert report.score == report.metrics["balanced_accuracy"]
    validation = trainer.dataset.validation
    images, targets = trainer.feed.images.load(validation, None), torch.from_numpy(trainer.dataset.labels[validation])
    with torch.inference_mode():
        logits = trainer.model.eval()(images).double()
    assert report.metrics["val_loss"] == pytest.approx(F.cross_entropy(logits, targets).item(), rel=1e-6)
    predicted = torch.bincount(logits.argmax(dim=1), minlength=10).tolist()
    assert confusion.sum(axis=0).tolist() == predicted
    assert report.images_per_s == pytest.approx(len(trainer.dataset.train) / report.train_s)


def test_rates_follow_warm_up_rest_and_schedule(trainer_of):
    reports = list(
        trainer_of(
            stage("head", epochs=2, head_lr=0.1, head_warmup_epochs=2),
            stage("top", "last:2", 5, head_lr=0.2, backbone_lr=0.03),
            stage("cosine", "last:2", 2, head_lr=0.2, backbone_lr=0.03, schedule="cosine", backbone_warmup_epochs=0),
        )
    )
    assert [r.head_frozen for r in reports] == [False, False, True, True, True, False, False, False, False]
    assert [r.head_lr for r in reports] == pytest.approx([0.05, 0.1, 0, 0, 0, 0.2, 0.2, 0.2, 0.1])
    assert [r.backbone_lr for r in reports] == pytest.approx([0, 0, 0.01, 0.02, 0.03, 0.03, 0.03, 0.03, 0.015])


def test_the_optimizer_steps_at_the_rates_of_the_report(trainer_of, at_steps):
    rates = []
    at_steps(before=lambda optimizer: rates.append({g["name"]: g["lr"] for g in optimizer.param_groups}))
    for report in trainer_of(stage("top", "last:2", 4, backbone_lr=0.03, head_frozen_epochs=1)):
        reported = {"backbone": report.backbone_lr, "head": report.head_lr}  # biases and weights alike
        assert rates == [{name: rate for name, rate in reported.items() if rate}] * 3
        rates.clear()


def test_a_rate_moves_what_it_belongs_to(trainer_of):
    """Plain SGD, one step: how far head and backbone move is proportional to their own rate."""
    plain = {"optimizer": {"kind": "sgd", "momentum": 0.0}, "batch_size": 1000}
    moves = []
    for head_lr, backbone_lr in [(0.1, 0.02), (0.2, 0.02), (0.1, 0.04)]:
        rates = {"head_lr": head_lr, "backbone_lr": backbone_lr, "backbone_warmup_epochs": 0, "dropout": 0.0}
        trainer = trainer_of(stage("top", "last:1", **rates, weight_decay=0.0), **plain)
        before = copy_of(trainer.model)
        next(trainer)
        after = trainer.model.state_dict()
        moves.append([(after[n] - before[n]).norm().item() for n in ("head.last.weight", "blocks.8.0.weight")])
    (head, backbone), more_head, more_backbone = moves
    assert more_head == pytest.approx([2 * head, backbone], rel=1e-3)
    assert more_backbone == pytest.approx([head, 2 * backbone], rel=1e-3)


# --- the end of a stage ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("plateaus", "early_stop", "epochs"),
    [
        pytest.param((None, None), None, [0, 0, 0, 0, 1, 1, 1, 1], id="neither: every stage runs all its epochs"),
        pytest.param((AT_ONCE, None), None, [0, 0, 1, 1, 1, 1], id="a plateau ends its stage"),
        pytest.param((None, AT_ONCE), None, [0, 0, 0, 0, 1, 1, 1, 1], id="the last stage has no plateau"),
        pytest.param((None, None), AT_ONCE, [0, 0, 0, 0, 1, 1], id="early stop ends the last stage only"),
        pytest.param((AT_ONCE, None), AT_ONCE, [0, 0, 1, 1], id="both"),
    ],
)
def test_when_stages_end(trainer_of, plateaus, early_stop, epochs):
    first, last = (stage(f"s{i}", "head", 4, plateau=plateau) for i, plateau in enumerate(plateaus))
    reports = list(trainer_of(first, last, early_stop=early_stop))
    assert [report.stage_index for report in reports] == epochs
    over = [i for i, report in enumerate(reports) if report.stage_over]
    assert over == [i for i, now in enumerate(epochs) if i == len(epochs) - 1 or epochs[i + 1] != now]


def _trained_over_a_stage_border(trainer):
    """(weights after each epoch of the first stage, weights with which the second begins, best epoch of the first)"""
    after, start = [], {}
    for report in trainer:
        after.append(copy_of(trainer.model))
        if report.stage_over:
            break
    best = trainer.history.best_epoch

    def look(optimizer):
        start.setdefault("weights", copy_of(trainer.model))

    handle = register_optimizer_step_pre_hook(lambda optimizer, *_: look(optimizer))
    next(trainer)
    handle.remove()
    return after, start["weights"], best


def test_the_next_stage_starts_from_the_best_weights_of_the_one_before(trainer_of):
    """At such a rate epochs are better and worse by chance: of a few seeds some have their best epoch before the last."""
    best_epochs = []
    for seed in range(3):
        first, second = stage("a", "last:1", 4, head_lr=1.0), stage("b", "head", dropout=0.0)
        trainer = trainer_of(first, second, seed=seed)
        after, start, best = _trained_over_a_stage_border(trainer)
        for epoch, weights in enumerate(after, start=1):
            same = all(torch.equal(weights[name], tensor) for name, tensor in start.items())
            assert same is (epoch == best), f"seed {seed}, epoch {epoch}, best {best}"
        best_epochs.append(best)
    assert min(best_epochs) < 4, "no case in which the last epoch was worse"


def test_of_equal_epochs_the_first_is_best(trainer_of):
    """A rate of almost nothing: nothing changes."""
    reports = list(trainer_of(stage(epochs=3, head_lr=1e-30, dropout=0.0)))
    assert len({report.score for report in reports}) == 1
    assert [report.best_epoch for report in reports] == [1, 1, 1]


@pytest.mark.parametrize(
    ("metric", "best"), [("val_loss", min), ("accuracy", max), ("kappa", max), ("adjusted_balanced_accuracy", max)]
)
def test_the_metric_of_the_recipe_judges_epochs(trainer_of, metric, best):
    reports = list(trainer_of(stage(epochs=4, head_lr=0.5), metric=metric))
    scores = [report.metrics[metric] for report in reports]
    assert [report.score for report in reports] == scores
    assert [report.best_score for report in reports] == [best(scores[: i + 1]) for i in range(4)]
    assert reports[-1].best_epoch == scores.index(best(scores)) + 1


# --- deferred re-weighting ------------------------------------------------------------------------------------------


def test_re_weighting_starts_by_the_plan_however_early_stages_end(trainer_of):
    stages = stage("head", epochs=5, plateau=AT_ONCE), stage("more", epochs=4)
    reports = list(trainer_of(*stages, drw={"start_epoch": 8}, early_stop=None))
    assert [(r.stage, r.reweighted) for r in reports] == [
        ("head", False),
        ("head", False),
        ("more", False),  # the sixth epoch of the plan
        ("more", False),
        ("more", True),
        ("more", True),
    ]


def test_re_weighting_changes_training_from_its_first_epoch_on_and_none_before(trainer_of):
    plain, deferred = (
        list(trainer_of(stage(epochs=3), loss={"kind": "ldam"}, drw=drw))
        for drw in (None, {"start_epoch": 2, "beta": 0.9})
    )
    assert [a.train_loss == b.train_loss for a, b in zip(plain, deferred, strict=True)] == [True, False, False]
    assert timeless(plain[0]) == dataclasses.replace(timeless(deferred[0]), drw_pending=False)


def test_early_stop_waits_for_re_weighting(trainer_of):
    reports = list(trainer_of(stage(epochs=8), drw={"start_epoch": 4}, early_stop=AT_ONCE))
    assert [report.reweighted for report in reports] == [False, False, False, True, True]


def test_ldam_trains_a_cosine_head_with_the_losss_scale(trainer_of):
    trainer = trainer_of(stage(), loss={"kind": "ldam", "scale": 17.0})
    assert trainer.model.head.last.scale == 17.0


# --- steps ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("batch_size", "accumulate", "steps"), [(16, 1, 3), (16, 2, 2), (16, 3, 1), (16, 9, 1), (46, 1, 1)]
)
def test_an_optimizer_step_takes_accumulated_batches(trainer_of, at_steps, batch_size, accumulate, steps):
    seen = []
    at_steps(after=seen.append)
    trainer = trainer_of(stage(), batch_size=batch_size, accumulate=accumulate)
    assert len(trainer.dataset.train) == 46
    next(trainer)
    assert len(seen) == steps


def test_accumulated_batches_make_the_step_of_one_large_batch(trainer_of):
    """The head alone and without dropout, so that no batch statistic differs; 46 images make batches of 12, 12, 11, 11."""
    moved = []
    for batch_size, accumulate in [(46, 1), (12, 4)]:
        trainer = trainer_of(stage(dropout=0.0), batch_size=batch_size, accumulate=accumulate)
        report = next(trainer)
        moved.append((trainer.model.head.last.weight.detach(), report.train_loss))
    assert torch.allclose(moved[0][0], moved[1][0], atol=1e-6)
    assert moved[0][1] == pytest.approx(moved[1][1], rel=1e-5)


@pytest.mark.parametrize(("clip_norm", "clipped"), [(None, False), (1e6, False), (0.05, True)])
def test_the_gradients_norm_is_clipped(trainer_of, at_steps, clip_norm, clipped):
    norms = []

    def look(optimizer):
        gradients = [p.grad.norm() for group in optimizer.param_groups for p in group["params"]]
        norms.append(torch.stack(gradients).norm().item())

    at_steps(before=look)
    next(trainer_of(stage("top", "last:2", head_frozen_epochs=0), clip_norm=clip_norm))
    if clipped:
        assert norms == pytest.approx([0.05] * 3, rel=1e-4)
    else:
        assert min(norms) > 0.05


def test_dropout_differs_between_epochs_and_not_between_runs(trainer_of):
    losses = [[r.train_loss for r in trainer_of(stage(epochs=3, head_lr=1e-30, dropout=0.5))] for _ in range(2)]
    assert losses[0] == losses[1]
    assert len(set(losses[0])) == 3


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("seed", 1),
        ("optimizer", {"kind": "adamw"}),
        ("bn_affine", "train"),
        ("balance", "sampler"),
        ("loss", {"kind": "focal"}),
        ("ema", {"decay": 0.3}),
        ("clip_norm", 0.1),
        ("accumulate", 2),
        ("augment", {"rotate_degrees": 10}),
    ],
)
def test_each_switch_changes_the_result(trainer_of, field, value):
    stages = (stage("top", "last:1", dropout=0.0),)
    usual, other = (list(trainer_of(*stages, **train))[-1] for train in ({}, {field: value}))
    assert (usual.train_loss, usual.metrics["val_loss"]) != (other.train_loss, other.metrics["val_loss"])


def test_what_only_concerns_files_changes_nothing(trainer_of):
    results = [
        timeless(next(trainer_of(stage(), checkpoints=policy.model_dump())))
        for policy in (CheckpointPolicy(), CheckpointPolicy(keep_best=3, keep_every_epochs=1))
    ]
    assert results[0] == results[1]


# --- augmentation ---------------------------------------------------------------------------------------------------

AUGMENT = {"rotate_degrees": 30, "crop": {"min_scale": 0.3}, "brightness": 0.5, "erase": {"probability": 0.5}}
STILL = {"head_lr": 1e-30, "dropout": 0.0}
"""Nothing is learned: losses tell what the images were."""


def still_losses(trainer_of, epochs, **train):
    return [report.train_loss for report in trainer_of(stage(epochs=epochs, **STILL), **train)]


@pytest.mark.parametrize("augment", [{}, {"views": 2}])
def test_augmentation_of_nothing_changes_no_bit(trainer_of, augment):
    stages = (stage("top", "last:1", 2),)
    plain, augmented = (list(map(timeless, trainer_of(*stages, augment=value))) for value in (None, augment))
    assert plain == augmented


def test_views_come_back_and_differ(trainer_of):
    two, fresh = (still_losses(trainer_of, 4, augment=AUGMENT | {"views": views}) for views in (2, None))
    assert two[2:] == pytest.approx(two[:2], rel=1e-5)
    assert two[1] != pytest.approx(two[0], rel=1e-3)
    assert fresh[:2] == two[:2]
    assert len({round(loss, 4) for loss in fresh}) == 4


@pytest.mark.parametrize("views", [None, 2])
def test_the_batch_size_changes_no_augmented_image(trainer_of, views):
    """The order of sums differs, the images do not."""
    small, large = (
        still_losses(trainer_of, 2, batch_size=size, augment=AUGMENT | {"views": views}) for size in (5, 46)
    )
    assert small == pytest.approx(large, rel=1e-5)


def test_validation_images_are_not_augmented(trainer_of):
    plain, augmented = (next(trainer_of(stage(**STILL), augment=augment)) for augment in (None, AUGMENT))
    assert plain.metrics == augmented.metrics
    assert plain.train_loss != augmented.train_loss


def test_images_drawn_again_by_a_balanced_sampler_are_varied_differently(trainer_of, monkeypatch):
    shown = []

    def look(images, config, *, seed, positions, versions):
        assert seed == 7
        shown.extend(zip(positions.tolist(), versions.tolist(), strict=True))
        return images

    monkeypatch.setattr("trainables.data.batches.image_loader.augment", look)
    list(trainer_of(stage(epochs=2), balance="sampler", augment=AUGMENT, seed=7))
    assert len(shown) == len(set(shown)) == 2 * 46
    assert len({position for position, _ in shown}) < 46


# --- a run that goes wrong ------------------------------------------------------------------------------------------


def test_a_run_whose_loss_is_no_number_is_over(trainer_of):
    trainer = trainer_of(stage("top", "last:2", 5, head_lr=1e30, backbone_lr=1e30), stage("more", "last:3", 5))
    reports = list(trainer)
    assert 1 <= len(reports) <= 2
    assert not math.isfinite(reports[-1].train_loss)
    flagged = [(Flag.NAN in r.flags, r.stopped_for, r.finished) for r in reports]
    assert flagged == [(False, None, False)] * (len(reports) - 1) + [(True, "nan", True)]
    assert reports[-1].stage_over, "no stage comes after it"
    assert reports[-1].best_epoch < reports[-1].epoch or math.isfinite(reports[-1].best_score)
    assert "NaN" not in reports[-1].to_json()


def test_a_run_may_be_told_to_go_on_without_a_number(trainer_of):
    """The next stage starts from the best weights, so that there is something to go on for."""
    wild = stage("wild", "last:1", 6, head_lr=1e30, backbone_lr=1e30, plateau={"patience": 2, "threshold": 0.0})
    reports = list(trainer_of(wild, stage("tame", head_lr=1e-3), stop_on=[]))
    assert [Flag.NAN in r.flags for r in reports if r.stage == "wild"][-2:] == [True, True]
    assert (reports[-1].stage, reports[-1].stopped_for, reports[-1].finished) == ("tame", None, True)


RANDOM = {"backbone": "mobilenet_v3_small", "weights": "none"}
"""At these rates it predicts one class for ever."""


@pytest.mark.parametrize(
    ("stop_on", "fields", "ends"),
    [
        pytest.param(["nan"], {}, None, id="a flag alone ends nothing"),
        pytest.param(["nan", "collapse"], {}, 4, id="one of stop_on does once the stage has settled"),
        pytest.param(["collapse"], {"head_warmup_epochs": 4}, 5, id="which takes its warm-up"),
        pytest.param(["gap"], {}, None, id="another flag is not asked for"),
    ],
)
def test_a_run_ends_for_the_flags_it_is_told_to(trainer_of, stop_on, fields, ends):
    trainer = trainer_of(stage(epochs=6, head_lr=1e-4, **fields), model=RANDOM, stop_on=stop_on)
    reports = list(trainer)
    assert [report.flags for report in reports] == [(Flag.COLLAPSE,)] * (ends or 6)
    assert [report.finished for report in reports[:-1]] == [False] * (len(reports) - 1)
    assert (reports[-1].stopped_for, reports[-1].finished) == (ends and Flag.COLLAPSE, True)


def test_rules_see_the_whole_run(trainer_of):
    """An AUC is stuck after ten epochs over all stages."""
    stages = [stage(name, epochs=4, head_lr=1e-4) for name in "abc"]
    reports = list(trainer_of(*stages, model=RANDOM))
    assert [Flag.STUCK_AUC in report.flags for report in reports] == [False] * 9 + [True] * 3


# --- the prior that training taught ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("train", "left"),
    [
        pytest.param({}, "counts", id="cross-entropy"),
        pytest.param({"loss": {"kind": "balanced_softmax"}}, "nothing", id="balanced softmax"),
        pytest.param({"balance": "sampler"}, "nothing", id="balanced sampling"),
        pytest.param({"balance": "class_weights"}, "nothing", id="class weights"),
        pytest.param({"loss": {"kind": "ldam"}, "drw": {"start_epoch": 2}}, "counts", id="LDAM before re-weighting"),
        pytest.param({"loss": {"kind": "ldam"}, "drw": {"start_epoch": 1}}, "nothing", id="LDAM with re-weighting"),
    ],
)
def test_corrected_metrics_divide_by_what_training_taught(trainer_of, train, left):
    trainer = trainer_of(stage(epochs=2), **train)
    report = next(trainer)
    counts = trainer.dataset.train_counts
    validation = trainer.dataset.validation
    images, targets = trainer.feed.images.load(validation, None), torch.from_numpy(trainer.dataset.labels[validation])
    with torch.inference_mode():
        logits = trainer.model.eval()(images).double()
    prior = torch.from_numpy(counts / counts.sum()) if left == "counts" else torch.ones(10)
    predicted = (logits - prior.log()).argmax(dim=1)
    recalls = [(predicted[targets == c] == c).double().mean().item() for c in range(10)]
    assert report.metrics["corrected_balanced_accuracy"] == pytest.approx(np.mean(recalls))
    if left == "nothing":
        assert report.metrics["corrected_macro_f1"] == report.metrics["macro_f1"]


def test_correction_helps_cross_entropy_on_a_long_tail(make_recipe):
    data = {"validation": 0.3, "long_tail": {"imbalance": 50, "largest": 100}}
    recipe = make_recipe(data=data, stages=[stage(epochs=4, head_lr=0.02)], metric="corrected_balanced_accuracy")
    reports = list(Trainer(recipe, open_dataset(recipe.data)))
    metrics = reports[-1].metrics
    assert metrics["corrected_balanced_accuracy"] > metrics["balanced_accuracy"] + 0.03
    assert [report.score for report in reports] == [report.metrics["corrected_balanced_accuracy"] for report in reports]


# --- memory -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fields", [{}, {"precision": "bf16", "accumulate": 2}])
def test_gradient_checkpointing_keeps_less_and_changes_no_bit(own_module, make_recipe, fields):
    """BatchNorm's statistics and dropout included."""
    stages = [
        {"name": "all", "unfreeze_from": "all", "epochs": 2, "head_lr": 0.05, "backbone_lr": 0.05, "dropout": 0.5}
    ]
    model, outcomes = {"backbone": f"{own_module()}:tiny"}, []
    for recomputes in (False, True):
        recipe = make_recipe(
            data={"validation": 0.02},
            model=model,
            stages=stages,
            ema={"decay": 0.5},
            gradient_checkpointing=recomputes,
            **fields,
        )
        trainer, kept = Trainer(recipe, open_dataset(recipe.data)), []

        def keep(tensor, kept=kept):
            kept.append(tensor.nbytes)
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            reports = [(report.train_loss, report.metrics) for report in trainer]
        outcomes.append((reports, trainer.model.state_dict(), trainer._active.state_dict()["ema"], sum(kept)))
    (plain, weights, average, much), (recomputed, same, same_average, little) = outcomes
    assert recomputed == plain
    assert all(torch.equal(tensor, same[name]) for name, tensor in weights.items())
    assert all(torch.equal(tensor, same_average[name]) for name, tensor in average.items())
    assert little < 0.8 * much  # of blocks with a single convolution
