"""The cache folder: what counts as an entry, what goes when room is needed, and what never goes."""

import json
import os
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock

from tests.support.own_processes import CONTEXT, OwnProcess
from trainables.core.atomic_write import replacing
from trainables.core.config_errors import ConfigError
from trainables.storage import cache_folder
from trainables.storage.cache_folder import (
    CacheFullError,
    add,
    building,
    entries,
    entry_path,
    find,
    is_damaged,
    make_room,
    remove,
)

KIB = 1024


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("THAW_CACHE", str(tmp_path / "cache"))
    allow(monkeypatch, 100)
    return tmp_path / "cache"


def allow(monkeypatch, kib: float) -> None:
    monkeypatch.setenv("THAW_CACHE_GIB", str(kib / 2**20))


def make(key: str, kib: int = 10, used: int | None = None) -> Path:
    """An entry of `kib` KiB, used `used` seconds after the epoch."""
    array = entry_path("images-16px", key)
    with building(array):
        make_room(kib * KIB)
        with replacing(array, "wb") as file:
            file.write(key.encode()[:1] * kib * KIB)
        add(array, kind="images", source="folder /photos", what="16 px", images=kib, own={"key": key})
    if used is not None:
        os.utime(f"{array}.json", (used, used))
    return array


def keys() -> list[str]:
    """Of the entries, the one used longest ago first."""
    return [entry.own["key"] for entry in entries()]


# --- what an entry is -----------------------------------------------------------------------------------------------


def test_an_entry_says_what_it_is():
    before = datetime.now(UTC)
    array = make("a", 3)
    entry = find(array)
    assert (entry.kind, entry.source, entry.what, entry.images) == ("images", "folder /photos", "16 px", 3)
    assert (entry.array, entry.bytes, entry.own) == (array, 3 * KIB, {"key": "a"})
    assert before.timestamp() - 1 < entry.last_used.timestamp() < before.timestamp() + 60


def test_the_name_of_an_array_follows_its_key(folder):
    first, again, other = (entry_path("images-96px", key) for key in ("x", "x", "y"))
    assert first == again != other
    assert first.parent == folder
    assert first.name.startswith("images-96px-")


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 1)


@pytest.mark.parametrize(
    ("suffix", "harm"),
    [
        ("", Path.unlink),
        ("", cut),
        (".json", Path.unlink),
        (".json", cut),
        (".json", lambda path: path.write_text("[]")),
        (".json", lambda path: path.write_text("{}")),
        (".json", lambda path: path.write_text(json.dumps(json.loads(path.read_text()) | {"more": 1}))),
    ],
)
def test_what_is_not_whole_is_no_entry(suffix, harm):
    array = make("a")
    harm(Path(f"{array}{suffix}"))
    assert find(array) is None
    assert entries() == []
    with building(array):
        assert [path.name for path in array.parent.glob(f"{array.name}*")] == [f"{array.name}.lock"]


def test_other_files_of_the_folder_are_left_alone(folder):
    folder.mkdir()
    names = ["notes.txt", "data.npy", "data.npy.json", "data.npy.lock", ".data.npy.abc", "images-16px.npy.lock"]
    for name in names:
        (folder / name).write_text("mine")
    make("a")
    make_room(95 * KIB)
    assert entries() == []
    assert {path.name for path in folder.iterdir()} >= set(names)


def test_a_folder_that_is_not_there_has_no_entries():
    assert entries() == []


def test_a_cache_that_cannot_be_written_still_serves(monkeypatch):
    array = make("a", used=1)

    def refuse(*_):
        raise PermissionError

    monkeypatch.setattr(os, "utime", refuse)
    assert find(array).own == {"key": "a"}


@pytest.mark.parametrize("harm", ["flip a byte", "nothing", "remove"])
def test_damage_is_found_by_reading_everything(harm):
    entry = find(make("a"))
    if harm == "remove":
        entry.array.unlink()
    if harm == "flip a byte":
        with entry.array.open("r+b") as file:
            file.seek(5000)
            file.write(b"b")
        assert find(entry.array) is not None  # nothing shows from outside
    assert is_damaged(entry) == (harm == "flip a byte")


# --- room -----------------------------------------------------------------------------------------------------------


def test_what_was_used_longest_ago_goes_first(monkeypatch):
    for key, used in (("a", 30), ("b", 10), ("c", 20)):
        make(key, 10, used)
    assert keys() == ["b", "c", "a"]
    allow(monkeypatch, 40)
    make("d", 10)
    assert keys() == ["b", "c", "a", "d"]  # exactly full
    make("e", 11)
    assert keys() == ["a", "d", "e"]


def test_finding_an_entry_saves_it():
    first, _ = make("a", 40, used=10), make("b", 40, used=20)
    find(first)
    make("c", 40)
    assert keys() == ["a", "c"]


def test_what_is_needed_together_stays():
    first = make("a", 40, used=10)
    make("b", 40, used=20)
    make_room(40 * KIB, beside=[first])
    assert keys() == ["a"]
    with pytest.raises(CacheFullError):
        make_room(61 * KIB, beside=[first])
    assert keys() == ["a"]


def test_what_can_never_fit_is_refused_and_nothing_goes(monkeypatch, folder):
    allow(monkeypatch, 0.5 * 2**20)
    make("a")
    with pytest.raises(CacheFullError, match=rf"^1\.5 GiB are needed in {folder}: more than THAW_CACHE_GIB=0\.5 "):
        make_room(int(1.5 * 2**30))
    assert keys() == ["a"]


def test_without_a_limit_half_of_the_free_disk_is_it(monkeypatch):
    make("a", 10, used=1)
    monkeypatch.delenv("THAW_CACHE_GIB")
    monkeypatch.setattr(
        cache_folder.shutil, "disk_usage", lambda _: cache_folder.shutil._ntuple_diskusage(0, 0, 30 * KIB)
    )
    make_room(10 * KIB)  # (30 + 10) / 2 = 10 + 10
    assert keys() == ["a"]
    make_room(11 * KIB)
    assert keys() == []
    with pytest.raises(CacheFullError, match="half of the free disk space; set THAW_CACHE_GIB to change this limit"):
        make_room(16 * KIB)


@pytest.mark.parametrize("given", ["much", "0", "-1", "nan", "inf"])
def test_a_limit_that_is_none_is_refused(monkeypatch, given):
    monkeypatch.setenv("THAW_CACHE_GIB", given)
    with pytest.raises(ConfigError, match=f"^THAW_CACHE_GIB: '{given}' is not a number of GiB above 0$"):
        make_room(1)


def test_builds_that_went_on_together_are_counted_together():
    old = make("a", 30, used=1)
    first, second = entry_path("images-16px", "b"), entry_path("images-16px", "c")
    with building(first), building(second):
        for _ in (first, second):
            make_room(40 * KIB)  # neither sees the other
        for array in (first, second):
            array.write_bytes(b"x" * 40 * KIB)
            add(array, kind="images", source="", what="", images=1, own={"key": array.name})
    assert find(old) is None
    assert len(entries()) == 2


def test_a_mapped_array_stays_readable_when_it_is_removed():
    array = entry_path("images-16px", "a")
    with building(array):
        np.save(array, np.arange(100_000))
        add(array, kind="images", source="", what="", images=1, own={})
    held = np.load(array, mmap_mode="r")
    assert remove(find(array))
    assert not array.exists()
    assert held.sum() == 4999950000


def _hold_lock(array: Path, held, release) -> None:
    with building(array):
        held.set()
        release.wait(60)


def test_what_is_being_built_is_not_removed():
    array = make("a", 60)
    entry = find(array)
    held, release = CONTEXT.Event(), CONTEXT.Event()
    process = OwnProcess(_hold_lock, array, held, release)
    process.start()
    assert held.wait(60)
    Path(array.parent, f".{array.name}.abc").write_text("half a build")
    assert not remove(entry)
    make_room(70 * KIB)
    assert keys() == ["a"]
    assert Path(array.parent, f".{array.name}.abc").exists()
    release.set()
    process.join(60)
    assert remove(entry)


def test_what_killed_builds_left_goes_when_room_is_made(folder):
    make("a")
    array = entry_path("images-16px", "b")
    with FileLock(f"{array}.lock"):
        pass
    for left in (
        array,
        Path(f"{array}.skipped.txt"),
        array.with_name(f".{array.name}.json.x1"),
        array.with_name(f".{array.name}.x1"),
    ):
        left.write_text("half")
    make_room(1)
    assert [path.name for path in folder.glob(f"*{array.name}*")] == [f"{array.name}.lock"]
    assert keys() == ["a"]


def test_an_entry_goes_with_all_its_files(folder):
    array = make("a")
    Path(f"{array}.skipped.txt").write_text("bad.png")
    assert find(array)
    assert Path(f"{array}.skipped.txt").exists()
    assert remove(find(array))
    assert sorted(path.name for path in folder.iterdir()) == [f"{array.name}.lock", "room.lock"]
