"""Cuts one of timm's networks into a row of blocks, pool, hidden layers and classifier.

timm groups the parameters of its models into stages; the modules behind a group become a block. How the modules follow one
another is read off a trace of the forward pass, in which they stand as a whole. What comes out is proven: on random numbers
it must compute what the network computes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from inspect import signature
from typing import Any, NamedTuple

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from trainables.recipe.backbone_catalog import HEAD, STEM

_TOLERANCE = 1e-4
"""Largest difference of outputs, relative to the largest output."""


class UnstageableError(Exception):
    """Why a network is no row of blocks."""


class Section(NamedTuple):
    """A stretch of the forward pass: what one module of a `Backbone` computes."""

    steps: tuple[str, ...]
    """Names of its nodes in the trace; none: it hands on what it gets."""


class Anatomy(NamedTuple):
    """Where a network's parts lie in its forward pass. The same for all networks of one architecture."""

    blocks: dict[str, Section]
    """By name, from input to head."""
    pool: Section | None
    """None: it has parameters, or comes after some of the head; then it is in `hidden`."""
    hidden: Section


class Parts(NamedTuple):
    """Modules that share their parameters with the network they were cut from."""

    blocks: dict[str, nn.Module]
    pool: nn.Module
    hidden: nn.Module
    features: int


def anatomy_of(network: nn.Module, groups: Mapping[str, int], classifier: str, size: Sequence[int]) -> Anatomy:
    """How to cut a network that may be spoilt: its weights are changed.

    Args:
        groups: parameter name -> number of its stage; the classifier's is the head's.
        classifier: name of its last layer.
        size: [c, h, w] of its input.
    Raises:
        UnstageableError: if it is no row of blocks.
    """
    _check_modes_agree(network, groups, classifier)
    graph = _trace(network, groups, classifier)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.02)  # or layers that start at zero would prove nothing
    images = torch.randn(2, *size)
    anatomy = _Dissection(network, graph, groups, classifier, images).anatomy()
    _prove(network, cut(network, anatomy, groups, classifier), classifier, images)
    return anatomy


def cut(network: nn.Module, anatomy: Anatomy, groups: Mapping[str, int], classifier: str) -> Parts:
    """The parts of a network whose anatomy is known."""
    graph = _trace(network.eval(), groups, classifier)
    nodes = {node.name: node for node in graph.nodes}
    value = next(iter(graph.nodes))

    def module(section: Section) -> nn.Module:
        nonlocal value
        if not section.steps:
            return nn.Identity()
        steps = [nodes[name] for name in section.steps]
        made = _module_of(network, steps, value)
        value = steps[-1]
        return made

    blocks = {name: module(section) for name, section in anatomy.blocks.items()}
    pool = nn.Identity() if anatomy.pool is None else module(anatomy.pool)
    hidden = module(anatomy.hidden)
    last = network.get_submodule(classifier)
    if isinstance(last, nn.Conv2d):
        return Parts(blocks, pool, nn.Sequential(hidden, nn.Flatten(1)), last.in_channels)
    assert isinstance(last, nn.Linear)
    return Parts(blocks, pool, hidden, last.in_features)


# --- the trace -------------------------------------------------------------------------------------------------------


class _Coarse(fx.Tracer):
    """Follows the forward pass of a network and of some of its modules; all others stand as a whole."""

    def __init__(self, opened: set[str]):
        super().__init__()
        self._opened = opened

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:  # noqa: ARG002  fx calls it so
        return module_qualified_name not in self._opened


def _trace(network: nn.Module, groups: Mapping[str, int], classifier: str) -> fx.Graph:
    """The forward pass with images alone: what else it could be given keeps its default."""
    opened = {
        name
        for name, module in network.named_modules()
        if classifier.startswith(f"{name}.") or len(_groups_under(module, name, groups)) > 1
    }
    try:
        beside_images = list(signature(network.forward).parameters.values())[1:]
        defaults = {parameter.name: parameter.default for parameter in beside_images}
        graph = _Coarse(opened).trace(network, concrete_args=defaults)
    except Exception as error:  # timm's own code runs, on values it was not written for
        raise UnstageableError(f"its forward pass cannot be traced ({_first_line(error)})") from error
    for node in [node for node in graph.nodes if node.op == "placeholder"][1:]:
        _erase_with_users(graph, node)  # fx checks that the defaults are what they were
    return graph


def _erase_with_users(graph: fx.Graph, node: fx.Node) -> None:
    for user in list(node.users):
        _erase_with_users(graph, user)
    graph.erase_node(node)


def _check_modes_agree(network: nn.Module, groups: Mapping[str, int], classifier: str) -> None:
    """A trace holds what the network does in one mode; its modules know both."""
    traces = [str(_trace(network.train(mode), groups, classifier)) for mode in (True, False)]
    if traces[0] != traces[1]:
        raise UnstageableError("outside its modules it does one thing in training and another in evaluation")


def _groups_under(module: nn.Module, name: str, groups: Mapping[str, int]) -> set[int]:
    prefix = f"{name}." if name else ""
    return {groups[prefix + parameter] for parameter, _ in module.named_parameters()}


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0][:120] or type(error).__name__


# --- where the parts lie ----------------------------------------------------------------------------------------------


class _Shapes(fx.Interpreter):
    """Which steps give no more than one number a feature and image: [b, f], [b, f, 1, 1], [b, 1, f]."""

    def __init__(self, network: nn.Module, graph: fx.Graph):
        super().__init__(network, graph=graph)
        self.flat: set[fx.Node] = set()

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        if isinstance(value, Tensor) and value.ndim >= 2 and sum(side > 1 for side in value.shape[1:]) <= 1:
            self.flat.add(n)
        return value


class _Dissection:
    """Finds the parts of one network in its trace."""

    def __init__(self, network: nn.Module, graph: fx.Graph, groups: Mapping[str, int], classifier: str, images: Tensor):
        self._network, self._groups = network, groups
        self._steps = [node for node in graph.nodes if node.op not in {"placeholder", "get_attr", "output"}]
        self._last = next(i for i, node in enumerate(self._steps) if node.target == classifier)
        self._head = groups[f"{classifier}.weight"]
        shapes = _Shapes(network, graph)
        try:
            with torch.inference_mode():
                shapes.run(images)
        except Exception as error:  # a trace that does not run is not what the network does
            raise UnstageableError(f"its forward pass cannot be traced ({_first_line(error)})") from error
        self._pool = self._pooling_step(shapes.flat)

    def anatomy(self) -> Anatomy:
        blocks: dict[int, list[fx.Node]] = {}
        current = 0
        start = self._last
        for i, step in enumerate(self._steps[: self._last]):
            group = self._group(step)
            if i >= self._pool or group == self._head:
                start = i
                break
            if group is not None and group < current:
                raise UnstageableError(f"{_said(step)} belongs to a stage before the one that uses it")
            current = current if group is None else group
            blocks.setdefault(current, []).append(step)
        before, after = self._steps[start : self._pool + 1], self._steps[max(start, self._pool + 1) : self._last]
        named = {self._block_name(number, steps): _section(steps) for number, steps in blocks.items()}
        if len(named) < len(blocks) or HEAD in named or not named:
            raise UnstageableError(f"its stages have no names of their own ({', '.join(named)})")
        if any(self._group(step) is not None for step in before):
            return Anatomy(named, None, _section([*before, *after]))
        return Anatomy(named, _section(before), _section(after))

    def _group(self, step: fx.Node) -> int | None:
        """The stage of a step's own parameters; None if it has none."""
        found: set[int] = set()
        if step.op == "call_module":
            found |= _groups_under(self._network.get_submodule(str(step.target)), str(step.target), self._groups)
        found |= {self._groups[str(n.target)] for n in step.all_input_nodes if str(n.target) in self._groups}
        if len(found) > 1:
            raise UnstageableError(f"{_said(step)} joins parameters of several stages")
        return next(iter(found), None)

    def _block_name(self, number: int, steps: Sequence[fx.Node]) -> str:
        modules = [str(step.target) for step in steps if step.op == "call_module" and self._group(step) is not None]
        return STEM if number == 0 or not modules else modules[0]

    def _pooling_step(self, flat: set[fx.Node]) -> int:
        """Position of the step that makes one vector of an image's feature map, seen from the classifier back."""
        step = self._steps[self._last]
        while (source := _source(step)) in flat:
            step = source
        if step is self._steps[self._last]:
            raise UnstageableError("its classifier does not take one vector an image")
        return self._steps.index(step)


def _source(step: fx.Node) -> fx.Node | None:
    """The one step whose value a step works on; None where there is none, or more."""
    sources = [node for node in step.all_input_nodes if node.op not in {"get_attr", "placeholder"}]
    return sources[0] if len(sources) == 1 else None


def _section(steps: Sequence[fx.Node]) -> Section:
    return Section(tuple(step.name for step in steps))


def _said(step: fx.Node) -> str:
    return str(step.target) if isinstance(step.target, str) else step.name


# --- modules -----------------------------------------------------------------------------------------------------------


def _module_of(network: nn.Module, steps: Sequence[fx.Node], given: fx.Node) -> fx.GraphModule:
    """What some steps make of a value, as a module."""
    graph = fx.Graph()
    copies = {given: graph.placeholder("x")}

    def copy(node: fx.Node) -> fx.Node:
        if node not in copies:
            if node.op != "get_attr":
                raise UnstageableError(f"{_said(node)} is used beyond the block after it")
            copies[node] = graph.node_copy(node)
        return copies[node]

    for step in steps:
        copies[step] = graph.node_copy(step, copy)
    graph.output(copies[steps[-1]])
    return fx.GraphModule(network, graph)


def _prove(network: nn.Module, parts: Parts, classifier: str, images: Tensor) -> None:
    pieces = [*parts.blocks.values(), parts.pool, parts.hidden]
    owned = [parameter for piece in pieces for parameter in piece.parameters()]
    if len(owned) > len(set(owned)):
        raise UnstageableError("some of its blocks share parameters")
    last = network.get_submodule(classifier)
    assert isinstance(last, nn.Linear | nn.Conv2d)
    with torch.inference_mode():
        expected = network.eval()(images)
        x = images
        for piece in pieces:
            x = piece(x)
        logits = F.linear(x, last.weight.flatten(1), last.bias) if x.ndim == 2 else x
    bound = _TOLERANCE * float(expected.abs().max())
    if logits.shape != expected.shape or not torch.allclose(logits, expected, rtol=0, atol=bound):
        raise UnstageableError("its blocks in a row do not compute what it computes")
