"""Cuts one of timm's networks into a sequence of blocks, pool, hidden layers and classifier.

timm groups the parameters of its models into stages; the modules of a group become a block. Their order is taken from a trace of
the forward pass that does not look inside them. The result is verified: for random input, its output must equal the network's.
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
"""Largest valid difference of outputs, relative to the largest output."""


class UnstageableError(Exception):
    """A network cannot be cut into a sequence of blocks; the message says why."""


class Section(NamedTuple):
    """Part of the forward pass that one module of a `Backbone` computes."""

    steps: tuple[str, ...]
    """Names of its nodes in the trace; empty: the input is passed on unchanged."""


class Anatomy(NamedTuple):
    """Parts of a network in its forward pass. The same for all networks of one architecture."""

    blocks: dict[str, Section]
    """Name -> section, from input to head."""
    pool: Section | None
    """None: the pool has parameters or comes after a layer of the head, and is part of `hidden`."""
    hidden: Section
    """Layers of the head before the classifier."""


class Parts(NamedTuple):
    """Modules that share their parameters with the network they were cut from."""

    blocks: dict[str, nn.Module]
    pool: nn.Module
    hidden: nn.Module
    features: int
    """Number of features that the classifier takes."""


def anatomy_of(network: nn.Module, groups: Mapping[str, int], classifier: str, size: Sequence[int]) -> Anatomy:
    """Finds the parts of a network. Changes its weights.

    Args:
        network: the network.
        groups: parameter name -> number of its stage; the classifier's stage is the head.
        classifier: name of the last layer.
        size: [c, h, w] of the input.
    Raises:
        UnstageableError: if the network cannot be cut into a sequence of blocks.
    """
    _check_modes_agree(network, groups, classifier)
    graph = _trace(network, groups, classifier)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.02)  # layers that start at zero could not be verified
    images = torch.randn(2, *size)
    anatomy = _Dissection(network, graph, groups, classifier, images).anatomy()
    _verify(network, cut(network, anatomy, groups, classifier), classifier, images)
    return anatomy


def cut(network: nn.Module, anatomy: Anatomy, groups: Mapping[str, int], classifier: str) -> Parts:
    """Cuts a network into its parts.

    Args:
        network: the network; switched to evaluation mode.
        anatomy: result of `anatomy_of` for this architecture.
        groups: parameter name -> number of its stage.
        classifier: name of the last layer.
    """
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
    """Traces the forward pass of a network and of some of its modules, without looking inside the others."""

    def __init__(self, opened: set[str]):
        super().__init__()
        self._opened = opened

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:  # noqa: ARG002  fx calls it so
        return module_qualified_name not in self._opened


def _trace(network: nn.Module, groups: Mapping[str, int], classifier: str) -> fx.Graph:
    """Traces the forward pass with images as the only input; all other arguments keep their defaults."""
    opened = {
        name
        for name, module in network.named_modules()
        if classifier.startswith(f"{name}.") or len(_groups_under(module, name, groups)) > 1
    }
    try:
        others = list(signature(network.forward).parameters.values())[1:]
        defaults = {parameter.name: parameter.default for parameter in others}
        graph = _Coarse(opened).trace(network, concrete_args=defaults)
    except Exception as error:  # timm's code runs on proxies that it was not written for
        raise UnstageableError(f"its forward pass cannot be traced ({_first_line(error)})") from error
    for node in [node for node in graph.nodes if node.op == "placeholder"][1:]:
        _erase_with_users(graph, node)  # nodes with which fx checks that the defaults are unchanged
    return graph


def _erase_with_users(graph: fx.Graph, node: fx.Node) -> None:
    for user in list(node.users):
        _erase_with_users(graph, user)
    graph.erase_node(node)


def _check_modes_agree(network: nn.Module, groups: Mapping[str, int], classifier: str) -> None:
    """Checks that the traces in training and evaluation are equal: a trace has one mode, while modules support both."""
    traces = [str(_trace(network.train(mode), groups, classifier)) for mode in (True, False)]
    if traces[0] != traces[1]:
        raise UnstageableError("outside its modules, it behaves differently in training and in evaluation")


def _groups_under(module: nn.Module, name: str, groups: Mapping[str, int]) -> set[int]:
    prefix = f"{name}." if name else ""
    return {groups[prefix + parameter] for parameter, _ in module.named_parameters()}


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0][:120] or type(error).__name__


# --- finding the parts ------------------------------------------------------------------------------------------------


class _Shapes(fx.Interpreter):
    """Finds the steps whose output has one number per feature and image: [b, f], [b, f, 1, 1], [b, 1, f]."""

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
        except Exception as error:  # a trace that cannot run does not represent the network
            raise UnstageableError(f"its forward pass cannot be traced ({_first_line(error)})") from error
        self._pool = self._pooling_step(shapes.flat)

    def anatomy(self) -> Anatomy:
        """Divides the steps into blocks, pool and hidden layers.

        Raises:
            UnstageableError: if the stages do not follow one another, or have no distinct names.
        """
        blocks: dict[int, list[fx.Node]] = {}
        current = 0
        start = self._last
        for i, step in enumerate(self._steps[: self._last]):
            group = self._group(step)
            if i >= self._pool or group == self._head:
                start = i
                break
            if group is not None and group < current:
                raise UnstageableError(f"{_step_name(step)} belongs to an earlier stage than the step before it")
            current = current if group is None else group
            blocks.setdefault(current, []).append(step)
        before, after = self._steps[start : self._pool + 1], self._steps[max(start, self._pool + 1) : self._last]
        named = {self._block_name(number, steps): _section(steps) for number, steps in blocks.items()}
        if len(named) < len(blocks) or HEAD in named or not named:
            raise UnstageableError(f"its stages do not have distinct names ({', '.join(named)})")
        if any(self._group(step) is not None for step in before):
            return Anatomy(named, None, _section([*before, *after]))
        return Anatomy(named, _section(before), _section(after))

    def _group(self, step: fx.Node) -> int | None:
        """Stage of a step's parameters; None if it has no parameters."""
        found: set[int] = set()
        if step.op == "call_module":
            found |= _groups_under(self._network.get_submodule(str(step.target)), str(step.target), self._groups)
        found |= {self._groups[str(n.target)] for n in step.all_input_nodes if str(n.target) in self._groups}
        if len(found) > 1:
            raise UnstageableError(f"{_step_name(step)} uses parameters of several stages")
        return next(iter(found), None)

    def _block_name(self, number: int, steps: Sequence[fx.Node]) -> str:
        modules = [str(step.target) for step in steps if step.op == "call_module" and self._group(step) is not None]
        return STEM if number == 0 or not modules else modules[0]

    def _pooling_step(self, flat: set[fx.Node]) -> int:
        """Position of the step that turns an image's feature map into one vector, found by going back from the classifier."""
        step = self._steps[self._last]
        while (source := _source(step)) in flat:
            step = source
        if step is self._steps[self._last]:
            raise UnstageableError("its classifier does not take one vector per image")
        return self._steps.index(step)


def _source(step: fx.Node) -> fx.Node | None:
    """The only step whose output a step takes; None if there is none, or more than one."""
    sources = [node for node in step.all_input_nodes if node.op not in {"get_attr", "placeholder"}]
    return sources[0] if len(sources) == 1 else None


def _section(steps: Sequence[fx.Node]) -> Section:
    return Section(tuple(step.name for step in steps))


def _step_name(step: fx.Node) -> str:
    return str(step.target) if isinstance(step.target, str) else step.name


# --- modules -----------------------------------------------------------------------------------------------------------


def _module_of(network: nn.Module, steps: Sequence[fx.Node], given: fx.Node) -> fx.GraphModule:
    """Module that computes some steps from a given value."""
    graph = fx.Graph()
    copies = {given: graph.placeholder("x")}

    def copy(node: fx.Node) -> fx.Node:
        if node not in copies:
            if node.op != "get_attr":
                raise UnstageableError(f"{_step_name(node)} is used beyond the next block")
            copies[node] = graph.node_copy(node)
        return copies[node]

    for step in steps:
        copies[step] = graph.node_copy(step, copy)
    graph.output(copies[steps[-1]])
    return fx.GraphModule(network, graph)


def _verify(network: nn.Module, parts: Parts, classifier: str, images: Tensor) -> None:
    """Checks that the parts share no parameters and compute the network's output."""
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
        raise UnstageableError("its blocks in sequence do not compute its output")
