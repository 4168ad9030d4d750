"""Search spaces: distributions over the recipe's values, and presets of them to start from.

`parse_space` (parser.py) turns a search file's `space:`, dotted recipe paths and distributions (distributions.py), into a `Space`
(space.py), which asks an Optuna trial for values and respects conditions. `grid.py` lists all points of a finite space. Each file
in presets/ is a space that can be named instead of written; `preset_docs.py` describes them. The room does not know the recipe:
it hands out paths and values, and `corner_points` lets the caller check them before a search starts. Names are imported when
first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spaces.distributions import KINDS, Distribution
    from spaces.parser import parse_space, preset_names, preset_paths
    from spaces.preset_docs import Preset, explain, presets
    from spaces.space import FunctionSpace, Space, SpaceError, SpaceProblem

__all__ = [
    "KINDS",
    "Distribution",
    "FunctionSpace",
    "Preset",
    "Space",
    "SpaceError",
    "SpaceProblem",
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
