"""What a trial takes of a node, and which nodes have it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from search.config.resources import Resources
from search.config.yaml_source import InputError

Amounts = Mapping[str, float]
"""By Ray's names: CPU, GPU, memory in bytes, …"""
_ACCELERATOR = "accelerator_type:"
_GIB = 2**30


def bundle_of(wanted: Resources, nodes: Sequence[Amounts], *, gpus: float | None) -> dict[str, float]:
    """What a trial takes, by Ray's names.

    Args:
        nodes: what each node has.
        gpus: of a trial; None: one where a node has any.
    Raises:
        InputError: if no node has it, with all that is too much.
    """
    if gpus is None:
        gpus = min(1.0, _most(nodes, "GPU"))
    asked: dict[str, tuple[str, float]] = {"cpus": ("CPU", wanted.cpus), "gpus": ("GPU", gpus)}
    if wanted.memory_gib is not None:
        asked["memory_gib"] = ("memory", wanted.memory_gib * _GIB)
    if wanted.accelerator_type is not None:
        # As Ray does it: whoever has such a GPU has one of these, and a thousand trials may share it.
        asked["accelerator_type"] = (_ACCELERATOR + wanted.accelerator_type, 0.001)
    asked |= {f"custom.{name}": (name, amount) for name, amount in wanted.custom.items()}
    bundle = dict(asked.values())
    problems = [
        f"search.resources.{name}: {_too_much(amount, key, nodes)}"
        for name, (key, amount) in asked.items()
        if amount > _most(nodes, key)
    ]
    if not problems and not any(fits(bundle, node) for node in nodes):
        parts = ", ".join(name for name, (_, amount) in asked.items() if amount)
        problems = [f"search.resources: no single node has all that a trial takes ({parts}), though each part is there"]
    if problems:
        raise InputError("\n".join(problems))
    return {name: amount for name, amount in bundle.items() if amount}


def fits(bundle: Amounts, node: Amounts) -> bool:
    """Whether a trial has room on a node that does nothing else."""
    return all(amount <= node.get(name, 0.0) for name, amount in bundle.items())


def how_many(bundle: Amounts, free: Amounts) -> int:
    """Trials that have room in so much."""
    return min(int(free.get(name, 0.0) / amount + 1e-9) for name, amount in bundle.items())


def alive(nodes: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Of `ray.nodes()`."""
    return [node for node in nodes if node["Alive"]]


def _most(nodes: Sequence[Amounts], key: str) -> float:
    return max((node.get(key, 0.0) for node in nodes), default=0.0)


def _too_much(amount: float, key: str, nodes: Sequence[Amounts]) -> str:
    if key.startswith(_ACCELERATOR):
        there = sorted({k.removeprefix(_ACCELERATOR) for node in nodes for k in node if k.startswith(_ACCELERATOR)})
        return f"no node has {key.removeprefix(_ACCELERATOR)!r}; there are: {', '.join(there) or 'none'}"
    unit = _GIB if key == "memory" else 1
    most = f"{_most(nodes, key) / unit:.3g}"
    where = f"no node has more than {most}" if len(nodes) > 1 else f"there are {most}"
    grows = "; a cluster that grows by itself must keep one such node (min_workers: 1)" if len(nodes) > 1 else ""
    return f"{amount / unit:g} for a trial, but {where}{grows}"
