"""What a trial costs: parameters by group, tokens, steps and FLOPs, each by a named convention."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any


@dataclass(frozen=True, slots=True)
class Cost:
    """What a workload says a spec costs, before it runs. Unknown is None, never zero.

    ``memory_bytes`` is the peak on the device for one member; all other names are columns of the trials table.
    """

    params: int | None = None
    params_embedding: int | None = None
    params_non_embedding: int | None = None
    tokens: int | None = None
    unique_tokens: int | None = None
    epochs: float | None = None
    steps: int | None = None
    batch_sequences: int | None = None
    batch_tokens: int | None = None
    flops_per_token: float | None = None
    flops: float | None = None
    flops_convention: str | None = None
    memory_bytes: int | None = None

    def columns(self) -> dict[str, Any]:
        """The columns of the trials table this fills."""
        return {item.name: getattr(self, item.name) for item in fields(self) if item.name != "memory_bytes"}
