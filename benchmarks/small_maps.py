"""Milliseconds of a training step with torch's convolutions and with ours (`trainables/models/small_map_convolutions.py`).

    python benchmarks/small_maps.py [--rounds 10] [--batch 64]

Forward, backward and nothing else, from the features at the cut, one thread. The two take turns; printed are the medians and their
ratio with the smallest and largest of the rounds.
"""

from __future__ import annotations

import argparse
import copy
import os
import statistics
import time

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from torch.nn import functional as F

from trainables.models.build_model import build_model
from trainables.models.small_map_convolutions import train_fast_on_small_maps
from trainables.models.staged_model import StagedModel
from trainables.recipe.backbone_catalog import BACKBONES
from trainables.recipe.model_config import ModelConfig
from trainables.recipe.rules.stage_openings import first_open_block


def step_ms(model: StagedModel, cut: int, features: torch.Tensor, labels: torch.Tensor) -> float:
    began = time.perf_counter()
    F.cross_entropy(model.tail(cut)(features), labels).backward()
    return 1000 * (time.perf_counter() - began)


def compare(backbone: str, size: int, *, batch: int, rounds: int) -> None:
    config = ModelConfig(backbone=backbone, weights="none")
    generator = torch.Generator().manual_seed(0)
    plain = build_model(config, classes=10, cosine_scale=None, generator=generator).model.train()
    fast = copy.deepcopy(plain)
    train_fast_on_small_maps(fast)
    images = torch.randn(batch, 3, size, size, generator=generator).to(memory_format=torch.channels_last)
    labels = torch.randint(0, 10, (batch,), generator=generator)
    blocks = BACKBONES[backbone].blocks
    cuts = {"last 3": first_open_block("last:3", blocks), "half": len(blocks) // 2, "all": 0}
    for depth, cut in cuts.items():
        with torch.no_grad():
            features = plain.prefix(images, cut)
        times = [[step_ms(model, cut, features, labels) for model in (plain, fast)] for _ in range(rounds + 2)][2:]
        ratios = [theirs / ours for theirs, ours in times]
        theirs, ours = (statistics.median(column) for column in zip(*times, strict=True))
        spread = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} … {max(ratios):.2f})"
        print(f"| {backbone} | {size} px | {depth} | {theirs:.0f} | {ours:.0f} | {spread} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 96, 128])
    args = parser.parse_args()
    torch.set_num_threads(1)
    print("| network | images | open blocks | torch's, ms | ours, ms | ratio |")
    print("| --- | --- | --- | --- | --- | --- |")
    for backbone in ("mobilenet_v3_small", "efficientnet_lite0"):
        for size in args.sizes:
            compare(backbone, size, batch=args.batch, rounds=args.rounds)


if __name__ == "__main__":
    main()
