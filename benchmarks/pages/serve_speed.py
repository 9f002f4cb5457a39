"""The page of a store while its launch runs: seconds to the first picture, and what watching costs the launch.

    python benchmarks/pages/serve_speed.py [--trials 1000000] [--launched 3000] [--turns 3]

First a finished store of many trials in 400 cells, made by `benchmarks/store/query_speed.py`: seconds until `sweeplaw
serve` prints its address, from there to a page with its first picture, and a page that is asked for again. Then
launches of surrogate trials in this process, in turns with the page open in a reader of its events and without: the
peer is the same launch that nobody watches.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FIRST_PICTURE = b'<figure id="map"'
SWEEP = """name = "watched"
workload = "surrogate"
seeds = {seeds}
[scientific]
params = {{ log = [1e7, 1e9], num = 4 }}
tokens = {{ log = [1e9, 1e11], num = 3 }}
[nuisance]
lr = {{ log = [3e-4, 3e-2], num = 5 }}
batch_sequences = {{ log = [128, 2048], num = 5 }}
[fixed]
seconds = 0.002  # about 300 trials a second
"""


@contextlib.contextmanager
def served(store: Path) -> Iterator[tuple[str, float, int]]:
    """Serve a store in a process of its own: its address, seconds until it was printed, and the process id."""
    began = time.perf_counter()
    command = [sys.executable, "-m", "sweeplaw", "serve", str(store), "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert process.stdout is not None
    text = ""
    while not text.rstrip().endswith("}"):
        text += process.stdout.readline()
    try:
        yield json.loads(text)["url"], time.perf_counter() - began, process.pid
    finally:
        process.terminate()
        process.wait(timeout=30)


def page(url: str) -> tuple[float, bytes]:
    """Seconds until the page is there, and the page."""
    began = time.perf_counter()
    with urllib.request.urlopen(url, timeout=600) as answer:
        content: bytes = answer.read()
    return time.perf_counter() - began, content


def cpu_seconds(process: int) -> float:
    """Seconds of processor time that a process has used."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory_mb(process: int) -> float:
    """Resident memory of a process."""
    for line in Path(f"/proc/{process}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return float("nan")


def first_picture(trials: int, folder: Path) -> None:
    """Print the times of a finished store of many trials."""
    store = folder / "many"
    fill = [sys.executable, str(ROOT / "benchmarks/store/query_speed.py"), "--only-fill", "--rows", str(trials)]
    subprocess.run([*fill, "--store", str(store)], check=True, cwd=ROOT)
    with served(store) as (url, printed, process):
        first, content = page(url)
        assert FIRST_PICTURE in content
        again, _ = page(url)
        print(
            f"{trials:,} trials: address after {printed:.1f} s, first picture {first:.2f} s later "
            f"({len(content) / 1e3:.0f} kB), again {again:.3f} s, {memory_mb(process):.0f} MB"
        )


def launched(seeds: int, folder: Path, *, watched: bool) -> tuple[float, float]:
    """Trials a second of a launch in this process, and the share of a core that the server of its page used."""
    from sweeplaw.clusters.profile import profile
    from sweeplaw.orchestrator.launch.launch import launch
    from sweeplaw.orchestrator.plan.plan import plan
    from sweeplaw.orchestrator.plan.sweep import parse
    from sweeplaw.orchestrator.store.store import Store
    from sweeplaw.trials.record import TrialRecord

    made = plan(parse(SWEEP.format(seeds=seeds)))
    ends: list[tuple[float, int]] = []

    class Stamps:
        def started(self, todo, already, cluster):
            pass

        def recorded(self, rows):
            ends.append((time.perf_counter(), sum(isinstance(row, TrialRecord) for row in rows)))

    store = Store.open(folder, create=True)
    server, before, began = 0, 0.0, 0.0
    with contextlib.ExitStack() as stack:
        if watched:
            url, _, server = stack.enter_context(served(folder))
            reader = threading.Thread(target=_read_events, args=(url,), daemon=True)
            reader.start()
            time.sleep(2)
            before, began = cpu_seconds(server), time.perf_counter()
        launch(made, store, profile.load("inline"), Stamps())
        share = (cpu_seconds(server) - before) / (time.perf_counter() - began) if watched else 0.0
    return sum(count for _, count in ends[1:]) / (ends[-1][0] - ends[0][0]), share


def _read_events(url: str) -> None:
    with contextlib.suppress(OSError), urllib.request.urlopen(f"{url}events", timeout=600) as events:
        while events.readline():
            pass


def main() -> None:
    """Print both measurements."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=1_000_000)
    parser.add_argument("--launched", type=int, default=3000, help="trials of each launch, in steps of 300")
    parser.add_argument("--turns", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        first_picture(options.trials, folder)
        rates: dict[bool, list[tuple[float, float]]] = {True: [], False: []}
        for turn in range(options.turns):
            for watched in (True, False) if turn % 2 else (False, True):
                rates[watched].append(
                    launched(max(1, options.launched // 300), folder / f"{turn}-{watched}", watched=watched)
                )
        with_page, alone = (statistics.median(rate for rate, _ in rates[watched]) for watched in (True, False))
        share = statistics.median(share for _, share in rates[True])
        print(
            f"trials a second: {alone:.0f} alone, {with_page:.0f} watched: {with_page / alone:.3f} times as many; "
            f"the server used {share:.1%} of a core"
        )


if __name__ == "__main__":
    main()
