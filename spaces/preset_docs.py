"""Explains the presets: what each searches, with the comments of its file."""

from __future__ import annotations

from dataclasses import dataclass

from spaces.parser import parse_space, preset_names, preset_text


@dataclass(frozen=True)
class Line:
    """One searched value of a preset."""

    path: str
    distribution: str
    """Range or choices: `log 0.0001 … 0.01`."""
    when: str
    """Condition under which it is drawn: `train.loss.kind is ldam`; empty if always."""
    why: str
    """Reason, from the comment in the preset's file; may be empty."""


@dataclass(frozen=True)
class Preset:
    """A preset and its explanation."""

    name: str
    about: str
    """Purpose, from the first comment of its file."""
    lines: tuple[Line, ...]


def presets() -> list[Preset]:
    """Explains all presets that come with Thaw, in alphabetical order."""
    return [explain(name) for name in preset_names()]


def explain(name: str) -> Preset:
    """Explains one preset.

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
    """First comment of a preset's file, and the comment above each path, including paths of the presets it builds on."""
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
