"""The report as a file: it holds all it shows, whatever the run holds, and nothing else is written."""

import html
import json
import math
import re
import sys
import threading
import urllib.error
import urllib.request
from html.parser import HTMLParser

import pytest

from results_analysis import load, write_report
from results_analysis.report.number_format import cell, duration
from results_analysis.report.serve import keep_writing, report_server, state_of
from search.cli import main
from tests.support.searched_runs import searched_trials, write_search, write_trial
from trainables.core.vocabulary import Metric
from trainables.run_folder.layout import RunLayout

HOSTILE = "</script><script>alert(1)</script>"


@pytest.fixture
def page(tmp_path):
    """`page(trials)`: the report of such a run, as text."""

    def write(trials, **config):
        return write_report(load(write_search(tmp_path / "run", trials, **config))).read_text(encoding="utf-8")

    return write


class Page(HTMLParser):
    """Elements of a page by name, and its texts outside of scripts."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.texts, self._inside, self.scripts = [], [], None, []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self._inside = tag

    def handle_endtag(self, tag):
        self._inside = None

    def handle_data(self, data):
        (self.scripts if self._inside == "script" else self.texts).append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.texts).split())


def data_of(text, name):
    return json.loads(re.search(rf'id="{name}">(.*?)</script>', text, re.DOTALL)[1])


# --- what it holds --------------------------------------------------------------------------------------------------


def test_the_report_shows_every_picture_and_its_numbers(page):
    text = page(searched_trials(30))
    drawn = {name.rsplit("-", 1)[0] for name in data_of(text, "figures")}
    assert drawn == {
        "score", "cost", "curves", "timeline", "importance", "slices", "parallel", "contours", "recall", "confusion", "savings",
    }  # fmt: skip
    read = Page(text)
    assert sum(tag == "figure" for tag, _ in read.elements) == len(drawn)
    assert sum(tag == "details" for tag, _ in read.elements) >= len(drawn)
    places = {attributes["data-figure"] for _, attributes in read.elements if "data-figure" in attributes}
    assert places == set(data_of(text, "figures"))


def test_it_asks_the_network_for_nothing(page):
    text = page(searched_trials(5))
    for tag, attributes in Page(text).elements:
        assert "src" not in attributes, tag
        if "href" in attributes:
            assert attributes["href"].startswith(("#", "data:"))
    assert "default-src 'none'" in text
    assert len(text) < 25 * 2**20


def test_all_trials_are_in_the_table_and_the_first_are_there_without_a_script(page):
    text = page([{"scores": [0.5 + n / 1000]} for n in range(70)])
    table = data_of(text, "rows")
    assert len(table["rows"]) == 70
    assert table["columns"][:3] == ["trial", "status", "score"]
    shown = text[text.index('<table id="table">') : text.index('id="earlier"')]
    assert shown.count("<tr>") == 51


def test_the_table_says_who_goes_on_from_whom_where_anybody_does(page):
    trials = [{"scores": [0.1] * 6}, {"scores": [0.3] * 6, "parent": (0, 2)}]
    assert data_of(page(trials), "rows")["columns"][8:10] == ["parent", "parent_epoch"]


def test_a_hostile_name_stays_a_name(page):
    trials = [{**trial, "reason": HOSTILE} for trial in searched_trials(7)]
    trials.append({"status": "failed", "reason": HOSTILE, "params": {"train.loss.kind": HOSTILE}})
    text = page(trials, classes=(HOSTILE, "<b>bold</b>", "{{ 7 * 7 }}"))
    assert HOSTILE not in text
    assert html.escape(HOSTILE) in text
    assert "<b>bold</b>" not in text
    assert "{{ 7 * 7 }}" in Page(text).text
    assert sum(tag == "script" for tag, _ in Page(text).elements) == 4
    labels = data_of(text, "figures")["confusion-0"]["data"][0]["x"]
    assert "&lt;b&gt;bold&lt;/b&gt;" in labels  # plotly reads tags in labels


def test_the_file_is_written_where_it_is_asked_for_and_nothing_else_is(tmp_path):
    root = write_search(tmp_path / "run", searched_trials(5))
    before = {file: file.read_bytes() for file in root.rglob("*") if file.is_file()}
    write_report(load(root), tmp_path / "elsewhere.html")
    assert {file: file.read_bytes() for file in root.rglob("*") if file.is_file()} == before
    assert write_report(load(root)) == root / "report.html"
    assert set(root.rglob("*")) - set(before) - {file.parent for file in before} - {root / "trials"} == {
        root / "report.html"
    }


def test_neither_torch_nor_ray_is_needed(tmp_path):
    import subprocess

    root = write_search(tmp_path / "run", searched_trials(8))
    code = (
        "import sys; from results_analysis import load, write_report; write_report(load(sys.argv[1])); "
        "assert not {'torch', 'ray'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, str(root)], check=True, timeout=300)


# --- runs that have little to show ----------------------------------------------------------------------------------

FIRST, SECOND, *_ = searched_trials(2)
NAN = math.nan


@pytest.mark.slow
@pytest.mark.parametrize(
    ("trials", "config", "says"),
    [
        ([], {}, "The search has no trials yet."),
        ([{"status": "running", "params": FIRST["params"]}], {}, "so there is no best trial"),
        ([FIRST], {}, "the only finished trial"),
        (
            [{**FIRST, "status": "pruned"}, {**SECOND, "status": "running"}],
            {},
            "No trial has finished yet; this one is",
        ),
        ([{"status": "failed", "reason": "ValueError: x"}] * 3, {}, "Trials 0, 1, 2 failed: ValueError: x (3×)."),
        ([{"scores": [NAN, NAN], "flags": {1: ["nan"]}, "status": "failed"}], {}, "Loss not a number"),
        ([{"scores": [NAN, 0.5, NAN]}, {"scores": [0.4]}], {}, "Trial 0 has the best balanced accuracy, 0.5000"),
        ([FIRST, SECOND], {"classes": ("only",)}, "The data has only one class"),
        ([FIRST, SECOND], {"metric": Metric.SPEARMAN, "task": "regression"}, "A regression has no classes."),
        ([{"scores": [0.5]}] * 3, {"space": {}}, "Nothing was searched"),
        (searched_trials(12), {"space": {"python": "mine:space"}}, "Score against each searched value"),
        ([FIRST, {**SECOND, "scores": SECOND["scores"][:1], "status": "running"}], {}, "thaw resume"),
    ],
    ids=[
        "empty",
        "started",
        "one",
        "none_finished",
        "all_failed",
        "all_nan",
        "some_nan",
        "one_class",
        "regression",
        "no_space",
        "function",
        "running",
    ],
)
@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_each_run_gives_a_report_that_says_so(page, trials, config, says):
    assert says in Page(page(trials, **config)).text


def test_a_damaged_trial_is_told_of_and_a_lost_recipe_is_not_needed(tmp_path):
    root = write_search(tmp_path / "run", searched_trials(6))
    layout = RunLayout(root)
    layout.trial(0).trial.write_text("{")
    for number in range(1, 6):
        layout.trial(number).recipe.unlink()
        layout.trial(number).environment.unlink()
    assert "Trial 0 cannot be read" in Page(write_report(load(root)).read_text()).text


# --- words ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.04, "0.0 s"),
        (9.9, "9.9 s"),
        (42, "42 s"),
        (200, "3 min 20 s"),
        (7500, "2 h 5 min"),
        (7200, "2 h"),
        (273600, "3 d 4 h"),
    ],
)
def test_durations(seconds, said):
    assert duration(seconds) == said


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (0.123456, "0.1235"),
        (0.999123, "0.999123"),
        (3.0, "3"),
        (NAN, ""),
        (None, ""),
        (True, "yes"),
        ("a", "a"),
        (1e-7, "1e-07"),
    ],
)
def test_cells(value, said):
    assert cell(value) == said


# --- the command and its server -------------------------------------------------------------------------------------


def thaw(monkeypatch, capsys, *words):
    monkeypatch.setattr(sys, "argv", ["thaw", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    return ended.value.code, *capsys.readouterr()


def test_the_command_says_where_the_page_is_and_names_the_run_as_the_user_does(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_search(tmp_path / "runs" / "night", searched_trials(3))
    assert thaw(monkeypatch, capsys, "report", "night") == (0, "runs/night/report.html\n", "")
    text = (tmp_path / "runs" / "night" / "report.html").read_text()
    assert "thaw export night<" in text
    assert thaw(monkeypatch, capsys, "report", "night", "-o", "mine.html")[:2] == (0, "mine.html\n")


def test_a_run_that_is_not_there_is_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    code, out, error = thaw(monkeypatch, capsys, "report", "night")
    assert (code, out) == (2, "")
    assert error.startswith("error: no run 'night'")
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def served(tmp_path):
    """A server of a small file: its address, and the file."""
    file = tmp_path / "report.html"
    file.write_text("<p>one</p>")
    with report_server(file, 0) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", file
        server.shutdown()
        thread.join()


def asked(address, *, method="GET", **headers):
    return urllib.request.urlopen(urllib.request.Request(address, method=method, headers=headers), timeout=10)


def test_the_server_shows_the_file_as_it_is_now(served):
    address, file = served
    first = asked(address + "/")
    assert first.read() == b"<p>one</p>"
    file.write_text("<p>two</p>")
    again = asked(address + "/?x")
    assert again.read() == b"<p>two</p>"
    head = asked(address + "/", method="HEAD")
    assert head.headers["ETag"] == again.headers["ETag"] != first.headers["ETag"]
    assert head.read() == b""


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [("/search.yaml", {}, 404), ("/../secret", {}, 404), ("/", {"Host": "evil.example"}, 403)],
)
def test_it_shows_nothing_else_and_to_nobody_elses_pages(served, path, headers, status):
    with pytest.raises(urllib.error.HTTPError, match=str(status)):
        asked(served[0] + path, **headers)


def test_it_listens_on_this_machine_only(served, tmp_path):
    with report_server(tmp_path / "report.html", 0) as server:
        assert server.server_address[0] == "127.0.0.1"


def test_the_report_is_written_anew_when_the_run_has_gone_on(tmp_path):
    run = load(write_search(tmp_path / "run", searched_trials(2)))
    written, ended = threading.Event(), threading.Event()
    before = state_of(run)
    thread = threading.Thread(target=keep_writing, args=(run, written.set, ended), kwargs={"every_s": 0.02})
    thread.start()
    assert not written.wait(0.3)
    write_trial(run.layout, 2, [0.5])
    assert written.wait(20)
    ended.set()
    thread.join(20)
    assert state_of(run) != before
