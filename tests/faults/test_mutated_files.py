"""Files of runs and models after a mutation: commands read them or say in one message what is wrong; never a traceback."""

import contextlib
import io
import shutil
import sys

import pytest

from search.cli import main
from tests.support.mutations import mutated
from tests.support.photo_runs import pack, photo_recipe, train, write_photos
from tests.support.project import PROJECT
from tests.support.recipes import TINY_NETWORK

OLD = PROJECT / "tests" / "run_folders" / "2026-11" / "small"
FILES = (
    "search.yaml",
    "best.yaml",
    "attempt",
    "status.json",
    "spent.json",
    "trials/0000/trial.json",
    "trials/0000/recipe.yaml",
    "trials/0000/environment.json",
    "trials/0000/epochs.jsonl",
    "trials/0000/checkpoints.jsonl",
)
READING = (
    ("results", "small"),
    ("results", "small", "--format", "json"),
    ("export", "small", "-o", "out.yaml"),
    ("export", "small", "--trial", "0", "-o", "out.yaml"),
    ("compare", "small:0", "small:1"),
    ("compare", "runs/small/best.yaml", "small:1"),
    ("watch", "small", "--once"),
    ("checkpoints", "small", "list", "--trial", "0"),
    ("checkpoints", "small", "verify", "--trial", "0"),
    ("train", "runs/small/best.yaml", "data.path=nowhere"),
)
SLOW = (("report", "small"), ("resume", "small", "--trust-code"), ("confirm", "small", "--trust-code"))
"""Commands that take a second, and that stop before Ray starts because the data are not there."""
SEEDS = 2


def run(*words):
    """Status and errors of a command; its exceptions other than exits are raised."""
    out, err = io.StringIO(), io.StringIO()
    before = sys.argv
    sys.argv = ["thaw", *words]
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            main()
    except SystemExit as end:
        return end.code or 0, err.getvalue()
    finally:
        sys.argv = before
    raise AssertionError("a command ends with an exit status")


def assert_told(words, name, seed):
    code, err = run(*words)
    where = (words, name, seed, err[:500])
    assert code in (0, 1, 2), where
    assert "Traceback" not in err, where
    if code == 2:
        assert err.startswith("error: "), where
        assert len(err) < 5000, where
        assert all(character == "\n" or character.isprintable() for character in err), where


@pytest.fixture
def small(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    return shutil.copytree(OLD, tmp_path / "runs" / "small")


def mutate_and_read(small, name, seeds, commands):
    file = small / name
    content = file.read_bytes()
    for seed in seeds:
        file.write_bytes(mutated(content, seed, lines=name.endswith("jsonl")))
        for words in commands:
            assert_told(words, name, seed)
    file.write_bytes(content)


@pytest.mark.parametrize("name", FILES)
def test_a_mutated_file_of_a_run_is_read_or_told(small, name):
    mutate_and_read(small, name, range(2), (READING[0], READING[2]))


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
def test_mutated_files_of_a_run_are_read_or_told(small, name):
    mutate_and_read(small, name, range(SEEDS), READING)
    mutate_and_read(small, name, range(100, 102), SLOW)


@pytest.fixture
def model(tmp_path, own_module):
    photos = write_photos(tmp_path / "photos")
    trained = train(photo_recipe(photos, model={"backbone": f"{own_module(TINY_NETWORK)}:tiny"}), tmp_path / "run")
    pack(trained, tmp_path / "model")
    return tmp_path / "model"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["model.json", "recipe.yaml", "model.safetensors"])
def test_a_mutated_model_predicts_or_is_told(model, name):
    file = model / name
    content = file.read_bytes()
    for seed in range(SEEDS):
        file.write_bytes(content[: seed * 100] if name.endswith("safetensors") else mutated(content, seed, lines=False))
        assert_told(("predict", "model", "photos/four", "--trust-code"), name, seed)
        assert_told(("compare", "model", "model", "--trust-code"), name, seed)
