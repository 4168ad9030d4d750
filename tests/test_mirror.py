"""A run's copy at a URL: what is in it, in which order it comes there, whose it is, and how a run comes back from it."""

import json
import re
import shutil
import sys
import threading

import pytest
import yaml
from conftest import RECIPE
from driven_search import Search, write_epochs
from object_store import BUCKET, ObjectStore

from search import mirror as mirror_module
from search.cli import main
from search.fetch import fetch
from search.load import load_search
from search.mirror import Mirror, mirrored
from search.mirrored_files import MirroredFiles
from search.source import InputError, read_source
from search.study import open_study
from trainables.layout import RunLayout
from trainables.record import read_record
from trainables.remote_folder import RemoteFolder

URL = f"{BUCKET}/small"
NOT_A_RUNS = {".driver", ".study.size"}


@pytest.fixture
def store(monkeypatch):
    server = ObjectStore(monkeypatch)
    yield server
    server.close()


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    monkeypatch.setattr(mirror_module, "_EVERY_S", 0.05)
    monkeypatch.setattr(mirror_module, "_IDLE", 0)
    monkeypatch.setattr(mirror_module, "_CHECKED_EVERY_S", 0.0)


def config_of(folder, **search):
    data = {**RECIPE, "space": {"train.batch_size": {"int": [8, 64]}}}
    data["search"] = {"trials": 9, "scheduler": {"kind": "none"}, "mirror": BUCKET, **search}
    file = folder / "small.yaml"
    file.write_text(yaml.safe_dump(data))
    return load_search(read_source(file))


@pytest.fixture
def search(tmp_path):
    """A run with a trial that has ended and one that runs."""
    config = config_of(tmp_path)
    (tmp_path / "runs").mkdir()
    run = Search(tmp_path / "runs" / "small", config)
    run.layout.config.write_text(config.to_yaml())
    run.layout.attempt.write_text("1")
    for name in ("a", "b"):
        trained(run, name)
    run.run("a", [0.25, 0.5])
    for left_out in (
        run.layout.ray / "x" / "state.pkl",
        run.layout.lock,
        run.layout.stop,
        run.layout.trials / ".x.tmp",
    ):
        left_out.parent.mkdir(exist_ok=True, parents=True)
        left_out.write_text("not of the run")
    return run


def trained(run, name, epochs=2):
    """Has a trial begin and leave files of epochs."""
    folder = run.layout.trial(run.suggest(name)["number"])
    train(folder, epochs)
    return folder


def train(folder, epochs, keep=2):
    folder.checkpoints.mkdir(exist_ok=True)
    write_epochs(folder, [0.25 * epoch for epoch in range(1, epochs + 1)])
    for epoch in range(1, epochs + 1):
        place = folder.checkpoints / f"{epoch:04d}_top_kappa=0.5.pt"
        if epoch <= epochs - keep:
            place.unlink(missing_ok=True)
        elif not place.exists():
            place.write_bytes(b"epoch %d" % epoch)


def run_files(layout):
    """What the copy is to have."""
    found = {path.relative_to(layout.root).as_posix(): path for path in layout.root.rglob("*") if path.is_file()}
    return {
        name: path.read_bytes()
        for name, path in found.items()
        if not any(part.startswith(".") for part in name.split("/")) and not name.startswith("ray/") and name != "stop"
    }


def copied(store):
    return {name: content for name, content in store.files("small").items() if name not in NOT_A_RUNS}


def update(layout, **options):
    for _ in MirroredFiles(layout, RemoteFolder(URL, **options)).update():
        pass


# --- what is copied -------------------------------------------------------------------------------------------------


def test_a_copy_has_the_runs_files_and_follows_it(search, store):
    with mirrored(search.config, search.layout) as mirror:
        train(search.layout.trial(1), 4)
        mirror.ask()
    assert copied(store) == run_files(search.layout)
    assert "trials/0001/checkpoints/0003_top_kappa=0.5.pt" in copied(store)
    assert "trials/0001/checkpoints/0001_top_kappa=0.5.pt" not in copied(store), "it was rotated out"
    shutil.rmtree(search.layout.trial(0).checkpoints)
    with mirrored(search.config, search.layout):
        search.run("b", [0.5])
    assert copied(store) == run_files(search.layout)


def test_only_what_has_changed_is_written_again(search, store, monkeypatch):
    written = []
    with_all = RemoteFolder.write
    monkeypatch.setattr(RemoteFolder, "write", lambda self, files: (written.extend(files), with_all(self, files))[1])
    files = MirroredFiles(search.layout, RemoteFolder(URL))
    list(files.update())
    written.clear()
    list(files.update())
    assert written == []
    train(search.layout.trial(1), 3)
    list(files.update())
    assert written == ["trials/0001/epochs.jsonl", "trials/0001/checkpoints/0003_top_kappa=0.5.pt"]
    written.clear()
    list(MirroredFiles(search.layout, RemoteFolder(URL)).update())
    assert {name for name in written if name.startswith("trials/")} == set(), "a new driver takes them for the same"


def test_a_folder_can_be_the_place(search, tmp_path):
    (tmp_path / "share").mkdir()
    config = config_of(tmp_path, mirror=str(tmp_path / "share"))
    with mirrored(config, search.layout):
        pass
    there = RunLayout(tmp_path / "share" / "small")
    assert run_files(there) == run_files(search.layout)
    folder = fetch(config.mirror, tmp_path / "other")
    assert run_files(RunLayout(folder)) == run_files(search.layout)
    with pytest.raises(InputError, match=r"file://.*/share/small is the run itself"), mirrored(config, there):
        pass


def test_a_folder_that_is_not_there_is_not_made(search, tmp_path):
    config = config_of(tmp_path, mirror=str(tmp_path / "not mounted"))
    with pytest.raises(InputError, match=r"cannot be used: .*No such file"), mirrored(config, search.layout):
        pass
    assert not (tmp_path / "not mounted").exists()


# --- it is a run at any moment --------------------------------------------------------------------------------------


def resumable(folder, config):
    """Whether a run can be gone on with; how far its trials are."""
    study = open_study(RunLayout(folder), config)
    told = {}
    for trial in study.get_trials():
        layout = RunLayout(folder).trial(trial.number)
        record = read_record(layout) if layout.trial.exists() else None
        if trial.state.is_finished():
            assert record is not None
            assert record.status != "running", f"trial {trial.number}: its end is in the study and not in its folder"
        if record is not None and record.status != "running":
            epochs = layout.epochs.read_bytes()
            assert record.summary.epochs_bytes == len(epochs), f"trial {trial.number}: its end came before its epochs"
        lines = layout.epochs.read_text().splitlines() if layout.epochs.exists() else []
        saved = [int(path.name[:4]) for path in layout.checkpoints.glob("*.pt")]
        assert max(saved, default=0) <= len(lines) + 1, (
            f"trial {trial.number}: epochs before its checkpoint are missing"
        )
        told[trial.number] = max(saved, default=0)
    return told


def test_a_copy_that_breaks_off_anywhere_is_a_run_to_go_on_with(search, store, tmp_path):
    """Between any two steps the driver may be gone; while it copies, trials go on, end and begin."""
    update(search.layout)
    best = {0: 2, 1: 2}

    def go_on(step):
        if step < 2:
            train(search.layout.trial(1), 3 + step)
        if step == 1:
            search.run("b", [0.5])
        if step in {0, 2}:
            trained(search, f"short {step}")
        if step == 3:
            search.run("short 0", [0.5])

    for stop_after in range(30):
        files = MirroredFiles(search.layout, RemoteFolder(URL))
        if stop_after < 4:
            go_on(stop_after)
        steps = 0
        for steps, _ in enumerate(files.update()):
            if steps == stop_after % 7:
                break
            if stop_after == 5:
                train(search.layout.trial(3), 3 + steps)
        shutil.rmtree(tmp_path / "elsewhere", ignore_errors=True)
        now = resumable(fetch(URL, tmp_path / "elsewhere"), search.config)
        assert all(now.get(number, 0) >= epoch for number, epoch in best.items()), (best, now)
        best = now


def test_a_trial_that_ends_while_it_is_copied_is_not_told_of_too_early(search, store, tmp_path):
    update(search.layout)
    train(search.layout.trial(1), 3)
    for step, _ in enumerate(MirroredFiles(search.layout, RemoteFolder(URL)).update()):
        if step == 1:  # the trial is about to be copied as it was
            train(search.layout.trial(1), 5)
            search.run("b", [0.25, 0.5])
        shutil.rmtree(tmp_path / "elsewhere", ignore_errors=True)
        resumable(fetch(URL, tmp_path / "elsewhere"), search.config)


def test_an_unfinished_first_copy_is_no_run(search, store, tmp_path):
    steps = MirroredFiles(search.layout, RemoteFolder(URL)).update()
    next(steps)
    for _ in steps:
        with pytest.raises(InputError, match=r"s3://bucket/runs/small holds no run: there is no search\.yaml"):
            fetch(URL, tmp_path / "elsewhere")
    fetch(URL, tmp_path / "elsewhere")


def test_a_trial_that_the_copys_study_does_not_know_is_asked_for_again(search, store, tmp_path):
    update(search.layout)
    trained(search, "c")
    steps = MirroredFiles(search.layout, RemoteFolder(URL)).update()
    while not any(name.startswith("trials/0002/trial.json") for name in store.files("small")):
        next(steps)
    run = RunLayout(fetch(URL, tmp_path / "elsewhere"))
    assert [trial.number for trial in run.all_trials()] == [0, 1]
    assert len(open_study(run, search.config).trials) == 2


# --- a place that refuses -------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_while_the_server_is_down_the_search_goes_on_and_is_copied_later(search, store, capsys):
    mirror = Mirror(search.layout, URL)
    wait_for(lambda: copied(store) == run_files(search.layout))
    with store.down():
        train(search.layout.trial(1), 5)
        wait_for(lambda: mirror._refused)
        train(search.layout.trial(1), 7)
    wait_for(lambda: mirror._refused is None)
    mirror.close()
    assert copied(store) == run_files(search.layout)
    first, last = capsys.readouterr().err.splitlines()
    assert first.startswith("warning: s3://bucket/runs/small cannot be written: ")
    assert first.endswith("; the search goes on, and the copy will be made up for")
    assert last == "s3://bucket/runs/small is up to date again"


@pytest.mark.slow
def test_a_copy_that_is_behind_in_the_end_is_told_of_and_made_up_for(search, store, capsys):
    mirror = Mirror(search.layout, URL)
    wait_for(lambda: copied(store) == run_files(search.layout))
    with store.down():
        train(search.layout.trial(1), 5)
        mirror.close()
    said = capsys.readouterr().err.splitlines()
    assert said[-1].startswith("warning: s3://bucket/runs/small is behind: ")
    assert said[-1].endswith("; thaw resume brings it up to date")
    with mirrored(search.config, search.layout):
        pass
    assert copied(store) == run_files(search.layout)


@pytest.mark.parametrize(
    ("mirror", "message"),
    [
        ("s3://no-such-bucket/runs", r"search\.mirror: s3://no-such-bucket/runs/small cannot be used: .*bucket"),
        ("/dev/null", r"search\.mirror: file:///dev/null/small cannot be used: "),
    ],
)
def test_a_place_that_cannot_be_written_is_said_before_anything_starts(search, store, tmp_path, mirror, message):
    with pytest.raises(InputError, match=message), mirrored(config_of(tmp_path, mirror=mirror), search.layout):
        pass


@pytest.mark.parametrize(
    ("mirror", "message"),
    [
        ("nowhere://x", "nowhere"),
        ("copies", "must be an absolute path or a URL"),
        ("sftp://me:secret@host/runs", "the URL holds a password"),
        ("s3://key:secret@bucket/runs", "the URL holds a password"),
    ],
)
def test_a_place_that_makes_no_sense_is_a_mistake_in_the_file(tmp_path, mirror, message):
    with pytest.raises(InputError, match=rf"small\.yaml:\d+ search\.mirror: .*{message}") as refused:
        config_of(tmp_path, mirror=mirror)
    assert "secret" not in str(refused.value)


def test_a_study_that_is_in_no_file_of_the_run_cannot_be_copied(tmp_path):
    with pytest.raises(InputError, match="it needs storage: journal, not sqlite"):
        config_of(tmp_path, storage="sqlite")


# --- whose it is ----------------------------------------------------------------------------------------------------


def test_another_run_of_the_name_is_not_written_over(search, store, tmp_path):
    update(search.layout)
    there = store.files("small")
    with pytest.raises(InputError, match=r"holds a run already: go on with it \(thaw resume s3://bucket/runs/small\)"):
        Mirror(RunLayout(tmp_path / "new" / "small"), URL)
    other = Search(tmp_path / "other", search.config)
    other.layout.config.write_text(search.config.to_yaml())
    trained(other, "a")
    with pytest.raises(InputError, match="has gone on elsewhere, or it is another"):
        Mirror(other.layout, URL)
    assert store.files("small") == there


def test_a_driver_whose_search_was_taken_over_stops_writing_and_stops(search, store, tmp_path, capsys):
    search.layout.stop.unlink()
    first = Mirror(search.layout, URL)
    wait_for(lambda: copied(store) == run_files(search.layout))
    folder = fetch(URL, tmp_path / "elsewhere")
    second = Search(folder, search.config)
    second.layout.attempt.write_text("2")
    taken_over = Mirror(second.layout, URL)
    second.suggest("c")
    wait_for(lambda: not first._thread.is_alive())
    train(search.layout.trial(1), 9)
    first.close()
    taken_over.close()
    assert search.layout.stop.exists()
    assert copied(store) == run_files(second.layout)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("warning: s3://bucket/runs/small is written by process ")
    assert line.endswith(", which has taken the search over; this one stops")
    with pytest.raises(InputError, match="gone on elsewhere"):
        Mirror(search.layout, URL)


def test_a_place_that_was_emptied_is_filled_again(search, store):
    with mirrored(search.config, search.layout) as mirror:
        wait_for(lambda: copied(store) == run_files(search.layout))
        store.system.rm("bucket/runs/small", recursive=True)
        train(search.layout.trial(1), 3)
        mirror.ask()
        wait_for(lambda: copied(store) == run_files(search.layout))


def test_a_start_that_comes_to_nothing_leaves_nothing(store, tmp_path):
    layout = RunLayout(tmp_path / "small")
    layout.root.mkdir()
    Mirror(layout, URL).close()
    assert store.files("small") == {}


# --- coming back ----------------------------------------------------------------------------------------------------


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
    with pytest.raises(InputError, match="small is in the way: it is no run"):
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
    with pytest.raises(InputError, match=r"s3://bucket/runs/small/study\.journal is cut off: it has \d+ bytes of \d+"):
        fetch(URL, tmp_path / "elsewhere")
    store.system.rm_file("bucket/runs/small/study.journal")
    with pytest.raises(InputError, match="is cut off: it has 0 bytes"):
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
        (("resume", f"{BUCKET}/none"), r"s3://bucket/runs/none holds no run: there is no search\.yaml"),
        (("resume", "s3://no-such-bucket/none"), "s3://no-such-bucket/none (cannot be fetched|holds no run)"),
        (("resume", "nowhere://me:secret@x/run"), r"nowhere://me:\$\{PASSWORD\}@x/run cannot be fetched: .*nowhere"),
        (("report", f"{BUCKET}/.."), "cannot name a run's folder"),
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
        assert said.err == "elsewhere/small: the run at s3://bucket/runs/small\n"


def wait_for(condition):
    done = threading.Event()
    for _ in range(600):
        if condition():
            return
        done.wait(0.05)
    raise AssertionError("waited for 30 s")
