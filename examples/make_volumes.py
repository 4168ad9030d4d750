"""Volumes to try a search on: balls, boxes and crosses in noise, 80, 24 and 8 of them. `python make_volumes.py volumes.npz`"""

import sys

import numpy as np

SIDE, TRAINING, VALIDATION = 16, (80, 24, 8), (20, 20, 20)


def volume(kind: int, random: np.random.Generator) -> np.ndarray:
    """[side, side, side] uint8: a ball, a box or three crossed bars, somewhere near the middle."""
    centre, size = random.uniform(6, 10, 3), random.uniform(3, 5)
    away = np.abs(np.stack(np.meshgrid(*[np.arange(SIDE)] * 3, indexing="ij"), -1) - centre)
    inside = [
        (away**2).sum(-1) < size**2,
        away.max(-1) < 0.8 * size,
        (np.sort(away, axis=-1)[..., 1] < 1.2) & (away.max(-1) < 1.3 * size),
    ][kind]
    return np.clip(random.normal(90, 25, inside.shape) + 80 * inside, 0, 255).astype(np.uint8)


def main() -> None:
    random = np.random.default_rng(0)
    arrays = {}
    for split, counts in (("train", TRAINING), ("val", VALIDATION)):
        labels = np.repeat(np.arange(3), counts)
        arrays[f"{split}_images"] = np.stack([volume(kind, random) for kind in labels])
        arrays[f"{split}_labels"] = labels[:, None]
    np.savez_compressed(sys.argv[1], **arrays)


if __name__ == "__main__":
    main()
