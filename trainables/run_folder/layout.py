"""Every file and folder name of a run, and every name of a metric or flag. Plain data: neither torch nor Ray is imported here."""

from __future__ import annotations

import os
from pathlib import Path

SCHEMA_VERSION = 1
"""Of the files below; a reader refuses newer ones."""


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
