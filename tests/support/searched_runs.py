"""Folders of searches as `thaw search` leaves them, written through the classes that write them there, with made-up scores."""

import json
import math

import numpy as np
import yaml

from trainables.core.vocabulary import Flag, Metric, TrialStatus
from trainables.run_folder.epoch_report import EpochReport
from trainables.run_folder.layout import RunLayout
from trainables.run_folder.trial_record import Parent, TrialRecord

SPACE = {
    "train.stages[*].head_lr": {"log": [0.001, 0.1]},
    "train.loss.kind": {"choice": ["cross_entropy", "ldam"]},
    "train.loss.max_margin": {"float": [0.2, 0.8], "when": {"train.loss.kind": "ldam"}},
    "train.stages[*].plateau.patience": {"int": [1, 4]},
    "train.ema.decay": {"one_minus_log": [0.9, 0.999]},
}
STAGES = [
    {"name": "head", "unfreeze_from": "head", "epochs": 2, "head_lr": 0.01, "plateau": {"patience": 3}},
    {"name": "top", "unfreeze_from": "last:2", "epochs": 4, "head_lr": 0.01, "plateau": {"patience": 3}},
]
CONFIG = {
    "data": {"source": "digits"},
    "model": {"backbone": "mobilenet_v3_small"},
    "train": {"metric": "balanced_accuracy", "stages": STAGES, "loss": {"kind": "ldam", "max_margin": 0.5}},
    "space": SPACE,
    "search": {"trials": 24, "scheduler": {"kind": "asha", "grace_epochs": 2, "reduction": 2}},
}


def write_search(
    root, trials, *, metric=Metric.BALANCED_ACCURACY, task="classification", classes=("cat", "dog", "owl"), **config
):
    """A run; `trials` are keywords of `write_trial`, numbered from 0."""
    layout = RunLayout(root)
    layout.root.mkdir(parents=True)
    data = {**CONFIG["data"], **({"task": task} if task == "regression" else {})}
    made = {**CONFIG, "data": data, "train": {**CONFIG["train"], "metric": metric.value}, **config}
    layout.config.write_text(yaml.safe_dump(made, sort_keys=False), encoding="utf-8")
    recipe = yaml.safe_dump({section: made[section] for section in ("data", "model", "train")}, sort_keys=False)
    for number, trial in enumerate(trials):
        write_trial(layout, number, **{"recipe": recipe, "metric": metric, "task": task, "classes": classes, **trial})
    return layout.root


def write_trial(
    layout, number, scores=(), *, status="finished", params=None, reason=None, flags=None, classes=(), images=40,
    metric=Metric.BALANCED_ACCURACY, task="classification", recipe="{}", cost=1.0, cache=0.0, parent=None,
    objectives=None, environment=None, **changes,
):  # fmt: skip
    """One trial.

    Args:
        flags: epoch -> flags.
        images: validation images of each class: one number for all, or one for each.
        parent: the trial and the epoch that it goes on from.
        environment: more of `environment.json`.
    """
    folder = layout.trial(number)
    folder.root.mkdir(parents=True)
    folder.recipe.write_text(recipe, encoding="utf-8")
    times = {
        "started": "2025-01-01T00:00:00+00:00",
        "ended": None if status == "running" else "2025-01-01T00:10:00+00:00",
    }
    from_whom = parent and Parent(trial=parent[0], epoch=parent[1], stage=0)
    record = TrialRecord(
        number=number, params=params or {}, parent=from_whom, status=TrialStatus(status), reason=reason,
        objectives=objectives or {}, **times,
    )  # fmt: skip
    folder.trial.write_text(record.model_dump_json(by_alias=True))  # not through `write`: thousands need not be synced
    of_classes = {"classes": list(classes)} if task == "classification" else {}
    known = {**of_classes, "validation_images": int(np.sum(images)), "torch": "2.13.0", **(environment or {})}
    folder.environment.write_text(json.dumps(known))
    lines, best = [], (0, math.nan)
    for epoch, score in enumerate(scores, start=1):
        if not math.isnan(score) and (math.isnan(best[1]) or metric.better(score, than=best[1])):
            best = (epoch, score)
        raised = tuple(map(Flag, (flags or {}).get(epoch, ())))
        made = _report(
            epoch, score, best, metric, raised, classes if task == "classification" else (), images, cost, cache
        )
        if parent and epoch <= parent[1]:
            made |= {"train_s": 0.0, "val_s": 0.0, "cache_s": 0.0, "inherited": True}
        lines.append(
            EpochReport(**{**made, "finished": status == "finished" and epoch == len(scores), **changes}).to_json()
        )
    if lines:
        folder.epochs.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def _report(epoch, score, best, metric, flags, classes, images, cost, cache):
    head = epoch <= 2
    metrics = {"val_loss": 2.0 - (0 if math.isnan(score) else score), metric.value: score}
    matrix, per_class = [], {}
    if classes:
        matrix = _confusion(score, len(classes), images)
        true, predicted, hits = matrix.sum(axis=1), matrix.sum(axis=0), matrix.diagonal()
        per_class = {
            "precision": (hits / np.maximum(predicted, 1)).tolist(),
            "recall": (hits / np.maximum(true, 1)).tolist(),
            "f1": (2 * hits / np.maximum(true + predicted, 1)).tolist(),
            "true_count": true.tolist(),
            "predicted_count": predicted.tolist(),
        }
        matrix = matrix.tolist()
        metrics["classes_predicted"] = float((predicted > 0).sum())
    return {
        "epoch": epoch,
        "stage": "head" if head else "top",
        "stage_index": 0 if head else 1,
        "epoch_in_stage": epoch if head else epoch - 2,
        "open_from": "head" if head else "features.11",
        "head_lr": 0.01,
        "backbone_lr": 0.0 if head else 0.001,
        "head_frozen": epoch == 3,
        "reweighted": epoch >= 5,
        "train_loss": 2.1 / epoch,
        "metrics": metrics,
        "per_class": per_class,
        "confusion": matrix,
        "flags": flags,
        "score": score,
        "best_score": best[1],
        "best_epoch": best[0],
        "train_s": cost + (cache if epoch == 1 else 0),
        "val_s": cost / 4,
        "cache_s": cache if epoch == 1 else 0.0,
        "uncached": None if head else "nothing is frozen",
        "best_corrected": best[1],
        "drw_pending": False,
        "compute": 1000 * epoch,
        "compute_share": epoch / 10,
        "images_per_s": 100.0,
        "time": "2025-01-01T00:00:00+00:00",
        "stage_over": epoch in (2, 6),
    }


def _confusion(score, c, images):
    """Each class recognised with the score's probability, the rest taken for the next class."""
    matrix = np.zeros((c, c), dtype=int)
    for i, count in enumerate(np.broadcast_to(images, c)):
        hits = round(int(count) * (0 if math.isnan(score) else min(max(score, 0), 1)))
        matrix[i, i] += hits
        matrix[i, (i + 1) % c] += count - hits
    return matrix


def searched_trials(count, *, seed=0, epochs=6, prune=True):
    """Trials of SPACE whose score peaks at head_lr 0.03 and gains from ldam; the worse half is pruned at epochs 2 and 4."""
    rng = np.random.default_rng(seed)
    trials = []
    for _ in range(count):
        lr = float(10 ** rng.uniform(-3, -1))
        loss = str(rng.choice(["cross_entropy", "ldam"]))
        params = {"train.stages[*].head_lr": lr, "train.loss.kind": loss}
        if loss == "ldam":
            params["train.loss.max_margin"] = float(rng.uniform(0.2, 0.8))
        params["train.stages[*].plateau.patience"] = int(rng.integers(1, 5))
        params["train.ema.decay"] = 1 - float(10 ** rng.uniform(-3, -1))
        end = 0.85 - 0.25 * (math.log10(lr) + 1.5) ** 2 + 0.05 * (loss == "ldam") + rng.normal(0, 0.01)
        scores = [end * (1 - 0.5 / epoch) + rng.normal(0, 0.005) for epoch in range(1, epochs + 1)]
        worse = end + rng.normal(0, 0.02) < 0.8
        stop = int(rng.choice([2, 4])) if prune and worse else None
        flags = {2: ["spike"]} if lr > 0.05 else {}
        trials.append(
            {
                "scores": scores[:stop] if stop else scores,
                "status": "pruned" if stop else "finished",
                "reason": f"{scores[stop - 1]:.3g} at epoch {stop} was not among the best there" if stop else None,
                "params": params,
                "flags": flags,
                "cost": float(rng.uniform(0.5, 2)),
            }
        )
    return trials
