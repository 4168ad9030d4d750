"""Images behind URLs are read as those on disk are; what is not there is said before anything is decoded."""

import functools
import http.server
import os
import threading
import uuid
from pathlib import Path

import fsspec
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from search.config.yaml_source import read_source
from search.config_file.load import load_search
from trainables.core.config_errors import ConfigError
from trainables.data.dataset import open_dataset
from trainables.data.sources.open_source import open_source
from trainables.recipe.data_config import DataConfig
from trainables.storage import urls
from trainables.storage.urls import file_facts, file_states, files_below, is_url, joined, places_of, remote_facts


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("THAW_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def photos(tmp_path) -> Path:
    """Twelve grey images of brightness 20 · i in two classes, a table of them and their arrays."""
    root = tmp_path / "photos"
    rows, images = [], []
    for i in range(12):
        file = root / "ab"[i // 6] / f"{i:02}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (9, 8), 20 * i).save(file)
        rows.append((f"{'ab'[i // 6]}/{file.name}", "ab"[i // 6]))
        images.append(np.full((9, 8), 20 * i, np.uint8))
    frame = pd.DataFrame(rows, columns=["path", "label"])
    frame.to_csv(root / "t.csv", index=False)
    frame.to_parquet(root / "t.parquet", index=False)
    parts = {"train_images": np.stack(images), "train_labels": (frame["label"] == "b").to_numpy(int)}
    np.savez_compressed(root / "a.npz", **parts)
    (root / "a/.hidden.png").write_text("?")
    (root / "a/notes.txt").write_text("?")
    return root


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def served(photos):
    """`served(protocol)`: the URL of the photos."""
    servers = []

    def serve(protocol: str) -> str:
        if protocol == "memory":
            url = f"memory://{uuid.uuid4().hex}/photos"
            memory = fsspec.filesystem("memory")
            for file in photos.rglob("*.*"):
                memory.pipe(f"{url}/{file.relative_to(photos)}", file.read_bytes())
            return url
        if protocol == "file":
            return f"file://{photos}"
        handler = functools.partial(QuietHandler, directory=str(photos))
        servers.append(http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler))
        threading.Thread(target=servers[-1].serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{servers[-1].server_port}"

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


def data(source: str, path: object, **config: object) -> DataConfig:
    return DataConfig.model_validate({"source": source, "path": str(path), "image_size": 8} | config)


@pytest.mark.parametrize("protocol", ["memory", "file", "http"])
@pytest.mark.parametrize(
    ("source", "name"), [("folder", ""), ("table", "t.csv"), ("table", "t.parquet"), ("npz", "a.npz")]
)
def test_a_url_gives_what_the_disk_gives(photos, served, protocol, source, name):
    url = f"{served(protocol)}/{name}".rstrip("/")
    remote, local = open_dataset(data(source, url)), open_dataset(data(source, photos / name))
    assert remote.fingerprint == local.fingerprint
    assert (remote.images.mean(axis=(1, 2, 3)) == np.arange(12) * 20).all()
    assert remote.train.tolist() == local.train.tolist()


def test_a_local_table_may_name_images_elsewhere(photos, served, tmp_path):
    url, frame = served("memory"), pd.read_csv(photos / "t.csv")
    frame.to_csv(tmp_path / "t.csv", index=False)
    assert len(open_dataset(data("table", tmp_path / "t.csv", images=url)).labels) == 12
    frame["path"] = [f"{url}/{path}" if i % 2 else f"photos/{path}" for i, path in enumerate(frame["path"])]
    frame.to_csv(tmp_path / "t.csv", index=False)
    mixed = open_dataset(data("table", tmp_path / "t.csv"))
    assert (mixed.images.mean(axis=(1, 2, 3)) == np.arange(12) * 20).all()


def test_a_remote_table_may_name_local_images(photos, served):
    url = served("memory")
    assert len(open_dataset(data("table", f"{url}/t.csv", images=str(photos))).labels) == 12


@pytest.mark.parametrize(("source", "name"), [("folder", ""), ("table", "t.csv"), ("npz", "a.npz")])
def test_the_key_follows_the_remote_files(served, source, name):
    url, memory = served("memory"), fsspec.filesystem("memory")
    config = data(source, f"{url}/{name}".rstrip("/"))
    before = open_source(config)
    assert open_source(config) == before
    changed = f"{url}/{name if source == 'npz' else 'a/00.png'}"
    memory.pipe(changed, memory.cat(changed))
    assert open_source(config) != before


def test_facts_tell_what_is_not_there(served):
    url = served("memory")
    first, gone, second = remote_facts([f"{url}/a/00.png", f"{url}/gone.png", f"{url}/a/01.png"])
    assert gone is None
    assert len({first, second, None}) == 3


def test_hidden_files_are_left_alone(served):
    url = served("memory")
    assert [name.removeprefix(url) for name in files_below(f"{url}/a")][-2:] == ["/a/05.png", "/a/notes.txt"]


@pytest.mark.parametrize(
    ("source", "path", "message"),
    [
        ("folder", "memory://gone/x", "does not exist, or is empty"),
        ("folder", "URL/t.csv", "is not a folder"),
        ("folder", "URL/a", r"holds no class folders: expected .*, found 7 files \(00.png, 01.png, 02.png, "),
        ("table", "URL/gone.csv", "does not exist"),
        ("table", "URL/a", "does not exist"),
        ("npz", "URL/gone.npz", "gone.npz"),
        ("npz", "URL/t.csv", "is not an NPZ file, or is damaged"),
        ("folder", "nosuch://bucket/x", "Protocol not known: nosuch"),
        ("table", "gs://bucket/t.csv", "install gcsfs to access Google Storage"),
    ],
)
def test_what_is_not_there_is_an_error_at_its_path(served, source, path, message):
    path = path.replace("URL", served("memory"))
    with pytest.raises(ConfigError, match=rf"^data\.path: {path}: .*{message}"):
        open_source(data(source, path))


@pytest.mark.parametrize("asked_together", [1, 5, 100])
@pytest.mark.parametrize("odd", [[], ["x" * 300], ["zero\0byte"], ["00.png/below"]])
def test_states_are_what_the_system_says(photos, monkeypatch, asked_together, odd):
    monkeypatch.setattr(urls, "_FILES_PER_REQUEST", asked_together)
    there = [str(file) for file in sorted((photos / "a").iterdir())]
    gone = [f"{photos}/a/{name}" for name in ["gone.png", *odd]]
    found = file_states([*gone, *there])
    assert (found[: len(gone)] == np.iinfo(np.int64).min).all()
    states = [Path(file).stat() for file in there]
    assert found[len(gone) :].tolist() == [[s.st_size, s.st_mtime_ns, s.st_ctime_ns, s.st_ino] for s in states]


def test_files_on_disk_and_elsewhere_keep_their_order(photos, served):
    url, first, second = served("memory"), "a/00.png", str(photos / "b/07.png")
    assert places_of([first, f"{url}/a/01.png", second], str(photos)) == [
        str(photos / first),
        f"{url}/a/01.png",
        second,
    ]
    assert file_facts(places_of(["x", f"{url}/y", first, "z/"], str(photos))).gone == [0, 1, 3]


@pytest.mark.parametrize("change", ["size", "time"])
def test_facts_change_with_each_file_on_disk(photos, change):
    files = [f"{'ab'[i // 6]}/{i:02}.png" for i in range(12)]
    places = places_of(files, str(photos))
    seen = {file_facts(places).digest}
    for name in files:
        file = photos / name
        before = file.stat()
        if change == "size":
            file.write_bytes(file.read_bytes() + b" ")
            os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
        else:
            os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
        seen.add(file_facts(places).digest)
    assert len(seen) == 13


@pytest.mark.parametrize("protocol", ["memory", "http"])
def test_missing_and_broken_remote_images_are_listed(photos, served, protocol):
    url = served(protocol)
    frame = pd.read_csv(photos / "t.csv")
    frame.loc[3, "path"] = "gone.png"
    frame.to_csv(photos / "gone.csv", index=False)
    with pytest.raises(ConfigError, match=f"1 of 12 image files are not in {url}: 'gone.png'"):
        open_source(data("table", photos / "gone.csv", images=url))
    frame.loc[3, "path"] = "a/notes.txt"
    frame.to_csv(photos / "gone.csv", index=False)
    with pytest.raises(ConfigError, match=f"(?s)1 of 12 images cannot be read:\n  {url}/a/notes.txt: is not an image"):
        open_dataset(data("table", photos / "gone.csv", images=url))


@pytest.mark.parametrize(
    ("place", "expected"),
    [("s3://b/x", True), ("memory://x", True), ("/a/b", False), ("C:/x", False), ("a:b", False), (Path("/a"), False)],
)
def test_urls_are_told_from_paths(place, expected):
    assert is_url(place) is expected


@pytest.mark.parametrize(
    ("folder", "name", "url"),
    [
        ("s3://b", "x.png", "s3://b/x.png"),
        ("s3://b/", "/x.png", "s3://b/x.png"),
        ("s3://b", "http://c/x", "http://c/x"),
    ],
)
def test_names_are_joined_to_urls(folder, name, url):
    assert joined(folder, name) == url


def test_a_search_file_leaves_urls_as_they_are(tmp_path):
    (tmp_path / "s.yaml").write_text(
        "data: {source: table, path: s3://bucket/t.csv, images: images}\n"
        "model: {backbone: resnet18}\n"
        "train: {metric: accuracy, stages: [{name: head, unfreeze_from: head, epochs: 1, head_lr: 0.1}]}\n"
        "space: {'train.stages[0].head_lr': {log: [1e-4, 1e-2]}}\nsearch: {trials: 1, scheduler: {kind: none}}\n"
    )
    found = load_search(read_source(tmp_path / "s.yaml", [])).recipe.data
    assert found.path == "s3://bucket/t.csv"
    assert found.images == str(Path.cwd() / "images")
