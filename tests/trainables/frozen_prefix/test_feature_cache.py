"""Features of frozen blocks: computed once, shared, and the same to the last bit."""

import functools
import os

import numpy as np
import pytest
import torch

from tests.support.own_processes import CONTEXT, OwnProcess
from trainables.data.batches import gpu_resident
from trainables.data.dataset import open_dataset
from trainables.frozen_prefix.feature_cache import CachedImages, PrefixCache, UncachedError, is_worth_caching
from trainables.frozen_prefix.feature_file import gather_features, load_features
from trainables.models.build_model import build_model
from trainables.recipe.backbone_catalog import BACKBONES, IMAGE_BACKBONES
from trainables.recipe.model_config import ModelConfig
from trainables.recipe.rules.prefix_rules import PREFIX_BATCH, PREFIX_BATCH_OF_VOLUMES, epochs_by_cut, why_uncached
from trainables.storage import cache_folder
from trainables.training.trainer import Trainer

HEAD = {"name": "head", "unfreeze_from": "head", "epochs": 2, "head_lr": 0.05, "plateau": None}
TOP = {"name": "top", "unfreeze_from": "last:2", "epochs": 2, "head_lr": 0.05, "plateau": None, "head_frozen_epochs": 0}
DIVIDING = {**TOP, "name": "parts", "unfreeze_from": "all", "freeze": ["features.6.2"], "epochs": 1}
PART = {**TOP, "unfreeze_from": "features.6.2"}
NEW = "training images are augmented differently in each epoch; train.augment.views limits them to a number of views"
VIEWS = {"views": 2, "crop": {"min_scale": 0.5}, "horizontal_flip": 0.5}


@pytest.fixture(autouse=True)
def _empty_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("THAW_CACHE", str(tmp_path / "cache"))


def reports_of(recipe, *, sharing_runs=1000):
    """All epochs of a run. So many runs share its features that keeping them is always worth it."""
    return list(Trainer(recipe, open_dataset(recipe.data), sharing_runs=sharing_runs))


def numbers(reports):
    return [(r.train_loss, dict(r.metrics), r.confusion) for r in reports]


def kept():
    return sorted(entry.what for entry in cache_folder.entries() if entry.kind == "features")


# --- the same training ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "train",
    [
        pytest.param({}, id="images as they are"),
        pytest.param({"augment": VIEWS}, id="two views"),
        pytest.param({"stages": [HEAD, PART]}, id="a cut inside a block"),
        pytest.param({"augment": VIEWS, "balance": "sampler"}, id="views mixed in a batch"),
        pytest.param({"batch_size": 7, "accumulate": 3, "ema": {"decay": 0.9}}, id="batches that do not fit chunks"),
        pytest.param({"loss": {"kind": "ldam"}, "drw": {"start_epoch": 3}}, id="LDAM-DRW"),
        pytest.param({"precision": "bf16"}, id="mixed precision"),
        pytest.param({"prefix_dtype": "bf16"}, id="features rounded to bf16"),
    ],
)
def test_kept_features_change_no_bit_of_a_run(make_recipe, train):
    computed = reports_of(make_recipe(prefix_cache=False, **train))
    assert {report.uncached for report in computed} == {"train.prefix_cache is off"}
    built, found = reports_of(make_recipe(**train)), reports_of(make_recipe(**train))
    assert [report.uncached for report in built + found] == [None] * 8
    assert numbers(built) == numbers(computed)
    assert numbers(found) == numbers(computed)
    assert sum(report.cache_s for report in built) > 0
    assert sum(report.cache_s for report in found) == 0


@pytest.mark.parametrize(
    "backbone", [*IMAGE_BACKBONES, "r3d_18", "r2plus1d_18", "medicalnet_resnet10", "medicalnet_resnet50"]
)
def test_an_image_has_the_same_features_in_whatever_company(backbone):
    config = ModelConfig(backbone=backbone, weights="none")
    model = build_model(config, classes=2, cosine_scale=None, generator=torch.Generator().manual_seed(0)).model.eval()
    info = BACKBONES[backbone]
    batch = PREFIX_BATCH if info.dims == 2 else PREFIX_BATCH_OF_VOLUMES
    shape = (2 * batch, *([32] * 2 if info.dims == 2 else [16] * 3), info.channels)
    images = torch.rand(shape, generator=torch.Generator().manual_seed(1)).movedim(-1, 1)
    order = torch.from_numpy(np.random.default_rng(2).permutation(len(images)))
    for cut in {1, len(model.blocks) // 2, len(model.blocks)}:
        with torch.no_grad():
            features = torch.cat([model.prefix(part, cut) for part in images.split(batch)])
            shuffled = torch.cat([model.prefix(part, cut) for part in images[order].split(batch)])
        assert torch.equal(shuffled, features[order])


def test_bf16_features_are_half_as_large_and_move_the_results(make_recipe):
    exact = numbers(reports_of(make_recipe()))
    sizes = sum(entry.bytes for entry in cache_folder.entries() if entry.kind == "features")
    rounded = numbers(reports_of(make_recipe(prefix_dtype="bf16")))
    assert rounded != exact
    both = sum(entry.bytes for entry in cache_folder.entries() if entry.kind == "features")
    assert both - sizes == pytest.approx(sizes / 2, rel=0.05)


# --- what is shared -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("other", "shared"),
    [
        pytest.param({"train": {"stages": [HEAD | {"head_lr": 0.5, "dropout": 0.0}, TOP]}}, True, id="learning rate"),
        pytest.param({"train": {"seed": 1, "batch_size": 5}}, True, id="seed and batch size"),
        pytest.param({"train": {"loss": {"kind": "ldam"}}}, True, id="loss"),
        pytest.param({"train": {"stages": [HEAD, TOP, DIVIDING]}}, True, id="a stage that divides a block"),
        pytest.param({"train": {"precision": "bf16"}}, False, id="precision"),
        pytest.param({"train": {"cpu_threads": 2}}, False, id="threads, which may move the last bit"),
        pytest.param({"data": {"image_size": 64}}, False, id="image size"),
        pytest.param({"data": {"seed": 1}}, False, id="other images train"),
        pytest.param({"train": {"augment": VIEWS}}, False, id="augmentation"),
    ],
)
def test_runs_that_agree_on_all_that_features_depend_on_share_them(make_recipe, other, shared):
    stages = [HEAD, TOP]
    reports_of(make_recipe(stages=stages))
    before = kept()
    reports = reports_of(make_recipe(data=other.get("data"), **{"stages": stages} | other.get("train", {})))
    torch.set_num_threads(1)
    assert (sum(report.cache_s for report in reports) == 0) is shared
    assert (kept() == before) is shared


def test_another_seed_draws_other_views(make_recipe):
    for seed in (0, 1):
        reports_of(make_recipe(augment=VIEWS, seed=seed, stages=[HEAD]))
    assert kept() == ["training images, view 0 after features.8"] * 2 + [
        "training images, view 1 after features.8"
    ] * 2 + ["validation images after features.8"]


def test_the_features_of_later_stages_are_kept_on_the_way(make_recipe):
    recipe = make_recipe(stages=[HEAD, TOP])
    trainer = Trainer(recipe, open_dataset(recipe.data), sharing_runs=1000)
    next(trainer)
    assert kept() == [
        f"{side} images after features.{block}" for side in ("training", "validation") for block in (6, 8)
    ]
    assert sum(report.cache_s for report in trainer) == 0


def test_a_cut_between_is_computed_from_the_one_below_and_is_the_same(make_recipe):
    """A search over depths: one trial opens the last three blocks, another only the last one."""
    deep, shallow = (make_recipe(stages=[TOP | {"unfreeze_from": depth}]) for depth in ("last:3", "last:1"))
    alone = numbers(
        reports_of(shallow.model_copy(update={"train": shallow.train.model_copy(update={"prefix_cache": False})}))
    )
    reports_of(deep)
    passes = []
    trainer = Trainer(shallow, open_dataset(shallow.data), sharing_runs=1000)
    prefix = trainer.feed._prefix.cache
    through = prefix._prefix
    prefix._prefix = lambda x, start, cut: passes.append((start, cut)) or through(x, start, cut)
    assert numbers(trainer) == alone
    assert set(passes) == {(6, 8)}


# --- where features are not kept ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stages", "train", "reasons"),
    [
        ([HEAD, TOP], {}, [None, None]),
        ([HEAD, TOP | {"unfreeze_from": "all"}], {}, [None, "nothing is frozen"]),
        ([HEAD, TOP], {"prefix_cache": False}, ["train.prefix_cache is off"] * 2),
        ([TOP, HEAD], {}, [None, "blocks before head have been trained in an earlier stage"]),
        ([TOP, HEAD | {"unfreeze_from": "last:1"}], {}, [None, "blocks before features.8 have been trained in an earlier stage"]),
        ([HEAD, TOP], {"augment": {"horizontal_flip": 0.5}}, [NEW] * 2),
        ([HEAD, TOP], {"augment": VIEWS}, [None, None]),
    ],
)  # fmt: skip
def test_features_are_kept_only_where_they_stay_the_same(make_recipe, stages, train, reasons):
    recipe = make_recipe(stages=stages, **train)
    assert [why_uncached(recipe, stage) for stage in range(2)] == reasons
    epochs = {recipe.cut(i): recipe.train.stages[i].epochs for i in range(2) if reasons[i] is None}
    assert epochs_by_cut(recipe, 0) == epochs


def test_a_network_without_pretrained_weights_shares_nothing(make_recipe):
    assert "starts from random weights" in why_uncached(make_recipe(model={"weights": "none"}), 0)


def test_a_stage_whose_frozen_blocks_were_trained_before_computes_them_and_says_so(make_recipe):
    """Progressive freezing."""
    reports = reports_of(make_recipe(stages=[TOP, HEAD]))
    assert [report.uncached for report in reports] == [None] * 2 + [
        "blocks before head have been trained in an earlier stage"
    ] * 2


@pytest.mark.parametrize(
    ("epochs", "compute_s", "gather_s", "write_s", "worth"),
    [
        (1, 1.0, 0.0, 0.0, False),  # computed once either way
        (2, 1.0, 0.1, 0.1, True),
        (2, 1.0, 0.1, 0.9, False),
        (100, 1.0, 1.0, 0.0, False),  # reading takes as long
        (0.5, 1.0, 0.0, 0.0, False),
        (10, 1.0, 0.5, 3.0, True),
    ],
)
def test_features_are_kept_where_that_saves_time(epochs, compute_s, gather_s, write_s, worth):
    assert is_worth_caching(epochs=epochs, compute_s=compute_s, gather_s=gather_s, write_s=write_s) is worth


def test_what_costs_more_than_it_saves_is_not_kept(make_recipe):
    reports = reports_of(make_recipe(stages=[HEAD | {"epochs": 1}]), sharing_runs=1)
    assert [report.uncached for report in reports] == ["they would cost more than they save"]
    assert kept() == []


def test_a_run_goes_on_where_the_cache_is_full(make_recipe, monkeypatch):
    recipe = make_recipe(stages=[HEAD])
    expected = numbers(reports_of(make_recipe(stages=[HEAD], prefix_cache=False)))
    monkeypatch.setenv("THAW_CACHE_GIB", "0.00001")
    reports = reports_of(recipe)
    assert all("they cannot be written to the cache" in report.uncached for report in reports)
    assert numbers(reports) == expected


def test_a_truncated_file_is_computed_anew(make_recipe):
    recipe = make_recipe(stages=[HEAD])
    expected = numbers(reports_of(recipe))
    for entry in cache_folder.entries():
        if entry.kind == "features":
            os.truncate(entry.array, entry.bytes - 100)
    again = reports_of(recipe)
    assert numbers(again) == expected
    assert sum(report.cache_s for report in again) > 0


def test_features_that_another_run_computes_right_now_are_not_waited_for(make_recipe):
    recipe = make_recipe(stages=[HEAD])
    expected = numbers(reports_of(make_recipe(stages=[HEAD], prefix_cache=False)))
    reports_of(recipe)
    arrays = [entry.array for entry in cache_folder.entries() if entry.kind == "features"]
    for array in arrays:
        array.unlink()
    with cache_folder.building(*arrays):
        reports = reports_of(recipe)
    assert {report.uncached for report in reports} == {"another run is computing them right now"}
    assert numbers(reports) == expected


def _train_here(recipe, results):
    torch.set_num_threads(1)
    results.put(numbers(reports_of(recipe)))


def test_runs_that_start_together_agree_and_leave_one_set_of_features(make_recipe):
    recipe = make_recipe(stages=[HEAD | {"epochs": 3}])
    open_dataset(recipe.data)
    results = CONTEXT.Queue()
    runs = [OwnProcess(_train_here, recipe, results) for _ in range(3)]
    for run in runs:
        run.start()
    outcomes = [results.get(timeout=120) for _ in runs]
    for run in runs:
        run.join(timeout=60)
    assert [run.exitcode for run in runs] == [0, 0, 0]
    assert outcomes[0] == outcomes[1] == outcomes[2]
    assert kept() == ["training images after features.8", "validation images after features.8"]


# --- the cache by itself --------------------------------------------------------------------------------------------


CHAIN = {
    "batch": PREFIX_BATCH,
    "blocks": ("first", "second", "third"),
    "cut_keys": ("0", "1", "2", "3"),
    "rounded_to": None,
    "progress": None,
}


def chain_of():
    """A network of three blocks on [b, 2, 1, 1]: each adds 1."""
    return lambda x, start, cut: x + (cut - start)


ALL = {1: 1e9, 2: 1e9, 3: 1e9}


def images_of(count=40, epochs=ALL):
    positions = np.arange(count) * 3

    def load(chunks):
        return (torch.from_numpy(wanted).float().reshape(-1, 1, 1, 1).expand(-1, 2, 1, 1) for wanted in chunks)

    return CachedImages(name="images", key="k", source="test", positions=positions, load=load, epochs=epochs)


def cache_of(**changes):
    return PrefixCache(chain_of(), **CHAIN | changes)


def test_features_are_in_the_order_of_the_positions():
    features = cache_of().features(images_of(), 3)
    assert features.shape == (40, 2, 1, 1)
    assert features[:, 1, 0, 0].tolist() == [3 * i + 3 for i in range(40)]
    assert gather_features(features, torch.tensor([4, 4, 0]))[:, 0, 0, 0].tolist() == [15, 15, 3]


def test_only_cuts_that_are_needed_are_written():
    cache_of().features(images_of(epochs={1: 1e9, 3: 1e9}), 3)
    assert kept() == ["images after first", "images after third"]


def test_progress_is_told_in_images():
    told = []
    cache_of(progress=lambda *numbers: told.append(numbers)).features(images_of(70), 1)
    assert told == [(32, 70), (64, 70), (70, 70)]


def test_what_was_refused_once_is_not_tried_again():
    passes = []
    refusing = PrefixCache(lambda x, start, cut: passes.append(cut) or x, **CHAIN)
    for _ in range(3):
        with pytest.raises(UncachedError, match="cost more than they save"):
            refusing.features(images_of(epochs={1: 0.5}), 1)
    assert len(passes) == 2  # two timed passes, once


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_every_type_comes_back_as_it_was(dtype):
    features = PrefixCache(lambda x, start, cut: (x / 7).to(dtype), **CHAIN).features(images_of(), 1)
    assert features.dtype is dtype
    assert torch.equal(features[:, 0, 0, 0], (torch.arange(40) * 3 / 7).to(dtype))


def test_feature_maps_come_back_channels_last(make_recipe):
    reports_of(make_recipe(stages=[TOP]))
    (train, *_) = [entry for entry in cache_folder.entries() if entry.what.startswith("training")]
    features = load_features(train.array)
    assert features.dim() == 4
    assert features.is_contiguous(memory_format=torch.channels_last)
    assert gather_features(features, torch.tensor([5, 1])).is_contiguous(memory_format=torch.channels_last)


def test_features_that_fit_on_a_device_are_sent_there_once(make_recipe, monkeypatch):
    """Here the device is the CPU, that of a GPU aside from where it lies."""
    expected = numbers(reports_of(make_recipe()))
    sent = []
    monkeypatch.setattr(gpu_resident, "_free_bytes", lambda device: 10**9)
    move = torch.Tensor.to
    gpu_resident._features_on.cache_clear()
    monkeypatch.setattr(
        gpu_resident,
        "_features_on",
        functools.lru_cache(lambda same, device: sent.append(same) or move(same.array, device)),
    )
    assert numbers(reports_of(make_recipe())) == expected
    assert numbers(reports_of(make_recipe())) == expected
    assert len(sent) == 4  # training and validation images at two cuts
    gpu_resident._images_on.cache_clear()
