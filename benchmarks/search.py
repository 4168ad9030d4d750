"""A whole search beside what a user would write with Ray Tune: the same trials, data, network, stages and loss, in turn.

    python benchmarks/search.py [--backbone mobilenet_v3_small] [--all] [--rounds 3] [--trials 16]

The peer is Ray Tune's documented pattern: a function trainable, `OptunaSearch`, a `DataLoader` that resizes with Pillow, frozen
blocks by `requires_grad=False` and `eval()`, a report with a checkpoint in each epoch. Both run two trials at a time, one CPU and
one thread each, on the same fixed list of hyperparameters and the same fixed epochs at which trials are stopped (those of
successive halving, decided beforehand, so that both do the same work). Thaw runs cold (an empty cache) and warm (a second search
on the same cache). Each run is a process of its own, and its whole wall time counts: Python's start, Ray's start, decoding, caches.

Data: long-tailed Fashion-MNIST (imbalance 100), from Debian's `dataset-fashion-mnist` or any folder with its IDX files (`--data`).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path[0] = str(ROOT)  # this folder's search.py shall not hide the package
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

SIZE, BATCH, WORKERS = 64, 64, 2
STAGES = ("head", "last:3", "half", "all")
EPOCHS = 4
"""Of each stage."""


def trials_of(count: int, stages: int) -> list[dict]:
    """Hyperparameters, and when each trial stops: two thirds with the head, two thirds of the others a stage later."""
    full, trials = EPOCHS * stages, []
    for i in range(count):
        stop = EPOCHS if i % 3 else 2 * EPOCHS if i % 9 else full
        trials.append({"head_lr": 0.002 * 1.4**i, "ratio": 0.05 * (1 + i % 4), "stop_epoch": stop})
    return trials


def stages_of(backbone: str, count: int) -> list[tuple[str, int]]:
    """Name and position of the first open block of each stage."""
    from trainables.recipe.backbone_catalog import BACKBONES
    from trainables.recipe.rules.stage_openings import first_open_block

    blocks = BACKBONES[backbone].blocks
    cuts = {"half": len(blocks) // 2}
    return [(name, cuts.get(name) or first_open_block(name, blocks) if name != "all" else 0) for name in STAGES[:count]]


def weights_of(backbone: str, folder: Path) -> str:
    """The packaged ImageNet weights, or a file of random ones: what they are changes no timing."""
    if backbone == "efficientnet_lite0":
        return "default"
    file = folder / f"{backbone}.pt"
    if not file.exists():
        import torch

        from trainables.models.published_networks import published_networks_of

        torch.manual_seed(0)
        torch.save(published_networks_of(backbone).new_network(backbone).state_dict(), file)
    return str(file)


# --- Thaw -------------------------------------------------------------------------------------------------------------


def run_thaw(args: argparse.Namespace, folder: Path) -> dict:
    from rich.console import Console

    import search.launch.run_search
    from search.config.yaml_source import read_source
    from search.config_file.load import load_search
    from search.preflight.data_and_weights import check_data_and_weights
    from search.tuning.schedulers import WarmScheduler
    from trainables.core.rungs import Rungs
    from trainables.run_folder.epoch_report import read_epochs
    from trainables.run_folder.layout import RunLayout

    trials, stages = trials_of(args.trials, args.stages), stages_of(args.backbone, args.stages)
    file = folder / "bench.yaml"
    file.write_text(json.dumps(search_config(args, trials, stages)))  # JSON is YAML
    source = read_source(file, ())
    config = load_search(source)
    check_data_and_weights(config.corner_recipes(), source, Console(file=sys.stderr))
    search.launch.run_search.build_scheduler = lambda *_args, **_kwargs: fixed_stops(
        WarmScheduler, lambda config: trials[config["number"]]["stop_epoch"], "epoch"
    )
    # Workers stop to ask where trials may be stopped, and not after each epoch, as under ASHA.
    stops = sorted({trial["stop_epoch"] for trial in trials})
    search.launch.run_search.rungs_of = lambda _config: Rungs("epochs", tuple(stops))
    layout = RunLayout(folder / "runs" / "bench")
    search.launch.run_search.run_search(config, layout)
    reports = [read_epochs(trial.epochs) for trial in layout.all_trials()]
    assert [len(r) for r in reports] == [trial["stop_epoch"] for trial in trials]
    flat = [report for of_trial in reports for report in of_trial]
    return {
        "caches": sum(report["cache_s"] for report in flat),
        "training": sum(report["train_s"] for report in flat) - sum(report["cache_s"] for report in flat),
        "validation": sum(report["val_s"] for report in flat),
        "best": max(report["balanced_accuracy"] for report in flat),
        "head": head_only([[r["train_s"] + r["val_s"] - r["cache_s"] for r in of_trial] for of_trial in reports]),
    }


def search_config(args: argparse.Namespace, trials: list[dict], stages: list[tuple[str, int]]) -> dict:
    from trainables.recipe.backbone_catalog import BACKBONES

    names = (*BACKBONES[args.backbone].blocks, "head")
    os.environ["BENCH_TRIALS"] = json.dumps(trials)
    return {
        "data": {"source": "idx", "path": args.data, "image_size": SIZE, **split_of()},
        "model": {"backbone": args.backbone, "weights": weights_of(args.backbone, Path(args.weights))},
        "train": {
            "metric": "balanced_accuracy",
            "batch_size": BATCH,
            "optimizer": {"kind": "sgd"},
            "bn_affine": "train",
            "early_stop": None,
            "stop_on": [],  # random weights learn nothing
            "loss": {"kind": "balanced_softmax"},
            "stages": [
                {
                    "name": name.replace(":", ""),
                    "unfreeze_from": names[cut],
                    "epochs": EPOCHS,
                    "plateau": None,
                    "backbone_warmup_epochs": 0,
                    "head_frozen_epochs": 0,
                }
                for name, cut in stages
            ],
        },
        "space": {"python": "benchmarks.search_space:suggest"},
        "search": {"name": "bench", "trials": len(trials), "scheduler": {"kind": "none"}},
    }


def split_of() -> dict:
    """About 3,000 long-tailed training images and 1,000 to validate."""
    return {"validation": 1 / 60, "long_tail": {"imbalance": 100, "largest": 1209}}


# --- the documented pattern -------------------------------------------------------------------------------------------


def run_peer(args: argparse.Namespace, folder: Path) -> dict:
    import optuna
    import ray
    from ray import tune
    from ray.tune.schedulers import FIFOScheduler
    from ray.tune.search.optuna import OptunaSearch

    os.environ["RAY_AIR_NEW_OUTPUT"] = "0"
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    trials, stages = trials_of(args.trials, args.stages), stages_of(args.backbone, args.stages)
    ray.init(address="local", include_dashboard=False, log_to_driver=False, logging_level="ERROR", num_cpus=WORKERS)
    points = {
        key: optuna.distributions.CategoricalDistribution([t[key] for t in trials]) for key in ("head_lr", "ratio")
    }
    points["stop_epoch"] = optuna.distributions.CategoricalDistribution(sorted({t["stop_epoch"] for t in trials}))
    from benchmarks.search_peer import train_by_hand

    setting = {
        "backbone": args.backbone,
        "weights": weights_of(args.backbone, Path(args.weights)),
        "data": args.data,
        "split": split_of(),
        "stages": stages,
        "epochs": EPOCHS,
        "size": SIZE,
        "batch": BATCH,
        "loader_workers": args.loader_workers,
    }
    tuner = tune.Tuner(
        tune.with_resources(tune.with_parameters(train_by_hand, setting=setting), {"cpu": 1}),
        tune_config=tune.TuneConfig(
            metric="balanced_accuracy",
            mode="max",
            num_samples=len(trials),
            search_alg=OptunaSearch(space=points, metric="balanced_accuracy", mode="max", points_to_evaluate=trials),
            scheduler=fixed_stops(FIFOScheduler, lambda config: config["stop_epoch"], "training_iteration"),
            max_concurrent_trials=WORKERS,
        ),
        run_config=tune.RunConfig(storage_path=str(folder / "ray"), verbose=0),
    )
    results = tuner.fit()
    frames = [result.metrics_dataframe for result in results]
    assert sorted(len(frame) for frame in frames) == sorted(trial["stop_epoch"] for trial in trials)
    epochs = [[row.train_s + row.val_s for row in frame.itertuples()] for frame in frames]
    return {
        "caches": 0.0,
        "training": sum(float(frame["train_s"].sum()) for frame in frames),
        "validation": sum(float(frame["val_s"].sum()) for frame in frames),
        "best": max(float(frame["balanced_accuracy"].max()) for frame in frames),
        "head": head_only(epochs),
    }


# --- both -------------------------------------------------------------------------------------------------------------


def fixed_stops(kind: type, stop_epoch_of, time_attr: str):
    """A scheduler that stops each trial at its epoch, as ASHA would have."""

    class FixedStops(kind):
        def on_trial_result(self, _controller, trial, result):
            return self.STOP if result[time_attr] >= stop_epoch_of(trial.config) else self.CONTINUE

    return FixedStops()


def head_only(epochs: list[list[float]]) -> float:
    """Median seconds of an epoch that trains the head alone, the first of each trial aside."""
    return statistics.median(s for of_trial in epochs for s in of_trial[1:EPOCHS])


def timed(which: str, args: argparse.Namespace, cache: Path) -> dict:
    """Runs one of the two in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        command = [
            sys.executable,
            __file__,
            *sys.argv[1:],
            "--run",
            which,
            "--folder",
            folder,
            "--weights",
            args.weights,
        ]
        began = time.perf_counter()
        done = subprocess.run(
            command,
            env=os.environ | {"THAW_CACHE": str(cache), "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
        )
        wall = time.perf_counter() - began
        if done.returncode:
            raise SystemExit(done.stderr[-3000:])
        return {"wall": wall, **json.loads(done.stdout.strip().splitlines()[-1])}


def shown(name: str, runs: list[dict]) -> str:
    def median(key: str) -> float:
        return statistics.median(run[key] for run in runs)

    busy = median("training") + median("validation") + median("caches")
    rest = median("wall") * WORKERS - busy
    return (
        f"| {name} | {median('wall'):.1f} | {median('caches'):.1f} | {median('training'):.1f} | {median('validation'):.1f} "
        f"| {rest:.1f} | {median('head'):.3f} | {max(run['best'] for run in runs):.3f} |"
    )


def ratio(over: list[dict], under: list[dict], key: str) -> str:
    ratios = [a[key] / b[key] for a, b in zip(over, under, strict=True)]
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f} … {max(ratios):.2f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--backbone", default="mobilenet_v3_small", choices=["mobilenet_v3_small", "efficientnet_lite0"]
    )
    parser.add_argument("--all", dest="stages", action="store_const", const=4, default=3, help="a last stage `all`")
    parser.add_argument("--trials", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--loader-workers", type=int, default=0, help="of the peer's DataLoader; both cores are taken")
    parser.add_argument("--data", default="/usr/share/datasets/fashion-mnist")
    parser.add_argument("--run", choices=["thaw", "peer"], help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--weights", default="", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.run:
        print(json.dumps({"thaw": run_thaw, "peer": run_peer}[args.run](args, args.folder)))
        return
    if not Path(args.data).is_dir():
        raise SystemExit(f"{args.data} is no folder with Fashion-MNIST's IDX files; give one with --data")
    with tempfile.TemporaryDirectory() as scratch:
        args.weights = scratch
        weights_of(args.backbone, Path(scratch))
        runs: dict[str, list[dict]] = {"peer": [], "cold": [], "warm": []}
        for i in range(args.rounds):
            cache = Path(scratch) / f"cache-{i}"
            for name in runs:
                runs[name].append(timed("peer" if name == "peer" else "thaw", args, cache))
                print(f"round {i + 1} {name}: {runs[name][-1]['wall']:.1f} s", file=sys.stderr, flush=True)
    names = {"peer": "documented pattern", "cold": "Thaw, cold", "warm": "Thaw, warm"}
    print(f"{args.backbone}, stages {', '.join(STAGES[: args.stages])}, {args.trials} trials, {args.rounds} rounds")
    print("| | wall s | caches | training | validation | all else | a head epoch | best |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for name, label in names.items():
        print(shown(label, runs[name]))
    for name in ("cold", "warm"):
        print(f"wall time, documented pattern over Thaw {name}: {ratio(runs['peer'], runs[name], 'wall')}")
    print(f"an epoch of the head alone: {ratio(runs['peer'], runs['warm'], 'head')}")


if __name__ == "__main__":
    main()
