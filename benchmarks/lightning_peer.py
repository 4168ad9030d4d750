"""Lightning with the FinetuningScheduler, as its documentation has it: the peer of `trainer.py`."""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader

import trainables.models.backbones.torchvision_import  # noqa: F401  makes torchvision importable, which Lightning needs

import finetuning_scheduler as fts  # isort: skip
import lightning as lit  # isort: skip


class Seconds(NamedTuple):
    """Of an epoch."""

    training: float
    validation: float
    both: float


class Classifier(lit.LightningModule):
    def __init__(self, model: torch.nn.Module):
        super().__init__()
        self.model = model

    def training_step(self, batch, _):
        images, labels = batch
        return F.cross_entropy(self.model(images), labels)

    def validation_step(self, batch, _):
        images, labels = batch
        logits = self.model(images)
        self.log("val_loss", F.cross_entropy(logits, labels), batch_size=len(labels))
        self.log("accuracy", (logits.argmax(1) == labels).float().mean(), batch_size=len(labels))

    def configure_optimizers(self):
        return torch.optim.SGD((p for p in self.parameters() if p.requires_grad), lr=0.01, momentum=0.9)


class Clock(lit.Callback):
    """Times Lightning's epochs; after each, the others have their turn."""

    def __init__(self, scheduler: fts.FinetuningScheduler, after_epoch: Callable[[int, Seconds], None]):
        self.scheduler, self.after_epoch = scheduler, after_epoch

    def on_train_epoch_start(self, *_):
        self.started = time.perf_counter()

    def on_validation_start(self, *_):
        self.trained = time.perf_counter()

    def on_validation_end(self, *_):
        self.ended = time.perf_counter()

    def on_train_epoch_end(self, *_):
        seconds = Seconds(self.trained - self.started, self.ended - self.trained, self.ended - self.started)
        self.after_epoch(self.scheduler.curr_depth, seconds)


def fit(
    model: torch.nn.Module,
    loaders: tuple[DataLoader, DataLoader],
    opened: Sequence[Sequence[str]],
    epochs: int,
    place: Path,
    after_epoch: Callable[[int, Seconds], None],
) -> None:
    """Trains stage by stage.

    Args:
        opened: patterns of the parameters that open in each stage.
        epochs: of each stage.
        place: a folder for its files.
        after_epoch: called as `after_epoch(stage, seconds)`.
    """
    for name in ("lightning.pytorch", "lightning.fabric", "finetuning_scheduler"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore")
    schedule = {
        stage: {"params": list(patterns), "max_transition_epoch": (stage + 1) * epochs, "lr": 0.01}
        for stage, patterns in enumerate(opened)
    }
    scheduler = fts.FinetuningScheduler(
        ft_schedule=schedule, epoch_transitions_only=True, restore_best=False, logging_level=logging.ERROR
    )
    trainer = lit.Trainer(
        accelerator="cpu",
        devices=1,
        max_epochs=epochs * len(opened),
        default_root_dir=place,
        callbacks=[scheduler, Clock(scheduler, after_epoch)],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    trainer.fit(Classifier(model), *loaders)
