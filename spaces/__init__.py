"""What is searched: distributions over the recipe's values, and presets of them to start from.

A search file's `space:` maps dotted recipe paths to distributions (distributions.py); `parse_space` (parse.py) turns it
into a `Space` (space.py), which asks an Optuna trial for values in an order that respects conditions. Each file in
presets/ is such a space that can be named instead of written. The room does not know the recipe: it hands out paths and
values, and `corner_points` lets whoever knows the recipe check them all before a search starts. Names are imported when
first used, so that importing this room costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spaces.distributions import KINDS, Distribution
    from spaces.parser import parse_space, preset_names, preset_paths
    from spaces.preset_docs import Preset, explain, presets
    from spaces.space import FunctionSpace, Problem, Space, SpaceError

__all__ = [
    "KINDS",
    "Distribution",
    "FunctionSpace",
    "Preset",
    "Problem",
    "Space",
    "SpaceError",
    "explain",
    "parse_space",
    "preset_names",
    "preset_paths",
    "presets",
]

_HOMES = (
    {"KINDS": "distributions", "Distribution": "distributions"}
    | dict.fromkeys(("Preset", "explain", "presets"), "preset_docs")
    | dict.fromkeys(("parse_space", "preset_names", "preset_paths"), "parser")
)


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES.get(name, 'space')}"), name)
