"""Tables and the report of large searches: `thaw results`, `thaw report` and `Run.curves` beside Ray's own readers.

    python benchmarks/results.py [--trials 10000] [--epochs 30] [--ray-trials 200] [--rounds 3] [--folder DIR]

Writes a search's folder as trials leave it (reports with ten classes and their confusion, about 2.2 KB an epoch: 640 MB by default)
below a temporary folder, or below DIR, where a later run finds it again. Each figure is of a whole process, from its start to its
end, its median over the rounds; the files lie in the page cache, as they do when a table is asked for again. Ray's
`ExperimentAnalysis`, which `ResultGrid` stands on, reads a folder that Ray Tune wrote itself, of fewer trials with the same
reports; Thaw reads as many beside it.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path[0] = str(ROOT)
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["PYTHONPATH"] = str(ROOT)

import yaml  # noqa: E402

from trainables.core.vocabulary import TrialStatus, metrics_of  # noqa: E402
from trainables.run_folder.epoch_report import EpochReport  # noqa: E402
from trainables.run_folder.layout import RunLayout  # noqa: E402
from trainables.run_folder.trial_record import TrialRecord  # noqa: E402
from trainables.run_folder.trial_summary import summary_in  # noqa: E402

CLASSES = 10
START = "2026-01-01T00:00:00+00:00"


def config(name: str) -> dict:
    return {
        "data": {"source": "digits"},
        "model": {"backbone": "efficientnet_lite0"},
        "train": {"metric": "balanced_accuracy"},
        "space": {},
        "search": {"name": name, "trials": 1},
    }


def a_report(draw: random.Random) -> dict:
    """One epoch's line, with the numbers of digits that real ones have."""
    shares = {name: [draw.random() for _ in range(CLASSES)] for name in ("precision", "recall", "f1")}
    counts = {name: [float(draw.randrange(200)) for _ in range(CLASSES)] for name in ("true_count", "predicted_count")}
    report = EpochReport(
        epoch=1,
        stage="head",
        stage_index=0,
        epoch_in_stage=1,
        open_from="head",
        head_lr=draw.random(),
        backbone_lr=draw.random(),
        head_frozen=False,
        reweighted=False,
        train_loss=draw.random(),
        metrics={**{m.value: draw.random() for m in metrics_of("classification")}, "classes_predicted": 10.0},
        per_class={**shares, **counts},
        confusion=[[draw.randrange(200) for _ in range(CLASSES)] for _ in range(CLASSES)],
        flags=(),
        score=0.5,
        best_score=0.5,
        best_epoch=1,
        train_s=draw.random(),
        val_s=draw.random(),
        cache_s=0.0,
        uncached=None,
        best_corrected=0.5,
        drw_pending=False,
        compute=1000,
        compute_share=1 / 30,
        images_per_s=1000 * draw.random(),
        time=START,
        stage_over=False,
        finished=False,
        checkpoint="0001_head_balanced_accuracy=0.5000.pt",
    )
    return json.loads(report.to_json())


def reports(draw: random.Random, pool: list[dict], epochs: int) -> list[dict]:
    """A trial's epochs."""
    made, best = [], (0, -1.0)
    for epoch in range(1, epochs + 1):
        score = draw.random()
        best = max(best, (epoch, score), key=lambda pair: pair[1])
        report = {**draw.choice(pool), "epoch": epoch, "score": score, "best_epoch": best[0], "best_score": best[1]}
        report |= {"stage": "head" if epoch <= 8 else "top", "stage_index": int(epoch > 8), "finished": epoch == epochs}
        made.append(report | {"flags": ["gap"] if draw.random() < 0.05 else []})
    return made


def write_search(root: Path, trials: int, epochs: int) -> None:
    """A search of which a third finished; the others were pruned at their last epoch, so that all have as many."""
    draw, layout = random.Random(0), RunLayout(root)
    pool = [a_report(draw) for _ in range(500)]
    layout.root.mkdir(parents=True)
    for number in range(trials):
        folder = layout.trial(number)
        folder.root.mkdir(parents=True)
        finished = draw.random() < 1 / 3
        lines = reports(draw, pool, epochs)
        folder.epochs.write_text("".join(json.dumps(report) + "\n" for report in lines))
        values = {"train.stages[0].head_lr": draw.random(), "train.loss.kind": draw.choice(["ldam", "focal"])}
        record = TrialRecord(
            number=number,
            params={**values, "train.ema.decay": draw.random(), "train.seed": number},
            status=TrialStatus.FINISHED if finished else TrialStatus.PRUNED,
            reason=None if finished else f"0.5 at epoch {epochs} was not among the best there",
            started=START,
            ended=START,
            summary=summary_in(folder.epochs),
        )
        # Not through `write`: 10,000 files need not be synced to the disk one by one.
        folder.trial.write_text(record.model_dump_json(indent=2))
    layout.config.write_text(yaml.safe_dump(config(root.name), sort_keys=False))


def without_summaries(source: Path, root: Path) -> None:
    """The same search as a driver of before, or a killed one, leaves it; the epochs are the same files."""
    layout, old = RunLayout(root), RunLayout(source)
    for folder in old.all_trials():
        copy = layout.trial(folder.number)
        copy.root.mkdir(parents=True)
        os.link(folder.epochs, copy.epochs)
        record = json.loads(folder.trial.read_bytes()) | {"summary": None}
        copy.trial.write_text(json.dumps(record))
    layout.config.write_bytes(old.config.read_bytes())


def measured(command: list[str]) -> tuple[float, float, float]:
    """Seconds, core seconds and peak MiB of a process."""
    start = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{' '.join(command)}: exit status {process.returncode}")
    return time.perf_counter() - start, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def show(commands: dict[str, list[str]], rounds: int) -> dict[str, float]:
    """Prints the commands' medians and returns their core seconds; the rounds go through all commands in turn."""
    figures: dict[str, list[tuple[float, float, float]]] = {name: [] for name in commands}
    for _ in range(rounds):
        for name, command in commands.items():
            figures[name].append(measured(command))
    for name, each in figures.items():
        seconds, cores, mib = (statistics.median(values) for values in zip(*each, strict=True))
        print(f"{name:<44} {seconds:6.2f} s  {cores:6.2f} core s  {mib:5.0f} MiB", flush=True)
    return {name: statistics.median(cores for _, cores, _ in each) for name, each in figures.items()}


def thaw(*words: str) -> list[str]:
    return [sys.executable, "-c", "from search.cli import main; main()", *words]


def python(code: str, *words: str) -> list[str]:
    return [sys.executable, "-c", code, *words]


CURVES = """
import sys
from results_analysis import load
fields = ["score", "best_score", "val_loss", "train_loss", "train_s", "stage_index", "head_lr", "flags"]
print(len(load(sys.argv[1]).curves(fields)))
"""
EPOCHS = "import sys; from results_analysis import load; print(len(load(sys.argv[1]).epochs()))"
RAY_TABLE = """
import sys
from ray.tune import ExperimentAnalysis
print(len(ExperimentAnalysis(sys.argv[1]).dataframe(metric="score", mode="max")))
"""


def ray_folder(root: Path, trials: int, epochs: int) -> None:
    """What Ray Tune writes itself of trials that report as ours do."""
    os.environ["RAY_AIR_NEW_OUTPUT"] = "0"
    import ray
    from ray import tune

    draw = random.Random(0)
    pool = [a_report(draw) for _ in range(50)]

    class Reporting(tune.Trainable):
        def setup(self, config: dict) -> None:
            self._reports = iter(reports(random.Random(config["number"]), pool, epochs))

        def reset_config(self, new_config: dict) -> bool:
            self.setup(new_config)
            return True

        def step(self) -> dict:
            report = next(self._reports)
            return {**report, "done": report["finished"]}

        def save_checkpoint(self, checkpoint_dir: str) -> dict:  # noqa: ARG002
            return {}

    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    tune.Tuner(
        Reporting,
        param_space={"number": tune.grid_search(list(range(trials)))},
        tune_config=tune.TuneConfig(reuse_actors=True),
        run_config=tune.RunConfig(name=root.name, storage_path=str(root.parent), verbose=0),
    ).fit()
    ray.shutdown()


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--trials", type=int, default=10_000)
    options.add_argument("--epochs", type=int, default=30)
    options.add_argument("--ray-trials", type=int, default=200, help="0: without Ray")
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--folder", type=Path)
    options.add_argument("--write-ray", type=Path, help=argparse.SUPPRESS)
    args = options.parse_args()
    if args.write_ray:
        ray_folder(args.write_ray, args.ray_trials, args.epochs)
        return
    with tempfile.TemporaryDirectory() as temporary:
        compare(args.folder or Path(temporary), args.trials, args.epochs, args.ray_trials, args.rounds)


def compare(folder: Path, trials: int, epochs: int, ray_trials: int, rounds: int) -> None:
    run, killed = folder / f"search_{trials}x{epochs}", folder / f"search_{trials}x{epochs}_without_summaries"
    if not RunLayout(run).config.exists():
        write_search(run, trials, epochs)
    if not RunLayout(killed).config.exists():
        without_summaries(run, killed)
    size = sum(trial.epochs.stat().st_size for trial in RunLayout(run).all_trials())
    print(f"{trials} trials of {epochs} epochs, {size / 2**20:.0f} MiB of reports")
    show(
        {
            "thaw results": thaw("results", str(run)),
            "thaw results --format csv": thaw("results", str(run), "--format", "csv"),
            "thaw results --pareto": thaw("results", str(run), "--pareto"),
            "thaw results, no trial with a summary": thaw("results", str(killed)),
            "Run.curves of 8 fields": python(CURVES, str(run)),
            "Run.epochs()": python(EPOCHS, str(run)),
            "thaw report": thaw("report", str(run), "-o", str(page := folder / "report.html")),
        },
        rounds,
    )
    print(f"the report: {page.stat().st_size / 2**20:.1f} MiB")
    if not ray_trials:
        return
    ours, rays = folder / f"search_{ray_trials}x{epochs}", folder / f"ray_{ray_trials}x{epochs}"
    if not RunLayout(ours).config.exists():
        write_search(ours, ray_trials, epochs)
    if not rays.exists():
        # In a process of its own: a child's peak memory begins at what its parent holds.
        words = [sys.executable, __file__, "--write-ray", str(rays), "--ray-trials", str(ray_trials)]
        subprocess.run([*words, "--epochs", str(epochs)], check=True)
    print(f"{ray_trials} trials of {epochs} epochs")
    figures = show(
        {
            "import of Ray Tune alone": python("from ray.tune import ExperimentAnalysis"),
            "Ray's ExperimentAnalysis(...).dataframe()": python(RAY_TABLE, str(rays)),
            "import of Thaw's readers alone": python("import pandas; from results_analysis import load, render"),
            "Run.epochs()": python(EPOCHS, str(ours)),
            "thaw results": thaw("results", str(ours)),
        },
        rounds,
    )
    imported, table, our_import, our_epochs, _ = figures.values()
    a_trial = (table - imported) / ray_trials
    print(f"Ray, for {trials} trials if it goes on so: {imported + a_trial * trials:.0f} core s")
    ours_a_trial = (our_epochs - our_import) / ray_trials
    print(f"a trial's epochs as a frame: Ray {1e3 * a_trial:.2f} ms of a core, Thaw {1e3 * ours_a_trial:.2f} ms")


if __name__ == "__main__":
    main()
