"""Several launches on one store: a trial is one launch's, a dead launch's trials are free, nothing runs twice."""

from __future__ import annotations

import contextlib
import os
import threading
import time

from sweeplaw.orchestrator.store import claims, clocks
from sweeplaw.orchestrator.store.compaction import compact
from sweeplaw.orchestrator.store.store import Store


def test_a_trial_is_granted_to_one_launch_only(store):
    assert store.claim(["a", "b"], "one", 60) == {"a", "b"}
    assert store.claim(["b", "c"], "two", 60) == {"c"}
    assert store.claim(["a", "b"], "one", 60) == {"a", "b"}


def test_a_released_trial_is_free(store):
    store.claim(["a", "b"], "one", 60)
    store.release("one", ["a"])
    assert store.claim(["a", "b"], "two", 60) == {"a"}
    store.release("one")
    assert store.claim(["b"], "two", 60) == {"b"}


def test_a_dead_launch_loses_its_trials_and_learns_of_it_when_it_wakes(store):
    claims.claim(store.location, ["a"], "one", 60)
    assert claims.renew(store.location, "one", 60)
    silent(store, "one", 59)
    assert claims.claim(store.location, ["a"], "two", 60) == set()
    silent(store, "one", 61)
    assert claims.claim(store.location, ["a"], "two", 60) == {"a"}
    assert not claims.renew(store.location, "one", 60)
    assert claims.claim(store.location, ["a"], "one", 60) == set()


def silent(store, launch, seconds):
    """As if the last heartbeat of the launch were so long ago, by the clock of the store."""
    beat, then = store.location.path(f"claims/{launch}.beat.json"), time.time() - seconds
    os.utime(beat, (then, then))


def test_what_another_launch_finished_meanwhile_is_not_granted(store, record):
    other = Store.open(store.location.uri)
    assert store.finished() == other.finished() == {}
    trial = record(1).spec.trial_id
    assert other.claim([trial], "two", 60) == {trial}
    writer = other.writer("two")
    writer.write([record(1, launch="two")])
    other.release("two", [trial])
    assert store.claim([trial], "one", 60) == set()
    writer.write([record(2, launch="two")])
    writer.close()
    assert store.claim([record(2).spec.trial_id, "z"], "one", 60) == {"z"}


def test_many_launches_at_once_share_the_trials_without_overlap(store):
    wanted = [f"trial{number}" for number in range(60)]
    granted: dict[str, set[str]] = {}

    def launch(name: str) -> None:
        own = Store.open(store.location.uri)
        taken: set[str] = set()
        for start in range(0, 60, 5):
            taken |= own.claim(wanted[start : start + 5], name, 60)
        granted[name] = taken

    threads = [threading.Thread(target=launch, args=(f"launch{number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(trial for taken in granted.values() for trial in taken) == sorted(wanted)


def test_staying_alive_reads_no_trial_and_files_of_ids_do_not_pile_up(store, monkeypatch):
    store.claim(["a", "b"], "one", 60)
    store.claim(["c"], "two", 60)
    store.claim(["d"], "one", 60)
    store.release("one", ["a"])
    assert {lease.launch_id: lease.trials for lease in claims.leases(store.location)} == {
        "one": {"b", "d"},
        "two": {"c"},
    }
    assert len(store.location.names("claims", ".ids")) == 2
    with monkeypatch.context() as patch:
        patch.setattr(claims, "_held", None)
        assert store.renew("one", 60)
        assert claims.living(store.location, clocks.of_store(store.location)) == {"one", "two"}
    store.release("one")
    store.release("two")
    assert store.location.names("claims", ".ids") == []


def test_a_launch_that_dies_while_it_claims_leaves_a_file_that_compaction_sweeps(store, monkeypatch):
    def dies(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(claims, "swap", lambda location, name, change: dies(change({})))
    with contextlib.suppress(KeyboardInterrupt):
        store.claim(["a"], "one", 60)
    (left,) = claims.unnamed(store.location)
    compact(store.location)
    assert claims.unnamed(store.location) == [left]
    os.utime(store.location.path(left), (0, 0))
    compact(store.location)
    assert claims.unnamed(store.location) == []
