"""Parts of blocks, between which a stage may cut: the layers of a block that applies them one after the other.

A part begins at a layer with weights, more than a bias or the scale of a norm; other layers belong to the part before.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence

from torch import fx, nn

from trainables.core.config_errors import ConfigError, Problem

Paths = tuple[str, ...]
"""Paths of modules below another, which are applied one after the other."""


def parts_of_blocks(blocks: Mapping[str, nn.Module]) -> dict[str, tuple[str, ...]]:
    """Names of the parts of blocks that have several, and of parts that have; none that is the name of a block.

    Args:
        blocks: name of a block -> its module.
    """
    found: dict[str, tuple[str, ...]] = {}

    def add(name: str, block: nn.Module, paths: Paths) -> None:
        parts = _named_parts(name, block, paths)
        if parts and blocks.keys().isdisjoint(parts):
            found[name] = tuple(parts)
            for part, inner in parts.items():
                add(part, block, inner)

    for name, block in blocks.items():
        add(name, block, ("",))
    return found


def paths_of(blocks: Mapping[str, nn.Module], names: Sequence[str]) -> list[Paths]:
    """Paths of the modules of some blocks or parts in the list of all blocks: `[("0",), ("1.0",), ("1.1", "1.2")]`.

    Args:
        blocks: name of a block -> its module.
        names: names of all blocks, or of their parts, from input to head.
    Raises:
        ConfigError: if these are not blocks and parts of this network.
    """

    def divided(name: str, block: nn.Module, paths: Paths) -> Iterator[tuple[str, Paths]]:
        parts = {} if name in names else _named_parts(name, block, paths)
        if not parts:
            yield name, paths
        for part, inner in parts.items():
            yield from divided(part, block, inner)

    found = {
        part: tuple(_below(str(i), path) for path in paths)
        for i, (name, block) in enumerate(blocks.items())
        for part, paths in divided(name, block, ("",))
    }
    if tuple(found) != tuple(names):
        message = f"its blocks are {', '.join(blocks)}; expected {', '.join(names)}"
        raise ConfigError([Problem(("model", "backbone"), message)])
    return list(found.values())


def from_part(module: nn.Module, path: str) -> nn.Module:
    """Rest of a block from one of its layers on, with the same names of parameters.

    Args:
        module: the block.
        path: path of the layer in it; empty: the whole block.
    """
    if not path:
        return module
    first, _, rest = path.partition(".")
    layers = _layers(module) if _is_sequence(module) else [(first, module.get_submodule(first))]
    at = next(i for i, (name, _) in enumerate(layers) if name == first)
    return nn.Sequential(OrderedDict([(first, from_part(layers[at][1], rest)), *layers[at + 1 :]]))


def _named_parts(name: str, block: nn.Module, paths: Paths) -> dict[str, Paths]:
    """Parts of a block, or of a part of it: name -> paths of its layers. Empty if there are fewer than two.

    Args:
        name: name of the block or part.
        block: module of the block.
        paths: paths of its layers in the block; only the first one with weights is divided.
    """
    at = next((i for i, path in enumerate(paths) if _has_weights(block.get_submodule(path))), 0)
    parts: list[list[str]] = []
    for path, layer in _layers(block.get_submodule(paths[at])):
        below = _below(paths[at], path)
        if not parts or (_has_weights(layer) and any(_has_weights(block.get_submodule(each)) for each in parts[-1])):
            parts.append([])
        parts[-1].append(below)
    owned = [{id(p) for path in part for p in block.get_submodule(path).parameters()} for part in parts]
    if len(parts) < 2 or sum(map(len, owned)) > len(set().union(*owned)):  # a parameter of two parts
        return {}
    parts[0], parts[-1] = [*paths[:at], *parts[0]], [*parts[-1], *paths[at + 1 :]]
    main = (next(path for path in part if _has_weights(block.get_submodule(path))) for part in parts)
    return {f"{name}.{path.rpartition('.')[2]}": tuple(part) for path, part in zip(main, parts, strict=True)}


def _below(path: str, inner: str) -> str:
    return ".".join(filter(None, (path, inner)))


def _has_weights(module: nn.Module) -> bool:
    return any(parameter.ndim > 1 for parameter in module.parameters())


def _layers(module: nn.Module) -> list[tuple[str, nn.Module]]:
    """Layers that a module applies one after the other, and does nothing else: path and layer."""
    if isinstance(module, fx.GraphModule):
        steps = [node for node in module.graph.nodes if node.op not in {"placeholder", "output"}]
        if len(steps) != 1 or steps[0].op != "call_module":
            return []
        inner = str(steps[0].target)
        return [(f"{inner}.{path}", layer) for path, layer in _layers(module.get_submodule(inner))]
    if not _is_sequence(module):
        return []
    return [(name, layer) for name, layer in module._modules.items() if layer is not None]


def _is_sequence(module: nn.Module) -> bool:
    plain = type(module).forward is nn.Sequential.forward
    return plain and not module._forward_hooks and not module._forward_pre_hooks
