"""The interface of a sink, and the sinks that a user names: ``tensorboard:DIR``, ``mlflow:URI``, ``wandb:PROJECT``."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from sweeplaw.trials.errors import InputError, nearest
from sweeplaw.trials.record import Row
from sweeplaw.trials.store_format.location import split

# name -> module:class, and what follows the colon
KINDS = {
    "tensorboard": ("sweeplaw.orchestrator.sinks.tensorboard:TensorBoard", "DIR"),
    "mlflow": ("sweeplaw.orchestrator.sinks.mlflow:MLflow", "URI"),
    "wandb": ("sweeplaw.orchestrator.sinks.wandb:WandB", "PROJECT or ENTITY/PROJECT"),
}


class Sink(Protocol):
    """Receives rows in the order they became durable, from one thread. Its first error is reported, all are counted."""

    def write(self, rows: Sequence[Row]) -> None:
        """Write these rows."""
        ...

    def close(self) -> None:
        """Finish; no more rows follow."""
        ...


@dataclass(frozen=True, slots=True)
class SinkTarget:
    """A sink as specified by the user."""

    kind: str
    place: str

    @property
    def name(self) -> str:
        """The specification, ``kind:place``."""
        return f"{self.kind}:{self.place}"

    def opener(self, sweep: str) -> Callable[[], Sink]:
        """Return a function that opens the sink for this sweep. It may be slow, and raises ImportError."""
        module, _, attribute = KINDS[self.kind][0].partition(":")
        return lambda: getattr(importlib.import_module(module), attribute)(self.place, sweep)


def targets(texts: Iterable[str]) -> tuple[SinkTarget, ...]:
    """Parse sinks without duplicates; a text may list several, separated by commas. Raise InputError."""
    found: dict[SinkTarget, None] = {}
    faults = []
    for text in (part.strip() for listed in texts for part in listed.split(",") if part.strip()):
        kind, _, place = text.partition(":")
        if kind not in KINDS:
            accepted = ", ".join(f"{name}:{what}" for name, (_, what) in KINDS.items())
            faults.append(f"log_to = {text!r} is not known (accepted: {accepted}){nearest(kind, KINDS)}")
        elif not place:
            faults.append(f"log_to = {text!r} has no destination (accepted: {kind}:{KINDS[kind][1]})")
        elif "@" in split(place).netloc:
            faults.append(f"log_to: a {kind} address carries no credentials: give them by environment variables")
        else:
            found[SinkTarget(kind, place)] = None
    if faults:
        raise InputError(faults)
    return tuple(found)
