"""Features of a pretrained network before any training, from the cache that training uses."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import numpy as np
import torch

from trainables.data.batches.batches import generator
from trainables.data.batches.image_loader import ImageLoader
from trainables.data.dataset import Dataset
from trainables.frozen_prefix.feature_cache import Progress
from trainables.frozen_prefix.frozen_prefix import FrozenPrefix, StageImages
from trainables.models.build_model import build_model, normalised_as
from trainables.models.precision import autocast, device_of, place
from trainables.recipe.recipe import Recipe
from trainables.recipe.rules.prefix_rules import prefix_batch


@torch.inference_mode()
def pretrained_features(
    recipe: Recipe, dataset: Dataset, parts: Mapping[str, np.ndarray], *, progress: Progress | None = None
) -> np.ndarray:
    """Inputs of the last layer for some images, in their first stage, in which the head alone trains.

    Each part is cached by itself, because training caches the training and the validation images of a search by themselves.

    Args:
        recipe: recipe whose only stage trains the head, without augmentation.
        dataset: its data.
        parts: part of the split -> ascending positions of its images; none is empty.
        progress: called as `progress(done, total)` for each part while its features are computed.
    Returns:
        [n, f] float32, part by part.
    Raises:
        ConfigError: if the weights cannot be loaded, or the recipe needs a GPU and there is none.
    """
    torch.set_num_threads(recipe.train.cpu_threads)
    device, batch, cut = device_of(recipe), prefix_batch(recipe), recipe.cut(0)
    built = build_model(recipe.model, classes=1, cosine_scale=None, generator=generator(recipe.train.seed, "head", 0))
    built = normalised_as(built, recipe.data)
    place(built.model, device).eval()
    images = ImageLoader(recipe, dataset, mean=built.mean, std=built.std, device=device)
    prefix = FrozenPrefix(recipe, built, images, device=device, sharing_runs=1, progress=progress)
    tail = built.model.tail(cut).eval()
    found = []
    for name, part in parts.items():
        of_stage = StageImages(images.of_stage(0), part, stage=0, trains=name == "train")
        cached, _ = prefix.cached(of_stage, None)
        load = cached or partial(prefix.compute, of_stage)
        done = 0
        for x in load([(part[first : first + batch], None) for first in range(0, len(part), batch)]):
            with autocast(device, recipe.train):
                found.append(tail.features(x).float().cpu().numpy())
            done += len(x)
            if progress and not cached:
                progress(done, len(part))
    return np.concatenate(found)
