"""Where else records go: TensorBoard, MLflow and W&B, named as ``tensorboard:DIR``, ``mlflow:URI``, ``wandb:PROJECT``.

The store is what counts; a sink only gets to see what is durable there already, and nothing it does can hurt a sweep.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import urlsplit

from sweeplaw.trials.errors import InputError, nearest
from sweeplaw.trials.record import Row

# name -> module:class, what stands behind the colon
KINDS = {
    "tensorboard": ("sweeplaw.orchestrator.sinks.tensorboard:TensorBoard", "DIR"),
    "mlflow": ("sweeplaw.orchestrator.sinks.mlflow:MLflow", "URI"),
    "wandb": ("sweeplaw.orchestrator.sinks.wandb:WandB", "PROJECT or ENTITY/PROJECT"),
}


class Sink(Protocol):
    """Takes rows in the order they became durable, from one thread. Whatever it raises is told once, and counted."""

    def write(self, rows: Sequence[Row]) -> None:
        """Show these rows there."""
        ...

    def close(self) -> None:
        """Nothing more comes."""
        ...


@dataclass(frozen=True, slots=True)
class Target:
    """One sink, as a person named it."""

    kind: str
    place: str

    @property
    def name(self) -> str:
        """As it was given."""
        return f"{self.kind}:{self.place}"

    def opener(self, sweep: str) -> Callable[[], Sink]:
        """What opens the sink for this sweep. It may take long, and raises ImportError without the sink's package."""
        module, _, attribute = KINDS[self.kind][0].partition(":")
        return lambda: getattr(importlib.import_module(module), attribute)(self.place, sweep)


def targets(texts: Iterable[str]) -> tuple[Target, ...]:
    """The sinks these texts name, each once; a text may name several, with commas. Raises InputError with every
    fault.
    """
    found: dict[Target, None] = {}
    faults = []
    for text in (part.strip() for whole in texts for part in whole.split(",") if part.strip()):
        kind, _, place = text.partition(":")
        if kind not in KINDS:
            accepted = ", ".join(f"{name}:{what}" for name, (_, what) in KINDS.items())
            faults.append(f"log_to = {text!r} is not known (accepted: {accepted}){nearest(kind, KINDS)}")
        elif not place:
            faults.append(f"log_to = {text!r} names no place (accepted: {kind}:{KINDS[kind][1]})")
        elif "@" in urlsplit(place).netloc:
            faults.append(f"log_to: a {kind} address carries no credentials: give them by environment variables")
        else:
            found[Target(kind, place)] = None
    if faults:
        raise InputError(faults)
    return tuple(found)
