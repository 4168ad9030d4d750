"""torch.compile of what trains, whether this machine has what it needs, and how to do without it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

import torch
from torch import nn

from trainables.core.config_errors import ConfigError, Problem


def check_compiler(device: torch.device) -> None:
    """Looks for the compiler that torch.compile writes code for.

    Raises:
        ConfigError: if there is none.
    """
    missing = _missing_on_gpu() if device.type == "cuda" else _missing_on_cpu()
    if missing:
        message = f"torch.compile needs {missing}, and there is none here; install one, or set compile: false"
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


def compile_anew(module: nn.Module) -> None:
    """Compiles what a module computes; it stays the same module, under the same names.

    What was compiled before is forgotten: torch may take up a graph of other parameters that require gradients.
    Each batch size (an epoch has two at most) has a graph of its own, whichever came first: a resumed run computes with the
    same graphs as an uninterrupted one. Dropout draws what it draws uncompiled.
    """
    torch._dynamo.reset()
    module.compile(dynamic=False, options={"fallback_random": True})


@contextmanager
def compiler_left_out() -> Iterator[None]:
    """While torchvision is imported: it asks torch's compiler a question about one operator of detectors, and to answer it the
    compiler would be imported, which costs each process two seconds and 80 MB. What runs uncompiled does not need it.
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
