"""Runs on streamed images: bit for bit those on cached ones."""

import copy
import pickle

import numpy as np
import pytest
import torch

from tests.support.own_processes import OwnProcess
from tests.support.photo_runs import pack, photo_recipe, train, write_photos
from tests.support.recipes import TINY_NETWORK
from tests.support.replica_runs import train_all
from trainables.data.batches import read_ahead
from trainables.data.dataset import _open, open_dataset
from trainables.data.store.streamed_images import StreamedImages
from trainables.recipe.recipe import parse_recipe
from trainables.storage.cache_folder import entries
from trainables.training.trainer import Trainer
from trainables.trial.dry_run import sample

OPEN = {"head_lr": 0.05, "backbone_lr": 0.05, "head_frozen_epochs": 0, "backbone_warmup_epochs": 0, "plateau": None}
STAGES = [
    {"name": "head", "unfreeze_from": "head", "epochs": 1, "head_lr": 0.05, "plateau": None},
    {"name": "some", "unfreeze_from": "three", "epochs": 1, "image_size": 24, "data_fraction": 0.6, **OPEN},
    {"name": "all", "unfreeze_from": "all", "epochs": 1, **OPEN},
]
CASES = {
    "sizes, shares, balanced sampling": {"balance": "sampler", "batch_size": 7},
    "views": {"augment": {"views": 2, "rotate_degrees": 20, "horizontal_flip": 0.5}},
    "augmented in every epoch, images mixed": {
        "augment": {"rotate_degrees": 20},
        "mix": {"mixup_alpha": 0.4, "cutmix_alpha": 1.0},
        "accumulate": 2,
    },
    "features mixed": {"mix": {"mixup_alpha": 0.4, "at": "cut"}},
    "nothing cached": {"prefix_cache": False},
}


@pytest.fixture
def photos(tmp_path):
    return write_photos(tmp_path / "photos")


@pytest.fixture
def backbone(own_module):
    seeded = TINY_NETWORK.replace("def tiny():\n", "def tiny():\n    torch.manual_seed(0)\n")
    return f"{own_module(seeded)}:tiny"


@pytest.fixture
def cached_and_streamed(tmp_path, monkeypatch):
    """`cached_and_streamed(work)`: results of some work with room in the cache, and without; each with a cache of its own."""

    def both(work):
        results = []
        for name, gib in (("cached", "1"), ("streamed", str(60 / 2**20))):  # 60 KiB: none of the images
            monkeypatch.setenv("THAW_CACHE", str(tmp_path / name))
            monkeypatch.setenv("THAW_CACHE_GIB", gib)
            _open.cache_clear()
            results.append(work())
        return results

    return both


def open_for(recipe):
    return open_dataset(recipe.data, image_sizes=recipe.image_sizes)


def trained(recipe, *, resume_after=None):
    """Numbers of all epochs, and the weights; if resumed, in a new trainer after so many epochs."""
    trainer, reports = Trainer(recipe, open_for(recipe), sharing_runs=1000), []
    while not trainer.finished:
        reports.append(next(trainer))
        if len(reports) == resume_after:
            state, trainer = trainer.state_dict(), Trainer(recipe, open_for(recipe), sharing_runs=1000)
            trainer.load_state_dict(state)
    numbers = [(r.train_loss, dict(r.metrics), r.confusion, r.uncached) for r in reports]
    return numbers, {name: tensor.clone() for name, tensor in trainer.model.state_dict().items()}


def same(one, other):
    assert one[0] == other[0]
    assert all(torch.equal(tensor, other[1][name]) for name, tensor in one[1].items())


@pytest.mark.parametrize("train", CASES.values(), ids=CASES.keys())
def test_streaming_changes_no_bit_of_a_run(photos, backbone, cached_and_streamed, train):
    recipe = parse_recipe(photo_recipe(photos, model={"backbone": backbone}, stages=STAGES, **train))
    cached, streamed = cached_and_streamed(lambda: trained(recipe))
    same(cached, streamed)
    assert isinstance(open_for(recipe).images_at[24], StreamedImages)
    same(trained(recipe, resume_after=1), streamed)
    if train.get("prefix_cache", True) and "at" in train.get("mix", {"at": "cut"}):
        assert "features" in {entry.kind for entry in entries()}  # they fit, though the images do not


def test_streaming_changes_no_bit_of_a_regression(photos, backbone, cached_and_streamed):
    files = sorted(photos.rglob("*.png"))
    rows = [f"{file.relative_to(photos)},{i % 7 + 0.5}" for i, file in enumerate(files)]
    (photos / "numbers.csv").write_text("\n".join(["path,label", *rows]))
    plain = photo_recipe(
        photos, model={"backbone": backbone}, stages=STAGES[2:], metric="val_loss", loss={"kind": "huber"}
    )
    plain["data"] |= {"source": "table", "path": str(photos / "numbers.csv"), "task": "regression"}
    recipe = parse_recipe(plain)
    same(*cached_and_streamed(lambda: trained(recipe)))


def test_everything_that_is_known_of_the_data_is_the_same(photos, cached_and_streamed):
    (photos / "eight/copy.png").write_bytes((photos / "four/001.png").read_bytes())
    recipe = parse_recipe(photo_recipe(photos, data={"duplicates": "group", "test": 0.2}))

    def opened():
        dataset = open_for(recipe)
        few = sample(dataset, 5, seed=0)
        sides = dataset.train.tolist(), dataset.validation.tolist(), dataset.test.tolist()
        return (
            dataset.fingerprint,
            dataset.split_fingerprint,
            sides,
            few.fingerprint,
            few.images[:].tolist(),
            dataset.streamed,
        )

    cached, streamed = cached_and_streamed(opened)
    assert cached[:-1] == streamed[:-1]
    assert cached[-1] is None
    assert streamed[-1].startswith("images of 32 px are streamed, which decodes them again in each epoch: ")


@pytest.mark.slow
def test_streaming_changes_no_bit_in_several_processes(tmp_path, photos, backbone, cached_and_streamed):
    train = {"balance": "sampler", "mix": {"mixup_alpha": 0.4}, "workers": 2}
    plain = photo_recipe(photos, model={"backbone": backbone}, stages=STAGES[::2], **train)

    def in_two():
        folder = tmp_path / f"processes-{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        processes = [OwnProcess(train_all, rank, 2, folder, {"run": plain}, {}) for rank in (0, 1)]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
        assert [process.exitcode for process in processes] == [0, 0]
        reports, weights = pickle.loads((folder / "0.pickle").read_bytes())["run"]
        return [(r.train_loss, dict(r.metrics), r.confusion) for r in reports], weights

    same(*cached_and_streamed(in_two))


@pytest.mark.slow
def test_a_package_is_the_same(photos, tmp_path, backbone, cached_and_streamed):
    recipe = photo_recipe(photos, model={"backbone": backbone}, stages=STAGES[2:])

    def packed():
        folder = tmp_path / f"run-{len(list(tmp_path.iterdir()))}"
        validated = pack(train(copy.deepcopy(recipe), folder), tmp_path / f"{folder.name}-package")[1].validated
        return validated.outcome.outputs, validated.images

    cached, streamed = cached_and_streamed(packed)
    assert all(np.array_equal(one, other) for one, other in zip(cached, streamed, strict=True))


def test_an_epoch_reads_only_ahead(photos, backbone, cached_and_streamed, monkeypatch):
    """Images of a training epoch come from the threads that decode ahead, never from the loop itself."""
    recipe = parse_recipe(photo_recipe(photos, model={"backbone": backbone}, stages=STAGES[2:]))
    trained_on = []
    real = read_ahead.read_ahead

    def counted(images, parts, *, pinned):
        trained_on.append(sum(map(len, parts)))
        return real(images, parts, pinned=pinned)

    monkeypatch.setattr("trainables.data.batches.batches.read_ahead", counted)
    cached_and_streamed(lambda: next(Trainer(recipe, open_for(recipe))))
    dataset = open_for(recipe)
    assert trained_on == [len(dataset.train), len(dataset.validation)]
