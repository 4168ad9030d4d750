"""Model card in Markdown: what to know about a trained model before using it. All of it is computed from the manifest."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from results_analysis.tables.markdown import code, plain, table
from trainables.core.printable import command_line
from trainables.core.vocabulary import Flag, Metric, metrics_of
from trainables.model_package.manifest import Manifest

FEW_IMAGES = 20
"""Validation images of a class below which its recall is only a rough estimate."""
_UNEVEN = 2.0
"""Ratio of the largest to the smallest learned class share above which the card warns."""
_OVERCONFIDENT = 0.05
"""Difference between mean probability and accuracy above which the card warns."""
_SHOWN = 10
"""Classes that a sentence lists by name."""


def model_card(manifest: Manifest, name: str) -> str:
    """The card of the model in a folder called `name`."""
    of_task = _classification if manifest.task == "classification" else _regression
    parts = [
        f"# {plain(name)}",
        _what_it_is(manifest),
        "## How it was found",
        _found(manifest),
        "## Data",
        _data(manifest),
        "## Validation",
        *of_task(manifest),
        "## Limits",
        "\n".join(f"- {limit}" for limit in limits(manifest)) or "The automatic checks found none.",
        "## Preprocessing",
        _preprocessing(manifest),
        "## Use",
        _use(manifest, name),
    ]
    return "\n\n".join(parts) + "\n"


def _what_it_is(manifest: Manifest) -> str:
    kind = "volume" if manifest.input.depth else "image"
    head = f", cosine head with scale {manifest.cosine_scale:g}" if manifest.cosine_scale else ""
    if manifest.task == "regression":
        return f"Predicts a number for each {kind} ({plain(manifest.backbone)}{head})."
    return f"{kind.capitalize()} classifier for {len(manifest.classes)} classes ({plain(manifest.backbone)}{head})."


def _found(manifest: Manifest) -> str:
    origin = manifest.origin
    if "search" in origin:
        trials = sum(origin["trials"].values())
        chosen = origin.get("chosen", "the best score")
        where = f"Trial {origin['trial']} of {trials} of the search {code(origin['search'])}; chosen: {plain(chosen)}."
    else:
        where = f"The run {code(origin['run'])} of `thaw train`."
    rows = [
        (
            "score",
            f"{origin['metric']} {origin['score']:.4f} in epoch {origin['best_epoch']} (stage {plain(origin['stage'])})",
        ),
        ("status", f"{origin['status']} after {origin['epochs']} epochs"),
        ("seed", origin["seed"]),
        ("thaw", origin["thaw"]),
        *((key, value) for key in ("torch", "device", "commit") if (value := origin["environment"].get(key))),
    ]
    return f"{where} To train it again: `thaw train recipe.yaml`.\n\n{table(('', ''), rows)}"


def _data(manifest: Manifest) -> str:
    data = manifest.origin["data"]
    source = f"`{data['source']}`" + (f" {code(data['path'])}" if data["path"] else "")
    return (
        f"{source}: {data['train']:,} training and {data['validation']:,} validation images, fingerprint "
        f"`{data['fingerprint'][:16]}` (SHA-256 of images, labels and class names)."
    )


# --- validation -----------------------------------------------------------------------------------------------------


def _classification(manifest: Manifest) -> Iterator[str]:
    yield _metrics(manifest)
    yield _by_class(manifest)


def _regression(manifest: Manifest) -> Iterator[str]:
    yield _metrics(manifest)


def _metrics(manifest: Manifest) -> str:
    validation = manifest.validation
    rows = [
        (
            metric.value,
            _number(validation["metrics"].get(metric.value)),
            _range(validation["intervals"].get(metric.value)),
        )
        for metric in metrics_of(manifest.task)
    ]
    agrees = (
        "They match the report of the training run exactly."
        if validation["reproduces"]
        else f"The training run reported {manifest.origin['metric']} {manifest.origin['score']:.6f}."
    )
    return (
        f"Metrics of this model on {validation['images']:,} validation images, with 95% intervals from "
        f"{validation['resamples']:,} bootstrap resamples. {agrees}\n\n{table(('metric', 'value', '95% interval'), rows)}"
    )


def _by_class(manifest: Manifest) -> str:
    of, counts = manifest.validation["per_class"], manifest.origin["data"]["train_counts"]
    columns = (manifest.classes, counts, of["true_count"], of["precision"], of["recall"], of["f1"])
    intervals = manifest.validation["recall_intervals"]
    rows = [
        (
            plain(name),
            f"{train:,}",
            f"{true:,}",
            _number(precision),
            _number(recall),
            _range(interval),
            _number(f1),
        )
        for (name, train, true, precision, recall, f1), interval in zip(
            zip(*columns, strict=True), intervals, strict=True
        )
    ]
    heading = ("class", "training", "validation", "precision", "recall", "95% interval", "F1")
    return table(heading, rows)


# --- limits ---------------------------------------------------------------------------------------------------------


def limits(manifest: Manifest) -> list[str]:
    """Warnings for users of the model, a sentence or two each."""
    found = [*_limits_of_selection(manifest)]
    if manifest.task == "classification":
        found += [*_limits_of_classes(manifest), *_limits_of_probabilities(manifest)]
    return [*found, *_limits_of_data(manifest)]


def _limits_of_selection(manifest: Manifest) -> Iterator[str]:
    origin, validation = manifest.origin, manifest.validation
    trials = sum(origin.get("trials", {}).values())
    if trials > 1:
        yield (
            f"The same {validation['images']:,} validation images were used to choose this epoch, and this trial out of "
            f"{trials}: the score is probably better than on new images, and the intervals do not account for that."
        )
    elif origin["epochs"] > 1:
        yield f"The validation images were used to choose the best of {origin['epochs']} epochs: the score is somewhat optimistic."
    if origin["status"] != "finished":
        yield f"The training run was {origin['status']} when the model was exported."
    for flag in origin["flags"]:
        yield f"The best epoch was flagged `{flag}`: {_FLAGS[Flag(flag)]}."
    if not validation["reproduces"]:
        score = validation["metrics"].get(origin["metric"])
        yield f"At export, {origin['metric']} was {_number(score)}; the training run reported {_number(origin['score'])}."


_FLAGS = {
    Flag.NAN: "its loss was not a finite number",
    Flag.SPIKE: "its loss was far above its recent level",
    Flag.COLLAPSE: "some classes are never predicted and the others no better than by chance, or all images get the same number",
    Flag.DRW_DROP: "the score fell when re-weighting (DRW) began",
    Flag.STUCK_AUC: "no epoch reached an AUC of 0.70",
    Flag.GAP: "the validation loss rose while the training loss fell, or training was far more accurate than validation",
}


def _limits_of_classes(manifest: Manifest) -> Iterator[str]:
    of, classes = manifest.validation["per_class"], manifest.classes
    counts = list(zip(classes, of["true_count"], of["predicted_count"], of["recall"], strict=True))
    if absent := [plain(name) for name, true, _, _ in counts if not true]:
        yield f"Not among the validation images, so nothing is known about them: {_some(absent)}."
    if few := sorted((int(true), name) for name, true, _, _ in counts if 0 < true < FEW_IMAGES):
        yield (
            f"{len(few)} of {len(classes)} classes have fewer than {FEW_IMAGES} validation images, so one image changes their "
            f"recall by {1 / few[-1][0]:.2f} or more: {_some([f'{plain(name)} ({count})' for count, name in few])}."
        )
    if never := [plain(name) for name, true, predicted, _ in counts if true and not predicted]:
        yield f"Never predicted on the validation images: {_some(never)}."
    if missed := [plain(name) for name, true, predicted, recall in counts if true and predicted and not recall]:
        yield f"Predicted, but never correctly, on the validation images: {_some(missed)}."


def _limits_of_probabilities(manifest: Manifest) -> Iterator[str]:
    prior, metrics = manifest.learned_prior or (1.0,), manifest.validation["metrics"]
    ratio, train = max(prior) / min(prior), manifest.origin["data"]["train_counts"]
    if ratio > _UNEVEN:
        plain, corrected = Metric.BALANCED_ACCURACY.value, Metric.CORRECTED_BALANCED_ACCURACY.value
        yield (
            f"The probabilities reflect the class shares of the training data (largest to smallest {ratio:.0f} to 1; "
            f"{max(train):,} and {min(train):,} images). Where classes are equally common, `thaw predict --corrected` corrects "
            f"for that: balanced accuracy {_number(metrics[corrected])} instead of {_number(metrics[plain])} on the validation "
            "images."
        )
    elif max(train) > _UNEVEN * min(train):
        yield (
            f"The model was trained to treat all classes as equally common, but the training data has {max(train):,} images of "
            f"the largest class and {min(train):,} of the smallest. Where classes are that uneven, the model may predict rare "
            "ones too often."
        )
    confidence, accuracy = manifest.validation["mean_confidence"], metrics[Metric.ACCURACY.value]
    if math.isfinite(confidence) and abs(confidence - accuracy) > _OVERCONFIDENT:
        how = "overconfident" if confidence > accuracy else "underconfident"
        yield (
            f"The probabilities are {how}: the predicted class gets {confidence:.2f} on average, while {accuracy:.2f} of the "
            "predictions are correct."
        )


def _limits_of_data(manifest: Manifest) -> Iterator[str]:
    data, given = manifest.origin["data"], manifest.input
    if group := plain(data["group"] or ""):
        yield (
            f"Images of the same {group} resemble each other, but the intervals treat images as independent and are "
            f"therefore too narrow. No {group} is in both the training and the validation split."
        )
    if data["left_out"]:
        yield f"{data['left_out']:,} images could not be read and were left out."
    if given.channels == 1 and given.depth is None:
        yield "All training images were greyscale: colour images are converted to greyscale first."
    if manifest.target is not None:
        low, high = data["target_range"]
        then = "" if manifest.time is None else f", in the units of {manifest.time.times[-1]:g} (`data.adjust_time`)"
        yield f"Training targets lie between {low:.4g} and {high:.4g}{then}; predictions outside that range are extrapolated."
    if ":" in manifest.backbone:
        module = manifest.backbone.partition(":")[0]
        yield f"The network is built by `{manifest.backbone}`: the module `{module}` must be importable where the model is used."


# --- use ------------------------------------------------------------------------------------------------------------


def _preprocessing(manifest: Manifest) -> str:
    given = manifest.input
    size = f"{given.image_size} × {given.image_size} pixels" + (f" in {given.depth} slices" if given.depth else "")
    rows: list[tuple[str, object]] = [
        ("size", size),
        ("resize", given.resize),
        ("decoded as", f"{'greyscale' if given.channels == 1 else 'RGB'}, {given.bits} bits"),
        *((key, value) for key in ("frame", "window") if (value := getattr(given, key)) is not None),
    ]
    if given.standardises:
        rows.append(("normalised", "each volume by the mean and standard deviation of its voxels above 0"))
    else:
        triple = f"mean {_numbers(given.mean)}, std {_numbers(given.std)}"
        rows.append(("normalised", f"value / {2**given.bits - 1}, then {triple}"))
    return table(("", ""), rows)


def _use(manifest: Manifest, name: str) -> str:
    files = "scans/" if manifest.input.depth else "photos/"
    uses = (("predict", "predictions.csv"), ("embed", "features.parquet"))
    text = "\n".join(["```bash", *(command_line(word, name, files, "-o", output) for word, output in uses), "```"])
    if manifest.onnx:
        shape = "n, c, d, h, w" if manifest.input.depth else "n, c, h, w"
        text += (
            f"\n\n`model.onnx` takes `images` [{shape}] float32 with c = {manifest.input.channels}, decoded and resized as "
            "above and scaled to 0 … 1; normalisation is part of the model. It returns `predictions`, `outputs` and "
            f"`features`. On {manifest.onnx.images} validation images onnxruntime and torch differ by at most "
            f"{manifest.onnx.largest_difference:.1g}."
        )
    return text


# --- Markdown -------------------------------------------------------------------------------------------------------


def _number(value: float | None) -> str:
    return "undefined" if value is None or not math.isfinite(value) else f"{value:.4f}"


def _numbers(values: Sequence[float]) -> str:
    return ", ".join(f"{value:g}" for value in values)


def _range(interval: Sequence[float] | None) -> str:
    return "" if interval is None else f"{interval[0]:.4f} … {interval[1]:.4f}"


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def facts(mapping: Mapping[str, Any]) -> dict[str, Any]:
    """Plain values that JSON can hold: floats that are not finite become null."""
    return {
        key: None if isinstance(value, float) and not math.isfinite(value) else value for key, value in mapping.items()
    }
