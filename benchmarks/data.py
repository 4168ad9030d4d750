"""What data cost, beside torch's `DataLoader` with two workers on the same files.

    python benchmarks/data.py [build] [batches] [memory] [index]

`build`: images a second that become a store, beside a bare loop over Pillow in two processes, which keeps nothing.
`batches`: milliseconds to gather, augment and normalise a batch, beside a training step of MobileNetV3-Small.
`memory`: private memory that a second process adds when it opens a store of 4 GiB and gathers batches from it.
`index`: seconds to read a table of a million existing paths, beside asking the system for their sizes and times.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from augment import CONFIGS, milliseconds, training_step  # beside this file
from PIL import Image, ImageOps
from sklearn.datasets import load_sample_images
from torch.utils.data import DataLoader, Dataset

from trainables.data.batches.augment import augment
from trainables.data.batches.batches import gather, normalise
from trainables.data.dataset import Dataset as ThawDataset
from trainables.data.dataset import open_dataset
from trainables.data.sources.open_source import open_source
from trainables.data.sources.source import Source
from trainables.data.store.build_stores import VERSION
from trainables.data.store.decoded_images import open_store, open_stores
from trainables.recipe.data_config import DataConfig
from trainables.storage.cache_folder import add, building, entry_path

SIZE, BATCH, PHOTOS, ROUNDS = 96, 32, 1500, 5
MIB = 2**20


def write_photos(folder: Path) -> None:
    """Crops of 400 × 300 pixels from scikit-learn's two photographs, as JPEG files in two class folders."""
    random = np.random.RandomState(0)
    for name, photo in zip(("palace", "flower"), load_sample_images().images, strict=True):
        (folder / name).mkdir(parents=True)
        for i in range(PHOTOS // 2):
            top, left = random.randint(photo.shape[0] - 300), random.randint(photo.shape[1] - 400)
            crop = Image.fromarray(photo[top : top + 300, left : left + 400])
            crop.save(folder / name / f"{i:04}.jpg", quality=90)


def photos(place: Path) -> DataConfig:
    if not (place / "photos").exists():
        write_photos(place / "photos")
    return DataConfig(source="folder", path=str(place / "photos"), image_size=SIZE)


def fitted(file: Path) -> np.ndarray:
    with Image.open(file) as image:
        return np.asarray(ImageOps.fit(image.convert("RGB"), (SIZE, SIZE), Image.Resampling.BICUBIC))


def decode_all(files: list[Path]) -> None:
    for file in files:
        fitted(file)


class Photos(Dataset):
    """What a `DataLoader` is given: decode, resize, flip, to a tensor."""

    def __init__(self, files: list[Path]):
        self.files = files

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, i: int):
        tensor = torch.from_numpy(fitted(self.files[i]).copy()).permute(2, 0, 1).float().div_(255)
        return (tensor.flip(2) if torch.rand(()) < 0.5 else tensor).sub_(0.5).div_(0.5), i % 2


def loader(files: list[Path]) -> DataLoader:
    return DataLoader(Photos(files), BATCH, shuffle=True, num_workers=2, persistent_workers=True)


def seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def both_clocks(work: Callable[[], object]) -> tuple[float, float]:
    """Seconds on the wall, and of the processor: others may run on the machine."""
    processor = time.process_time()
    return seconds(work), time.process_time() - processor


# --- build ----------------------------------------------------------------------------------------------------------


def build(place: Path) -> None:
    config = photos(place)
    files = sorted((place / "photos").rglob("*.jpg"))
    found: dict[str, list[float]] = {"store": [], "bare": [], "loader": [], "two sizes": [], "one by one": []}
    batches = loader(files)
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        pool.map(decode_all, [files[:8], files[8:16]])  # imports
        for _ in range(ROUNDS):
            found["store"].append(seconds(lambda: new_stores(config, [SIZE])))
            found["bare"].append(seconds(lambda: pool.map(decode_all, [files[::2], files[1::2]], chunksize=1)))
            found["loader"].append(seconds(lambda: sum(1 for _ in batches)))
            found["two sizes"].append(seconds(lambda: new_stores(config, [SIZE, 2 * SIZE])))
            found["one by one"].append(seconds(lambda: [new_stores(config, [size]) for size in (SIZE, 2 * SIZE)]))
    print(f"\n{len(files)} JPEG photographs of 400 × 300 to {SIZE} px, {ROUNDS} rounds; images a second, median")
    for name in ("store", "loader", "bare"):
        print_rate(name, found[name], len(files), found["bare"], "of the bare loop")
    print(f"the same to {SIZE} and {2 * SIZE} px, both at once and one after the other")
    for name in ("two sizes", "one by one"):
        print_rate(name, found[name], len(files), found["one by one"], "of one after the other")


def new_stores(config: DataConfig, sizes: list[int]) -> None:
    """Builds stores where there are none yet."""
    with tempfile.TemporaryDirectory() as cache:
        os.environ["THAW_CACHE"] = cache
        open_stores(open_source(config), sizes)


def print_rate(name: str, times: list[float], images: int, others: list[float], of_what: str) -> None:
    ratio = statistics.median(b / a for a, b in zip(times, others, strict=True))
    print(f"{name:10} {images / statistics.median(times):7.0f}  {ratio:6.1%} {of_what}")


# --- batches --------------------------------------------------------------------------------------------------------


def batches(place: Path) -> None:
    os.environ["THAW_CACHE"] = str(place / "cache")
    dataset = open_dataset(photos(place))
    random = np.random.RandomState(0)

    def preparation(name: str) -> Callable[[], object]:
        def prepare() -> object:
            order = random.randint(len(dataset.labels), size=BATCH)
            images, _ = gather(dataset, order)
            if name in CONFIGS:
                images = augment(images, CONFIGS[name], seed=0, positions=order, versions=np.zeros(BATCH, np.int64))
            return normalise(images, (0.5,) * 3, (0.5,) * 3)

        return prepare

    names = ("gathered", *CONFIGS)
    times = milliseconds({"step": training_step(SIZE)} | {name: preparation(name) for name in names}, 40)
    step = statistics.median(times["step"])
    print(f"\nbatch of {BATCH}, {SIZE} px, one thread; a training step takes {step:.1f} ms")
    for name in names:
        taken = statistics.median(times[name])
        print(
            f"{name:22} {taken:5.1f} ms  {taken / (taken + step):6.1%} of the step  {BATCH / taken * 1000:7.0f} images/s"
        )
    delivering = loader(sorted((place / "photos").rglob("*.jpg")))
    rate = statistics.median(len(dataset.labels) / seconds(lambda: sum(1 for _ in delivering)) for _ in range(3))
    print(f"DataLoader, two workers, flip {BATCH / rate * 1000:5.1f} ms on both cores   {rate:7.0f} images/s")


# --- memory ---------------------------------------------------------------------------------------------------------


def private_mib(process: int | str = "self") -> float:
    """Memory that no other process shares."""
    facts = Path(f"/proc/{process}/smaps_rollup").read_text()
    return sum(int(kib) for kib in re.findall(r"^Private_\w+: +(\d+) kB", facts, re.MULTILINE)) / 1024


def big_source() -> Source:
    images = 4 * 2**30 // (SIZE * SIZE * 3)
    return Source("four sparse GiB", ("a", "b"), np.arange(images) % 2, lambda: None)


def big_store() -> None:
    """An array of 4 GiB of which the disk holds nothing, as an entry of the cache."""
    source = big_source()
    array = entry_path(f"images-{SIZE}px", f"{VERSION}\0{SIZE}\0{source.key}")
    with building(array):
        np.lib.format.open_memmap(array, "w+", np.uint8, (len(source.labels), SIZE, SIZE, 3))
        own = {"fingerprint": "", "left_out": []}
        add(array, kind="images", source="", what="", images=len(source.labels), own=own)


def gather_all(images: np.ndarray) -> ThawDataset:
    """Every image once, in batches."""
    labels = np.arange(len(images)) % 2
    dataset = ThawDataset(images, labels, ("a", "b"), labels, labels, "")
    for order in np.array_split(np.random.RandomState(0).permutation(len(images)), len(images) // 256):
        gather(dataset, order)
    return dataset


def second_process() -> None:
    """Says how much private memory it had before and after it opened the store and saw every image."""
    before = private_mib()
    dataset = gather_all(open_store(big_source(), SIZE).images)
    print(json.dumps([before, private_mib(), len(dataset.labels)]))


def memory(place: Path) -> None:
    os.environ["THAW_CACHE"] = str(place / "cache-big")
    os.environ["THAW_CACHE_GIB"] = "8"
    big_store()
    first = gather_all(open_store(big_source(), SIZE).images)  # so that pages are shared, as they are with other trials
    words = [sys.executable, __file__, "second process"]
    answer = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    before, after, images = json.loads(answer)
    print(f"\na store of {first.images.nbytes / 2**30:.1f} GiB, all {images:,} images gathered by two processes")
    print(f"the second one's private memory: {before:.0f} MiB before, {after - before:.1f} MiB more after")
    photos(place)
    delivering = loader(sorted((place / "photos").rglob("*.jpg")))
    for _ in delivering:
        workers = [private_mib(process.pid) for process in multiprocessing.active_children()]
    print(
        f"DataLoader's two workers on {PHOTOS} photographs: {' + '.join(f'{mib:.0f}' for mib in workers)} MiB private"
    )


# --- index ----------------------------------------------------------------------------------------------------------


def index(place: Path) -> None:
    """A thousand files, seen through a thousand links to their folder: a million paths that exist."""
    (place / "files").mkdir()
    for i in range(1000):
        (place / "files" / f"{i:03}.png").touch()
    (place / "links").mkdir()
    for i in range(1000):
        (place / "links" / f"d{i:03}").symlink_to(place / "files")
    table = place / "links" / "images.csv"
    rows = (f"d{i // 1000:03}/{i % 1000:03}.png,{i % 7}\n" for i in range(1_000_000))
    table.write_text("path,label\n" + "".join(rows))
    config = DataConfig(source="table", path=str(table))
    paths = [f"{table.parent}/d{i // 1000:03}/{i % 1000:03}.png" for i in range(1_000_000)]

    def look_up() -> None:
        for path in paths:
            os.stat(path)  # noqa: PTH116

    print("\n1,000,000 rows whose paths exist; seconds, fastest of 3 (of the processor)")
    for name, run in {"open_source": lambda: open_source(config), "os.stat alone": look_up}.items():
        taken, of_processor = zip(*(both_clocks(run) for _ in range(3)), strict=True)
        print(f"{name:14} {min(taken):5.2f} ({min(of_processor):.2f})")


def main() -> None:
    if sys.argv[1:] == ["second process"]:
        second_process()
        return
    torch.set_num_threads(1)
    parts = {"build": build, "batches": batches, "memory": memory, "index": index}
    with tempfile.TemporaryDirectory() as place:
        for name in sys.argv[1:] or parts:
            parts[name](Path(place))


if __name__ == "__main__":
    main()
