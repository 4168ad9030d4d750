"""Images for which the cache has no room are decoded when they are read: the same pixels, facts and fingerprint as cached ones."""

import os
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from trainables.core import available_cpus
from trainables.core.config_errors import ConfigError
from trainables.data.batches.read_ahead import read_ahead
from trainables.data.sources.open_source import open_source
from trainables.data.store import streamed_images
from trainables.data.store.decoded_images import open_store, open_stores, why_streamed
from trainables.data.store.streamed_images import StreamedImages
from trainables.recipe.data_config import DataConfig
from trainables.storage.cache_folder import entries, make_room


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("THAW_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def photos(tmp_path) -> Path:
    """Two classes of 20 images, of which one is a copy and one nearly one."""
    random = np.random.default_rng(0)
    for i in range(40):
        path = tmp_path / "photos" / "ab"[i % 2] / f"{i:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        cells = random.integers(0, 256, (6, 6, 3), np.uint8)
        Image.fromarray(cells).resize((50, 40 + i % 3), Image.Resampling.BICUBIC).save(path)
    (tmp_path / "photos/a/98.png").write_bytes((tmp_path / "photos/a/00.png").read_bytes())
    Image.open(tmp_path / "photos/b/01.png").save(tmp_path / "photos/b/99.jpg", quality=80)
    return tmp_path / "photos"


def source_of(folder: Path, **data):
    return open_source(DataConfig(source="folder", path=str(folder), **data))


def streaming(monkeypatch, kib: float = 1) -> None:
    monkeypatch.setenv("THAW_CACHE_GIB", str(kib / 2**20))


def both(photos, monkeypatch, **options):
    cached = open_store(source_of(photos), 24, **options)
    monkeypatch.setenv("THAW_CACHE", f"{os.environ['THAW_CACHE']}-streamed")
    streaming(monkeypatch)
    return cached, open_store(source_of(photos), 24, **options)


def test_all_is_as_in_the_cache(photos, monkeypatch):
    cached, streamed = both(photos, monkeypatch)
    assert cached.uncached is None
    assert isinstance(streamed.images, StreamedImages)
    assert "more than THAW_CACHE_GIB=" in streamed.uncached
    array, images = cached.images, streamed.images
    for name in ("shape", "dtype", "ndim", "nbytes"):
        assert getattr(images, name) == getattr(array, name)
    some = np.array([3, 3, 0, 41])
    assert (images[some] == array[some]).all()
    assert (images[5:9] == array[5:9]).all()
    assert (images[7] == array[7]).all()
    assert images[:0].shape == array[:0].shape
    assert (images.at(some)[:] == array[some]).all()
    assert all((one == other).all() for one, other in zip(images, array, strict=True))
    assert streamed.fingerprint == cached.fingerprint
    assert streamed.details.names == cached.details.names
    assert (streamed.details.facts == cached.details.facts).all()
    assert (streamed.details.facts["like"] != np.arange(42)).sum() == 2


def test_facts_are_found_once(photos, monkeypatch):
    streaming(monkeypatch)
    calls = []
    first = open_store(source_of(photos), 24, progress=lambda *step: calls.append(step))
    assert len(calls) == 42
    again = open_store(source_of(photos), 24, progress=lambda *step: calls.append(step))
    assert len(calls) == 42
    assert again.fingerprint == first.fingerprint
    make_room(900)  # of 1,024 bytes
    assert [(entry.kind, entry.what) for entry in entries()] == [("streamed", "24 px")]


def test_a_higher_limit_caches_them(photos, monkeypatch):
    streaming(monkeypatch)
    before = open_store(source_of(photos), 24)
    monkeypatch.delenv("THAW_CACHE_GIB")
    after = open_store(source_of(photos), 24)
    assert isinstance(after.images, np.memmap)
    assert after.fingerprint == before.fingerprint


def test_the_sizes_that_fit_are_cached(photos, monkeypatch):
    streaming(monkeypatch, 42 * 16 * 16 * 3 / 1024 + 1)
    stores = open_stores(source_of(photos), [24, 16, 32])
    assert [size for size in stores if stores[size].uncached is None] == [16]
    assert why_streamed(stores).startswith(
        "images of 24 px and 32 px are streamed, which decodes them again in each epoch: "
    )
    assert why_streamed({16: stores[16]}) is None


def test_unreadable_images_are_left_out_in_the_same_way(photos, cache, monkeypatch):
    (photos / "a/02.png").write_bytes(b"not an image")
    cached = open_stores(source_of(photos), [24], on_bad="skip")[24]
    streaming(monkeypatch)
    monkeypatch.setenv("THAW_CACHE", f"{cache}-streamed")
    streamed = open_stores(source_of(photos), [24], on_bad="skip")[24]
    assert streamed.left_out.tolist() == cached.left_out.tolist() == [1]
    assert streamed.fingerprint == cached.fingerprint
    assert (streamed.images[:] == cached.images).all()
    assert streamed.listing.read_text() == cached.listing.read_text()
    with pytest.raises(ConfigError, match="1 of 42 images cannot be read"):
        open_store(source_of(photos), 24)


# --- reading ahead --------------------------------------------------------------------------------------------------


def test_parts_come_in_their_order_and_are_read_ahead(photos, monkeypatch):
    streaming(monkeypatch)
    store = open_store(source_of(photos), 24)
    read, original = [], StreamedImages.read

    def counted(self, i):
        read.append(i)
        time.sleep(0.002 * (i % 3))
        return original(self, i)

    monkeypatch.setattr(streamed_images.StreamedImages, "read", counted)
    parts = [np.arange(start, start + 4) for start in range(0, 40, 4)]
    monkeypatch.setattr(available_cpus, "_share", 2)
    batches = read_ahead(store.images, parts, pinned=False)
    first = next(batches)
    time.sleep(0.2)
    assert 4 < len(read) < 24  # more than the part, but not all of them
    for part, batch in zip(parts, [first, *batches], strict=True):
        assert (batch.numpy() == store.images[part]).all()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda file: file.unlink(), "cannot be read any more: .*04.png: does not exist"),
        (
            lambda file: Image.new("RGB", (50, 40)).save(file),
            "04.png: has other pixels than at the start: the file was",
        ),
    ],
)
def test_a_file_that_changes_while_training_is_one_error(photos, monkeypatch, spoil, message):
    streaming(monkeypatch)
    store = open_store(source_of(photos), 24)
    spoil(photos / "a/04.png")
    with pytest.raises(ConfigError, match=message):
        list(read_ahead(store.images, [np.arange(10)] * 20, pinned=False))
