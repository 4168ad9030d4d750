"""Reader of the files that W&B writes in its offline mode: LevelDB's log format of protobuf records."""

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

_BLOCK, _HEADER = 32768, struct.Struct("<IHB")


class OfflineRun(NamedTuple):
    """A run as `wandb sync` would upload it."""

    run: Any
    config: dict[str, Any]
    curves: list[dict[str, Any]]
    """Points of each step."""
    summary: dict[str, Any]
    exit_code: int | None


def offline_runs(folder: Path) -> list[OfflineRun]:
    """Runs below a folder, in the order of their starts."""
    return [_read(file) for file in sorted(folder.glob("**/offline-run-*/*.wandb"))]


def _read(file: Path) -> OfflineRun:
    run, config, curves, summary, exit_code = None, {}, [], {}, None
    for record in _records(file.read_bytes()):
        if record.HasField("run"):
            run = record.run
            config |= {item.key: json.loads(item.value_json) for item in run.config.update}
        elif record.HasField("history"):
            curves.append(_values(record.history.item))
        elif record.HasField("summary"):
            summary |= _values(record.summary.update)
        elif record.HasField("exit"):
            exit_code = record.exit.exit_code
    return OfflineRun(run, config, curves, summary, exit_code)


def _values(items: Any) -> dict[str, Any]:
    return {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items}


def _records(data: bytes) -> Iterator[Any]:
    from wandb.proto.wandb_internal_pb2 import Record

    assert data.startswith(b":W&B")
    at, parts = 7, b""
    while at + _HEADER.size <= len(data):
        if _BLOCK - at % _BLOCK < _HEADER.size:
            at += _BLOCK - at % _BLOCK
            continue
        _, size, kind = _HEADER.unpack_from(data, at)
        parts += data[at + _HEADER.size : at + _HEADER.size + size]
        at += _HEADER.size + size
        if kind in {1, 4}:  # whole, or the last part
            record = Record()
            record.ParseFromString(parts)
            yield record
            parts = b""
