"""`Images`: decoded images by position, whether they are in an array or decoded when they are read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np


class Images(Protocol):
    """n images [h, w, c], or volumes [d, h, w, c], uint8 or uint16: a NumPy array, or `StreamedImages`. Not to be written to."""

    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def dtype(self) -> np.dtype[Any]: ...
    @property
    def ndim(self) -> int: ...
    @property
    def nbytes(self) -> int: ...
    def __len__(self) -> int: ...
    def __getitem__(self, at: Any, /) -> Any:
        """One image at a position, or an array of those at [k] positions or in a slice."""
        ...

    def __iter__(self) -> Iterator[Any]: ...
