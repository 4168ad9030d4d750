"""`thaw checkpoints`, in this process, on real runs."""

import json
import re
import shutil
import sys

import filelock
import pytest
import torch
import yaml

from results_analysis.report.checkpoints.history import changes_of_weights, timeline
from search.cli import main
from tests.support.recipes import RECIPE
from trainables.checkpoints.checkpoint_file import load_checkpoint
from trainables.checkpoints.checkpoint_folder import CheckpointFolder
from trainables.checkpoints.weight_changes import differences
from trainables.core.vocabulary import TrialStatus
from trainables.recipe.recipe import parse_recipe
from trainables.run_folder.checkpoint_registry import BlockChange, Entry, read_registry
from trainables.run_folder.layout import RunLayout, TrialLayout
from trainables.run_folder.trial_record import TrialRecord
from trainables.trial.training_run import TrainingRun

NAME = "small-20260101-000000"


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """Four epochs in two stages; of them 1 and 2 are milestones."""
    folder = TrialLayout(tmp_path_factory.mktemp("checkpoints") / NAME)
    policy = {"milestones": [1, "50%"], "keep_last": 1}
    list(TrainingRun(parse_recipe({**RECIPE, "train": {**RECIPE["train"], "checkpoints": policy}}), folder))
    return folder


@pytest.fixture
def run(finished, tmp_path, monkeypatch):
    """A copy of it, in `runs` of the working directory."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(finished.root, tmp_path / "runs" / NAME)
    return TrialLayout(tmp_path / "runs" / NAME)


@pytest.fixture
def thaw(monkeypatch, capsys):
    """`thaw(*words)`: the output's lines; `code`: the exit status, of which 0 alone answers on standard output."""
    monkeypatch.setenv("COLUMNS", "100")

    def said(*words, code=0):
        monkeypatch.setattr(sys, "argv", ["thaw", "checkpoints", *words])
        with pytest.raises(SystemExit, match=f"^{code}$"):
            main()
        out, err = capsys.readouterr()
        return (err if code == 2 else out).splitlines()

    return said


def epochs_in(folder):
    return sorted(CheckpointFolder(folder.checkpoints).files)


def test_a_table_of_what_is_there(thaw, run):
    lines = thaw(NAME)
    best = max(entry.epoch for entry in read_registry(run.registry) if entry.best)
    rows = [line.split() for line in lines[2:-1]]
    assert [int(row[0]) for row in rows] == epochs_in(run)
    marks = {int(row[0]): " ".join(row[6:-2]) for row in rows}
    assert marks[1] == "1"
    assert "50%" in marks[2]
    assert "best" in marks[best]
    assert "newest" in marks[4]
    gone = 4 - len(rows)
    assert re.fullmatch(
        rf"{len(rows)} checkpoints, \d+\.\d MB; {gone} more (was|were) written and rotated out", lines[-1]
    )


def test_whole_checkpoints_are_good(thaw, run):
    assert thaw(NAME, "verify") == [f"good: {path.name}" for path in CheckpointFolder(run.checkpoints).files.values()]


def _flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def _another(path):
    torch.save({**load_checkpoint(path), "x": 1}, path)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        pytest.param(_flip, "is damaged or not a checkpoint", id="a wrong bit"),
        pytest.param(_another, "is not the file that was registered under its name", id="another file"),
        pytest.param(lambda path: path.unlink(), "is missing: it should have been kept", id="no file"),
    ],
)
def test_what_is_damaged_or_lost_is_found(thaw, run, damage, message):
    path = CheckpointFolder(run.checkpoints).named("1")
    damage(path)
    lines = thaw(NAME, "verify", code=1)
    (bad,) = (line for line in lines if not line.startswith("good: "))
    assert path.name in bad
    assert message in bad


def test_a_file_that_is_not_registered_is_found(thaw, run):
    run.registry.unlink()
    lines = thaw(NAME, "verify", code=1)
    assert all(line.endswith("is not registered; resuming the run registers it") for line in lines)


def test_two_checkpoints_are_compared_layer_by_layer(thaw, run):
    lines = thaw(NAME, "compare", "1", "4")
    assert lines[0].startswith("A: 0001_head_")
    assert lines[1].startswith("B: 0004_top_")
    rows = {line.split()[0]: line.split()[1:] for line in lines if len(line.split()) == 5}
    assert {"features.7", "features.8", "head", "last.weight"} <= rows.keys()
    for name in ("features.8", "head"):
        assert float(rows[name][3].rstrip("%")) > 0
    assert "frozen in both: features.0, features.1" in " ".join(lines)
    same = thaw(NAME, "compare", "4", "newest")
    assert {line.split()[-1] for line in same if len(line.split()) == 5} == {"0.000%"}


def test_differences_are_those_of_vectors():
    a = {"blocks.0.w": torch.tensor([[3.0, 4.0]]), "head.b": torch.tensor([0.0]), "head.n": torch.tensor(3)}
    b = {"blocks.0.w": torch.tensor([[4.0, -3.0]]), "head.b": torch.tensor([2.0]), "head.n": torch.tensor(4)}
    found = differences(
        a | {"blocks.0.running_var": torch.ones(2) * 1e9}, b | {"blocks.0.running_var": torch.ones(2)}, ["one"]
    )
    whole, weight, statistic = found["one"]
    assert (weight.name, weight.norm_a, weight.norm_b, weight.cosine) == ("w", 5, 5, 0)
    assert weight.change == pytest.approx(2**0.5)
    assert (whole.name, whole.change) == ("one", weight.change), "running statistics do not count"
    assert statistic.change == pytest.approx(1)
    assert [d.name for d in found["head"]] == ["head", "b"]
    assert found["head"][1].change == float("inf")


def test_a_page_needs_nothing_else(thaw, run):
    assert thaw(NAME, "report") == [f"Wrote: runs/{NAME}/checkpoints.html"]
    text = run.checkpoint_report.read_text()
    assert text.count('class="plotly-graph-div"') == 3
    assert not re.search(r"<(script|link|img)[^>]+(src|href)=\"(?!data:)", text)


def test_a_report_in_markdown_shows_its_picture(thaw, run, tmp_path):
    assert thaw(NAME, "report", "-o", "report.md") == ["Wrote: report.md", "Wrote: report.png"]
    text = (tmp_path / "report.md").read_text()
    assert "](report.png)" in text
    assert (tmp_path / "report.png").read_bytes().startswith(b"\x89PNG")
    for entry in read_registry(run.registry):
        kept = (run.checkpoints / entry.file).is_file()
        (row,) = (line for line in text.splitlines() if line.startswith(f"| {entry.epoch} |"))
        assert ("rotated out" in row) != kept
        assert f" {entry.save_s:.2f} s " in row


ENTRY = Entry(
    file="0001_a_kappa=0.5000.pt",
    epoch=1,
    step=1,
    stage="a",
    time="",
    train_loss=1,
    val_loss=None,
    score=None,
    metrics={},
    config="",
    commit=None,
    size=2_000_000,
    checksum="",
    best=True,
    milestone=None,
    blocks={"head": BlockChange(norm=2, change=None)},
)
LATER = ENTRY.model_copy(
    update={
        "file": "0002_b_kappa=0.5000.pt",
        "epoch": 2,
        "score": 0.5,
        "milestone": "50%",
        "blocks": {"features.8": BlockChange(norm=9, change=None), "head": BlockChange(norm=3, change=0.1)},
    }
)


def test_the_numbers_of_a_page():
    first, second = timeline([ENTRY, LATER], {LATER.file})
    assert (first.kept, first.mark, first.score != first.score) == (False, "", True)
    assert (second.kept, second.mark, second.size_mb, second.score) == (True, "best, 50%", 2.0, 0.5)
    moved = changes_of_weights([ENTRY, LATER])
    assert moved.blocks == ["features.8", "head"]
    assert moved.norms == [[None, 9], [2, 3]]
    assert moved.changes == [[None, None], [None, 0.1]]


def test_a_copy_is_made_elsewhere(thaw, run, tmp_path):
    assert thaw(NAME, "backup", "far") == [f"Copy: far/{NAME}"]
    assert {p.name for p in (tmp_path / "far" / NAME / "checkpoints").iterdir()} == {
        p.name for p in run.checkpoints.iterdir()
    }
    assert thaw(str(tmp_path / "far" / NAME), "verify")


def test_what_the_policy_does_not_keep_is_removed(thaw, run):
    assert thaw(NAME, "prune") == ["nothing to remove"]
    recipe = yaml.safe_load(run.recipe.read_text())
    recipe["train"]["checkpoints"] = {"keep_last": 1}
    run.recipe.write_text(yaml.safe_dump(recipe))
    epochs = set(epochs_in(run))
    lines = thaw(NAME, "prune")
    assert epochs_in(run) == sorted(epochs), "milestones were reached and stay"
    best = CheckpointFolder(run.checkpoints).best().name
    lines = thaw(NAME, "prune", "--best-only")
    assert [path.name for path in run.checkpoints.iterdir()] == [best]
    assert lines[-1] == f"{len(epochs) - 1} removed"


def test_a_run_that_is_training_is_not_pruned(thaw, run):
    with filelock.FileLock(run.lock):
        (message,) = thaw(NAME, "prune", code=2)
    assert message.endswith("is in use: it is running in another process")


def test_a_searchs_trial_is_named(thaw, run, tmp_path):
    search = RunLayout(tmp_path / "runs" / "digits")
    shutil.copytree(run.root, search.trial(3).root)
    search.config.write_text(yaml.safe_dump({**RECIPE, "search": {}}))
    TrialRecord(number=3, params={}, status=TrialStatus.FINISHED, started="2026-01-01T00:00:00+00:00").write(
        search.trial(3)
    )
    assert thaw("digits", "--trial", "3")[-1].endswith("rotated out")
    (message,) = thaw("digits", code=2)
    assert message == "error: digits is a search: name one of its trials, as in --trial 3"
    (message,) = thaw("digits", "--trial", "4", code=2)
    assert message == "error: run 'digits' has no trial 4; its trials are 3"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("nothing",), f"error: no run 'nothing' in 'runs'; valid: {NAME}"),
        ((NAME, "--trial", "3"), f"error: {NAME} is a single training run: leave out --trial"),
        (
            (NAME, "lst"),
            f"error: thaw checkpoints {NAME} lst: unknown action; choose from list, save, verify, compare, report, backup, prune",
        ),
        ((NAME, "compare", "1"), f"error: usage: thaw checkpoints {NAME} compare A B"),
        ((NAME, "backup"), f"error: usage: thaw checkpoints {NAME} backup DEST"),
        ((NAME, "compare", "1", "77"), r"error: .* has no checkpoint '77'; available: best, newest and epochs 1, 2"),
        (("save", NAME), f"error: thaw checkpoints save {NAME}: the run comes first: thaw checkpoints {NAME} save"),
        ((NAME, "save"), f"error: runs/{NAME} is not being trained now"),
        ((NAME, "report", "-o", "a.pdf"), r"error: a\.pdf: the ending must be one of \.html, \.md"),
        ((NAME, "list", "-o", "a.md"), "error: --output needs the action report"),
        ((NAME, "list", "--best-only"), "error: --best-only needs the action prune"),
    ],
)
def test_a_mistake_is_one_message(thaw, run, words, message):
    (line,) = thaw(*words, code=2)
    assert re.match(message, line)


def test_a_registry_that_cannot_be_read_is_named(thaw, run):
    run.registry.write_text('{"epoch": 0}\n{"epoch": 1}\n')
    for action in ("list", "verify", "report"):
        (line,) = thaw(NAME, action, code=2)
        assert line.startswith(f"error: runs/{NAME}/checkpoints.jsonl:1: ")


def test_training_goes_on_from_a_named_checkpoint(run, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    (tmp_path / "small.yaml").write_text(run.recipe.read_text())
    epochs = [json.loads(line) for line in run.epochs.read_text().splitlines()]

    def train(*words):
        monkeypatch.setattr(sys, "argv", ["thaw", "train", "small.yaml", *words])
        with pytest.raises(SystemExit) as caught:
            main()
        return caught.value.code, capsys.readouterr()

    code, said = train("--resume", NAME, "--checkpoint", "2")
    assert code == 0, said.err
    assert f"runs/{NAME}: 2 epochs were trained before" in said.out
    assert [line.split()[1] for line in said.out.splitlines() if line.startswith("epoch")] == ["3/4", "4/4"]
    again = [json.loads(line) for line in run.epochs.read_text().splitlines()]
    assert [report["score"] for report in again] == [report["score"] for report in epochs]
    code, said = train("--checkpoint", "2")
    assert (code, said.err) == (2, "error: --checkpoint needs --resume NAME, the run that the checkpoint belongs to\n")
    code, said = train("--resume", NAME, "--checkpoint", "99")
    assert code == 2
    assert "has no checkpoint '99'; available: best, newest and epochs" in said.err


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs chromium")
def test_a_browser_shows_the_page_without_errors_or_requests(thaw, run):
    from playwright.sync_api import sync_playwright

    thaw(NAME, "report")
    said = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for scheme, expected in (("light", "rgb(27, 27, 27)"), ("dark", "rgb(230, 230, 230)")):
            page = browser.new_page(color_scheme=scheme)
            page.on("console", lambda message: said.append(message.text))
            page.on("pageerror", lambda error: said.append(str(error)))
            page.on(
                "request",
                lambda request: said.append(request.url) if not request.url.startswith(("file:", "data:")) else None,
            )
            page.goto(run.checkpoint_report.as_uri())
            page.wait_for_selector(".heatmaplayer image", state="attached")
            assert page.locator(".main-svg").count() >= 3
            assert page.locator(".xtitle").first.evaluate("e => getComputedStyle(e).fill") == expected
            page.close()
        browser.close()
    assert said == []
