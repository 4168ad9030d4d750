"""The store: decoded once, whole or not there, shared by processes, and about the right pixels."""

import multiprocessing
import os
import resource
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from trainables.data import store as store_module
from trainables.data.cache import cache_folder
from trainables.data.sources import Source, open_source
from trainables.data.store import open_store
from trainables.data_config import DataConfig
from trainables.problems import ConfigError

SPAWN = multiprocessing.get_context("spawn")


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


def whole_files(cache: Path) -> list[str]:
    return sorted(path.suffix for path in cache.glob("images-*") if path.suffix != ".lock")


# --- what is stored -------------------------------------------------------------------------------------------------


def test_images_are_fitted_in_order_into_one_read_only_map(photos):
    images, *_ = open_store(source_of(photos), 16)
    assert isinstance(images, np.memmap)
    assert (images.shape, images.dtype, images.flags.writeable) == ((16, 16, 16, 3), np.uint8, False)
    for stored, path in zip(images, sorted(photos.rglob("*.png")), strict=True):
        fitted = ImageOps.fit(Image.open(path), (16, 16), Image.Resampling.BICUBIC)
        assert (stored == np.asarray(fitted)).all()


def test_grey_images_keep_one_channel():
    images, *_ = open_store(open_source(DataConfig(source="digits")), 8)
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

    monkeypatch.setattr(os, "cpu_count", lambda: 3)
    assert list(store_module._in_parallel(shuffled, 200)) == list(range(200))


@pytest.mark.parametrize(("value", "folder"), [("/some/where", "/some/where"), ("", "~/.cache/thaw"), ("~/x", "~/x")])
def test_the_cache_folder_can_be_chosen(monkeypatch, value, folder):
    monkeypatch.setenv("THAW_CACHE", value)
    assert cache_folder() == Path(folder).expanduser()


# --- when it is built -----------------------------------------------------------------------------------------------


def test_it_is_built_once_for_each_source_size_and_version(photos, monkeypatch):
    assert built(photos)
    assert not built(photos)
    assert built(photos, size=24)
    os.utime(photos / "a/00.png", ns=(0, 12345))
    assert built(photos)
    monkeypatch.setattr(store_module, "VERSION", 2)
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
    barrier, results = SPAWN.Barrier(2), SPAWN.Queue()
    processes = [SPAWN.Process(target=_build_and_report, args=(photos, barrier, results)) for _ in range(2)]
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
    reached = SPAWN.Event()
    process = SPAWN.Process(target=_build_until_killed, args=(photos, reached))
    process.start()
    assert reached.wait(timeout=60)
    os.kill(process.pid, signal.SIGKILL)
    process.join(timeout=60)
    assert whole_files(cache) == []
    assert len(list(cache.glob(".images-*"))) == 1
    assert built(photos)
    assert list(cache.glob(".images-*")) == []
