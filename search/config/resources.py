"""`search.resources`: what one trial takes. Plain data."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import Field, PlainValidator

from trainables.core.config_errors import Config


def _checked_gpus(value: Any) -> Any:
    if value == "auto":
        return value
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise ValueError(f"{value!r}: input should be a number from 0 on, or auto")
    if value > 1:
        raise ValueError(
            f"{value:g}: a trial trains on one GPU, and several GPUs train several trials at once; what came out best trains on "
            f"{value:g} with thaw train best.yaml --workers {value:g}"
        )
    return float(value)


Gpus = Annotated[
    float | Literal["auto"],
    PlainValidator(_checked_gpus, json_schema_input_type=Annotated[float, Field(ge=0)] | Literal["auto"]),
]


class Resources(Config):
    """What one trial takes."""

    cpus: float = Field(1, gt=0)
    """CPU cores; below 1 several trials share one. `train.cpu_threads` follows it where it is not given."""
    gpus: Gpus | None = None
    """GPUs, fractions allowed, at most 1; `auto`: the share that leaves room for as many trials as a GPU has memory for, measured;
    null: one where the machine or cluster has any, else none."""
    accelerator_type: str | None = Field(None, min_length=1)
    """Only nodes with this GPU, by Ray's name for it: A100, H100, T4, …"""
    memory_gib: float | None = Field(None, gt=0)
    """RAM that a node must have free of other trials; reserved, not enforced."""
    custom: dict[str, Annotated[float, Field(gt=0)]] = Field(default_factory=dict)
    """Of resources that nodes were started with (`ray start --resources '{"ssd": 1}'`)."""
