"""Start-up time: cold `sweeplaw --help` and `import sweeplaw.analysis`, against an empty interpreter.

Usage: `python benchmarks/launching/startup.py [--runs 9]`
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time

WHAT = {
    "python -c pass": ["-c", "pass"],
    "import sweeplaw.analysis": ["-c", "import sys, sweeplaw.analysis; assert not {'torch', 'ray'} & set(sys.modules)"],
    "sweeplaw --help": ["-m", "sweeplaw", "--help"],
}


def seconds(arguments: list[str]) -> float:
    """Wall seconds of one process."""
    began = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def main() -> None:
    """Take turns, so that whatever else the machine does falls on all three; print medians and ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=9)
    runs = parser.parse_args().runs
    taken: dict[str, list[float]] = {name: [] for name in WHAT}
    for _ in range(runs):
        for name, arguments in WHAT.items():
            taken[name].append(seconds(arguments))
    base = statistics.median(taken["python -c pass"])
    for name, found in taken.items():
        middle = statistics.median(found)
        print(f"{name:18} {middle:.3f} s  {middle / base:5.1f}x an empty interpreter")


if __name__ == "__main__":
    main()
