"""Resources of a trial as Ray counts them, and the nodes that have them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from search.config.resources import Resources
from search.config.yaml_source import InputError

Amounts = Mapping[str, float]
"""Ray's name of a resource (CPU, GPU, memory in bytes, …) -> amount."""
_ACCELERATOR = "accelerator_type:"
_GIB = 2**30


def bundle_of(
    wanted: Resources, nodes: Sequence[Amounts], *, gpus: float | None, processes: int = 1
) -> dict[str, float]:
    """Resources of a trial, or of each of its processes, by Ray's names.

    Args:
        wanted: settings of the search.
        nodes: resources of each node.
        gpus: GPUs of a trial; None: one if any node has one, else none.
        processes: processes of a trial.
    Raises:
        InputError: if no node has these resources, with every amount that is too large; or all nodes together too few.
    """
    if gpus is None:
        gpus = min(1.0, _most(nodes, "GPU"))
    requested: dict[str, tuple[str, float]] = {"cpus": ("CPU", wanted.cpus), "gpus": ("GPU", gpus)}
    if wanted.memory_gib is not None:
        requested["memory_gib"] = ("memory", wanted.memory_gib * _GIB)
    if wanted.accelerator_type is not None:
        # As Ray does it: a node with such a GPU has 1 of this resource, which a thousand trials can share.
        requested["accelerator_type"] = (_ACCELERATOR + wanted.accelerator_type, 0.001)
    requested |= {f"custom.{name}": (name, amount) for name, amount in wanted.custom.items()}
    bundle = dict(requested.values())
    problems = [
        f"search.resources.{name}: {_too_much(amount, key, nodes)}"
        for name, (key, amount) in requested.items()
        if amount > _most(nodes, key)
    ]
    if not problems and not any(fits(bundle, node) for node in nodes):
        parts = ", ".join(name for name, (_, amount) in requested.items() if amount)
        problems = [
            f"search.resources: no single node has everything that a trial takes ({parts}), though each part exists"
        ]
    if not problems and (room := sum(how_many(bundle, node) for node in nodes)) < processes:
        problems = [
            f"train.workers: {processes} processes for a trial, but there is room for {room} with search.resources each"
        ]
    if problems:
        raise InputError("\n".join(problems))
    return {name: amount for name, amount in bundle.items() if amount}


def fits(bundle: Amounts, node: Amounts) -> bool:
    """True if a trial fits on a node that runs nothing else."""
    return all(amount <= node.get(name, 0.0) for name, amount in bundle.items())


def how_many(bundle: Amounts, free: Amounts) -> int:
    """Number of trials, or of their processes, that fit into the free resources."""
    return min(int(free.get(name, 0.0) / amount + 1e-9) for name, amount in bundle.items() if amount)


def alive(nodes: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Nodes from `ray.nodes()` that are alive."""
    return [node for node in nodes if node["Alive"]]


def _most(nodes: Sequence[Amounts], key: str) -> float:
    return max((node.get(key, 0.0) for node in nodes), default=0.0)


def _too_much(amount: float, key: str, nodes: Sequence[Amounts]) -> str:
    if key.startswith(_ACCELERATOR):
        present = sorted({k.removeprefix(_ACCELERATOR) for node in nodes for k in node if k.startswith(_ACCELERATOR)})
        return f"no node has {key.removeprefix(_ACCELERATOR)!r}; there are: {', '.join(present) or 'none'}"
    unit = _GIB if key == "memory" else 1
    most = f"{_most(nodes, key) / unit:.3g}"
    where = f"no node has more than {most}" if len(nodes) > 1 else f"there are {most}"
    grows = "; a cluster with an autoscaler must always have one such node (min_workers: 1)" if len(nodes) > 1 else ""
    return f"{amount / unit:g} for a trial, but {where}{grows}"
