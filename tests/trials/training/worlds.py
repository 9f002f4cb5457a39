"""Processes that train one trial together, for tests."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sweeplaw.trials.record import CurvePoint, Outcome
from sweeplaw.trials.spec import TrialSpec, later_knobs
from sweeplaw.trials.workload import PeerLost
from tests.paths import ROOT

PATIENCE_SECONDS = 120.0  # for processes that start and train on a loaded machine


def free_address() -> str:
    """Return a free loopback address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


class Process:
    """One rank of a world. Its events come as lines on its standard output."""

    def __init__(
        self, rank: int, size: int, address: str, pack: Sequence[TrialSpec], folder: Path, **options: Any
    ) -> None:
        order = {"rank": rank, "size": size, "address": address, "folder": str(folder), **options}
        order["pack"] = [spec.canonical() for spec in pack]
        self.log = folder / f"rank{rank}.log"
        with open(self.log, "wb") as log:
            self.popen = subprocess.Popen(
                [sys.executable, "-m", "tests.trials.training.worlds", json.dumps(order)],
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                cwd=ROOT,
            )

    def events(self) -> list[Any]:
        """Wait for the process to end; return its curve points and outcomes (with a state) as mappings."""
        out, _ = self.popen.communicate(timeout=PATIENCE_SECONDS)
        return [json.loads(line) for line in out.splitlines()]

    def first(self) -> Any:
        """Wait for its next event."""
        assert self.popen.stdout is not None
        return json.loads(self.popen.stdout.readline())


def world(size: int, pack: Sequence[TrialSpec], folder: Path, **options: Any) -> list[Process]:
    """Start all ranks of a world."""
    folder.mkdir(parents=True, exist_ok=True)
    address = free_address()
    return [Process(rank, size, address, pack, folder, **options) for rank in range(size)]


def _plant(plan: Mapping[str, Any], rank: int) -> None:
    """Plant the faults that a test requests: ``oom`` is [rank, most sequences of a micro-batch]."""
    import torch

    from sweeplaw.trials.training.stack import Stack

    real: Callable[[Stack], Any] = Stack._train_step

    def step(stack: Stack) -> Any:
        rows, _ = stack.micro_batches[0]
        if plan.get("oom", [None])[0] == rank and rows.stop - rows.start > plan["oom"][1]:
            raise torch.OutOfMemoryError("planted: out of memory")
        return real(stack)

    Stack._train_step = step  # type: ignore[method-assign, assignment]


def main(order: Mapping[str, Any]) -> int:
    """Run the pack as one rank and print its events; return exit code 3 if another rank is lost."""
    from sweeplaw.trials.workload import Context, World
    from sweeplaw.trials.workloads.language_model import LanguageModel

    _plant(order, order["rank"])
    later = later_knobs(LanguageModel.of("", {}).knobs)
    specs = [TrialSpec.from_canonical(text, later) for text in order["pack"]]
    ending = Path(order["ending"]) if "ending" in order else None
    context = Context(
        "cpu",
        Path(order["folder"]),
        world=World(order["rank"], order["size"], order["address"]),
        micro_batch_divisor=order.get("micro_batch_divisor", 1),
        checkpoints=order.get("checkpoints"),
        checkpoint_seconds=order.get("checkpoint_seconds", 600.0),
        ending=lambda: ending is not None and order["rank"] == order.get("ending_rank", 0) and ending.exists(),
    )
    try:
        for event in LanguageModel.of("", {"store": order["store"]} if "store" in order else {}).run(specs, context):
            assert isinstance(event, CurvePoint | Outcome)
            print(json.dumps(asdict(event), default=str), flush=True)
    except PeerLost as error:
        print(error, file=sys.stderr)
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main(json.loads(sys.argv[1])))
