"""A run that has a copy at a URL, and the S3 server that holds it."""

import threading

import pytest
import yaml

from search.config.yaml_source import read_source
from search.config_file.load import load_search
from search.run_folder import mirror as mirror_module
from search.run_folder.mirrored_files import MirroredFiles
from tests.support.driven_search import Search, write_epochs
from tests.support.object_store import BUCKET, ObjectStore
from tests.support.recipes import RECIPE
from trainables.storage.remote_folder import RemoteFolder

URL = f"{BUCKET}/small"
NOT_A_RUNS = {".driver", ".study.size"}


@pytest.fixture
def store(monkeypatch):
    server = ObjectStore(monkeypatch)
    yield server
    server.close()


@pytest.fixture
def impatient(monkeypatch):
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


def wait_for(condition):
    done = threading.Event()
    for _ in range(600):
        if condition():
            return
        done.wait(0.05)
    raise AssertionError("waited for 30 s")
