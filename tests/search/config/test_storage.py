"""Where the study is: files of the run, or a database by URL, whose password nobody writes down."""

import copy
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path

import optuna
import pytest
import yaml

from search.config.storage import missing_variables, with_variables, without_passwords
from search.config.yaml_source import InputError, read_source
from search.config_file.load import load_search
from search.launch.run_search import run_search
from search.tuning.study_storage import check_storage, open_study
from tests.support.driven_search import Search
from tests.support.recipes import RECIPE
from trainables.run_folder.layout import RunLayout
from trainables.run_folder.trial_record import read_record

POSTGRES = next(iter(sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)), None)


@pytest.fixture
def read(tmp_path):
    """`read(storage, *overrides)`: a search with this storage, read."""

    def read_file(storage, *overrides, **search):
        data = copy.deepcopy(RECIPE)
        data |= {"space": {"train.batch_size": {"int": [8, 64]}}}
        data["search"] = {"trials": 3, "scheduler": {"kind": "none"}, "storage": storage, **search}
        file = tmp_path / "small.yaml"
        file.write_text(yaml.safe_dump(data))
        return load_search(read_source(file, overrides))

    return read_file


@pytest.mark.parametrize(("storage", "file"), [("journal", "study.journal"), ("sqlite", "study.db")])
def test_a_study_is_a_file_of_the_run(tmp_path, read, storage, file):
    search = Search(tmp_path / "run", read(storage))
    search.suggest("a")
    search.run("a", [0.25, 0.5])
    search.suggest("cut off")
    search.take_up()
    assert search.suggest("b")["number"] == 1
    assert (tmp_path / "run" / file).is_file()
    assert search.trials[0].intermediate_values == {1: 0.25, 2: 0.5}


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://me:secret@host/db",
        "postgresql://me:se/cret@host/db",
        "postgresql://me:${PASSWORD}secret@host/db",
        "mysql+pymysql://me@host/db?password=secret",
    ],
)
def test_a_password_in_a_url_is_refused_and_not_shown(read, url):
    for typed in ((url,), ("journal", f"search.storage={url}")):
        with pytest.raises(InputError, match=r"the URL holds a password.*write it as .*\$\{PASSWORD\}") as refused:
            read(*typed)
        assert "secret" not in str(refused.value)
        assert "se/cret" not in str(refused.value)


@pytest.mark.parametrize(
    ("storage", "message"),
    [("jurnal", "'jurnal' is neither journal nor sqlite"), ("/tmp/x.db", "is neither journal nor sqlite")],
)
def test_what_is_no_storage_is_refused(read, storage, message):
    with pytest.raises(InputError, match=message):
        read(storage)


def test_variables_are_put_in_when_connecting_only(read):
    url = "postgresql://me:${DB_PASSWORD}@host/db"
    config = read(url)
    assert config.settings.storage == url == without_passwords(url)
    assert url in config.to_yaml()
    assert with_variables(url, {"DB_PASSWORD": "a/b@c"}) == "postgresql://me:a%2Fb%40c@host/db"
    assert with_variables("${DB}", {"DB": url}) == url
    assert missing_variables(url, {}) == ["DB_PASSWORD"]
    assert missing_variables(url, {"DB_PASSWORD": ""}) == []


def test_a_variable_that_is_not_set_is_named(tmp_path, read, monkeypatch):
    monkeypatch.delenv("NO_SUCH_PASSWORD", raising=False)
    with pytest.raises(InputError, match="needs NO_SUCH_PASSWORD in the environment"):
        open_study(RunLayout(tmp_path), read("postgresql://me:${NO_SUCH_PASSWORD}@host/db"))


def test_a_database_that_cannot_be_reached_is_told_without_its_password(tmp_path, read, monkeypatch):
    monkeypatch.setenv("DB_PASSWORD", "hush")
    config = read("postgresql://me:${DB_PASSWORD}@127.0.0.1:1/db")
    with pytest.raises(InputError, match=r"cannot use postgresql://me:\$\{DB_PASSWORD\}@127.0.0.1:1/db: ") as refused:
        check_storage(RunLayout(tmp_path), config)
    assert "hush" not in str(refused.value)


def test_a_study_of_another_run_is_left_alone(tmp_path, read):
    config = read(f"sqlite:///{tmp_path}/shared.db")
    check_storage(RunLayout(tmp_path / "one"), config)
    Search(tmp_path / "one", config)
    with pytest.raises(InputError, match="the database has a study named 'small', of another run"):
        run_search(config, RunLayout(tmp_path / "two"))
    check_storage(RunLayout(tmp_path / "two"), config.renamed("other"))


@pytest.fixture
def postgres():
    """The port of a server of this test alone."""
    folder = Path(tempfile.mkdtemp(prefix="thaw-postgres-"))  # pytest's own folders are root's alone
    user = pwd.getpwnam("postgres") if os.getuid() == 0 else pwd.getpwuid(os.getuid())
    os.chown(folder, user.pw_uid, user.pw_gid)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    def run(program, *words):
        identity = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []} if os.getuid() == 0 else {}
        done = subprocess.run(
            [POSTGRES / program, *map(str, words)], cwd=folder, capture_output=True, text=True, timeout=120, **identity
        )
        assert done.returncode == 0, done.stdout + done.stderr

    (folder / "password").write_text("quite a/secret\n")
    (folder / "password").chmod(0o644)
    options = "-A", "scram-sha-256", f"--pwfile={folder / 'password'}"
    run("initdb", "-D", folder / "data", "-U", "thaw", *options)
    settings = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off"
    run("pg_ctl", "-D", folder / "data", "-w", "-l", folder / "log", "-o", settings, "start")
    yield port
    run("pg_ctl", "-D", folder / "data", "-m", "immediate", "stop")
    shutil.rmtree(folder)


@pytest.mark.slow
@pytest.mark.skipif(POSTGRES is None, reason="needs PostgreSQL's server programs")
def test_a_search_whose_study_is_in_postgresql(tmp_path, read, postgres, monkeypatch):
    url = f"postgresql://thaw:${{THAW_DB_PASSWORD}}@127.0.0.1:{postgres}/postgres"
    monkeypatch.setenv("THAW_DB_PASSWORD", "wrong")
    config, layout = read(url), RunLayout(tmp_path / "run")
    with pytest.raises(InputError, match="password authentication failed"):
        run_search(config, layout)
    monkeypatch.setenv("THAW_DB_PASSWORD", "quite a/secret")
    layout.root.mkdir(exist_ok=True)
    assert run_search(config, layout)
    study = open_study(layout, config)
    assert [trial.state.name for trial in study.trials] == ["COMPLETE"] * 3
    assert all(
        read_record(folder).objectives == {"score": study.trials[folder.number].value} for folder in layout.all_trials()
    )
    assert not layout.study.exists()
    assert run_search(config, layout)  # complete: nothing is run again
    written = {file: file.read_bytes() for file in layout.root.rglob("*") if file.is_file()}
    assert [file for file, content in written.items() if b"quite a/" in content or b"quite%20a" in content] == []
    assert optuna.get_all_study_names(study._storage) == ["small"]
