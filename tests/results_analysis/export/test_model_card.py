"""The model card: what it says is computed from the manifest, and it warns of what there is to warn of."""

import pytest

from results_analysis.export.model_card import limits, model_card
from trainables.core.vocabulary import metrics_of
from trainables.model_package.manifest import Inference, Input, Manifest, OnnxFacts, Target

CLASSES = ("cat", "dog", "a|b")
ORIGIN = {
    "search": "pets",
    "trial": 7,
    "trials": {"finished": 5, "pruned": 19},
    "metric": "balanced_accuracy",
    "score": 0.75,
    "best_epoch": 9,
    "epochs": 12,
    "status": "finished",
    "stage": "top",
    "seed": 3,
    "thaw": "0.1.0",
    "flags": [],
    "environment": {"torch": "2.13.0", "device": "cpu", "commit": None},
    "data": {
        "source": "folder",
        "path": "/photos",
        "fingerprint": "ab" * 32,
        "train": 300,
        "validation": 90,
        "train_counts": [100, 100, 100],
        "target_range": None,
        "group": None,
        "left_out": 0,
    },
}
VALIDATION = {
    "images": 90,
    "resamples": 1000,
    "reproduces": True,
    "metrics": {**{metric.value: 0.75 for metric in metrics_of("classification")}, "auc": None},
    "intervals": {"accuracy": [0.7, 0.8]},
    "recall_intervals": [[0.7, 0.9], [0.6, 0.8], None],
    "mean_confidence": 0.76,
    "per_class": {
        "precision": [0.7, 0.8, 0.75],
        "recall": [0.8, 0.7, 0.75],
        "f1": [0.75, 0.75, 0.75],
        "true_count": [30, 30, 30],
        "predicted_count": [30, 30, 30],
    },
    "confusion": [],
}


def manifest(*, origin=None, data=None, validation=None, per_class=None, given=None, **changes):
    inputs = {"image_size": 224, "depth": None, "resize": "cropped", "channels": 3, "bits": 8, "frame": None}
    inputs |= {
        "window": None,
        "mean": (0.5, 0.5, 0.5),
        "std": (0.25, 0.25, 0.25),
        "standardises": False,
        **(given or {}),
    }
    values = {
        "task": "classification",
        "backbone": "resnet50",
        "blocks": ("stem",),
        "head": "linear",
        "cosine_scale": None,
        "classes": CLASSES,
        "labels": None,
        "target": None,
        "learned_prior": (1.0, 1.0, 1.0),
        "weights_sha256": "",
        "origin": {**ORIGIN, **(origin or {}), "data": {**ORIGIN["data"], **(data or {})}},
        "validation": {
            **VALIDATION,
            **(validation or {}),
            "per_class": {**VALIDATION["per_class"], **(per_class or {})},
        },
        **changes,
    }
    how = Inference(
        cut=0, prefix_batch=32, prefix_dtype="fp32", batch_size=4, precision="fp32", cpu_threads=1, device="cpu"
    )
    return Manifest(input=Input(**inputs), inference=how, **values)


def test_the_card_tells_origin_data_metrics_and_classes():
    card = model_card(manifest(), "pets-model")
    for line in (
        "# pets-model",
        "Image classifier for 3 classes (resnet50).",
        "Trial 7 of 24 of the search `pets`; chosen: the best score. To train it again: `thaw train recipe.yaml`.",
        "| score | balanced_accuracy 0.7500 in epoch 9 (stage top) |",
        "| torch | 2.13.0 |",
        "`folder` `/photos`: 300 training and 90 validation images, fingerprint `abababababababab` (SHA-256 of images, labels "
        "and class names).",
        "Metrics of this model on 90 validation images, with 95% intervals from 1,000 bootstrap resamples. They match the "
        "report of the training run exactly.",
        "| accuracy | 0.7500 | 0.7000 … 0.8000 |",
        "| auc | undefined |  |",
        "| cat | 100 | 30 | 0.7000 | 0.8000 | 0.7000 … 0.9000 | 0.7500 |",
        "| a\\|b | 100 | 30 | 0.7500 | 0.7500 |  | 0.7500 |",
        "| size | 224 × 224 pixels |",
        "| normalised | value / 255, then mean 0.5, 0.5, 0.5, std 0.25, 0.25, 0.25 |",
        "thaw predict pets-model photos/ -o predictions.csv",
    ):
        assert line in card.splitlines()
    assert "commit" not in card
    assert "onnx" not in card


def test_a_run_of_its_own_a_cosine_head_volumes_and_onnx_are_told():
    single = {key: value for key, value in ORIGIN.items() if key not in {"search", "trial", "trials"}} | {"run": "mine"}
    made = manifest(
        given={"depth": 16, "channels": 1, "standardises": True, "mean": (0.0,), "std": (1.0,)},
        head="cosine",
        cosine_scale=30,
        onnx=OnnxFacts(sha256="", images=64, largest_difference=2e-6),
    )
    card = model_card(made.model_copy(update={"origin": single}), "m")
    assert "The run `mine` of `thaw train`." in card
    assert "Volume classifier for 3 classes (resnet50, cosine head with scale 30)." in card
    assert "| size | 224 × 224 pixels in 16 slices |" in card
    assert "| normalised | each volume by the mean and standard deviation of its voxels above 0 |" in card
    assert "`model.onnx` takes `images` [n, c, d, h, w] float32 with c = 1, decoded" in card
    assert "onnxruntime and torch differ by at most 2e-06." in card


def test_a_model_of_numbers_has_no_classes():
    metrics = {metric.value: 0.5 for metric in metrics_of("regression")}
    made = manifest(
        task="regression",
        classes=(),
        learned_prior=None,
        target=Target(mean=3, std=2),
        data={"target_range": [1.0, 9.5]},
        validation={"metrics": metrics, "intervals": {"mae": [0.4, 0.6]}},
    )
    card = model_card(made, "scores")
    assert "Predicts a number for each image (resnet50)." in card
    assert "| mae | 0.5000 | 0.4000 … 0.6000 |" in card
    assert "Training targets lie between 1 and 9.5; predictions outside that range are extrapolated." in card
    assert "class |" not in card


def test_what_nobody_need_be_warned_of_is_not_warned_of():
    assert limits(manifest(origin={"trials": {"finished": 1}, "epochs": 1})) == []


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, "The same 90 validation images were used to choose this epoch, and this trial out of 24"),
        ({"origin": {"trials": {"finished": 1}}}, "The validation images were used to choose the best of 12 epochs"),
        ({"origin": {"status": "pruned"}}, "The training run was pruned when the model was exported."),
        (
            {"origin": {"flags": ["collapse"]}},
            "The best epoch was flagged `collapse`: some classes are never predicted",
        ),
        ({"origin": {"flags": ["gap"]}}, "flagged `gap`: the validation loss rose while the training loss fell, or"),
        (
            {"validation": {"reproduces": False}},
            "At export, balanced_accuracy was 0.7500; the training run reported 0.7500.",
        ),
        (
            {"per_class": {"true_count": [80, 6, 4]}},
            "2 of 3 classes have fewer than 20 validation images, so one image changes their recall by 0.17 or more: "
            "a\\|b (4), dog (6).",
        ),
        (
            {"per_class": {"true_count": [90, 0, 0]}},
            "Not among the validation images, so nothing is known about them: dog, a\\|b.",
        ),
        ({"per_class": {"predicted_count": [90, 0, 0]}}, "Never predicted on the validation images: dog, a\\|b."),
        ({"per_class": {"recall": [0.8, 0.0, 0.1]}}, "Predicted, but never correctly, on the validation images: dog."),
        (
            {"learned_prior": (2.4, 0.5, 0.1), "data": {"train_counts": [240, 50, 10]}},
            "The probabilities reflect the class shares of the training data (largest to smallest 24 to 1; 240 and 10 images). "
            "Where classes are equally common, `thaw predict --corrected` corrects for that: balanced accuracy 0.7500 instead of "
            "0.7500",
        ),
        (
            {"data": {"train_counts": [240, 50, 10]}},
            "The model was trained to treat all classes as equally common, but the training data has 240 images of the largest",
        ),
        (
            {"validation": {"mean_confidence": 0.99}},
            "The probabilities are overconfident: the predicted class gets 0.99 on average",
        ),
        ({"validation": {"mean_confidence": 0.3}}, "The probabilities are underconfident"),
        (
            {"data": {"group": "patient"}},
            "Images of the same patient resemble each other, but the intervals treat images as independent",
        ),
        ({"data": {"left_out": 3}}, "3 images could not be read and were left out."),
        ({"given": {"channels": 1}}, "All training images were greyscale: colour images are converted to greyscale"),
        ({"backbone": "my_nets:tiny"}, "the module `my_nets` must be importable where the model is used."),
    ],
)
def test_limits_are_computed(changes, expected):
    found = limits(manifest(**changes))
    assert [limit for limit in found if expected in limit], found
