"""Every file and folder name of a run, and every name of a metric or flag. Plain data: neither torch nor Ray is imported here."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import IO, Any, Literal

SCHEMA_VERSION = 1
"""Of the files below; a reader refuses newer ones."""


Task = Literal["classification", "regression"]
"""What a run learns: a class for each image, or a number."""


class Metric(StrEnum):
    """What an epoch can be judged by, on the validation split; `metrics_of` tells which metrics are a task's."""

    ADJUSTED_BALANCED_ACCURACY = "adjusted_balanced_accuracy"
    """Mean recall over classes, rescaled so that chance is 0."""
    KAPPA = "kappa"
    AUC = "auc"
    """One against the rest, macro average."""
    MACRO_F1 = "macro_f1"
    ACCURACY = "accuracy"
    BALANCED_ACCURACY = "balanced_accuracy"
    """Mean recall over classes."""
    CORRECTED_BALANCED_ACCURACY = "corrected_balanced_accuracy"
    """The same after the class shares that training taught are divided out (`trainables/prior.py`)."""
    CORRECTED_MACRO_F1 = "corrected_macro_f1"
    VAL_LOSS = "val_loss"
    """Plain cross-entropy: it does not move when re-weighting starts. In regression the mean squared error in variances of the
    training targets: 1 is what predicting their mean would come to."""
    SPEARMAN = "spearman"
    """Rank correlation of predictions and targets."""
    R2 = "r2"
    """Share of the targets' variance that is explained."""
    MAE = "mae"
    """Mean absolute error, in the targets' unit."""
    RMSE = "rmse"
    """Root of the mean squared error, in the targets' unit."""

    @property
    def mode(self) -> str:
        """`max` or `min`."""
        return "min" if self in {Metric.VAL_LOSS, Metric.MAE, Metric.RMSE} else "max"

    @property
    def worst(self) -> float:
        """What any score is better than."""
        return float("inf") if self.mode == "min" else float("-inf")

    def better(self, value: float, than: float) -> bool:
        """Whether `value` is strictly better than `than`."""
        return value < than if self.mode == "min" else value > than


_OF_REGRESSION = (Metric.SPEARMAN, Metric.R2, Metric.MAE, Metric.RMSE)


def metrics_of(task: Task) -> tuple[Metric, ...]:
    """The metrics that a task can be judged by, in the order of `Metric`."""
    if task == "regression":
        return (Metric.VAL_LOSS, *_OF_REGRESSION)
    return tuple(metric for metric in Metric if metric not in _OF_REGRESSION)


FALLBACK_ORDER = (
    Metric.ADJUSTED_BALANCED_ACCURACY,
    Metric.KAPPA,
    Metric.AUC,
    Metric.MACRO_F1,
    Metric.ACCURACY,
    Metric.R2,  # 0 or less for a constant prediction, which has no rank correlation
)
"""Where the chosen metric is not finite, the first of its task's among these that is judges the epoch."""


class Objective(StrEnum):
    """What trials of a search can be compared by beside the metrics: their score, and costs, of which less is better."""

    SCORE = "score"
    """`train.metric` of the best epoch."""
    MACS = "macs"
    """Multiplications and additions, in pairs, that the network does for one image of the last stage's size."""
    PARAMETERS = "parameters"
    """Of the whole network, frozen ones included."""
    TRAIN_S = "train_s"
    """Seconds of training."""


def mode_of_objective(name: str, metric: Metric) -> str:
    """`max` or `min`, for an `Objective` or a `Metric` by name in a search whose score is `metric`."""
    if name == Objective.SCORE:
        return metric.mode
    return Metric(name).mode if name in list(Metric) else "min"


WEIGHTS = ("ema", "raw")
"""What an epoch of a run with an average has validated: the averaged weights and the current ones."""


def metric_of_weights(weights: str, metric: Metric) -> str:
    """`raw_kappa`: name of a metric of weights that are validated and not judged."""
    return f"{weights}_{metric.value}"


class Flag(StrEnum):
    """What an epoch can be warned of; `trainables/health.py` has the rules."""

    NAN = "nan"
    """The training or the validation loss is no finite number."""
    SPIKE = "spike"
    """The training or the validation loss is far above its recent level."""
    COLLAPSE = "collapse"
    """Classes are left out and the rest are told apart no better than by chance; or one number is predicted for all images."""
    DRW_DROP = "drw_drop"
    """The score fell when re-weighting began and has not come back."""
    STUCK_AUC = "stuck_auc"
    """No epoch's AUC has come up to 0.70."""
    GAP = "gap"
    """The validation loss rises while the training loss still falls."""


CANDIDATE, SEED = "candidate", "train.seed"
"""What tells the trials of a comparison apart, in place of searched values."""


class TrialStatus(StrEnum):
    RUNNING = "running"
    """Started and neither ended nor given up: it is running now or waits for `thaw resume`."""
    FINISHED = "finished"
    PRUNED = "pruned"
    """Ended early: by the scheduler, or by itself for a flag of `train.stop_on`."""
    FAILED = "failed"
    INFEASIBLE = "infeasible"
    """Came to its end, but costs or reports what `search.constraints` rules out."""


class RunFileError(ValueError):
    """A file of a run that cannot be used. Its text names the file."""


class RunLayout:
    """A search's folder."""

    def __init__(self, root: str | os.PathLike[str]):
        self.root = Path(root)
        self.config = self.root / "search.yaml"
        """The resolved search; runnable again."""
        self.study = self.root / "study.journal"
        """Optuna's storage, where `search.storage` is `journal`."""
        self.study_database = self.root / "study.db"
        """The same where it is `sqlite`."""
        self.known = self.root / "known.json"
        """Trials of earlier runs that the search was told of (`search.warm_start`)."""
        self.lock = self.root / ".lock"
        """Held by the driver that owns the run."""
        self.attempt = self.root / "attempt"
        """Number of the newest start or resume; workers of older ones stop writing when they see it."""
        self.spent = self.root / "spent.json"
        """Wall time of all attempts, in seconds."""
        self.status = self.root / "status.json"
        """What the newest driver says of itself."""
        self.stop = self.root / "stop"
        """Asks the driver to stop; it takes the file away."""
        self.trials = self.root / "trials"
        self.ray = self.root / "ray"
        """Ray's own files; nothing of ours depends on them."""
        self.best = self.root / "best.yaml"
        self.report = self.root / "report.html"

        self.confirmation = self.root / "confirm"
        """A run of its own, in which `thaw confirm` trains the best trials again."""

    @property
    def confirmations(self) -> list[RunLayout]:
        """Those that exist, oldest first."""
        found = sorted(self.root.glob(f"{self.confirmation.name}*"))
        return [layout for layout in map(RunLayout, found) if layout.config.is_file()]

    def read_attempt(self) -> int:
        """Number of the newest attempt; 0 before the first.

        Raises:
            RunFileError: if the file holds no number.
        """
        try:
            return int(self.attempt.read_bytes())
        except FileNotFoundError:
            return 0
        except ValueError:
            message = f"{self.attempt} is damaged: write there how often the run was started, or more"
            raise RunFileError(message) from None

    def trial(self, number: int) -> TrialLayout:
        return TrialLayout(self.trials / f"{number:04d}")

    def all_trials(self) -> list[TrialLayout]:
        """Folders of the trials that exist, by number."""
        folders = self.trials.iterdir() if self.trials.is_dir() else iter(())
        return [
            TrialLayout(folder)
            for folder in sorted(folders, key=lambda f: (len(f.name), f.name))
            if folder.name.isdecimal()
        ]


class TrialLayout:
    """One training run's folder, of a search or on its own."""

    def __init__(self, root: str | os.PathLike[str]):
        self.root = Path(root)
        self.recipe = self.root / "recipe.yaml"
        self.trial = self.root / "trial.json"
        """Of a search's trial: number, searched values, status, reason."""
        self.environment = self.root / "environment.json"
        """What its numbers depend on beside the recipe: data, weights, device, versions."""
        self.epochs = self.root / "epochs.jsonl"
        """One report a line, the truth about what happened."""
        self.log = self.root / "log.csv"
        """The same for a spreadsheet: epoch, stage, stage_index, val_loss, score, checkpoint, time."""
        self.checkpoints = self.root / "checkpoints"
        self.test = self.root / "test.json"
        """Metrics of the best epoch's weights on the test split, where it was read."""
        self.registry = self.root / "checkpoints.jsonl"
        """One line for each checkpoint that was ever written; files that are gone were rotated out."""
        self.checkpoint_report = self.root / "checkpoints.html"
        self.error = self.root / "error.txt"
        """Traceback of the last failure."""
        self.output = self.root / "log.txt"
        """Of a search's trial: what was logged, warned of and printed while it ran."""
        self.building = self.root / "building.json"
        """What a search's trial is computing for its cache right now, and how far it is."""
        self.lock = self.root / ".lock"
        """Held by the process that trains, where no search does."""

    @property
    def number(self) -> int:
        """Number of the trial in its search."""
        return int(self.root.name)

    @property
    def place(self) -> Path:
        """Where it belongs below a folder of runs: `digits-20260101-120000`, or `digits/trials/0007`."""
        root = self.root.absolute()
        return root.relative_to(root.parents[2] if root.parent.name == "trials" else root.parent)


CHECKPOINT_FILE = r"[0-9]{4,9}_[A-Za-z0-9_=.-]+\.pt"
"""What `checkpoint_name` gives, as a pattern."""


class PackageLayout:
    """A trained model's folder, as `thaw export --model` writes it."""

    def __init__(self, root: str | os.PathLike[str]):
        self.root = Path(root)
        self.manifest = self.root / "model.json"
        """Network, classes, preprocessing, origin, validation."""
        self.weights = self.root / "model.safetensors"
        self.onnx = self.root / "model.onnx"
        """There where it was asked for."""
        self.recipe = self.root / "recipe.yaml"
        """What trains it again."""
        self.labels = self.root / "labels.txt"
        """A class a line, in the order of the outputs."""
        self.card = self.root / "README.md"
        """The model card."""


def checkpoint_name(epoch: int, stage: str, metric: str, score: float) -> str:
    """`0007_head_kappa=0.8123.pt`"""
    return f"{epoch:04d}_{stage}_{metric}={score:.4f}.pt"


@contextlib.contextmanager
def replacing(path: Path, mode: str = "w", *, sync: bool = True) -> Iterator[IO[Any]]:
    """A file that takes the place of `path` when the block ends well, and leaves no trace when it does not.

    Args:
        sync: wait until the disk has it, so that a power cut leaves it whole, too. A killed process never needs that.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    encoding = None if "b" in mode else "utf-8"
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    temporary = Path(name)
    try:
        with os.fdopen(handle, mode, encoding=encoding) as file:
            yield file
            if sync:
                file.flush()
                os.fsync(file.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
