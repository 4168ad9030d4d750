"""`log.txt` and `building.json` of a trial."""

import json
import logging
import os
import subprocess
import sys
import warnings

import pytest

from trainables.run_folder import trial_log
from trainables.run_folder.cache_progress import CacheProgress, read_cache_progress
from trainables.run_folder.trial_log import TrialLog


def test_all_that_is_said_while_a_trial_runs_is_in_its_log_and_nowhere_else(tmp_path, capfd):
    file = tmp_path / "0007" / "log.txt"
    logger = logging.getLogger("some.library")
    print("before")
    with TrialLog(file).redirected():
        print("printed")
        print("to stderr", file=sys.stderr)
        os.write(1, b"from below Python\n")
        subprocess.run(["sh", "-c", "echo from a child; echo and its stderr >&2"], check=True)
        logger.info("logged")
        logger.debug("too much")
    print("after")
    logger.info("logged after")
    text = file.read_text()
    for said in (
        "printed",
        "to stderr",
        "from below Python",
        "from a child",
        "and its stderr",
        "INFO some.library: logged",
    ):
        assert text.count(said) == 1
    assert "too much" not in text
    assert "after" not in text
    assert capfd.readouterr() == ("before\nafter\n", "")


def test_a_log_goes_on_where_it_was(tmp_path):
    for said in ("first", "second"):
        with TrialLog(tmp_path / "log.txt").redirected():
            print(said)
    assert (tmp_path / "log.txt").read_text() == "first\nsecond\n"


def test_an_exception_is_logged_with_its_traceback_and_goes_on(tmp_path, capfd):
    with pytest.raises(ValueError, match="a mistake"), TrialLog(tmp_path / "log.txt").redirected():
        raise ValueError("a mistake")
    assert "Traceback" in (tmp_path / "log.txt").read_text()
    print("heard again")
    assert capfd.readouterr().out == "heard again\n"


def test_each_trial_of_a_worker_is_warned_anew():
    code = """
import sys, warnings
from pathlib import Path
from trainables.run_folder.trial_log import TrialLog
for number in range(2):
    log = TrialLog(Path(sys.argv[1]) / f"{number}.txt")
    for _ in range(2):
        with log.redirected():
            for _ in range(3): warnings.warn("a warning")
"""
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-c", code, folder], check=True)
        logs = [Path(folder, f"{number}.txt").read_text() for number in range(2)]
    assert [log.count("UserWarning: a warning") for log in logs] == [1, 1]


def test_of_a_long_log_the_beginning_and_the_end_stay(tmp_path, monkeypatch):
    monkeypatch.setattr(trial_log, "LONGEST", 4000)
    log = TrialLog(tmp_path / "log.txt")
    for number in range(1000):
        with log.redirected():
            print(f"line {number:04d}")
    text = (tmp_path / "log.txt").read_text()
    assert len(text) <= 4100
    assert text.startswith("line 0000\n")
    assert text.endswith("line 0999\n")
    assert " bytes left out …\n" in text


# --- building -------------------------------------------------------------------------------------------------------


@pytest.fixture
def file(tmp_path):
    return tmp_path / "building.json"


def test_what_takes_long_is_written_and_gone_when_it_is_done(file):
    show = CacheProgress(file, every_s=0).progress("computing features")
    show(32, 96)
    assert read_cache_progress(file)[0] == "computing features 32/96"
    show(64, 96)
    assert read_cache_progress(file)[0] == "computing features 64/96"
    show(96, 96)
    assert read_cache_progress(file) == (None, 0.0)


def test_what_is_done_in_a_moment_is_never_written(file, monkeypatch):
    written = []
    monkeypatch.setattr("trainables.run_folder.cache_progress.replacing", lambda path: written.append(path))
    building = CacheProgress(file, every_s=60)
    for what in ("decoding images", "computing features", "computing features"):
        show = building.progress(what)
        for done in range(1, 1001):
            show(done, 1000)
    assert written == []


def test_the_file_is_written_at_most_once_in_a_while(file, monkeypatch):
    import trainables.run_folder.cache_progress as module

    clock = iter(range(10_000))
    monkeypatch.setattr(module.time, "monotonic", lambda: next(clock) / 100)  # 10 ms an image
    written = []
    real = module.replacing
    monkeypatch.setattr(module, "replacing", lambda path: written.append(path) or real(path))
    show = CacheProgress(file, every_s=1.0).progress("computing features")
    for done in range(1, 1000):
        show(done, 1000)
    assert len(written) == 9
    assert json.loads(file.read_text())["done"] == 901


def test_a_file_of_a_killed_worker_is_gone_when_the_trial_begins_again(file):
    CacheProgress(file, every_s=0).progress("decoding images")(1, 2)
    CacheProgress(file)
    assert not file.exists()


def test_a_disk_that_is_full_stops_no_build(tmp_path):
    (tmp_path / "no_folder").write_text("")
    show = CacheProgress(tmp_path / "building.json", every_s=0)
    show._file = tmp_path / "no_folder" / "building.json"
    show.progress("computing features")(1, 2)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"what": "x"}'])
def test_a_file_that_cannot_be_read_is_none(file, text):
    file.write_text(text)
    assert read_cache_progress(file)[0] is None


def test_warnings_are_as_they_were(tmp_path):
    before = list(warnings.filters)
    with TrialLog(tmp_path / "log.txt").redirected():
        pass
    assert warnings.filters == before
