"""A small store with every kind of file, what the commands answer about it, and flips of single bytes."""

from __future__ import annotations

import datetime as dt
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sweeplaw.analysis.tables import tables
from sweeplaw.analysis.tables.query import Query, run_query
from sweeplaw.orchestrator.launch import published_packs, retries, usage
from sweeplaw.orchestrator.launch.published_packs import RunningPack
from sweeplaw.orchestrator.monitor import trial_view
from sweeplaw.orchestrator.monitor.status import progress
from sweeplaw.orchestrator.plan.limits import Retry
from sweeplaw.orchestrator.schedule.device_time import Meter
from sweeplaw.orchestrator.store import claims, exclusions
from sweeplaw.orchestrator.store.compaction import compact
from sweeplaw.orchestrator.store.store import Store
from sweeplaw.orchestrator.store.writer import Writer
from sweeplaw.orchestrator.worker import pack_log
from sweeplaw.trials.store_format import attempt_log
from tests.conftest import EPOCH, make_points, make_record

NO_GRACE = dt.timedelta(0)
FACTS = {"sweep": "a sweep", "workload": "surrogate", "scientific": ["seed"], "nuisance": ["lr"], "retry": {}}
Answers = dict[str, Any]


def build(folder: Path) -> Store:
    """Return a store with merged parts, sealed ones, and files of launches, retries, exclusions, usage and claims."""
    store = Store.open(folder, create=True)
    for number, launch in enumerate(("20260101T000000-aa", "20260101T000001-bb")):
        records = [make_record(seed, launch=launch) for seed in range(10 * number, 10 * number + 10)]
        _write(store, launch, [*records, make_record(3, attempt=2 + number, state="failed", launch=launch)])
        store.add_launch(launch, {**FACTS, "later_knobs": {"lr": 0.5}}, [record.spec.trial_id for record in records])
        meter = Meter()
        meter.used(12.5)
        usage.publish(store.location, launch, "a sweep", meter)
        compact(store.location, grace=NO_GRACE, target_rows=20)
    (folder / "logs").mkdir()
    with pack_log.opened(str(folder / "logs"), attempt_log.name("20260101T000000-aa", "pack", 1), folder) as log:
        for seed in (4, 5, 6):
            log.begin({make_record(seed).spec.trial_id: 1})
            log.write(f"printed by {seed}\n".encode())
    _write(store, "20260101T000002-cc", [make_record(seed) for seed in range(20, 26)])
    _write(store, "20260101T000003-dd", [make_record(seed, x=0.5) for seed in range(26, 30)])
    retries.requeue(store, ["failed"])
    excluded = [make_record(seed).spec.trial_id for seed in (1, 12, 23)]
    exclusions.exclude(store, excluded, "a bad node")
    exclusions.restore(store, excluded[:1])
    held = [make_record(seed).spec.trial_id for seed in range(40, 44)]
    claims.claim(store.location, held, "20260101T000004-ee", 3600)
    pack = RunningPack("pack", "20260101T000004-ee", "host", 1.0, EPOCH, EPOCH, 2, {held[0]: 5, held[1]: None})
    published_packs.publish(store.location, "20260101T000004-ee", [pack], EPOCH)
    return store


def open_journal(store: Store) -> Writer:
    """Write three lines to a journal and leave it open."""
    writer = Writer(store.location, "20260101T000004-ee")
    for seed in range(30, 33):
        writer.write([make_record(seed)], make_points(make_record(seed)))
    return writer


def _write(store: Store, launch: str, records: list[Any]) -> None:
    with Writer(store.location, launch) as writer:
        writer.write(records, [point for record in records for point in make_points(record)])


def answers(folder: Path) -> tuple[Answers, tuple[str, ...]]:
    """Return what reading commands answer, and the damage that they name."""
    store = Store.open(folder)
    loaded = tables.load(folder, states=None)
    trials = loaded.trials.collect().sort("trial_id")
    wanted, finished = make_record(5).spec.trial_id, store.finished()
    found = {
        "trials": trials.select(sorted(trials.columns)),
        "curves": loaded.curves.collect().sort("trial_id", "attempt", "step"),
        "one": run_query(loaded, Query(where=f"trial_id = '{wanted}'")).frame,
        "dropped": dict(loaded.dropped),
        "excluded": loaded.excluded.collect().sort("trial_id").select("trial_id", "exclusion_reason"),
        "launches": loaded.launches,
        "finished": finished,
        "attempts": store.attempts(),
        "retried": retries.due_for_retry(store, Retry(failed=2), finished, trials["trial_id"].to_list()),
        "log": trial_view.logs(store, wanted, retries.attempts_of(store.location, wanted, trial_view.ATTEMPT)),
        "next": max(store.next_time(), EPOCH + dt.timedelta(days=36500)),
        **_status(store),
    }
    return found, tuple(dict.fromkeys([*loaded.faults, *store.problems]))


def _status(store: Store) -> Answers:
    """Return what `status` answers, without what depends on when a file was written."""
    found = progress(store)
    leases = [(lease.launch_id, lease.trials) for lease in found.leases]
    steps = [(pack.host, pack.devices, pack.left, dict(pack.steps)) for pack in found.packs]
    named = ("states", "imported", "missing", "waiting", "claimed", "running", "relaunch", "best_loss", "usage")
    return {**{name: getattr(found, name) for name in named}, "leases": leases, "packs": steps}


def differing(found: Answers, expected: Answers) -> list[str]:
    """Return the names of the answers that differ."""
    return [name for name, value in expected.items() if not _same(found[name], value)]


def _same(found: Any, expected: Any) -> bool:
    return bool(found.equals(expected) if hasattr(expected, "equals") else found == expected)


def files(folder: Path) -> list[Path]:
    """Return the files with content, locks left out."""
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.stat().st_size and path.name[0] != ".")


def flips(folder: Path, count: int, seed: int) -> Iterator[tuple[Path, int]]:
    """Yield ``count`` times a file with one byte changed, and the position; afterwards it is as before."""
    rng = random.Random(seed)
    every = files(folder)
    for number in range(count):
        path = every[number % len(every)]
        content = path.read_bytes()
        position = rng.randrange(len(content))
        with open(path, "r+b") as file:
            file.seek(position)
            file.write(bytes([content[position] ^ rng.randrange(1, 256)]))
        yield path, position
        with open(path, "r+b") as file:
            file.write(content)


def copied(folder: Path, to: Path) -> Path:
    """Return a copy of the store at ``to``."""
    shutil.copytree(folder, to)
    return to
