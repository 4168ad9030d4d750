"""`thaw data`: shows what is kept, finds damage, and removes what it is told to."""

import os
import re
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

from search.cli import main
from trainables.data.dataset import open_dataset
from trainables.recipe.data_config import DataConfig
from trainables.storage.cache_folder import Entry, add, building, entries, entry_path

HOUR = 3600


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("THAW_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("THAW_CACHE_GIB", "2")
    monkeypatch.setenv("COLUMNS", "100")
    return tmp_path / "cache"


@pytest.fixture
def thaw_data(monkeypatch, capsys):
    """`thaw_data(*words)`: the exit status and what was said."""

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["thaw", "data", *words])
        with pytest.raises(SystemExit) as caught:
            main()
        out, err = capsys.readouterr()
        return caught.value.code or 0, out + err

    return run


def make(name: str, hours_ago: float = 0) -> Entry:
    array = entry_path("images-16px", name)
    with building(array):
        array.write_bytes(name.encode() * 2**20)
        add(array, kind="images", source=f"folder /[photos]/{name}", what="16 px", images=1234, own={})
    used = time.time() - hours_ago * HOUR
    os.utime(f"{array}.json", (used, used))
    return next(entry for entry in entries() if entry.array == array)


def damage(entry: Entry) -> None:
    with entry.array.open("r+b") as file:
        file.seek(entry.bytes // 2)
        file.write(b"?")


def kept() -> set[str]:
    return {entry.source[-1] for entry in entries()}


def test_an_empty_cache_says_so(thaw_data, cache):
    assert thaw_data() == (0, f"nothing in {cache}\n")
    assert not cache.exists()


def test_each_entry_is_a_line_the_newest_on_top(thaw_data, cache):
    old, new = make("a", hours_ago=48), make("b")
    status, said = thaw_data()
    heading, _, first, second, *_, last = [line.split() for line in said.splitlines() if line.strip()]
    assert status == 0
    assert heading == ["kind", "source", "what", "images", "MiB", "last", "used"]
    for line, entry in ((first, new), (second, old)):
        used = f"{entry.last_used.astimezone():%Y-%m-%d %H:%M}"
        assert " ".join(line) == f"images {entry.source} 16 px 1,234 1.0 {used}"
    assert " ".join(last) == f"2 entries, 0.00195 of at most 2 GiB, in {cache}"


def test_decoded_images_say_where_they_come_from(thaw_data):
    open_dataset(DataConfig(source="digits", image_size=9))
    _, said = thaw_data()
    assert " ".join(said.splitlines()[3].split()).startswith("images digits 9 px 1,797 0.1 ")


def test_verifying_names_what_is_damaged(thaw_data):
    make("a")
    status, said = thaw_data("--verify")
    assert (status, said.splitlines()[-1]) == (0, "all files are intact")
    bad = make("b")
    damage(bad)
    status, said = thaw_data("--verify")
    assert status == 1
    assert said.splitlines()[-2:] == [
        f"damaged: {bad.array.name} (folder /[photos]/b, 16 px)",
        "Remove it with: thaw data --clear damaged",
    ]
    assert kept() == {"a", "b"}


def test_verifying_names_images_whose_files_have_changed(thaw_data, tmp_path):
    for name in ("a/1.png", "a/2.png", "b/1.png", "b/2.png"):
        file = tmp_path / "photos" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (9, 9)).save(file)
    open_dataset(DataConfig(source="folder", path=str(tmp_path / "photos"), image_size=8, validation=0.5))
    open_dataset(DataConfig(source="digits", image_size=8))
    assert thaw_data("--verify")[1].splitlines()[-1] == "all files are intact"
    (tmp_path / "photos/a").rename(tmp_path / "photos/c")
    status, said = thaw_data("--verify")
    (changed,) = [line for line in said.splitlines() if "have changed" in line]
    assert changed.startswith("not used any more, because its files have changed or are gone: images-8px-")
    assert changed.endswith(f"(folder {tmp_path}/photos, 8 px)")
    assert status == 0


@pytest.mark.parametrize(
    ("which", "left"),
    [
        ("all", ""),
        ("damaged", "acd"),
        ("3d", "ab"),
        ("71h", "ab"),
        ("73h", "abc"),
        ("1w", "abc"),
        ("2w", "abcd"),
    ],
)
def test_what_is_cleared(thaw_data, which, left):
    for name, hours in (("a", 0), ("b", 1), ("c", 72.5), ("d", 200)):
        entry = make(name, hours)
        if name == "b":
            damage(entry)
            os.utime(f"{entry.array}.json", (time.time() - HOUR,) * 2)
    status, said = thaw_data("--clear", which)
    assert status == 0
    assert kept() == set(left)
    gone = sorted(set("abcd") - set(left))
    assert sorted(re.findall(r"^removed images-16px-.*/(\w), 16 px\)$", said, re.MULTILINE)) == gone


@pytest.mark.parametrize("which", ["old", "30", "d", "-1d", "1.5d", ""])
def test_an_unknown_choice_is_refused(thaw_data, which):
    make("a")
    status, said = thaw_data(f"--clear={which}")
    assert status == 2
    assert said == f"error: --clear {which}: valid are all, damaged, or an age such as 12h, 30d or 8w\n"
    assert kept() == {"a"}


def test_what_is_being_built_stays(thaw_data):
    entry = make("a")
    with building(entry.array):
        _, said = thaw_data("--clear", "all")
    assert said.startswith("in use or owned by another user: images-16px-")
    assert kept() == {"a"}


def test_a_limit_that_is_none_is_one_message(thaw_data, monkeypatch):
    make("a")
    monkeypatch.setenv("THAW_CACHE_GIB", "lots")
    status, said = thaw_data()
    assert status == 2
    assert said.endswith("error: THAW_CACHE_GIB: 'lots' is not a number of GiB above 0\n")
