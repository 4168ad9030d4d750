"""The presets in words: what their files say in comments, beside what they search."""

from __future__ import annotations

from dataclasses import dataclass

from spaces.parser import parse_space, preset_names, preset_text


@dataclass(frozen=True)
class Line:
    """One searched value."""

    path: str
    distribution: str
    """`log 0.0001 … 0.01`"""
    when: str
    """`train.loss.kind is ldam`; empty: always."""
    why: str


@dataclass(frozen=True)
class Preset:
    name: str
    about: str
    """What it is for."""
    lines: tuple[Line, ...]


def presets() -> list[Preset]:
    """All that come with Thaw, in alphabetical order."""
    return [explain(name) for name in preset_names()]


def explain(name: str) -> Preset:
    """
    Raises:
        SpaceError: if there is no such preset.
    """
    parameters = parse_space(name).parameters
    about, whys = _comments(name)
    lines = tuple(
        Line(
            path,
            distribution.describe(),
            " and ".join(
                f"{parent} is {' or '.join(map(str, values))}" for parent, values in distribution.when.items()
            ),
            whys.get(path, ""),
        )
        for path, distribution in parameters.items()
    )
    return Preset(name, about, lines)


def _comments(name: str) -> tuple[str, dict[str, str]]:
    """The first comment of a preset's file; and path -> the comment above it, also of what comes from other presets."""
    about, whys, comment = "", dict[str, str](), list[str]()
    for line in preset_text(name).splitlines():
        if line.startswith("#"):
            comment.append(line.removeprefix("#").strip())
            continue
        about = about or " ".join(comment)
        key, _, rest = line.partition(":")
        if key == "preset":
            for other in rest.strip(" []").split(","):
                whys |= _comments(other.strip())[1]
        elif key and comment:
            whys[key] = " ".join(comment)
        comment = []
    return about, whys
