"""One checkpoint file: written whole, verified, and loaded without trusting its content.

The file is the zip archive that `torch.save` writes, optionally deflated; any torch can read it. It holds only tensors and plain
values and is loaded with `weights_only`, so that a checkpoint can neither run code nor take much more memory than its size.
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
"""Limit of a file's unpacked size: this many times its size, plus these bytes. (Weights shrink by about a tenth only.)"""


class CheckpointError(ValueError):
    """A file that cannot be used as a checkpoint."""


def write_state(file: IO[bytes], state: Mapping[str, Any], *, compress: bool = False) -> None:
    """Writes the content of a checkpoint.

    Args:
        file: open binary file.
        state: tensors and plain values.
        compress: deflate the archive.
    Raises:
        OSError: if the storage refuses it.
    """
    content = {"schema": SCHEMA_VERSION, **state}
    if not compress:
        try:
            torch.save(content, file)
        except RuntimeError as error:
            if isinstance(
                error.__context__, OSError
            ):  # torch cannot end the archive then, and complains of that instead
                raise error.__context__ from None
            raise
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
    except UnpicklingError:  # torch's own message suggests loading the file without protection
        raise CheckpointError(f"{path} is not a checkpoint: it holds more than tensors and plain values") from None
    except Exception as error:  # foreign bytes make the zip reader and the unpickler raise nearly anything
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise CheckpointError(f"{path} is damaged or not a checkpoint: {reason}") from None
    if not isinstance(state, dict) or not isinstance(state.get("schema"), int):
        raise CheckpointError(f"{path} is not a checkpoint of a run")
    if state["schema"] > SCHEMA_VERSION:
        raise CheckpointError(
            f"{path} was written by a newer version of thaw (schema {state['schema']}, newest known here: {SCHEMA_VERSION})"
        )
    loaded: dict[str, Any] = state
    return loaded


def checksum_of(path: Path) -> str:
    """Returns a hash that identifies a checkpoint's content, however it is compressed: of its parts' names, sizes and checksums.

    Only the archive's directory is read; `verify` checks that the parts match their checksums.

    Raises:
        CheckpointError: if it is not an archive.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            parts = sorted((part.filename, part.file_size, part.CRC) for part in archive.infolist())
    except Exception as error:
        raise CheckpointError(f"{path} is damaged or not a checkpoint: {error}") from None
    # torch names the folder in the archive after the file it writes, so leave it out.
    named = [(name.partition("/")[2], size, crc) for name, size, crc in parts]
    return hashlib.sha256(repr(sorted(named)).encode()).hexdigest()[:32]


def verify(path: Path, checksum: str | None = None) -> None:
    """Reads a whole checkpoint and checks that it is intact.

    Args:
        path: checkpoint file.
        checksum: its checksum in the registry; None: not checked.
    Raises:
        CheckpointError: if a part is damaged, or the file is not the one that was registered.
    """
    load_checkpoint(path)
    if checksum is not None and checksum_of(path) != checksum:
        raise CheckpointError(f"{path} is not the file that was registered under its name")


def scored_weights(checkpoint: Mapping[str, Any]) -> dict[str, Tensor]:
    """Weights that were scored for a checkpoint, by their names in the model: the averaged ones if the average is scored.

    Holds only the weights that training had changed by then; the others are the pretrained ones.
    """
    trainer = checkpoint["trainer"]
    weights, stage, ema = dict(trainer["weights"]), trainer["stage"], checkpoint["recipe"]["train"]["ema"]
    if ema is not None and ema["judge"] == "ema":
        weights |= {
            _in_model(name.removeprefix("module."), stage["cut"]): tensor
            for name, tensor in stage["ema"].items()
            if name.startswith("module.")
        }
    return weights


def _in_model(name: str, cut: int) -> str:
    """Name in the model of a weight of a tail, which counts its blocks from its cut."""
    if not name.startswith("blocks."):
        return name
    _, block, rest = name.split(".", 2)
    return f"blocks.{int(block) + cut}.{rest}"


def _verify_archive(path: Path) -> None:
    """Checks the checksums of the zip archive: torch writes one for every tensor, but checks none when it loads the file.

    Raises:
        ValueError: if a part does not match its checksum, or the parts unpack to more than those of any checkpoint would.
        BadZipFile: if it is not a zip archive.
    """
    with zipfile.ZipFile(path) as archive:
        unpacked = sum(part.file_size for part in archive.infolist())
        if unpacked > _LARGEST_RATIO * path.stat().st_size + _ALLOWANCE:
            raise ValueError(f"its {path.stat().st_size:,} bytes would unpack to {unpacked:,}")
        if damaged := archive.testzip():
            raise ValueError(f"checksum of {damaged} is wrong")


def _verify_tensors(value: Any) -> None:
    """Checks that the file holds the data of every tensor: strides could make a billion numbers of a single one.

    Raises:
        ValueError: if a tensor is larger than its data.
    """
    if isinstance(value, Tensor):
        if value.layout != torch.strided or value.nbytes > value.untyped_storage().nbytes():
            raise ValueError(f"it lacks the data of a tensor of shape {tuple(value.shape)}")
    elif isinstance(value, Mapping):
        for item in value.values():
            _verify_tensors(item)
    elif isinstance(value, list | tuple | set):
        for item in value:
            _verify_tensors(item)
