"""A process that forks writers on demand, so that hundreds can be killed in the time one takes to start.

Reads lines ``store launch first count`` from standard input. The child writes records one by one and prints each seed
after its write has returned, as an acknowledgement.
"""

from __future__ import annotations

import os
import sys

import pyarrow.compute
import pyarrow.parquet  # noqa: F401 - loaded before the fork

from sweeplaw.orchestrator.store.store import Store
from sweeplaw.orchestrator.store.writer import Writer
from tests.conftest import make_points, make_record


def write(uri: str, launch: str, first: int, count: int) -> None:
    store = Store.open(uri, create=True)
    store.writer(launch).close()
    writer = Writer(store.location, launch, segment_bytes=6_000)
    for seed in range(first, first + count):
        record = make_record(seed, launch=launch)
        writer.write([record], make_points(record))
        sys.stdout.write(f"{seed}\n")
        sys.stdout.flush()
    writer.close()
    sys.stdout.write("closed\n")
    sys.stdout.flush()


for line in sys.stdin:
    uri, launch, first, count = line.split("\t")
    child = os.fork()
    if child == 0:
        write(uri, launch, int(first), int(count))
        os._exit(0)
    sys.stdout.write(f"pid {child}\n")
    sys.stdout.flush()
    os.waitpid(child, 0)
    sys.stdout.write("gone\n")
    sys.stdout.flush()
