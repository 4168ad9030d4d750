"""torch.compile: compiles modules, checks that this machine has a compiler, and keeps it from being imported needlessly."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

import torch
from torch import nn

from trainables.core.config_errors import ConfigError, Problem


def check_compiler(device: torch.device) -> None:
    """Checks that the compiler that torch.compile needs is installed.

    Raises:
        ConfigError: if it is not.
    """
    missing = _missing_on_gpu() if device.type == "cuda" else _missing_on_cpu()
    if missing:
        message = f"torch.compile needs {missing}, which is not installed here; install it, or set compile: false"
        raise ConfigError([Problem(("train", "compile"), message)])


def _missing_on_cpu() -> str | None:
    from torch._inductor.cpp_builder import get_cpp_compiler
    from torch._inductor.exc import InvalidCxxCompiler

    try:
        get_cpp_compiler()
    except InvalidCxxCompiler:
        return "a C++ compiler such as g++"
    return None


def _missing_on_gpu() -> str | None:
    from torch.utils._triton import has_triton

    return None if has_triton() else "triton"


def recompile(module: nn.Module) -> None:
    """Compiles a module in place: it stays the same object, and its parameters keep their names.

    Earlier compilations are discarded, because torch might otherwise reuse a graph in which other parameters require gradients.
    Each batch size (an epoch has two at most) gets a graph of its own, whichever comes first, so that a resumed run computes with
    the same graphs as an uninterrupted one. Dropout draws the same numbers as it does uncompiled.
    """
    torch._dynamo.reset()
    module.compile(dynamic=False, options={"fallback_random": True})


@contextmanager
def compiler_left_out() -> Iterator[None]:
    """Prevents the import of torch's compiler while torchvision is imported.

    torchvision queries the compiler about one operator of detectors. Importing the compiler for that costs each process two
    seconds and 80 MB, and only compiled code needs it.
    """
    name = "torch._dynamo.utils"
    if name in sys.modules:
        yield
        return
    stand_in = ModuleType(name)
    stand_in.is_compile_supported = lambda _device: False  # type: ignore[attr-defined]
    sys.modules[name] = stand_in
    try:
        yield
    finally:
        del sys.modules[name]
