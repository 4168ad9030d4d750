"""How long the weights of blocks are, and how far they move."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from trainables.recipe.backbone_catalog import HEAD
from trainables.run_folder.checkpoint_registry import BlockChange


def block_of(name: str, blocks: Sequence[str]) -> str:
    """The block that a weight of the model belongs to: `blocks.7.0.weight` -> `features.7`."""
    part, _, rest = name.partition(".")
    return blocks[int(rest.partition(".")[0])] if part == "blocks" else HEAD


class Course:
    """The way that a run's parameters take, from one checkpoint to the next."""

    def __init__(self, parameters: Collection[str], blocks: Sequence[str]):
        """
        Args:
            parameters: names of what can train; all else in a state is left out.
        """
        self._parameters, self._blocks = frozenset(parameters), blocks
        self._before: dict[str, Tensor] = {}

    def begin(self, weights: Mapping[str, Tensor]) -> None:
        """The next change is counted from here."""
        self._before = {name: tensor.clone() for name, tensor in weights.items() if name in self._parameters}

    @torch.no_grad()
    def step(self, weights: Mapping[str, Tensor]) -> dict[str, BlockChange]:
        """The blocks as they are now, beside where they were."""
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
    """One tensor, or all of a block, in two checkpoints."""

    name: str
    norm_a: float
    norm_b: float
    cosine: float
    """Of the two as vectors; NaN where one is all zeros."""
    change: float
    """Length of b − a over that of a."""


def differences(a: Mapping[str, Tensor], b: Mapping[str, Tensor], blocks: Sequence[str]) -> dict[str, list[Difference]]:
    """Block by block: all of it but the running statistics of BatchNorm, then each of its tensors.

    Args:
        a, b: floating-point tensors; what only one has, or in another shape, is left out.
    """
    common = [name for name in b if name in a and a[name].shape == b[name].shape and b[name].is_floating_point()]
    found = {}
    for block, names in _by_block(common, blocks).items():
        # Running variances are larger than all else by orders of magnitude.
        own = [name for name in names if not name.endswith(("running_mean", "running_var"))]
        whole = _difference(block, _as_one(a, own), _as_one(b, own))
        found[block] = [whole, *(_difference(_within(name), a[name], b[name]) for name in names)]
    return found


def _as_one(weights: Mapping[str, Tensor], names: Sequence[str]) -> Tensor:
    return torch.cat([weights[name].flatten() for name in names]) if names else torch.zeros(0)


def _within(name: str) -> str:
    """A weight's name in its block."""
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
