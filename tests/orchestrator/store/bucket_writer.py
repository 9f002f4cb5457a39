"""Write records until killed; print each seed after its write has returned. Arguments: URI, launch, first seed."""

from __future__ import annotations

import sys

from sweeplaw.orchestrator.store.store import Store
from sweeplaw.orchestrator.store.writer import Writer
from tests.conftest import make_points, make_record

store = Store.open(sys.argv[1])
writer = Writer(store.location, sys.argv[2], segment_bytes=12_000)
for seed in range(int(sys.argv[3]), int(sys.argv[3]) + 1000):
    record = make_record(seed)
    writer.write([record], make_points(record))
    sys.stdout.write(f"{seed}\n")
    sys.stdout.flush()
