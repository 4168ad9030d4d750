"""Run folders of searches that can legitimately exist, each drawn from a seed: any space, any status, any score."""

import copy
import json
import math
import random

import numpy as np

from tests.support.recipes import RECIPE
from tests.support.searched_runs import write_search
from trainables.core.dotted_paths import with_values
from trainables.core.vocabulary import Flag, Metric, mode_of_objective
from trainables.recipe.recipe import parse_recipe
from trainables.run_folder.layout import RunLayout

PARAMETERS = {
    "train.stages[*].head_lr": [
        {"log": [1e-5, 1.0]},
        {"log": [1e-300, 1e-3]},
        {"log": [0.1, 1e300]},
        {"choice": [1e-3, 0.01, 1e30]},
        {"float": [1e-320, 1e-310]},
    ],
    "train.seed": [{"int": [0, 2**31]}, {"choice": [1, 2**63, 2**70]}, {"int": [2**63, 2**63 + 10]}],
    "train.batch_size": [{"int": [1, 512]}, {"int_log": [1, 4096]}, {"int": [8, 64], "step": 8}, {"int": [15, 16]}],
    "train.ema.decay": [{"one_minus_log": [0.5, 0.9999999]}, {"float": [0.5, 0.999]}],
    "train.clip_norm": [{"choice": [None, 1e-3]}, {"choice": [None]}, {"choice": [None, 1, 0.5]}, {"choice": [2.0]}],
    "train.bn_affine": [{"choice": ["frozen", "train"]}, {"choice": ["train"]}],
    "train.prefix_cache": [{"choice": [True, False]}, {"choice": [False]}],
    "train.optimizer.kind": [{"choice": ["adamw", "adam", "sgd"]}],
    "train.optimizer.momentum": [{"float": [0.0, 0.99]}, {"float": [0.9, 0.95], "step": 0.05}],
    "train.stages[-1].dropout": [{"float": [0.0, 0.9]}, {"float": [0.0, 0.999]}],
    "train.stages[-1].unfreeze_from": [{"choice": ["last:2", "last:3", "all"]}],
    "train.stages[*].weight_decay": [{"log": [1e-300, 1e300]}, {"float": [0, 1e39]}],
    "train.stages[*].plateau.threshold": [{"log": [1e-45, 1e-39]}, {"float": [0, 0.1]}],
    "train.stages[0].epochs": [{"int": [1, 3]}, {"choice": [2]}],
}
"""Paths of a recipe, and distributions that are valid there."""
CONDITIONAL = {
    "train.loss.kind": {"choice": ["cross_entropy", "focal", "ldam", "balanced_softmax"]},
    "train.loss.max_margin": {"float": [0.2, 0.8], "when": {"train.loss.kind": ["ldam"]}},
    "train.loss.gamma": {"float": [0.5, 5.0], "when": {"train.loss.kind": ["focal"]}},
    "train.loss.tau": {"float": [0.5, 2.0], "when": {"train.loss.kind": ["balanced_softmax"]}},
}
ANYTHING = ([1, 2], {"a": None}, None, True, 1, "1", 1.0, "x" * 500, 10**400, "[b]|")
STATUSES = ("finished", "pruned", "failed", "running", "infeasible")
GOALS = ("macs", "parameters", "train_s", "val_loss")
CLASSES = ("cat", "dog", "owl", "nan", "<b>=1+1|ä")


def write_odd_search(root, seed, **given):
    """Writes a search drawn from a seed, and returns its folder.

    Args:
        root: folder of the run.
        seed: all follows from it.
        given: parts that are not drawn: `space`, `trials` (how many), `statuses`.
    """
    rng = random.Random(seed)
    task = "regression" if rng.random() < 0.2 else "classification"
    metrics = [Metric.SPEARMAN, Metric.RMSE, Metric.R2] if task == "regression" else _CLASS_METRICS
    metric = rng.choice(metrics)
    space = given.get("space") or _space(rng, task)
    count = given.get("trials", rng.choice([0, 1, 2, 3, 5, 8, 8, 12, 20, 30]))
    objectives = ["score", *(rng.sample(GOALS, rng.choice([1, 2])) if rng.random() < 0.3 else ())]
    constraints = {"macs": {"max": rng.choice([50, 1e-9])}} if rng.random() < 0.3 else {}
    kept = given.get("statuses") or rng.choice(
        [STATUSES, STATUSES, ("finished",), ("pruned",), ("failed",), STATUSES[:2]]
    )
    statuses = [rng.choice(kept) for _ in range(count)]
    classes = rng.sample(CLASSES, rng.choice([1, 2, 3, 5]))
    images = [rng.choice([0, 1, 40]) if rng.random() < 0.3 else 20 for _ in classes]
    images[0] = images[0] or 3
    recipe = _recipe(task, metric)
    trials = []
    for number in range(count):
        status = statuses[number]
        if status == "infeasible" and not constraints:
            status = "finished"
        trials.append(_trial(rng, status, space, recipe, metric, images))
    if task == "classification" and count > 3 and rng.random() < 0.15:
        _fork(rng, trials)
    for number, trial in enumerate(trials):
        if trial["status"] not in ("running", "failed") and (trial["scores"] or objectives):
            values = {name: rng.choice([1.0, 60.0, 1e30, rng.random()]) for name in (*objectives, *constraints)}
            score = _best(trial["scores"], metric)
            trial["objectives"] = {**values, "score": score} if score is not None else {}
        trial["environment"] = {"data_fingerprint": "a" * 64}
        if number and rng.random() < 0.05:
            trial["environment"] = {"data_fingerprint": "b" * 64}
    planned = max(1, count + rng.choice([0, 0, 0, 5]))
    settings = {
        "name": RunLayout(root).root.name,
        "trials": planned,
        "objectives": objectives,
        "constraints": constraints,
        "scheduler": {"kind": rng.choice(["none", "asha", "pbt"])},
        "stop": {"hours": rng.choice([None, 1.0]), "score": None, "no_improvement": None, "cost": None},
        "enqueue": rng.choice([[], ["defaults"]]),
    }
    in_file = {"python": "own:space"} if rng.random() < 0.2 else space
    if "python" in in_file:  # a function may return anything
        for trial in trials:
            trial["params"] |= {"train.odd": rng.choice(ANYTHING)} if rng.random() < 0.9 else {}
    folder = write_search(
        root, trials, metric=metric, task=task, classes=classes,
        data=recipe["data"], model=recipe["model"], train=recipe["train"], space=in_file, search=settings,
    )  # fmt: skip
    _leave_status(rng, RunLayout(folder), statuses, planned)
    return folder


_CLASS_METRICS = [Metric.BALANCED_ACCURACY, Metric.KAPPA, Metric.VAL_LOSS, Metric.AUC, Metric.ACCURACY]


def _recipe(task, metric):
    recipe = copy.deepcopy(RECIPE)
    recipe["train"]["metric"] = metric.value
    if task == "regression":
        columns = {"path": "path", "label": "value"}
        recipe["data"] = {
            "source": "table",
            "path": "t.csv",
            "columns": columns,
            "task": "regression",
            "image_size": 32,
        }
    return parse_recipe(recipe).model_dump(mode="json")


def _space(rng, task):
    space = {path: rng.choice(PARAMETERS[path]) for path in rng.sample(list(PARAMETERS), rng.randint(0, 5))}
    if task == "classification" and rng.random() < 0.5:
        space |= CONDITIONAL
    return space


def draw(rng, distribution):
    """Draws a value of a distribution as a search file has it."""
    kind = next(key for key in distribution if key not in ("when", "step"))
    given = distribution[kind]
    if kind == "choice":
        return rng.choice(given)
    low, high = given
    if rng.random() < 0.15:
        return rng.choice(given)
    if kind == "int":
        return low + distribution.get("step", 1) * rng.randint(0, (high - low) // distribution.get("step", 1))
    if kind == "int_log":
        return round(math.exp(rng.uniform(math.log(low), math.log(high))))
    if kind == "float":
        return rng.uniform(low, high)
    if kind == "log":
        return min(max(math.exp(rng.uniform(math.log(low), math.log(high))), low), high)
    return 1 - math.exp(rng.uniform(math.log(1 - high), math.log(1 - low)))


def _point(rng, space):
    point = {}
    for path, distribution in space.items():
        if all(point.get(parent) in allowed for parent, allowed in distribution.get("when", {}).items()):
            point[path] = draw(rng, distribution)
    return point


def _trial(rng, status, space, recipe, metric, images):
    point = {} if status == "failed" and rng.random() < 0.2 else _point(rng, space)
    length = {"finished": 6, "infeasible": 6, "pruned": rng.choice([1, 2, 4]), "running": rng.randint(0, 5)}
    epochs = length.get(status, rng.choice([0, 0, 3]))
    of_point = {path: value for path, value in point.items() if isinstance(value, int | float)}
    end = 0.9 if point.get("train.clip_norm", 0) is None else rng.choice([0.5, 0.5, rng.random(), 1.0])
    scores = [end * (1 - 0.5 / epoch) + 0.01 * len(of_point) for epoch in range(1, epochs + 1)]
    nan = rng.random()
    scores = [math.nan if nan < 0.05 or (nan < 0.15 and rng.random() < 0.5) else score for score in scores]
    if status in ("finished", "infeasible") and all(map(math.isnan, scores)):
        status = "failed"  # as a search records it
    reason = {"pruned": "0.5 at epoch 4 was not among the best there", "failed": "RuntimeError: [b]ü[/b]\n= 1"}
    flags = {epochs: [rng.choice(list(Flag)).value]} if epochs and rng.random() < 0.2 else {}
    own = with_values(recipe, point)
    return {
        "scores": scores,
        "status": status,
        "params": point,
        "reason": reason.get(status),
        "flags": flags,
        "images": images,
        "recipe": json.dumps(own),  # JSON is YAML
        "cost": rng.choice([0.0, 1.0, rng.random()]),
        "cache": rng.choice([0.0, 0.0, 0.5]),
    }


def _fork(rng, trials):
    """Lets the last trials start from earlier ones, as in population-based training."""
    for number in range(len(trials) // 2, len(trials)):
        parent = rng.randrange(number)
        done = len(trials[parent]["scores"])
        if done and len(trials[number]["scores"]) > 1:
            epoch = min(done, len(trials[number]["scores"]) - 1)
            trials[number]["parent"] = (parent, epoch)
            trials[number]["scores"][:epoch] = trials[parent]["scores"][:epoch]


def _best(scores, metric):
    known = [score for score in scores if not math.isnan(score)]
    return (min if metric.mode == "min" else max)(known) if known else None


def _leave_status(rng, layout, statuses, planned):
    """Files of a driver that is not there any more: complete (all trials, or a budget), stopped, killed; or none."""
    over = "running" not in statuses
    state = rng.choice(["complete" if over else "stopped", "stopped", "running", None])
    if state is None:
        return
    started = "2025-01-01T00:00:00+00:00"
    status = {
        "schema": 1,
        "attempt": 1,
        "state": state,
        "host": "gone",
        "pid": 1,
        "started": started,
        "trials": planned,
    }
    layout.status.write_text(json.dumps(status))
    layout.spent.write_text(json.dumps({"schema": 1, "wall_s": 3601.0}))


# --- an independent reading -------------------------------------------------------------------------------------------


def facts_of(root):
    """Number of a trial -> its status, epochs, best score and best epoch, read line by line without the product's code."""
    found = {}
    for folder in sorted((root / "trials").glob("*")) if (root / "trials").is_dir() else ():
        record = json.loads((folder / "trial.json").read_text())
        file = folder / "epochs.jsonl"
        lines = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
        found[record["number"]] = {**record, "lines": lines}
    return found


def best_epoch(lines, mode):
    """Epoch and score of the best of some lines; None where none has a score."""
    scored = [(line["score"], line["epoch"]) for line in lines if line["score"] is not None]
    if not scored:
        return None
    score, epoch = min(scored, key=lambda pair: (pair[0] if mode == "min" else -pair[0], pair[1]))
    return epoch, score


def dominated(values, others, modes):
    """True if one of the others is at least as good in all objectives and better in one."""
    signs = np.array([1 if mode == "min" else -1 for mode in modes])
    mine = np.array(values) * signs
    return any((np.array(o) * signs <= mine).all() and (np.array(o) * signs < mine).any() for o in others)


def modes_of(names, metric):
    return [mode_of_objective(name, metric) for name in names]
