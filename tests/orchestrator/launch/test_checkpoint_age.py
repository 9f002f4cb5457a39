"""How long ago the latest checkpoint of some trials was written: what a death now would lose."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from sweeplaw.orchestrator.launch.checkpoints import age


def test_the_age_is_that_of_the_latest_checkpoint_and_never_negative(store):
    assert age(store.location, ["one", "two"]) is None
    now = time.time()
    for trial, before in (("one", 500), ("two", 90), ("three", 10)):
        path = Path(store.location.root) / "checkpoints" / f"{trial}.safetensors"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"")
        os.utime(path, (now - before, now - before))
    assert age(store.location, ["one", "two"]) == pytest.approx(90, abs=20)
    os.utime(path, (now + 900, now + 900))  # by a machine whose clock is ahead
    assert age(store.location, ["one", "three"]) == 0
