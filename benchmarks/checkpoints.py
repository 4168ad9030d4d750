"""What saving costs beside the epochs, and beside `torch.save` of everything.

    python benchmarks/checkpoints.py [--config examples/digits.yaml] [--repeats 5]

Trains the recipe of a search file and, after each epoch, saves both ways: our checkpoint with registry, records and rotation; and
plainly all of the model, its average, the optimizer and the best weights, by `torch.save` to a file. Printed by stage, as medians:
milliseconds of an epoch, milliseconds and megabytes of either way, and our saving as a share of the epoch. Then the size of our
checkpoint where the head alone trains beside one where everything does. The published head of MobileNetV3-Small has a hidden layer,
which is two fifths of the network and trains with it.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch
import yaml

from trainables.checkpoints.checkpoint_file import write_state
from trainables.data.dataset import open_dataset
from trainables.recipe.recipe import parse_recipe
from trainables.run_folder.layout import TrialLayout
from trainables.training.trainer import Trainer
from trainables.trial.training_run import TrainingRun


def timed_ms(work: Callable[[], Any]) -> float:
    began = time.perf_counter()
    work()
    return 1e3 * (time.perf_counter() - began)


def everything(trainer: Trainer) -> dict[str, Any]:
    """What a training script saves that does not know what changed."""
    whole = trainer.model.state_dict()
    return {
        "model": whole,
        "ema": {name: tensor.clone() for name, tensor in whole.items()},
        "best": {name: tensor.clone() for name, tensor in whole.items()},
        "optimizer": trainer.state_dict()["stage"]["optimizer"],
    }


def costs(config: Path) -> dict[str, list[tuple[float, float, float, float, float]]]:
    """By stage, for each epoch: its milliseconds, those of our and of the plain way to save, and either's megabytes."""
    data = yaml.safe_load(config.read_text(encoding="utf-8"))
    recipe = parse_recipe({key: data[key] for key in ("data", "model", "train")})
    found: dict[str, list[tuple[float, float, float, float, float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        run = TrainingRun(recipe, TrialLayout(Path(folder) / "run"))
        for report in run.trainer:
            if report.cache_s:  # the first epoch of a stage also computes features to keep
                run._store(report)
                continue
            ours = timed_ms(lambda report=report: run._store(report))
            state, plain = everything(run.trainer), Path(folder) / f"{report.epoch}.pt"
            theirs = timed_ms(lambda plain=plain, state=state: torch.save(state, plain))
            (saved,) = run.folder.checkpoints.glob(f"{report.epoch:04d}_*")
            sizes = saved.stat().st_size / 1e6, plain.stat().st_size / 1e6
            plain.unlink()
            found.setdefault(report.stage, []).append((1e3 * (report.train_s + report.val_s), ours, theirs, *sizes))
    return found


def saved_mb(backbone: str, unfreeze_from: str) -> float:
    """Of a run with SGD and an average."""
    stage = {"name": "only", "unfreeze_from": unfreeze_from, "epochs": 1, "head_frozen_epochs": 0}
    recipe = parse_recipe(
        {
            "data": {
                "source": "digits",
                "image_size": 32,
                "validation": 0.1,
                "long_tail": {"imbalance": 10, "largest": 12},
            },
            "model": {"backbone": backbone, "weights": "none"},
            "train": {"stages": [stage], "optimizer": {"kind": "sgd"}, "ema": {"decay": 0.9}, "bn_affine": "train"},
        }
    )
    trainer = Trainer(recipe, open_dataset(recipe.data))
    next(trainer)
    with tempfile.TemporaryFile() as file:
        write_state(file, {"trainer": trainer.state_dict()})
        return file.tell() / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, default=Path("examples/digits.yaml"))
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    found: dict[str, list[tuple[float, float, float, float, float]]] = {}
    for _ in range(options.repeats):
        for stage, epochs in costs(options.config).items():
            found.setdefault(stage, []).extend(epochs)
    print(
        f"{'stage':10} {'epoch ms':>9} {'ours ms':>9} {'plain ms':>9} {'ours MB':>9} {'plain MB':>9} {'ours of the epoch':>18}"
    )
    for stage, epochs in found.items():
        values = [median(column) for column in zip(*epochs, strict=True)]
        print(f"{stage:10}" + "".join(f" {value:9.1f}" for value in values) + f" {values[1] / values[0]:17.1%}")
    whole, ours = (sum(epoch[i] for epochs in found.values() for epoch in epochs) for i in (0, 1))
    print(f"whole run: saving is {ours / whole:.1%} of its epochs")
    for backbone in ("mobilenet_v3_small", "efficientnet_lite0"):
        head, whole = saved_mb(backbone, "head"), saved_mb(backbone, "all")
        print(f"{backbone}: head alone {head:.2f} MB, everything {whole:.2f} MB: {head / whole:.1%}")


if __name__ == "__main__":
    main()
