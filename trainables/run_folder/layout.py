"""Names of all files and folders of a run, and of all metrics and flags. Plain data: neither torch nor Ray is imported here."""

from __future__ import annotations

import os
from pathlib import Path

SCHEMA_VERSION = 1
"""Schema version of the files below; readers reject newer ones."""


class RunFileError(ValueError):
    """A file of a run that cannot be used. The message names the file."""


class RunLayout:
    """Names in the folder of a search."""

    def __init__(self, root: str | os.PathLike[str]):
        self.root = Path(root)
        self.config = self.root / "search.yaml"
        """Resolved config of the search, which can be run again."""
        self.study = self.root / "study.journal"
        """Optuna's storage if `search.storage` is `journal`."""
        self.study_database = self.root / "study.db"
        """Optuna's storage if `search.storage` is `sqlite`."""
        self.known = self.root / "known.json"
        """Trials of earlier runs that the search starts with (`search.warm_start`)."""
        self.lock = self.root / ".lock"
        """Lock held by the driver that owns the run."""
        self.attempt = self.root / "attempt"
        """Number of the newest start or resume; workers of older ones stop writing when they see it."""
        self.spent = self.root / "spent.json"
        """Wall time of all attempts, in seconds."""
        self.status = self.root / "status.json"
        """Status written by the newest driver."""
        self.stop = self.root / "stop"
        """Requests the driver to stop; the driver deletes the file."""
        self.trials = self.root / "trials"
        self.ray = self.root / "ray"
        """Ray's own files; resuming does not depend on them."""
        self.best = self.root / "best.yaml"
        self.report = self.root / "report.html"

        self.confirmation = self.root / "confirm"
        """Folder of a separate run, in which `thaw confirm` trains the best trials again."""

    @property
    def confirmations(self) -> list[RunLayout]:
        """Confirmation runs that exist, oldest first."""
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
            message = f"{self.attempt} is damaged; write into it how often the run was started, or a larger number"
            raise RunFileError(message) from None

    def trial(self, number: int) -> TrialLayout:
        """Names in the folder of a trial."""
        return TrialLayout(self.trials / f"{number:04d}")

    def all_trials(self) -> list[TrialLayout]:
        """Folders of the trials that exist, ordered by number."""
        folders = self.trials.iterdir() if self.trials.is_dir() else iter(())
        return [
            TrialLayout(folder)
            for folder in sorted(folders, key=lambda f: (len(f.name), f.name))
            if folder.name.isdecimal()
        ]


class TrialLayout:
    """Names in the folder of a training run, in a search or on its own."""

    def __init__(self, root: str | os.PathLike[str]):
        self.root = Path(root)
        self.recipe = self.root / "recipe.yaml"
        self.trial = self.root / "trial.json"
        """Record of a search's trial: number, searched values, status, reason."""
        self.environment = self.root / "environment.json"
        """Everything the results depend on besides the recipe: data, weights, device, versions."""
        self.epochs = self.root / "epochs.jsonl"
        """Epoch reports, one a line; everything known about the run follows from them."""
        self.log = self.root / "log.csv"
        """Short log for spreadsheets: epoch, stage, stage_index, val_loss, score, checkpoint (filled in at the end), time."""
        self.checkpoints = self.root / "checkpoints"
        self.test = self.root / "test.json"
        """Metrics of the best epoch's weights on the test split, if it was evaluated."""
        self.val_metrics = self.root / "val_metrics.json"
        """Metrics of the best epoch, per class, with the confusion matrix and the class names; a run outside a search has it."""
        self.val_predictions = self.root / "val_predictions.parquet"
        """Prediction for each validation image by the best epoch's weights."""
        self.history_plot = self.root / "history.png"
        self.confusion_plot = self.root / "confusion.png"
        self.report = self.root / "report.html"
        self.registry = self.root / "checkpoints.jsonl"
        """One line for each checkpoint ever written; files that are missing were rotated out."""
        self.checkpoint_report = self.root / "checkpoints.html"
        self.error = self.root / "error.txt"
        """Traceback of the last failure."""
        self.output = self.root / "log.txt"
        """Output of a search's trial (log messages, warnings and prints), or the lines that `thaw train` has shown."""
        self.building = self.root / "building.json"
        """Progress of what a search's trial is computing for its cache."""
        self.lock = self.root / ".lock"
        """Lock held by the process that trains a run outside a search."""

        self.save_request = self.root / "save"
        """Asks for a checkpoint of the current epoch; deleted when it is written."""

    @property
    def number(self) -> int:
        """Number of the trial in its search."""
        return int(self.root.name)

    @property
    def search(self) -> RunLayout | None:
        """Folder of the search that the trial belongs to; None for a run outside a search, even beside a `search.yaml`."""
        root = self.root.absolute()
        search = RunLayout(root.parents[1])
        return search if root.parent == search.trials and root.name.isdigit() and search.config.is_file() else None

    @property
    def place(self) -> Path:
        """Path below a folder of runs: `digits-20260101-120000`, or `digits/trials/0007` for a trial of a search."""
        root = self.root.absolute()
        return root.relative_to(root.parents[2] if root.parent.name == "trials" else root.parent)


CHECKPOINT_FILE = r"[0-9]{4,9}_[A-Za-z0-9_=.-]+\.pt"
"""Pattern of the names that `checkpoint_name` returns."""


class PackageLayout:
    """Names in the folder of a trained model, as `thaw export --model` writes it."""

    def __init__(self, root: str | os.PathLike[str]):
        self.root = Path(root)
        self.manifest = self.root / "model.json"
        """Network, classes, preprocessing, origin, validation."""
        self.weights = self.root / "model.safetensors"
        self.onnx = self.root / "model.onnx"
        """ONNX file, only written on request."""
        self.recipe = self.root / "recipe.yaml"
        """Recipe that trains the model again."""
        self.labels = self.root / "labels.txt"
        """Class names, one a line, in the order of the outputs."""
        self.card = self.root / "README.md"
        """Model card."""


def checkpoint_name(epoch: int, stage: str, metric: str, score: float) -> str:
    """Returns the file name of a checkpoint, such as `0007_head_kappa=0.8123.pt`.

    Args:
        epoch: number of the epoch, counted from 1.
        stage: name of its stage.
        metric: name of the run's metric.
        score: score of the epoch.
    """
    return f"{epoch:04d}_{stage}_{metric}={score:.4f}.pt"
