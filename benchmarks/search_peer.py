"""Staged unfreezing as a user would write it for Ray Tune: the peer of `search.py`."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from ray import tune
from sklearn.metrics import balanced_accuracy_score
from torch import nn
from torch.utils.data import DataLoader, Dataset


class Pictures(Dataset):
    """What `torchvision.datasets.FashionMNIST` with `Resize`, `Grayscale(3)`, `ToTensor` and `Normalize` does."""

    def __init__(self, images: np.ndarray, labels: np.ndarray, size: int):
        self.images, self.labels, self.size = images, labels, size
        self.mean, self.std = (torch.tensor(v)[:, None, None] for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, i: int):
        picture = (
            Image.fromarray(self.images[i]).resize((self.size, self.size), Image.Resampling.BICUBIC).convert("RGB")
        )
        tensor = torch.from_numpy(np.array(picture)).permute(2, 0, 1).contiguous().float().div(255)
        return (tensor - self.mean) / self.std, int(self.labels[i])


def pictures(setting: dict) -> tuple[Pictures, Pictures, torch.Tensor]:
    """Training and validation images, and the training images of each class: the very split that Thaw makes."""
    from trainables.data.formats import idx
    from trainables.data.splits.by_class import long_tailed, stratified_split
    from trainables.recipe.data_config import LongTail

    folder = Path(setting["data"])
    images = np.asarray(idx.read_images(idx.find(folder, "train-images-idx3-ubyte")))
    labels = idx.read_labels(idx.find(folder, "train-labels-idx1-ubyte")).astype(np.int64)
    classes = tuple(str(i) for i in range(10))
    train, validation = stratified_split(labels, setting["split"]["validation"], 0, classes=classes)
    train = long_tailed(train, labels, LongTail(**setting["split"]["long_tail"]), 0, classes=classes)
    sides = (Pictures(images[part], labels[part], setting["size"]) for part in (train, validation))
    return (*sides, torch.from_numpy(np.bincount(labels[train])))


def train_by_hand(config: dict, setting: dict) -> None:
    from trainables.models.build_model import build_model
    from trainables.recipe.model_config import ModelConfig

    train_set, validation_set, counts = pictures(setting)
    loader = DataLoader(train_set, setting["batch"], shuffle=True, num_workers=setting["loader_workers"])
    validation_loader = DataLoader(validation_set, setting["batch"], num_workers=setting["loader_workers"])
    built = build_model(
        ModelConfig(backbone=setting["backbone"], weights=setting["weights"]),
        classes=10,
        cosine_scale=None,
        generator=torch.Generator().manual_seed(0),
    )
    model = built.model.to(memory_format=torch.contiguous_format)
    log_prior = (counts / counts.sum()).log()
    for _, cut in setting["stages"]:
        model.requires_grad_(True)
        for block in model.blocks[:cut]:
            block.requires_grad_(False)
        groups = [{"params": model.head.parameters(), "lr": config["head_lr"]}]
        if cut < len(model.blocks):
            open_blocks = [p for block in model.blocks[cut:] for p in block.parameters()]
            groups.append({"params": open_blocks, "lr": config["head_lr"] * config["ratio"]})
        optimizer = torch.optim.SGD(groups, momentum=0.9, weight_decay=1e-4)
        for _ in range(setting["epochs"]):
            began = time.perf_counter()
            train_epoch(model, cut, loader, optimizer, log_prior)
            trained = time.perf_counter()
            score = validate(model, validation_loader)
            metrics = {"balanced_accuracy": score, "train_s": trained - began, "val_s": time.perf_counter() - trained}
            with tempfile.TemporaryDirectory() as folder:
                state = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
                torch.save(state, Path(folder) / "checkpoint.pt")
                tune.report(metrics, checkpoint=tune.Checkpoint.from_directory(folder))


def train_epoch(model: nn.Module, cut: int, loader: DataLoader, optimizer: torch.optim.Optimizer, log_prior) -> None:
    model.train()
    for block in model.blocks[:cut]:
        block.eval()
    for images, labels in loader:
        optimizer.zero_grad()
        F.cross_entropy(model(images) + log_prior, labels).backward()
        optimizer.step()


@torch.no_grad()
def validate(model: nn.Module, loader: DataLoader) -> float:
    model.eval()
    predicted, true = [], []
    for images, labels in loader:
        predicted.append(model(images).argmax(dim=1))
        true.append(labels)
    return float(balanced_accuracy_score(torch.cat(true), torch.cat(predicted)))
