"""Backbones from users' own functions, `module:function`, imported from the working directory or Python's path."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Mapping
from copy import deepcopy
from importlib import import_module
from numbers import Real
from pathlib import Path
from typing import Any, NoReturn

import torch
from torch import Tensor, nn

import trainables.models.backbones.torchvision_import  # noqa: F401  users' modules import torchvision, which may need its declarations
from trainables.core.config_errors import ConfigError, Problem, nearest
from trainables.core.own_code import is_trusted, refusal
from trainables.models.backbone import Backbone
from trainables.models.backbones.block_parts import parts_of_blocks
from trainables.models.networks import Start, drawing_as
from trainables.models.pretrained_weights import fingerprint
from trainables.models.staged_model import GlobalAverage
from trainables.recipe.backbone_catalog import HEAD, BackboneInfo
from trainables.recipe.model_config import ModelConfig


def info(name: str) -> BackboneInfo:
    """Facts about the backbone that `module:function` returns.

    Raises:
        ConfigError: if the function fails or does not return a valid `Backbone`.
    """
    with torch.random.fork_rng(devices=[]):
        backbone = call_function(name)
    return BackboneInfo(
        tuple(backbone.blocks),
        dims=backbone.dims,
        channels=len(backbone.mean),
        parts=parts_of_blocks(backbone.blocks),
    )


def call_function(name: str) -> Backbone:
    """Calls the function and returns a copy of its backbone, which can be trained.

    Raises:
        ConfigError: if the function fails or does not return a valid `Backbone`.
    """
    function = _imported(name)
    try:
        backbone = function()
    except (Exception, SystemExit) as error:
        _refuse(f"{name} raised {_described(error)}")
    if wrong := _mistakes(backbone):
        _refuse(f"{name} returned {'; '.join(wrong)}")
    return deepcopy(backbone)  # type: ignore[no-any-return]  # a function may return the same modules for each trial


def check_output(name: str, size: int, depth: int | None = None) -> None:
    """Tests the backbone on two empty images, or volumes.

    Args:
        name: `module:function`.
        size: side of the images, in pixels.
        depth: slices of the volumes; None: as many as `size`.
    Raises:
        ConfigError: if a part fails, or the output has another shape than `features` says.
    """
    with torch.random.fork_rng(devices=[]):
        backbone = call_function(name)
    parts = {f"block {key!r}": block for key, block in backbone.blocks.items()}
    parts["pool"] = GlobalAverage() if backbone.pool is None else backbone.pool
    parts["hidden"] = nn.Identity() if backbone.hidden is None else backbone.hidden
    x: Any = torch.zeros(2, len(backbone.mean), *((depth or size,) if backbone.dims == 3 else ()), size, size)
    for part, module in parts.items():
        given = tuple(x.shape)
        try:
            with torch.inference_mode():
                x = module.eval()(x)
        except (Exception, SystemExit) as error:
            _refuse(f"{part} of {name} was given a tensor of shape {given} and raised {_described(error)}")
        if not isinstance(x, Tensor):
            _refuse(f"{part} of {name} returns a {type(x).__name__}; it must return one tensor")
    if x.shape != (2, backbone.features):
        expected = f"[2, {backbone.features}] is expected, because features = {backbone.features}"
        _refuse(f"{name} turns two images of {size} pixels into an output of shape {list(x.shape)}; {expected}")


def _imported(name: str) -> Callable[[], Any]:
    if not is_trusted(name):
        _refuse(refusal(name))
    module_name, _, function_name = name.partition(":")
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.insert(0, here)  # Ray passes the path of the process that starts it to its workers
    try:
        module = import_module(module_name)
    except (Exception, SystemExit) as error:  # the user's code: it may raise anything
        where = "; is its folder on PYTHONPATH?" if isinstance(error, ModuleNotFoundError) else ""
        _refuse(f"cannot import {module_name}: {_described(error)}{where}")
    function = getattr(module, function_name, None)
    if not callable(function):
        known = [key for key, value in vars(module).items() if callable(value)]
        _refuse(f"{module_name} has no function {function_name!r}; {nearest(function_name, known)}")
    return function  # type: ignore[no-any-return]


def _mistakes(backbone: object) -> list[str]:
    """Mistakes in the value that a function returned."""
    if not isinstance(backbone, Backbone):
        return [f"{_a(backbone)}; it must return a trainables.models.Backbone"]
    return [
        *_wrong_blocks(backbone.blocks),
        *(
            f"{field} = {_a(module)}; it must be a torch module or None"
            for field, module in (("pool", backbone.pool), ("hidden", backbone.hidden))
            if not isinstance(module, nn.Module | None)
        ),
        *_wrong_numbers(backbone),
    ] or _wrong_parameters(backbone)


def _wrong_blocks(blocks: object) -> list[str]:
    if not isinstance(blocks, Mapping) or not blocks:
        return [f"blocks = {_a(blocks)}; it must be a dict of at least one module, from input to head"]
    reserved = [
        key for key in blocks if not isinstance(key, str) or key in {"", HEAD, "all"} or key.startswith("last:")
    ]
    return [
        *(f"a block named {key!r}; choose another name than that, {HEAD}, all and last:N" for key in reserved),
        *(
            f"blocks[{key!r}] = {_a(x)}; it must be a torch module"
            for key, x in blocks.items()
            if not isinstance(x, nn.Module)
        ),
    ]


def _wrong_numbers(backbone: Backbone) -> list[str]:
    wrong = []
    if not isinstance(backbone.features, int) or backbone.features < 1:
        wrong.append(f"features = {backbone.features!r}; it must be the number of features before the last layer")
    if backbone.dims not in (2, 3):
        wrong.append(f"dims = {backbone.dims!r}; it must be 2 for images or 3 for volumes")
    statistics = (backbone.mean, backbone.std)
    numbers = all(isinstance(s, tuple) and s and all(isinstance(x, Real) for x in s) for s in statistics)
    if not numbers or len(backbone.mean) != len(backbone.std) or min(backbone.std) <= 0:
        message = f"mean = {backbone.mean!r} and std = {backbone.std!r}; they must be tuples of one number per channel, std above 0"
        wrong.append(message)
    return wrong


def _wrong_parameters(backbone: Backbone) -> list[str]:
    if backbone.pool is not None and list(backbone.pool.parameters()):
        return ["a pool with parameters; move it into `hidden`, and set pool = torch.nn.Identity()"]
    parts = {**backbone.blocks, "hidden": nn.Identity() if backbone.hidden is None else backbone.hidden}
    owner: dict[nn.Parameter, str] = {}
    for part, module in parts.items():
        for parameter in module.parameters():
            if (other := owner.setdefault(parameter, part)) != part:
                return [f"{other} and {part} with a shared parameter; a stage could not unfreeze one without the other"]
    return []


def _a(value: object) -> str:
    text = repr(value).partition("\n")[0]
    return f"a {type(value).__name__} ({text[:60]})" if value is not None else "None"


def _described(error: BaseException) -> str:
    """Type, message and place of an error, as in `ValueError: bad depth (my_networks.py:12)`; the place is in the user's code."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if _is_the_users(frame.filename)]
    file, line = (frames[-1].filename, frames[-1].lineno) if frames else ("", 0)
    if isinstance(error, SyntaxError) and error.filename:
        file, line = error.filename, error.lineno
    message = " ".join(str(error).split())
    return f"{type(error).__name__}: {message}" + (f" ({Path(file).name}:{line})" if file else "")


def _is_the_users(file: str) -> bool:
    inner = (Path(torch.__file__).parent, Path(__file__).parents[2])
    return not file.startswith("<") and not any(Path(file).is_relative_to(folder) for folder in inner)


def _refuse(message: str) -> NoReturn:
    raise ConfigError([Problem(("model", "backbone"), message)])


class CustomNetworks:
    """Networks that bring their weights; a `Networks`."""

    def check(self, config: ModelConfig, *, image_size: int, depth: int | None) -> None:
        check_output(config.backbone, image_size, depth)

    def start(self, config: ModelConfig, generator: torch.Generator) -> Start:
        with drawing_as(generator):
            parts = call_function(config.backbone)
        return Start(parts, parts.mean, parts.std, fingerprint(nn.ModuleList(parts.modules()).state_dict()))


NETWORKS = CustomNetworks()
