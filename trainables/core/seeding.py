"""Seeds by purpose, so that a resumed run continues exactly without any saved state of random numbers."""

from __future__ import annotations

import hashlib

import numpy as np


def derived_seed(seed: int, purpose: str, epoch: int = 0) -> int:
    """Separate seed in [0, 2⁶³) for each (seed, purpose, epoch), the same in every process and Python version.

    Args:
        seed: seed of the training or the split.
        purpose: name of what is drawn.
        epoch: counted from 1; 0 for what is drawn once.
    """
    digest = hashlib.sha256(f"{seed}/{purpose}/{epoch}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def random_state(seed: int, purpose: str, epoch: int = 0) -> np.random.RandomState:
    """NumPy's random number generator for a purpose.

    Args:
        seed, purpose, epoch: see `derived_seed`.
    """
    # RandomState, not Generator: NumPy guarantees that its numbers never change, and a split must survive an upgrade.
    return np.random.RandomState(np.random.MT19937(derived_seed(seed, purpose, epoch)))


def uniform_numbers(seed: int, purpose: str, *counters: np.ndarray, count: int) -> np.ndarray:
    """Random numbers that depend on the values of some counters, but not on their place in an array.

    Each combination of counters has its own SplitMix64 stream (Steele et al. 2014), whose state is the hash of the seed and
    then of each counter in turn.

    Args:
        seed: seed of the training.
        purpose: name of what is drawn.
        counters: [b] integers each.
        count: random numbers for each combination of counters.
    Returns:
        [count, b] float64, uniform in [0, 1).
    """
    states = np.array([derived_seed(seed, purpose)], np.uint64)
    for counter in counters:
        states = splitmix64(states, counter)
    bits = splitmix64(states, np.arange(count)[:, None])
    numbers: np.ndarray = (bits >> np.uint64(11)) * 2.0**-53
    return numbers


def splitmix64(states: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """Output number `steps` (counted from 0) of the SplitMix64 generators with these states; both arrays are broadcast."""
    z: np.ndarray = states + np.uint64(0x9E3779B97F4A7C15) * (steps.astype(np.uint64) + np.uint64(1))
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z ^= z >> np.uint64(31)
    return z
