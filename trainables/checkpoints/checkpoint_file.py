"""One checkpoint file: written whole, verified, and loaded without trusting it.

It is the zip archive that `torch.save` writes, perhaps deflated: any torch reads it. It holds tensors and plain values and is
loaded with `weights_only`: a checkpoint can never run code, nor take much more memory than its size.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import IO, Any

import torch
from torch import Tensor

from trainables.run_folder.layout import SCHEMA_VERSION

_LARGEST_RATIO, _ALLOWANCE = 64, 64 * 2**20
"""What a file may unpack to: so many times its size, and these bytes. Weights deflate by a tenth."""


class CheckpointError(ValueError):
    """A file that is no usable checkpoint."""


def write_state(file: IO[bytes], state: Mapping[str, Any], *, compress: bool = False) -> None:
    """
    Args:
        compress: deflate it.
    """
    content = {"schema": SCHEMA_VERSION, **state}
    if not compress:
        torch.save(content, file)
        return
    plain = io.BytesIO()
    torch.save(content, plain)
    with zipfile.ZipFile(plain) as parts, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as deflated:
        for part in parts.infolist():
            deflated.writestr(part.filename, parts.read(part))


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Reads a checkpoint onto the CPU.

    Raises:
        CheckpointError: if the file is damaged, foreign, hostile or newer than this version understands.
    """
    try:
        _verify_archive(path)
        state = torch.load(path, weights_only=True, map_location="cpu")
        _verify_tensors(state)
    except UnpicklingError:  # torch's own words for it invite to load the file without protection
        raise CheckpointError(f"{path} is no checkpoint: it holds more than tensors and plain values") from None
    except Exception as error:  # foreign bytes make zip reader and unpickler raise nearly anything
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise CheckpointError(f"{path} is damaged or no checkpoint: {reason}") from None
    if not isinstance(state, dict) or not isinstance(state.get("schema"), int):
        raise CheckpointError(f"{path} is no checkpoint of a run")
    if state["schema"] > SCHEMA_VERSION:
        raise CheckpointError(
            f"{path} was written by a newer version (schema {state['schema']}, known: {SCHEMA_VERSION})"
        )
    loaded: dict[str, Any] = state
    return loaded


def checksum_of(path: Path) -> str:
    """Names a checkpoint's content: a hash over names, sizes and checksums of its parts, however it is compressed.

    Only the archive's directory is read for it; that the parts have their checksums is `verify`'s to find out.

    Raises:
        CheckpointError: if it is no archive.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            parts = sorted((part.filename, part.file_size, part.CRC) for part in archive.infolist())
    except Exception as error:
        raise CheckpointError(f"{path} is damaged or no checkpoint: {error}") from None
    # The folder in the archive is called after the file that torch wrote first.
    named = [(name.partition("/")[2], size, crc) for name, size, crc in parts]
    return hashlib.sha256(repr(sorted(named)).encode()).hexdigest()[:32]


def verify(path: Path, checksum: str | None = None) -> None:
    """Reads all of a checkpoint.

    Args:
        checksum: that it was registered with.
    Raises:
        CheckpointError: if a part of it is not as it was written, or it is another file than was registered.
    """
    load_checkpoint(path)
    if checksum is not None and checksum_of(path) != checksum:
        raise CheckpointError(f"{path} is another file than was registered under its name")


def _verify_archive(path: Path) -> None:
    """torch writes a checksum for every tensor of the file (a zip archive) and checks none when it loads it.

    Raises:
        ValueError: if a part does not have its checksum, or they unpack to what no checkpoint would.
        BadZipFile: if it is no zip archive.
    """
    with zipfile.ZipFile(path) as archive:
        unpacked = sum(part.file_size for part in archive.infolist())
        if unpacked > _LARGEST_RATIO * path.stat().st_size + _ALLOWANCE:
            raise ValueError(f"its {path.stat().st_size:,} bytes would unpack to {unpacked:,}")
        if damaged := archive.testzip():
            raise ValueError(f"checksum of {damaged} is wrong")


def _verify_tensors(value: Any) -> None:
    """
    Raises:
        ValueError: if a tensor would be larger than what the file holds of it: one number can be told to be a billion.
    """
    if isinstance(value, Tensor):
        if value.layout != torch.strided or value.nbytes > value.untyped_storage().nbytes():
            raise ValueError(f"a tensor of shape {tuple(value.shape)} that the file does not hold")
    elif isinstance(value, Mapping):
        for item in value.values():
            _verify_tensors(item)
    elif isinstance(value, list | tuple | set):
        for item in value:
            _verify_tensors(item)
