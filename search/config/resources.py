"""`search.resources`: resources of one trial, or of each of its processes. Plain data."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import Field, PlainValidator

from trainables.core.config_errors import Config


def _checked_gpus(value: Any) -> Any:
    if value == "auto":
        return value
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise ValueError(f"{value!r}: input should be a number of at least 0, or auto")
    if value > 1:
        raise ValueError(
            f"{value:g}: a process trains on one GPU, and several GPUs train several trials at once; for trials on {value:g} GPUs "
            f"each, set train.workers: {value:g}"
        )
    return float(value)


Gpus = Annotated[
    float | Literal["auto"],
    PlainValidator(_checked_gpus, json_schema_input_type=Annotated[float, Field(ge=0)] | Literal["auto"]),
]


class Resources(Config):
    """Resources of one trial, or of each of its processes (`train.workers`)."""

    cpus: float = Field(1, gt=0)
    """CPU cores; below 1, several trials share one. Default of `train.cpu_threads`."""
    gpus: Gpus | None = None
    """GPUs, at most 1; fractions are allowed. `auto`: measured, so that as many trials share a GPU as fit in its
    memory. null: one if the machine or cluster has any, else none."""
    accelerator_type: str | None = Field(None, min_length=1)
    """GPU that a node must have, by Ray's name for it: A100, H100, T4, …"""
    memory_gib: float | None = Field(None, gt=0)
    """RAM that a trial reserves on its node; not enforced."""
    custom: dict[str, Annotated[float, Field(gt=0)]] = Field(default_factory=dict)
    """Amounts of resources that nodes were started with (`ray start --resources '{"ssd": 1}'`)."""
