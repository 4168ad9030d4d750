"""One set of hostile names through the commands that show names: in the terminal, in CSV, JSON, Markdown and HTML."""

import csv
import io
import json
import os
import re
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from search.cli import main
from search.commands.names import cli_name
from tests.support.photo_runs import pack, train
from tests.support.recipes import TINY_NETWORK
from tests.support.searched_runs import searched_trials, write_search
from trainables.core.config_errors import ConfigError, Problem
from trainables.core.printable import command_line, printable
from trainables.data.dataset import open_dataset
from trainables.recipe.recipe import parse_recipe

FORGED = "a\nerror: all your files are gone"
COLOUR = "\x1b[31mred\x1b[0m\x07"
TURNED = "\u202egpj.exe"
MARKUP = "[red]x[/red] :warning: [link=http://evil]y[/link]"
LINK = "![i](http://evil/i.png) [l](http://evil) `c` *b*"
HTML = "<script>alert(1)</script><img src=x onerror=alert(1)>&\"'"
FORMULA, DASH = "=1+1", "-rf"
NAMES = (FORGED, COLOUR, TURNED, MARKUP, LINK, HTML, FORMULA, "@SUM(A1)", "+1+1", DASH, "a|b")
SHOWN = tuple(map(printable, NAMES))
RAW = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\ud800-\udfff]")


@pytest.fixture
def thaw(tmp_path, monkeypatch, capsys):
    """`thaw(*words)`: output and errors of a command that ends well, in tmp_path."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "400")

    def run(*words, code=0):
        monkeypatch.setattr(sys, "argv", ["thaw", *words])
        with pytest.raises(SystemExit) as end:
            main()
        out, err = capsys.readouterr()
        assert (end.value.code or 0) == code, err
        return out, err

    return run


def assert_harmless(text, *, code=0):
    assert not RAW.search(text), RAW.search(text)
    forged = [line for line in text.splitlines() if line.startswith(("error:", "warning:"))]
    assert len(forged) <= (1 if code else 0), forged


def cells_of(text):
    return [cell for row in csv.reader(io.StringIO(text)) for cell in row]


def assert_no_formula(cells):
    def number(cell):
        try:
            return float(cell) is not None
        except ValueError:
            return False

    assert not [cell for cell in cells if cell[:1] in tuple("=+-@\t\r") and not number(cell)]


@pytest.fixture
def run(tmp_path):
    """A search whose classes, searched values, keys and reasons are hostile."""
    trials = searched_trials(len(NAMES))
    for trial, name in zip(trials, NAMES, strict=True):
        trial["params"] = {**trial["params"], "train.loss.kind": name, f"train.{FORMULA}": -0.5}
    trials += [{"scores": [], "status": "failed", "reason": name, "params": {}} for name in NAMES]
    return write_search(tmp_path / "runs" / "small", trials, classes=NAMES)


COMMANDS = (
    ("results", "small", "--top", "0"),
    ("results", "small", "--top", "0", "--columns", "train.loss.kind,reason"),
    ("compare", "small:0", "small:1"),
    ("compare", "small:0", "small:1", "--format", "markdown"),
    ("results", "small", "--format", "markdown"),
    ("watch", "small", "--once"),
    ("export", "small", "--trial", "3"),
)


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_a_terminal_obeys_no_name(run, thaw, words):
    out, err = thaw(*words)
    assert_harmless(out)
    assert_harmless(err)


def test_names_are_shown_as_they_are(run, thaw):
    out, _ = thaw("results", "small", "--top", "0", "--columns", "train.loss.kind")
    for name in SHOWN:
        assert name[:59] in out


def test_a_spreadsheet_runs_no_name(run, thaw):
    out, _ = thaw("results", "small", "--format", "csv")
    cells = cells_of(out)
    assert_harmless(out)
    assert_no_formula(cells)
    assert "'=1+1" in cells
    assert "-0.5" in cells  # a number


def test_markdown_shows_no_link_of_a_name(run, thaw):
    for words in (
        ("results", "small", "--format", "markdown"),
        ("compare", "small:0", "small:4", "--format", "markdown"),
    ):
        out, _ = thaw(*words)
        assert not re.search(r"(?<!\\)\[[^\]]*(?<!\\)\]\(|(?<!\\)<script|(?<!\\)`", out)
        widths = {len(re.findall(r"(?<!\\)\|", line)) for line in out.splitlines() if line.startswith("|")}
        assert len(widths) == 1


@pytest.mark.slow
def test_a_page_runs_no_name(run, thaw):
    thaw("report", "small")
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "<script>alert" not in page
    assert "<img src=x" not in page


def test_json_holds_names_unchanged(run, thaw):
    rows = json.loads(thaw("results", "small", "--format", "json")[0])
    assert {row["train.loss.kind"] for row in rows} >= set(NAMES)


# --- messages -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_an_unknown_key_forges_no_message(thaw, tmp_path, name):
    (tmp_path / "s.yaml").write_text(json.dumps({"data": {name: 1}, "search": {name: 1}}))
    _, err = thaw("search", "s.yaml", f"train.{name}=1", code=2)
    assert_harmless(err, code=2)


@pytest.mark.parametrize("name", NAMES)
def test_a_missing_run_forges_no_message(thaw, name):
    _, err = thaw("results", name.replace("/", "."), code=2) if name != DASH else ("", "")
    assert_harmless(err, code=2)


def test_a_problem_is_one_line():
    assert str(ConfigError([Problem(("a", FORGED), FORGED)])).count("\n") == 0


def draw(file, seed):
    os.makedirs(os.path.dirname(file), exist_ok=True)  # noqa: PTH103, PTH120  bytes
    pixels = np.random.default_rng(seed).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    Path(os.fsdecode(file)).write_bytes(buffer.getvalue())


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (b"k\xe4tzchen", r"the class 'k\xe4tzchen' is not UTF-8; rename it, or map its label"),
        (FORGED.encode(), r"the class 'a\nerror: all your files are gone' has a line break or control character"),
        (COLOUR.encode(), r"the class '\x1b[31mred\x1b[0m\x07' has a line break or control character"),
    ],
)
def test_a_class_that_no_file_could_hold_is_refused_before_training(tmp_path, name, said):
    for folder in (name, b"dog"):
        for seed in range(4):
            draw(os.fsencode(tmp_path) + b"/images/" + folder + b"/%d.png" % seed, seed)
    config = parse_recipe(
        {**small_recipe(), "data": {"source": "folder", "path": str(tmp_path / "images"), "image_size": 32}}
    )
    with pytest.raises(ConfigError) as refused:
        open_dataset(config.data)
    assert said in str(refused.value)


def test_images_whose_names_are_no_utf8_are_listed(tmp_path):
    for folder in (b"cat", b"dog"):
        for seed in range(4):
            draw(os.fsencode(tmp_path) + b"/images/" + folder + b"/k\xe4-%d.png" % seed, seed)
    (tmp_path / "images" / "cat" / os.fsdecode(b"b\xe4d.png")).write_bytes(b"no image")
    data = {"source": "folder", "path": str(tmp_path / "images"), "image_size": 32, "on_bad": "skip"}
    dataset = open_dataset(parse_recipe({**small_recipe(), "data": data}).data)
    assert len(dataset.labels) == 8
    assert r"cat/b\xe4d.png: " in dataset.left_out.listing.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("folder", "typed"), [("runs [x] é/odd", "'runs [x] é/odd'"), ("-runs/a", "./-runs/a"), ("runs/a", "a")]
)
def test_printed_commands_can_be_typed(tmp_path, monkeypatch, folder, typed):
    monkeypatch.chdir(tmp_path)
    assert command_line("resume", cli_name(tmp_path / folder)) == f"thaw resume {typed}"


# --- a model --------------------------------------------------------------------------------------------------------

CLASSES = (*(name for name in NAMES if printable(name) == name and "/" not in name), "x&y<b>")


def small_recipe(backbone="efficientnet_lite0"):
    stages = [{"name": "head", "unfreeze_from": "head", "epochs": 1, "head_lr": 0.05}]
    return {
        "data": {"source": "folder", "path": "images", "image_size": 32, "validation": 0.5},
        "model": {"backbone": backbone},
        "train": {"metric": "balanced_accuracy", "stages": stages},
    }


@pytest.fixture
def model(tmp_path, own_module):
    """A model of a tiny network whose classes are hostile."""
    for j, name in enumerate(CLASSES):
        for seed in range(4):
            draw(tmp_path / "images" / name / f"{seed}.png", 10 * j + seed)
    trained = train(small_recipe(f"{own_module(TINY_NETWORK)}:tiny"), tmp_path / "run")
    pack(trained, tmp_path / MARKUP.replace("/", "."))
    return tmp_path / MARKUP.replace("/", ".")


def test_a_model_shows_its_hostile_names_and_predicts_hostile_files(model, thaw, tmp_path):
    files = [os.fsencode(name.replace("/", ".")) + b".png" for name in NAMES] + [b"k\xe4.png", b"bad\nerror: x.png"]
    for seed, name in enumerate(files[:-1]):
        draw(os.fsencode(tmp_path / "new") + b"/" + name, seed)
    (tmp_path / "new" / os.fsdecode(files[-1])).write_bytes(b"no image")
    printed, err = thaw("predict", str(model), "new", "--trust-code")
    assert_harmless(printed)
    assert_harmless(err)
    assert r"left out: " in err
    assert_no_formula(cells_of(printed))
    for ending in ("csv", "json", "parquet"):
        thaw("predict", str(model), "new", "--trust-code", "-o", f"p.{ending}")
    names = {Path(path).name for path in pd.read_parquet("p.parquet")["path"]}
    assert names == {Path(row["path"]).name for row in json.loads(Path("p.json").read_text(encoding="utf-8"))}
    assert r"k\xe4.png" in names
    assert_harmless(Path("p.csv").read_text(encoding="utf-8"))
    assert_no_formula(cells_of(Path("p.csv").read_text(encoding="utf-8")))
    card = (model / "README.md").read_text(encoding="utf-8")
    outside = re.sub(r"```.*?```|`[^`\n]*`", "", card, flags=re.DOTALL)
    assert not re.search(r"(?<!\\)\[[^\]\n]*(?<!\\)\]\(|(?<!\\)<", outside)
    assert (model / "labels.txt").read_text(encoding="utf-8").splitlines() == sorted(CLASSES)
