"""A run's copy at a URL: what is in it, in which order it comes there, and whose it is."""

import shutil

import pytest

from search.config.yaml_source import InputError
from search.run_folder.fetch_mirror import fetch
from search.run_folder.mirror import Mirror, mirrored
from search.run_folder.mirrored_files import MirroredFiles
from search.tuning.study_storage import open_study
from tests.support import mirrored_runs
from tests.support.driven_search import Search
from tests.support.mirrored_runs import URL, config_of, copied, run_files, train, trained, update, wait_for
from trainables.run_folder.layout import RunLayout
from trainables.run_folder.trial_record import read_record
from trainables.storage.remote_folder import RemoteFolder

store, search, impatient = mirrored_runs.store, mirrored_runs.search, mirrored_runs.impatient  # fixtures
pytestmark = pytest.mark.usefixtures("impatient")

# --- what is copied -------------------------------------------------------------------------------------------------


def test_a_copy_has_the_runs_files_and_follows_it(search, store):
    with mirrored(search.config, search.layout) as mirror:
        train(search.layout.trial(1), 4)
        mirror.request()
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


@pytest.mark.slow
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

    # Each of seven steps is the last one twice: while the run changes, and when it does not.
    for stop_after in range(15):
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
        with pytest.raises(InputError, match=r"s3://bucket/runs/small is not a run: there is no search\.yaml"):
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


def up_to_date(search, store):
    """A mirror that has copied all there is."""
    mirror = Mirror(search.layout, URL)
    wait_for(lambda: copied(store) == run_files(search.layout))
    return mirror


@pytest.mark.slow
def test_while_the_server_is_down_the_search_goes_on_and_is_copied_later(search, store, capsys):
    mirror = up_to_date(search, store)
    with store.down():
        train(search.layout.trial(1), 5)
        wait_for(lambda: mirror._refused)
        train(search.layout.trial(1), 7)
    wait_for(lambda: mirror._refused is None)
    mirror.close()
    assert copied(store) == run_files(search.layout)
    first, last = capsys.readouterr().err.splitlines()
    assert first.startswith("warning: s3://bucket/runs/small cannot be written: ")
    assert first.endswith("; the search continues, and the copy will catch up")
    assert last == "s3://bucket/runs/small is up to date again"


@pytest.mark.slow
def test_a_copy_that_is_behind_in_the_end_is_told_of_and_made_up_for(search, store, capsys):
    mirror = up_to_date(search, store)
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
        ("sftp://me:secret@host/runs", "the URL contains a password"),
        ("s3://key:secret@bucket/runs", "the URL contains a password"),
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
    with pytest.raises(InputError, match=r"already holds a run: resume it \(thaw resume s3://bucket/runs/small\)"):
        Mirror(RunLayout(tmp_path / "new" / "small"), URL)
    other = Search(tmp_path / "other", search.config)
    other.layout.config.write_text(search.config.to_yaml())
    trained(other, "a")
    with pytest.raises(InputError, match="was resumed elsewhere, or it is another"):
        Mirror(other.layout, URL)
    assert store.files("small") == there


def test_a_driver_whose_search_was_taken_over_stops_writing_and_stops(search, store, tmp_path, capsys):
    search.layout.stop.unlink()
    first = up_to_date(search, store)
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
    assert line.endswith(", which has taken over the search; this driver stops")
    with pytest.raises(InputError, match="was resumed elsewhere"):
        Mirror(search.layout, URL)


def test_a_place_that_was_emptied_is_filled_again(search, store):
    with mirrored(search.config, search.layout) as mirror:
        wait_for(lambda: copied(store) == run_files(search.layout))
        store.system.rm("bucket/runs/small", recursive=True)
        train(search.layout.trial(1), 3)
        mirror.request()
        wait_for(lambda: copied(store) == run_files(search.layout))


def test_a_start_that_comes_to_nothing_leaves_nothing(store, tmp_path):
    layout = RunLayout(tmp_path / "small")
    layout.root.mkdir()
    Mirror(layout, URL).close()
    assert store.files("small") == {}
