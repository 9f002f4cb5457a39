"""CPU milliseconds of one proposal: of each search by the records that it knows, of its history, and of its claim.

    python benchmarks/searching/proposal_cost.py [--records 100 1000 10000] [--kinds tpe law]

Twenty cells with planted losses. `first` is the first proposal of a new launch, which reads all records; `later` is the
median of the next five. `history` is what the launch adds to each: one more row into its ledger, and the history out of
it. The last line is one claim in a store on this disk. The goal is 200 ms for the law-guided search at 2,000 records.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from latency import measured

from sweeplaw.orchestrator.plan.sweep import parse
from sweeplaw.orchestrator.search.contract import RemainingBudget
from sweeplaw.orchestrator.search.ledger import Ledger, SearchObjective
from sweeplaw.orchestrator.search.space import Space
from sweeplaw.orchestrator.store.store import Store

KINDS = ("random", "tpe", "cmaes", "nsga2", "archive", "local", "law", "gp")
SWEEP = """
name = "ledger"
workload = "surrogate"
[search]
kind = "tpe"
[budget]
trials = 1000000
[scientific]
params = { log = [1e6, 1e9], num = 5 }
tokens = { log = [1e8, 1e10], num = 4 }
[nuisance]
lr = { log = [1e-5, 1.0] }
batch_sequences = [16, 32, 64, 128]
"""
ROUNDS = 20


def milliseconds(call: Callable[[], object], rounds: int = ROUNDS) -> float:
    """Return the median CPU milliseconds of a call."""
    found = []
    for _ in range(rounds):
        started = time.process_time()
        call()
        found.append(1000 * (time.process_time() - started))
    return statistics.median(found)


def history(records: int) -> float:
    """Return the CPU milliseconds of one more row in a ledger with so many, and of the history out of it."""
    space = Space(parse(SWEEP))
    ledger = Ledger(space, SearchObjective(("val_loss",)))
    cells = [dict(cell) for cell in space.cells]
    count = 0

    def one_more() -> None:
        nonlocal count
        knobs = {**cells[count % len(cells)], "lr": 1e-5 * (1 + count), "batch_sequences": 16}
        ledger.add({"trial_id": f"{count:020x}", "state": "completed", "val_loss": 3.0, "launch_id": None, **knobs})
        ledger.history(RemainingBudget())
        count += 1

    for _ in range(records - 1):
        knobs = {**cells[count % len(cells)], "lr": 1e-5 * (1 + count), "batch_sequences": 16}
        ledger.add({"trial_id": f"{count:020x}", "state": "completed", "val_loss": 3.0, "launch_id": None, **knobs})
        count += 1
    return milliseconds(one_more)


def claim() -> float:
    """Return the wall milliseconds of one claim, which waits for the disk."""
    with tempfile.TemporaryDirectory() as folder:
        store = Store.open(Path(folder, "s"), create=True)
        tail = store.tail()
        found = []
        for number in range(ROUNDS):
            started = time.perf_counter()
            store.claim([f"{number:020x}"], "launch", 120.0, tail)
            found.append(1000 * (time.perf_counter() - started))
        return statistics.median(found)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--records", type=int, nargs="+", default=[100, 1000, 2000, 10_000])
    parser.add_argument("--kinds", nargs="+", default=KINDS)
    chosen = parser.parse_args()
    print(f"{'search':10} {'records':>8} {'first, ms':>10} {'later, ms':>10}")
    for kind, count, first, later in measured(chosen.kinds, chosen.records):
        print(f"{kind:10} {count:8,} {1000 * first:10.1f} {1000 * later:10.1f}", flush=True)
    for count in chosen.records:
        print(f"{'history':10} {count:8,} {'':10} {history(count):10.2f}", flush=True)
    print(f"one claim in a store: {claim():.1f} ms of wall time")


if __name__ == "__main__":
    main()
