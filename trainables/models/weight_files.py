"""Weights of a network from a file that anybody may have written: found in it, renamed, converted to float32 and checked."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, NamedTuple

import torch
from safetensors.torch import load_file
from torch import Tensor

from trainables.core.config_errors import ConfigError, Problem, listed
from trainables.models.pretrained_weights import Statistics

Weights = Mapping[str, Tensor]

_SECOND_CHOICE = re.compile(r"ema|momentum|student|_k\b")
"""Copies of a network beside the one that is meant: averages, and the students of self-supervised training."""
_STATISTICS = re.compile(r"\.running_(mean|var)$")


def weights_error(message: str) -> ConfigError:
    """Error about the weights, at `model.weights`."""
    return ConfigError([Problem(("model", "weights"), message)])


@dataclass(frozen=True)
class Found:
    """Weights of one network in a file."""

    place: str
    """Keys of the mapping in the file: `state_dict`; empty for the file's top."""
    prefix: str
    """Start of their names that the network's own names lack, such as `module.`."""
    weights: Weights
    """Tensors by name without the prefix."""
    others: int
    """Number of tensors in the same mapping whose names lack the prefix."""

    def lacking(self, body: Weights) -> list[str]:
        """Names of a network that are missing here or have another shape."""
        return [n for n, tensor in body.items() if n not in self.weights or self.weights[n].shape != tensor.shape]


class FileWeights(NamedTuple):
    """Weights that were taken of a file."""

    state: dict[str, Tensor]
    """Weights in float32, without those of the last layer, which is replaced anyway."""
    statistics: Statistics | None
    """Mean and deviation of the images of a model that Thaw exported; None for others, whose files do not give them."""
    source: str
    """A line that says what was taken."""


def fitting_weights(
    path: Path, network: str, wanted: Weights, last: str | None, own_names: Callable[[], Mapping[str, str]]
) -> FileWeights:
    """Finds the weights for a network in a file.

    Files may hold them below keys (`state_dict`, `teacher`), with a prefix (`module.`, `_orig_mod.`, `backbone.`), beside other
    tensors, and in half or double precision.

    Args:
        path: the file.
        network: name of the network, for messages.
        wanted: state dict of the network; only names and shapes count.
        last: name of its last layer; None if it has none.
        own_names: returns names of weights in a model that Thaw exported, with the network's own names.
    Raises:
        ConfigError: if the file cannot be loaded safely, belongs to another network, or its values are not finite.
    """
    head = f"{last}."
    # Files from old versions of torch lack BatchNorm's batch counters, which loading sets to 0.
    body = {n: t for n, t in wanted.items() if not n.startswith(head) and not n.endswith("num_batches_tracked")}
    mappings, statistics = list(_mappings(_loaded(path))), None
    if any(map(_has_own_names, (weights for _, weights in mappings))):
        statistics = _statistics_beside(path, network)
        mappings = [(place, _renamed(weights, own_names(), head)) for place, weights in mappings]
    found = [_without_prefix(place, weights, body) for place, weights in mappings]
    if not found:
        raise weights_error(f"{path} does not hold a state dict: {_HOW_TO_SAVE}")
    # The one that lacks least; of several that fit, the one that is meant, then the first.
    best = min(
        found, key=lambda one: (len(one.lacking(body)), bool(_SECOND_CHOICE.search(f"{one.place}.{one.prefix}")))
    )
    _check_names(path, network, best, body, wanted)
    taken = {name: tensor for name, tensor in best.weights.items() if name in wanted and not name.startswith(head)}
    _check_types(path, taken, body)
    converted = {n: t.float() if t.is_floating_point() else t for n, t in taken.items()}
    broken = [name for name, tensor in converted.items() if not tensor.isfinite().all()]
    if broken:
        raise weights_error(
            f"{path}: {listed(broken, 3)} {'has' if len(broken) == 1 else 'have'} values that are not finite: the training that "
            "wrote it diverged; give an earlier file"
        )
    also = [one.place or "the top" for one in found if one is not best and not one.lacking(body)]
    spare = f"; {listed(also)} would fit, too" if also else ""
    return FileWeights(converted, statistics, f"{path.name}: {_described(best, taken, head)}{spare}")


_HOW_TO_SAVE = "in the program that made it, save the weights alone: torch.save(network.state_dict(), 'weights.pth')"


def _described(found: Found, taken: Weights, head: str) -> str:
    kinds = {str(t.dtype).removeprefix("torch.") for t in taken.values() if t.is_floating_point()} - {"float32"}
    heads = [t.shape[0] for name, t in found.weights.items() if name.startswith(head) and name.endswith("weight")]
    left_out = [f"the last layer ({heads[-1]} outputs)"] if heads else []
    left_out += [f"{found.others} other tensors"] if found.others else []
    return (
        f"{len(taken)} tensors"
        + (f" of {found.place}" if found.place else "")
        + (f" without the prefix {found.prefix!r}" if found.prefix else "")
        + (f", {' and '.join(sorted(kinds))} as float32" if kinds else "")
        + (f"; not used: {' and '.join(left_out)}" if left_out else "")
    )


def _check_names(path: Path, network: str, found: Found, body: Weights, wanted: Weights) -> None:
    lacking = found.lacking(body)
    if lacking and all(map(_STATISTICS.search, lacking)):
        raise weights_error(
            f"{path} lacks the running statistics of BatchNorm ({listed(lacking, 3)}), without which the frozen blocks compute "
            f"something else: save the whole state_dict(), not the parameters alone"
        )
    wrong = lacking + [name for name in found.weights if name not in wanted]
    if wrong:
        shapes = [
            f"{n} is {list(found.weights[n].shape)}, not {list(body[n].shape)}" for n in lacking if n in found.weights
        ]
        verb = "does" if len(wrong) == 1 else "do"
        example = f" ({shapes[0]})" if shapes else ""
        raise weights_error(
            f"{path} belongs to another network than {network}: {listed(wrong, 3)} {verb} not fit{example}"
        )


def _check_types(path: Path, taken: Weights, body: Weights) -> None:
    whole = [name for name in taken if name in body and not taken[name].is_floating_point()]
    if whole:
        kind = str(taken[whole[0]].dtype).removeprefix("torch.")
        raise weights_error(
            f"{path}: {listed(whole, 3)} {'is' if len(whole) == 1 else 'are'} {kind}; quantised weights cannot be trained"
        )
    if missing := [name for name, tensor in taken.items() if tensor.layout != torch.strided or tensor.is_meta]:
        raise weights_error(f"{path}: {listed(missing, 3)} hold no plain values")


# --- models that Thaw exported --------------------------------------------------------------------------------------


def _has_own_names(weights: Weights) -> bool:
    return "head.last.weight" in weights and {name.partition(".")[0] for name in weights} <= {"blocks", "head"}


def _renamed(weights: Weights, names: Mapping[str, str], head: str) -> dict[str, Tensor]:
    last = {f"head.last.{part}": f"{head}{part}" for part in ("weight", "bias")}
    return {{**names, **last}.get(name, name): tensor for name, tensor in weights.items()}


def _statistics_beside(path: Path, network: str) -> Statistics:
    """Mean and deviation of the images of an exported model, of the `model.json` beside its weights."""
    file = path.with_name("model.json")
    if not file.is_file():
        raise weights_error(
            f"{path} was written by Thaw; as pretrained weights, give model.safetensors in the folder that "
            f"`thaw export RUN --model DIR` writes"
        )
    try:
        facts = json.loads(file.read_bytes())
        backbone, mean, std = facts["backbone"], *(tuple(map(float, facts["input"][key])) for key in ("mean", "std"))
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        raise weights_error(f"{file} is damaged, which says how images are normalised for {path.name}") from None
    if backbone != network:
        raise weights_error(f"{path.parent} is a {backbone}, not a {network}")
    return mean, std


# --- what is in a file ----------------------------------------------------------------------------------------------


def _mappings(content: Any, place: str = "", depth: int = 3) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """Yields all mappings of names to tensors in a file's content, with their places."""
    if not isinstance(content, Mapping) or not depth:
        return
    named = [(name, value) for name, value in content.items() if isinstance(name, str)]
    if tensors := {name: value for name, value in named if isinstance(value, Tensor)}:
        yield place, tensors
    for name, value in named:
        yield from _mappings(value, f"{place}.{name}" if place else name, depth - 1)


def _without_prefix(place: str, weights: Weights, body: Collection[str]) -> Found:
    """The part of a mapping that has most of a network's names, below the prefix that they all have there."""
    names = list(body)
    prefixes = {""} | {
        name.removesuffix(anchor) for anchor in (names[0], names[-1]) for name in weights if name.endswith(f".{anchor}")
    }

    def covers(prefix: str) -> tuple[int, bool]:
        return sum(prefix + name in weights for name in names), not _SECOND_CHOICE.search(prefix)

    prefix = max(sorted(prefixes), key=covers)
    inside = {name.removeprefix(prefix): tensor for name, tensor in weights.items() if name.startswith(prefix)}
    return Found(place, prefix, inside, others=len(weights) - len(inside))


def _loaded(path: Path) -> Any:
    """Loads a file's content without running code from it."""
    if not path.is_file():
        raise weights_error(f"{path} does not exist")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        return torch.load(path, weights_only=True, map_location="cpu")
    except UnpicklingError:  # torch's own message suggests loading the file without protection
        reason = f"it holds Python objects, such as a whole network; {_HOW_TO_SAVE}"
        raise weights_error(f"{path} is not a file of tensors that torch can load safely: {reason}") from None
    # On bytes of other formats, the unpickler can raise nearly anything, even without a message.
    except Exception as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise weights_error(f"{path} is not a file of tensors that torch can load safely: {reason}") from None
