"""The store: decoded once, whole or not there, shared by processes, and about the right pixels."""

import dataclasses
import hashlib
import os
import resource
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from tests.support.own_processes import CONTEXT, OwnProcess
from trainables.core.config_errors import ConfigError
from trainables.data.formats.images import BadImageError
from trainables.data.sources.open_source import open_source
from trainables.data.sources.source import Reader, Source
from trainables.data.store import build_stores, decoding
from trainables.data.store.decoded_images import Store, open_store, open_stores
from trainables.recipe.data_config import DataConfig
from trainables.storage.cache_folder import cache_folder, entries


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("THAW_CACHE", str(folder))
    return folder


@pytest.fixture
def photos(tmp_path) -> Path:
    """Two classes of eight images, wide and tall, each of another noise."""
    random = np.random.RandomState(0)
    for i in range(16):
        path = tmp_path / "photos" / "ab"[i % 2] / f"{i:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        shape = (30, 50, 3) if i % 3 else (64, 40, 3)
        Image.fromarray(random.randint(0, 255, shape, np.uint8)).save(path)
    return tmp_path / "photos"


def source_of(folder: Path) -> Source:
    return open_source(DataConfig(source="folder", path=str(folder)))


class Builds:
    """A progress callback that remembers whether anything was decoded."""

    def __init__(self):
        self.calls: list[tuple[int, int]] = []

    def __call__(self, done: int, total: int) -> None:
        self.calls.append((done, total))


def built(folder: Path, size: int = 16) -> bool:
    progress = Builds()
    open_store(source_of(folder), size, progress=progress)
    return bool(progress.calls)


def with_decodes(source: Source) -> tuple[Source, list[int]]:
    """The source, and a list that grows with the position of each image that is decoded."""
    decoded: list[int] = []

    def reader() -> Reader:
        opened = source.open()
        return opened._replace(decode=lambda i: (decoded.append(i), opened.decode(i))[1])

    return dataclasses.replace(source, open=reader), decoded


def whole_files(cache: Path) -> list[str]:
    return sorted(path.suffix for path in cache.glob("images-*") if path.suffix != ".lock")


# --- what is stored -------------------------------------------------------------------------------------------------


def test_images_are_fitted_in_order_into_one_read_only_map(photos):
    images = open_store(source_of(photos), 16).images
    assert isinstance(images, np.memmap)
    assert (images.shape, images.dtype, images.flags.writeable) == ((16, 16, 16, 3), np.uint8, False)
    for stored, path in zip(images, sorted(photos.rglob("*.png")), strict=True):
        fitted = ImageOps.fit(Image.open(path), (16, 16), Image.Resampling.BICUBIC)
        assert (stored == np.asarray(fitted)).all()


def test_grey_images_keep_one_channel():
    images = open_store(open_source(DataConfig(source="digits")), 8).images
    assert images.shape == (1797, 8, 8, 1)
    assert images[0, 0, :, 0].tolist() == [0, 0, 80, 207, 143, 16, 0, 0]


def test_progress_counts_every_image(photos):
    progress = Builds()
    open_store(source_of(photos), 16, progress=progress)
    assert progress.calls == [(i, 16) for i in range(1, 17)]


def test_the_order_does_not_depend_on_threads(photos, monkeypatch):
    def shuffled(i: int) -> int:
        time.sleep(0.001 * (i % 3))
        return i

    monkeypatch.setattr(decoding, "available_cpus", lambda: 3)
    assert list(decoding.in_parallel(shuffled, 200)) == list(range(200))


@pytest.mark.parametrize(("value", "folder"), [("/some/where", "/some/where"), ("", "~/.cache/thaw"), ("~/x", "~/x")])
def test_the_cache_folder_can_be_chosen(monkeypatch, value, folder):
    monkeypatch.setenv("THAW_CACHE", value)
    assert cache_folder() == Path(folder).expanduser()


# --- several sizes --------------------------------------------------------------------------------------------------


def test_several_sizes_are_built_from_one_pass_over_the_source(photos):
    source, decoded = with_decodes(source_of(photos))
    progress = Builds()
    stores = open_stores(source, [24, 16, 24], progress=progress)
    assert sorted(decoded) == list(range(16))
    assert progress.calls == [(i, 16) for i in range(1, 17)]
    assert {size: store.images.shape for size, store in stores.items()} == {
        16: (16, 16, 16, 3),
        24: (16, 24, 24, 3),
    }


def test_pixels_are_the_same_whichever_way_they_were_built(photos, cache, monkeypatch):
    together = open_stores(source_of(photos), [16, 24])
    monkeypatch.setenv("THAW_CACHE", str(cache) + "-alone")
    for size, store in together.items():
        alone = open_store(source_of(photos), size)
        assert alone.fingerprint == store.fingerprint
        assert (alone.images == store.images).all()


def test_only_the_missing_size_is_built(photos, cache):
    open_store(source_of(photos), 16)
    (array,) = cache.glob("images-16px-*.npy")
    before = array.stat().st_mtime_ns
    source, decoded = with_decodes(source_of(photos))
    open_stores(source, [16, 24])
    assert len(decoded) == 16
    assert array.stat().st_mtime_ns == before
    open_stores(source, [16, 24])
    assert len(decoded) == 16


def test_sizes_that_are_needed_together_do_not_push_each_other_out(photos, monkeypatch):
    bytes_of_both = sum(16 * size * size * 3 + 128 for size in (16, 32))
    monkeypatch.setenv("THAW_CACHE_GIB", str(bytes_of_both / 2**30))
    open_store(source_of(photos), 16)
    open_store(source_of(photos), 24)
    open_stores(source_of(photos), [16, 32])
    assert {entry.what for entry in entries()} == {"16 px", "32 px"}  # though 24 px was used later than 16 px
    stores = open_stores(source_of(photos), [16, 32, 40])
    assert {size for size, store in stores.items() if store.uncached} == {40}
    assert {entry.what for entry in entries() if entry.kind == "images"} == {"16 px", "32 px"}


# --- 16 bits --------------------------------------------------------------------------------------------------------


def source_of_arrays(*images: np.ndarray) -> Source:
    labels = np.arange(len(images)) % 2
    reader = Reader(images[0].shape[2], images.__getitem__, images[0].dtype)
    return Source(
        hashlib.sha256(b"".join(image.tobytes() for image in images)).hexdigest(), ("a", "b"), labels, lambda: reader
    )


@pytest.mark.parametrize("channels", [1, 3])
def test_16_bits_keep_their_range(channels):
    wide = np.random.RandomState(0).randint(0, 2**16, (40, 20, channels)).astype(np.uint16)
    flat = np.full((20, 20, channels), 40_001, np.uint16)
    images = open_store(source_of_arrays(wide, flat), 20).images
    assert (images.dtype, images.shape) == (np.uint16, (2, 20, 20, channels))
    assert (images[0] == wide[10:30]).all()
    assert (images[1] == flat).all()


def test_16_bits_do_not_wrap_around_where_bicubic_overshoots():
    edge = np.zeros((64, 64, 1), np.uint16)
    edge[:, 32:] = 65535
    (small, _) = open_store(source_of_arrays(edge, edge), 24).images
    assert (np.diff(small[0, :, 0].astype(int)) >= 0).all()
    assert (small[0, 0, 0], small[0, -1, 0]) == (0, 65535)


def test_16_bits_are_resized_as_8_bits_are():
    narrow = np.random.RandomState(0).randint(0, 256, (60, 50, 3)).astype(np.uint8)
    of_8 = open_store(source_of_arrays(narrow, narrow), 16).images[0]
    wide = narrow.astype(np.uint16) * 257
    of_16 = open_store(source_of_arrays(wide, wide), 16).images[0]
    assert np.abs(of_16 / 257 - of_8).max() < 1.5  # Pillow rounds 8 bits twice, once for each direction


# --- when it is built -----------------------------------------------------------------------------------------------


def test_it_is_built_once_for_each_source_size_and_version(photos, monkeypatch):
    assert built(photos)
    assert not built(photos)
    assert built(photos, size=24)
    os.utime(photos / "a/00.png", ns=(0, 12345))
    assert built(photos)
    monkeypatch.setattr(build_stores, "VERSION", build_stores.VERSION + 1)
    assert built(photos)


def cut(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size - 1)


@pytest.mark.parametrize(
    ("suffix", "harm"),
    [
        ("npy", Path.unlink),
        ("npy", cut),
        ("npy", lambda path: path.write_bytes(b"x" * path.stat().st_size)),
        ("json", Path.unlink),
        ("json", cut),
        ("json", lambda path: path.write_text("{}")),
        ("json", lambda path: path.write_text("[]")),
        ("npz", Path.unlink),
        ("npz", cut),
    ],
)
def test_a_damaged_store_is_built_again(photos, cache, suffix, harm):
    before = np.array(open_store(source_of(photos), 16).images)
    harm(next(cache.glob(f"*.{suffix}")))
    assert built(photos)
    assert (open_store(source_of(photos), 16).images == before).all()


def test_the_fingerprint_follows_the_content_not_the_place_or_time(photos, tmp_path):
    first = open_store(source_of(photos), 16).fingerprint
    moved = photos.rename(tmp_path / "moved")
    assert open_store(source_of(moved), 16).fingerprint == first
    changed = {first}
    Image.new("RGB", (30, 50)).save(moved / "a/00.png")
    changed.add(open_store(source_of(moved), 16).fingerprint)  # an image
    (moved / "a").rename(moved / "A")
    changed.add(open_store(source_of(moved), 16).fingerprint)  # a class name
    (moved / "b/01.png").rename(moved / "A/zz.png")
    changed.add(open_store(source_of(moved), 16).fingerprint)  # a label; the order of the images stays
    changed.add(open_store(source_of(moved), 24).fingerprint)
    assert len(changed) == 5


@pytest.mark.parametrize("seed", range(3))
def test_images_are_never_stale(tmp_path, seed):
    """Files of one size and time are swapped, replaced and overwritten; a wrong key would serve the images before that."""
    random = np.random.default_rng(seed)
    files = [tmp_path / f"photos/{name}/{i}.bmp" for name in "ab" for i in range(3)]
    for file in files:
        overwrite(file, random)
    for _ in range(12):
        one, other = (files[i] for i in random.choice(6, 2, replace=False))
        match random.integers(4):
            case 0:
                swap(one, other)
            case 1:
                swap(tmp_path / "photos/a", tmp_path / "photos/b")
            case 2:
                overwrite(one, random)
            case 3:
                overwrite(tmp_path / "new.bmp", random).replace(one)
        images = open_store(source_of(tmp_path / "photos"), 8).images
        assert (images == [np.asarray(Image.open(file)) for file in files]).all()


def overwrite(file: Path, random: np.random.Generator) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(random.integers(0, 256, (8, 8, 3), np.uint8)).save(file)
    os.utime(file, ns=(0, 0))
    return file


def swap(one: Path, other: Path) -> None:
    aside = one.rename(one.with_name("aside"))
    other.rename(one)
    aside.rename(other)


# --- when it goes wrong ---------------------------------------------------------------------------------------------


def test_all_bad_images_are_listed_together_and_nothing_is_left(photos, cache):
    bad = sorted(photos.rglob("*.png"))[2:14]
    for path in bad:
        path.write_bytes(path.read_bytes()[:1000])
    bad[0].write_bytes(b"")
    with pytest.raises(ConfigError) as caught:
        open_store(source_of(photos), 16)
    (problem,) = caught.value.problems
    lines = problem.message.splitlines()
    assert problem.path == ("data", "path")
    assert lines[0] == "12 of 16 images cannot be read:"
    assert lines[1] == f"  {bad[0]}: is empty"
    assert [line.split(":")[0].strip() for line in lines[1:11]] == [str(path) for path in bad[:10]]
    assert lines[11:] == ["  … and 2 more"]
    assert whole_files(cache) == []


def skipping(folder: Path, *sizes: int) -> dict[int, Store]:
    return open_stores(source_of(folder), sizes, on_bad="skip")


def test_bad_images_can_be_left_out_at_every_size(photos, cache):
    whole = open_store(source_of(photos), 16).images
    files = sorted(photos.rglob("*.png"))
    for i in (3, 9):
        os.truncate(files[i], 100)
    good = [i for i in range(16) if i not in (3, 9)]
    stores = skipping(photos, 16, 24)
    assert (stores[16].images == whole[good]).all()
    assert stores[24].images.shape == (14, 24, 24, 3)
    for store in stores.values():
        assert store.left_out.tolist() == [3, 9]
        assert [line.split(": ")[0] for line in store.listing.read_text().splitlines()] == [
            str(files[3]),
            str(files[9]),
        ]
    progress = Builds()
    open_stores(source_of(photos), [16, 24], on_bad="skip", progress=progress)
    assert progress.calls == []
    with pytest.raises(ConfigError, match=r"2 of 16 images cannot be read"):
        open_store(source_of(photos), 16)


def test_what_is_left_is_known_like_a_source_without_the_bad_images(photos):
    files = sorted(photos.rglob("*.png"))
    os.truncate(files[5], 100)
    fingerprint = skipping(photos, 16)[16].fingerprint
    files[5].unlink()
    assert open_store(source_of(photos), 16).fingerprint == fingerprint


def test_nothing_is_listed_where_all_images_are_good(photos):
    store = skipping(photos, 16)[16]
    assert len(store.left_out) == 0
    assert not store.listing.exists()
    assert store.fingerprint == open_store(source_of(photos), 16).fingerprint


def test_not_a_single_good_image_is_an_error_also_when_bad_ones_are_left_out(photos, cache):
    for path in photos.rglob("*.png"):
        os.truncate(path, 100)
    with pytest.raises(ConfigError, match=r"^data\.path: 16 of 16 images cannot be read:"):
        skipping(photos, 16)
    assert whole_files(cache) == []


def test_sizes_always_have_the_same_images(photos):
    """A file may become bad without a new time or size: a disk that is away, a permission."""
    source = source_of(photos)
    first = open_stores(source, [16], on_bad="skip")[16]
    assert len(first.images) == 16

    def refuse_4() -> Reader:
        opened = source.open()

        def decode(i: int) -> np.ndarray:
            if i == 4:
                raise BadImageError("gone")
            return opened.decode(i)

        return opened._replace(decode=decode)

    stores = open_stores(dataclasses.replace(source, open=refuse_4), [16, 24], on_bad="skip")
    assert [store.left_out.tolist() for store in stores.values()] == [[4], [4]]
    assert [len(store.images) for store in stores.values()] == [15, 15]


def test_a_full_disk_leaves_nothing(photos, cache):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))  # the array needs 16 · 64 · 64 · 3 bytes
    try:
        with pytest.raises(OSError, match="File too large"):
            open_store(source_of(photos), 64)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [path.suffix for path in cache.iterdir() if path.suffix != ".lock"] == []
    assert built(photos, size=64)


def _build_and_report(folder: Path, barrier, results) -> None:
    source, progress = source_of(folder), Builds()
    barrier.wait()
    store = open_store(source, 16, progress=progress)
    results.put((len(progress.calls), store.fingerprint, int(store.images.sum())))


def test_processes_that_start_together_build_it_once(photos):
    barrier, results = CONTEXT.Barrier(2), CONTEXT.Queue()
    processes = [OwnProcess(_build_and_report, photos, barrier, results) for _ in range(2)]
    for process in processes:
        process.start()
    (decoded, *first), (decoded_too, *second) = (results.get(timeout=60) for _ in processes)
    for process in processes:
        process.join(timeout=60)
    assert sorted([decoded, decoded_too]) == [0, 16]
    assert first == second


def _build_until_killed(folder: Path, reached) -> None:
    def stop_half_way(done: int, total: int) -> None:
        if done == total // 2:
            reached.set()
            time.sleep(60)

    open_store(source_of(folder), 16, progress=stop_half_way)


def test_a_killed_build_leaves_nothing_that_looks_whole(photos, cache):
    reached = CONTEXT.Event()
    process = OwnProcess(_build_until_killed, photos, reached)
    process.start()
    assert reached.wait(timeout=60)
    os.kill(process.pid, signal.SIGKILL)
    process.join(timeout=60)
    assert whole_files(cache) == []
    assert len(list(cache.glob(".images-*"))) == 1
    assert built(photos)
    assert list(cache.glob(".images-*")) == []
