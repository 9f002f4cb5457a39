"""A hundred thousand empty trials through the whole path on this machine, and the cost of a thousand workers.

    python benchmarks/launching/scale_rehearsal.py [--trials 100000] [--workers 4,16] [--json FILE]

First the path: plan, launch on a private Ray of two slots, every row durable. The memory of the driver and of Ray's
head (gcs, raylet) is sampled meanwhile. Printed for the last four fifths: the slope per 10,000 trials, and the growth,
which is the level at their end (the median of the last fifth of them) less that at their beginning, so that the 15 MB
that a seal takes for a tenth of a second do not count. It is the memory of the process alone; the pages of libraries
and of Ray's object store that the driver has mapped are printed as shared, with the number of Ray objects that it
refers to, each of which is kept until it does not. At the end the store must hold exactly the planned trials, each
once, with its curve.

Then the price of a worker that reports once a second: launches with few and with more such workers, the CPU time of
driver and head while all of them run, and the cost of one more worker from the difference. A thousand workers are
extrapolated from that, and the first number that does not fit on one core is the limit.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import surrogate_launch
from surrogate_launch import Stamps

from sweeplaw.analysis.tables.tables import load
from sweeplaw.clusters.profile.profile import parse
from sweeplaw.orchestrator.plan.plan import plan
from sweeplaw.orchestrator.plan.sweep import parse as parse_sweep
from sweeplaw.orchestrator.store.store import Store
from sweeplaw.trials.record import CurvePoint, Row

HEAD = {"gcs": "gcs_server", "raylet": "raylet"}  # the processes of Ray's head, by the names they run under
WARM = 0.2  # of the trials: before that, imports and allocators still grow
EACH = 10_000  # trials per slope
TARGET = 1000  # workers extrapolated to
REPORTS = 4.0  # seconds a trial of the second part takes: it reports each quarter


@dataclass(frozen=True, slots=True)
class Sample:
    """One sample: outcomes durable so far, memory (bytes) and CPU time (s) of each process, references held."""

    at: float
    done: int
    memory: Mapping[str, float]
    cpu: Mapping[str, float]
    held: int


class Sampler(threading.Thread):
    """Samples the driver (this process) and Ray's head five times a second, once the cluster is there."""

    def __init__(self, stamps: Stamps) -> None:
        super().__init__(daemon=True)
        self.samples: list[Sample] = []
        self._stamps = stamps
        self._ending = threading.Event()

    def __enter__(self) -> Sampler:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ending.set()
        self.join()

    def run(self) -> None:
        """Sample until the block ends; a process that has gone is left out."""
        while not self._ending.wait(0.2):
            if not self._stamps.slots:
                continue
            durable = self._stamps.durable
            try:
                self.samples.append(_look(durable[-1][1] if durable else 0))
            except psutil.NoSuchProcess:
                continue


def _look(done: int) -> Sample:
    me = psutil.Process()
    found = {"driver": me}
    for child in me.children(recursive=True):
        found |= {role: child for role, name in HEAD.items() if child.name() == name}
    memory = {role: _own(process) for role, process in found.items()}
    memory["shared"] = float(me.memory_info().shared)
    cpu = {role: sum(process.cpu_times()[:2]) for role, process in found.items()}
    return Sample(time.perf_counter(), done, memory, cpu, _held())


def _own(process: psutil.Process) -> float:
    """Return the resident bytes that are this process's alone, without the shared pages of Ray's object store."""
    seen = process.memory_info()
    return float(seen.rss - seen.shared)


def _held() -> int:
    """Return the number of Ray objects that this process refers to; 0 if Ray is not connected."""
    from ray._private.worker import global_worker

    core = getattr(global_worker, "core_worker", None) if global_worker.connected else None
    return 0 if core is None else len(core.get_all_reference_counts())


def rehearse(trials: int, folder: Path) -> dict[str, Any]:
    """Run the whole path; return its cost and whether every row is right."""
    text = surrogate_launch.sweep(trials, sizes=10)
    began = time.perf_counter()
    wanted = set(plan(parse_sweep(text)).ids)
    planned = time.perf_counter() - began
    stamps = Stamps()
    with Sampler(stamps) as sampler:
        began = time.perf_counter()
        done = surrogate_launch.launch(text, folder / "store", surrogate_launch.two_slots(), stamps)
        wall = time.perf_counter() - began
    warm = [sample for sample in sampler.samples if WARM * trials <= sample.done < trials]
    return {
        "trials": trials,
        "plan_seconds": planned,
        "launch_seconds": wall,
        "trials_per_second": stamps.rate,
        "writes": len(stamps.durable),
        "driver_ms_per_trial": 1e3 * _spent(warm, "driver") / (warm[-1].done - warm[0].done),
        "gcs_ms_per_trial": 1e3 * _spent(warm, "gcs") / (warm[-1].done - warm[0].done),
        "store_bytes_per_trial": sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / trials,
        "memory": {role: _memory(warm, role) for role in ("driver", *HEAD, "shared")},
        "references_held": max(sample.held for sample in warm),
        "faults": _faults(folder / "store", wanted, done.states),
    }


def _spent(samples: Sequence[Sample], role: str) -> float:
    return samples[-1].cpu[role] - samples[0].cpu[role]


def _memory(samples: Sequence[Sample], role: str) -> dict[str, float]:
    """Return minimum, maximum, slope per `EACH` trials and growth, in MB (1e6 bytes)."""
    done = np.array([sample.done for sample in samples], dtype=float)
    sizes = np.array([sample.memory[role] for sample in samples]) / 1e6
    slope = float(np.polyfit(done, sizes, 1)[0]) * EACH
    fifth = -(-len(sizes) // 5)
    stayed = float(np.median(sizes[-fifth:]) - np.median(sizes[:fifth]))
    return {"least_mb": float(sizes.min()), "most_mb": float(sizes.max()), "slope_mb": slope, "stayed_mb": stayed}


def _faults(store: Path, wanted: set[str], states: Mapping[str, int]) -> list[str]:
    """Return the faults of the rows."""
    tables = load(store, states=None)
    rows = tables.trials.select("trial_id", "state").collect()
    curves = tables.curves.group_by("trial_id").len().collect()
    checks = {
        f"outcomes {dict(states)}": dict(states) == {"completed": len(wanted)},
        f"{rows.height} rows of {len(wanted)} trials": rows.height == len(wanted),
        "rows that were not planned, or the other way round": set(rows["trial_id"]) == wanted,
        "rows that are not completed": set(rows["state"]) == {"completed"},
        f"dropped {dict(tables.dropped)}": not any(tables.dropped.values()),
        "trials without the four points of their curve": curves.height == len(wanted) and set(curves["len"]) == {4},
    }
    return [name for name, right in checks.items() if not right]


class Reports(Stamps):  # type: ignore[misc]  # a script beside this one, found by its folder
    """Stamps that also count reports (calls with rows) and their curve points, and note when all workers run."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[float] = []
        self.points = 0
        self._seen: set[str] = set()
        self.all_run: float | None = None

    def recorded(self, rows: Sequence[Row]) -> None:
        super().recorded(rows)
        self.calls.append(time.perf_counter())
        points = [row for row in rows if isinstance(row, CurvePoint)]
        self.points += len(points)
        self._seen.update(row.trial_id for row in points)
        if self.all_run is None and len(self._seen) >= self.slots:
            self.all_run = time.perf_counter()


def reporting(workers: int, rounds: int) -> dict[str, float]:
    """Return CPU share and memory of driver and head, and writes per second, while ``workers`` report once a second."""
    profile = parse({"kind": "local", "cpus": workers}, name="reporting")
    watch = Reports()
    text = surrogate_launch.sweep(workers * rounds, seconds=REPORTS)
    with tempfile.TemporaryDirectory(dir=".") as folder, Sampler(watch) as sampler:
        surrogate_launch.launch(text, Path(folder) / "store", profile, watch)
    assert watch.all_run is not None
    end = watch.all_run + (rounds - 2) * REPORTS  # the last trials end one after another
    steady = [sample for sample in sampler.samples if watch.all_run <= sample.at <= end]
    seconds = steady[-1].at - steady[0].at
    calls = sum(steady[0].at <= at <= steady[-1].at for at in watch.calls)
    shares = {role: _spent(steady, role) / seconds for role in steady[-1].cpu}
    memory = {f"{role}_mb": statistics.median(sample.memory[role] for sample in steady) / 1e6 for role in shares}
    return {"workers": workers, "writes_per_second": calls / seconds, **shares, **memory}


def appended(rows: int, writes: int) -> float:
    """Return the seconds of one durable write of ``rows`` curve points, writer and disk together."""
    with tempfile.TemporaryDirectory(dir=".") as folder, Store.open(folder, create=True).writer("rehearsal") as writer:
        began = time.perf_counter()
        for step in range(writes):
            writer.write([], [CurvePoint(f"{row:064x}", step, step, 2.5, 2.5, 1e-3) for row in range(rows)])
        return (time.perf_counter() - began) / writes


def extrapolated(few: Mapping[str, float], many: Mapping[str, float]) -> dict[str, dict[str, float]]:
    """Return the cost of one more worker (share of a core, MB) and of `TARGET` workers, from two measurements."""
    more = many["workers"] - few["workers"]
    found = {}
    for name in many:
        if name == "workers":
            continue
        each = (many[name] - few[name]) / more
        found[name] = {"each": each, "at_target": few[name] + each * (TARGET - few["workers"])}
    return found


def print_path(path: Mapping[str, Any]) -> None:
    """Print the first part."""
    print(
        f"{path['trials']} trials planned in {path['plan_seconds']:.1f} s, launched in {path['launch_seconds']:.1f} s"
    )
    print(f"{path['trials_per_second']:.0f} trials/s once started; {path['writes']} durable writes", flush=True)
    print(
        f"a trial: {path['driver_ms_per_trial']:.2f} ms of driver, {path['gcs_ms_per_trial']:.3f} ms of gcs, "
        f"{path['store_bytes_per_trial']:.0f} bytes of store"
    )
    for role, size in path["memory"].items():
        print(
            f"{role:7} {size['least_mb']:6.1f} to {size['most_mb']:6.1f} MB, "
            f"{size['slope_mb']:+.2f} MB for every {EACH} trials, {size['stayed_mb']:+.1f} MB stayed"
        )
    print("rows: " + ("; ".join(path["faults"]) or "exactly right"), flush=True)
    print(f"the driver held {path['references_held']} objects of Ray at most", flush=True)


def print_workers(seen: Sequence[Mapping[str, float]], found: Mapping[str, Mapping[str, float]], one: float) -> None:
    """Print the second part: a column per measured number of workers, the price of one, the target."""
    counts = "".join(f"{int(row['workers']):>10}" for row in seen)
    print(f"\n{'workers, a report a second':28}{counts}{'one more':>12}{TARGET:>10}")
    units = {"writes_per_second": "durable writes a second"}
    for name, price in found.items():
        label = units.get(name, f"{name[:-3]}, MB" if name.endswith("_mb") else f"{name}, share of a core")
        cells = "".join(f"{row[name]:10.3f}" for row in seen)
        print(f"{label:28}{cells}{price['each']:12.5f}{price['at_target']:10.2f}")
    writes = found["writes_per_second"]["at_target"]
    print(
        f"a durable write takes {1e3 * one:.2f} ms on this disk: {writes * one:.2f} of a second each second at {TARGET}"
    )
    limits = {f"{role} on one core": 1 / found[role]["each"] for role in ("driver", "gcs") if found[role]["each"] > 0}
    if found["writes_per_second"]["each"] > 0:
        limits["durable writes"] = 1 / (found["writes_per_second"]["each"] * one)
    name, workers = min(limits.items(), key=lambda item: item[1])
    print(f"the first limit: {name}, at about {workers:.0f} workers")


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--trials", type=int, default=100_000)
    arguments.add_argument("--workers", default="4,16", help="two numbers of workers; empty: the first part alone")
    arguments.add_argument("--rounds", type=int, default=7, help="trials of four seconds for each worker")
    arguments.add_argument("--json", type=Path, help="the figures go here too")
    given = arguments.parse_args()
    figures: dict[str, Any] = {}
    if given.trials:
        with tempfile.TemporaryDirectory(dir=".") as folder:
            figures["path"] = rehearse(given.trials, Path(folder))
        print_path(figures["path"])
    if given.workers:
        seen = [reporting(int(count), given.rounds) for count in given.workers.split(",")]
        figures["workers"], figures["write_seconds"] = seen, appended(1, 200)
        figures["extrapolated"] = extrapolated(seen[0], seen[-1])
        print_workers(seen, figures["extrapolated"], figures["write_seconds"])
    if given.json:
        given.json.write_text(json.dumps(figures, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
