"""How a run comes back from its copy at a URL, and what is not taken for one."""

import json
import re
import sys

import pytest

from search.cli import main
from search.config.yaml_source import InputError
from search.run_folder.fetch_mirror import fetch
from tests.support import mirrored_runs
from tests.support.driven_search import Search
from tests.support.mirrored_runs import URL, run_files, trained, update
from tests.support.object_store import BUCKET
from trainables.run_folder.layout import RunLayout

store, search = mirrored_runs.store, mirrored_runs.search  # fixtures


def test_a_run_here_that_is_as_new_is_gone_on_with_and_an_earlier_one_is_replaced(search, store, tmp_path):
    update(search.layout)
    elsewhere = tmp_path / "elsewhere"
    folder = fetch(URL, elsewhere)
    (folder / "note.txt").write_text("mine")
    assert fetch(URL, elsewhere) == folder
    assert (folder / "note.txt").exists(), "it was not fetched again"
    trained(search, "c")
    update(search.layout)
    fetch(URL, elsewhere)
    assert run_files(RunLayout(folder)) == run_files(search.layout)
    assert [path.name for path in elsewhere.iterdir()] == ["small"]


def test_another_run_here_is_in_the_way(search, store, tmp_path):
    update(search.layout)
    other = Search(tmp_path / "small", search.config)
    with pytest.raises(InputError, match="small is in the way: it is not a run"):
        fetch(URL, tmp_path)
    other.layout.config.write_text(search.config.to_yaml())
    trained(other, "a")
    before = run_files(other.layout)
    with pytest.raises(InputError, match="small is in the way: it is another run"):
        fetch(URL, tmp_path)
    assert run_files(other.layout) == before


def test_a_study_that_was_cut_off_is_refused(search, store, tmp_path):
    update(search.layout)
    study = store.files("small")["study.journal"]
    store.system.pipe_file("bucket/runs/small/study.journal", study[: len(study) // 2])
    with pytest.raises(
        InputError, match=r"s3://bucket/runs/small/study\.journal is truncated: it has \d+ bytes of \d+"
    ):
        fetch(URL, tmp_path / "elsewhere")
    store.system.rm_file("bucket/runs/small/study.journal")
    with pytest.raises(InputError, match="is truncated: it has 0 bytes"):
        fetch(URL, tmp_path / "elsewhere")
    assert not any((tmp_path / "elsewhere").glob("*"))


def test_names_that_lead_elsewhere_are_not_followed(search, store, tmp_path):
    update(search.layout)
    for name in ("../../escaped", "trials/0001/../../../escaped", ".hidden"):
        store.system.pipe_file(f"bucket/runs/small/{name}", b"from outside")
    folder = fetch(URL, tmp_path / "elsewhere")
    assert list(tmp_path.rglob("*escaped*")) == []
    assert run_files(RunLayout(folder)) == run_files(search.layout)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("resume", f"{BUCKET}/none"), r"s3://bucket/runs/none is not a run: there is no search\.yaml"),
        (("resume", "s3://no-such-bucket/none"), "s3://no-such-bucket/none (cannot be fetched|is not a run)"),
        (("resume", "nowhere://me:secret@x/run"), r"nowhere://me:\$\{PASSWORD\}@x/run cannot be fetched: .*nowhere"),
        (("report", f"{BUCKET}/.."), "cannot be the name of a run folder"),
    ],
)
def test_a_url_that_is_no_run_is_one_message(store, tmp_path, monkeypatch, capsys, words, message):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["thaw", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert re.search(f"^error: .*{message}", line), line


def test_tables_and_configs_come_from_a_url(search, store, tmp_path, monkeypatch, capsys):
    update(search.layout)
    monkeypatch.chdir(tmp_path)
    for words in (("results", URL, "--format", "json"), ("results", URL, "--format", "json")):
        monkeypatch.setattr(sys, "argv", ["thaw", *words, "--runs", "elsewhere"])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        assert ended.value.code == 0, said.err
        assert [row["status"] for row in json.loads(said.out)] == ["finished", "running"]
        assert said.err == "elsewhere/small: copy of s3://bucket/runs/small\n"
