"""Norms of the blocks' weights, and their changes between checkpoints."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from trainables.recipe.backbone_catalog import HEAD
from trainables.run_folder.checkpoint_registry import BlockChange


def block_of(name: str, blocks: Sequence[str]) -> str:
    """Returns the block that a weight of the model belongs to: `features.7` for `blocks.7.0.weight`."""
    part, _, rest = name.partition(".")
    return blocks[int(rest.partition(".")[0])] if part == "blocks" else HEAD


class WeightTracker:
    """Measures how a run's parameters change from one checkpoint to the next."""

    def __init__(self, parameters: Collection[str], blocks: Sequence[str]):
        """Prepares the measurement; `begin` must follow.

        Args:
            parameters: names of the weights that are measured; others in a state are ignored.
            blocks: names of the backbone's blocks.
        """
        self._parameters, self._blocks = frozenset(parameters), blocks
        self._before: dict[str, Tensor] = {}

    def begin(self, weights: Mapping[str, Tensor]) -> None:
        """Sets the weights from which the next change is measured."""
        self._before = {name: tensor.clone() for name, tensor in weights.items() if name in self._parameters}

    @torch.no_grad()
    def step(self, weights: Mapping[str, Tensor]) -> dict[str, BlockChange]:
        """Measures norm and change of each block, and sets the weights from which the next change is measured."""
        now = {name: tensor for name, tensor in weights.items() if name in self._parameters}
        norms = dict(zip(now, _lengths(now.values()), strict=True))
        known = [name for name in now if name in self._before]
        moved = (now[name] - self._before[name] for name in known)
        changes = dict(zip(known, _lengths(moved), strict=True))
        self.begin(now)
        return {
            block: _change(
                [norms[name] for name in names],
                [changes[name] for name in names] if all(name in changes for name in names) else None,
            )
            for block, names in _by_block(now, self._blocks).items()
        }


def _lengths(tensors: Iterable[Tensor]) -> list[float]:
    held = list(tensors)
    lengths: list[float] = torch.stack(torch._foreach_norm(held)).tolist() if held else []
    return lengths


def _by_block(names: Iterable[str], blocks: Sequence[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name in names:
        found.setdefault(block_of(name, blocks), []).append(name)
    return found


def _change(norms: Sequence[float], moved: Sequence[float] | None) -> BlockChange:
    norm = math.hypot(*norms)
    change = None if moved is None or not norm else math.hypot(*moved) / norm
    return BlockChange(norm=_finite(norm), change=_finite(change))


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Difference of one tensor, or of a whole block, between two checkpoints a and b."""

    name: str
    norm_a: float
    norm_b: float
    cosine: float
    """Cosine of the angle between the two as vectors; NaN if one is all zeros."""
    change: float
    """Norm of b − a, divided by the norm of a."""


def differences(a: Mapping[str, Tensor], b: Mapping[str, Tensor], blocks: Sequence[str]) -> dict[str, list[Difference]]:
    """Compares two checkpoints block by block: first the whole block without BatchNorm's running statistics, then each tensor.

    Args:
        a, b: weights by name; tensors that only one has, or that differ in shape, and tensors that are not floating-point are
            ignored.
        blocks: names of the backbone's blocks.
    """
    common = [name for name in b if name in a and a[name].shape == b[name].shape and b[name].is_floating_point()]
    found = {}
    for block, names in _by_block(common, blocks).items():
        # Running variances would dominate the block: they are larger than the weights by orders of magnitude.
        own = [name for name in names if not name.endswith(("running_mean", "running_var"))]
        whole = _difference(block, _as_one(a, own), _as_one(b, own))
        found[block] = [whole, *(_difference(_within(name), a[name], b[name]) for name in names)]
    return found


def _as_one(weights: Mapping[str, Tensor], names: Sequence[str]) -> Tensor:
    return torch.cat([weights[name].flatten() for name in names]) if names else torch.zeros(0)


def _within(name: str) -> str:
    """Name of a weight within its block."""
    return name.split(".", 2)[2] if name.startswith("blocks.") else name.removeprefix("head.")


def _difference(name: str, a: Tensor, b: Tensor) -> Difference:
    a, b = a.flatten().double(), b.flatten().double()
    norm_a, norm_b, moved = float(a.norm()), float(b.norm()), float((b - a).norm())
    together = norm_a * norm_b
    return Difference(
        name=name,
        norm_a=norm_a,
        norm_b=norm_b,
        cosine=float(a @ b) / together if together else math.nan,
        change=moved / norm_a if norm_a else (0.0 if not moved else math.inf),
    )
