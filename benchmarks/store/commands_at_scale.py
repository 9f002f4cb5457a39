"""Five million trials: seconds and peak memory of the commands that read all of a store, each in its own process.

    python benchmarks/store/commands_at_scale.py [--rows 5000000] [--store DIR] [--only COMMAND ...]

There is no peer: no other tool answers these questions from one table. The measure is whether each fits on a small
machine.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

COMMANDS = {
    "status": ["status", "{store}"],
    "diff with itself": ["diff", "{store}", "{store}"],
    "retry": ["retry", "{store}", "--state", "preempted"],
    "export to Parquet": ["export", "{store}", "{folder}/runs.parquet"],
    "fit, best of each point": ["fit", "{store}"],
    "fit, every row": ["fit", "{store}", "--all-rows"],
    "importance of 2 knobs": ["importance", "{store}", "--knob", "lr", "--knob", "warmup"],
    "transfer of 2 knobs": ["transfer", "{store}", "--workload", "N,D", "--knob", "lr", "--knob", "warmup"],
    "report": ["report", "{store}", "--out", "{folder}/report"],
}


def spent(command: list[str]) -> tuple[float, float, int]:
    """Wall seconds, peak memory in MB and exit code of a process."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return time.perf_counter() - start, used.ru_maxrss / 1024, process.returncode


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--rows", type=int, default=5_000_000)
    arguments.add_argument("--store", type=Path, help="kept there and used again; default: a temporary folder")
    arguments.add_argument("--only", nargs="+", choices=COMMANDS, default=list(COMMANDS), metavar="COMMAND")
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        store = given.store or Path(folder) / "store"
        if not store.exists():  # by a process of its own: what this one holds would count as its children's
            made = ["--only-fill", "--rows", str(given.rows), "--store", str(store)]
            subprocess.run([sys.executable, str(Path(__file__).with_name("query_speed.py")), *made], check=True)
        print("| command | seconds | MB |\n|---|---|---|")
        for name in given.only:
            asked = [word.format(store=store, folder=folder) for word in COMMANDS[name]]
            seconds, memory, code = spent([sys.executable, "-m", "sweeplaw", *asked])
            print(f"| {name} | {seconds:.1f} | {memory:,.0f} |{f' exit code {code}' if code else ''}", flush=True)


if __name__ == "__main__":
    main()
