"""Settings for decoding images and for making them square."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Discriminator, Field, Tag

from trainables.core.config_errors import Config

Frame = Annotated[int, Field(ge=0)] | Literal["middle"]
"""Frame or page to read from a file with several, counted from 0."""

Fit = Literal["crop", "pad", "stretch"]
"""Way to make an image square, or to bring a volume of known spacing to the size."""

Spacing = tuple[float, float, float]
"""Distance between voxels in mm: between slices, rows and columns."""
_Millimetres = Annotated[float, Field(gt=0)]
_Kind = Discriminator(lambda given: "list" if isinstance(given, list | tuple) else "number")
GivenSpacing = Annotated[
    Annotated[_Millimetres, Tag("number")]
    | Annotated[tuple[_Millimetres, ...], Field(min_length=3, max_length=3), Tag("list")],
    _Kind,
]
"""Spacing as a config gives it: one number for all three axes, or one for each."""
_Level = Annotated[float, Field(ge=0)]
PerChannel = Annotated[
    Annotated[_Level, Tag("number")] | Annotated[tuple[_Level, ...], Field(min_length=1), Tag("list")], _Kind
]
"""One number for all channels, or one for each."""
Background = Literal["black", "noise"]
"""Black voxels of a volume as a network that standardises volumes sees them."""


class Window(Config):
    """Range of grey values shown, in the file's own units: those that a PNG, TIFF or NPZ file stores, or, of DICOM images and NIfTI
    volumes, those after rescaling (for a CT, Hounsfield units)."""

    center: float
    width: float = Field(gt=0)
    """Distance from black, at center − width / 2, to white, at center + width / 2."""
