"""Catalog of torchvision's data sets of labelled images: their training and validation parts, and their places. Plain data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple


class Parts(NamedTuple):
    """Parts of a torchvision data set."""

    place: str
    """Folder or file of the data set, below the root."""
    train: Mapping[str, Any]
    """Arguments of its class that select the training images."""
    validation: Mapping[str, Any] | None = None
    """Arguments that select the validation images; None: it has none. Test images are not used here."""
    files: bool = False
    """True if it consists of image files, and its class takes a `loader` for their paths."""


_TRAIN, _VAL = {"split": "train"}, {"split": "val"}

CATALOG = {
    "CIFAR10": Parts("cifar-10-batches-py", {"train": True}),
    "CIFAR100": Parts("cifar-100-python", {"train": True}),
    "CLEVRClassification": Parts("clevr/CLEVR_v1.0", _TRAIN, _VAL, files=True),
    "Country211": Parts("country211", _TRAIN, {"split": "valid"}, files=True),
    "DTD": Parts("dtd/dtd", _TRAIN, _VAL, files=True),
    "EuroSAT": Parts("eurosat/2750", {}, files=True),
    "FER2013": Parts("fer2013", _TRAIN),
    "FGVCAircraft": Parts("fgvc-aircraft-2013b", _TRAIN, _VAL, files=True),
    "FashionMNIST": Parts("FashionMNIST/raw", {"train": True}),
    "Flowers102": Parts("flowers-102", _TRAIN, _VAL, files=True),
    "Food101": Parts("food-101", _TRAIN, files=True),
    "GTSRB": Parts("gtsrb/GTSRB/Training", _TRAIN),
    "ImageNet": Parts("", _TRAIN, _VAL, files=True),
    "Imagenette": Parts("imagenette2", _TRAIN, _VAL, files=True),
    "KMNIST": Parts("KMNIST/raw", {"train": True}),
    "MNIST": Parts("MNIST/raw", {"train": True}),
    "OxfordIIITPet": Parts("oxford-iiit-pet", {"split": "trainval"}),
    "Places365": Parts("", {"split": "train-standard"}, _VAL, files=True),
    "QMNIST": Parts("QMNIST/raw", {"train": True}),
    "RenderedSST2": Parts("rendered-sst2", _TRAIN, _VAL, files=True),
    "SEMEION": Parts("semeion.data", {}),
    "STL10": Parts("stl10_binary", _TRAIN),
    "SUN397": Parts("SUN397", {}, files=True),
    "SVHN": Parts("train_32x32.mat", _TRAIN),
    "StanfordCars": Parts("stanford_cars", _TRAIN, files=True),
    "USPS": Parts("usps.bz2", {"train": True}),
}
"""Data sets whose images have one label each. For EMNIST use `source: idx`; PCAM and the Caltech sets are slow to read or need
other packages."""
