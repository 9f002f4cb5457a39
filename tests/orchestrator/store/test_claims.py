"""Claims of several launches on one store: exclusive, free after a launch has died, and nothing runs twice."""

from __future__ import annotations

import contextlib
import os
import re
import threading
import time
from pathlib import Path

import pytest

from sweeplaw.orchestrator.store import claims, clocks
from sweeplaw.orchestrator.store.compaction import compact
from sweeplaw.orchestrator.store.store import Store
from sweeplaw.trials.errors import InputError


def test_a_trial_is_granted_to_one_launch_only(store):
    assert store.claim(["a", "b"], "one", 60) == {"a", "b"}
    assert store.claim(["b", "c"], "two", 60) == {"c"}
    assert store.claim(["a", "b"], "one", 60) == {"a", "b"}


def test_a_damaged_table_says_who_runs_by_no_answer_but_an_error_that_names_it(store):
    store.claim(["a"], "one", 60)
    (Path(store.location.root) / "claims" / "table.json").write_bytes(b"{")
    refused = rf"^{re.escape(store.location.uri)}: claims/table\.json.*; when no launch runs on this store, remove"
    with pytest.raises(InputError, match=refused):
        claims.live_launches(store.location, clocks.store_time(store.location))
    with pytest.raises(InputError, match=refused):
        store.claim(["b"], "two", 60)
    assert claims.leases(store.location) == ()


def test_a_released_trial_is_free(store):
    store.claim(["a", "b"], "one", 60)
    store.release("one", ["a"])
    assert store.claim(["a", "b"], "two", 60) == {"a"}
    store.release("one")
    assert store.claim(["b"], "two", 60) == {"b"}


def test_a_stalled_launch_loses_its_trials_and_its_next_renewal_fails(store):
    claims.claim(store.location, ["a"], "one", 60)
    assert claims.renew(store.location, "one", 60)
    age_heartbeat(store, "one", 59)
    assert claims.claim(store.location, ["a"], "two", 60) == set()
    age_heartbeat(store, "one", 61)
    assert claims.claim(store.location, ["a"], "two", 60) == {"a"}
    assert not claims.renew(store.location, "one", 60)
    assert claims.claim(store.location, ["a"], "one", 60) == set()


def age_heartbeat(store, launch, seconds):
    """Date the last heartbeat of the launch ``seconds`` back, in store time."""
    beat, then = store.location.path(f"claims/{launch}.beat.json"), time.time() - seconds
    os.utime(beat, (then, then))


def test_trials_that_another_launch_has_finished_meanwhile_are_not_granted(store, record):
    other = Store.open(store.location.uri)
    tail = store.tail()
    assert store.finished() == other.finished() == {}
    trial = record(1).spec.trial_id
    assert other.claim([trial], "two", 60) == {trial}
    writer = other.writer("two")
    writer.write([record(1, launch="two")])
    other.release("two", [trial])
    assert store.claim([trial], "one", 60, tail) == set()
    writer.write([record(2, launch="two")])
    writer.close()
    assert store.claim([record(2).spec.trial_id, "z"], "one", 60, tail) == {"z"}


def test_a_tail_reads_no_trial_that_was_stored_before_it_and_a_claim_without_one_reads_all(store, record):
    trials = [record(seed).spec.trial_id for seed in (1, 2)]
    for number in (1, 2):
        tail = store.tail()
        with store.writer(f"other{number}") as writer:
            writer.write([record(number, launch=f"other{number}")])
    assert set(tail.fresh("one")) == {trials[1]}
    assert tail.fresh("one") == {}
    assert store.claim(trials, "one", 60) == set()


@pytest.mark.heavy
def test_concurrent_launches_claim_disjoint_trials(store):
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


def test_a_renewal_reads_no_trial_ids_and_files_of_ids_do_not_accumulate(store, monkeypatch):
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
        assert claims.live_launches(store.location, clocks.store_time(store.location)) == {"one", "two"}
    store.release("one")
    store.release("two")
    assert store.location.names("claims", ".ids") == []


def test_compaction_removes_the_file_of_a_launch_that_died_while_claiming(store, monkeypatch):
    def die(location, name, change):
        change({})
        raise KeyboardInterrupt

    monkeypatch.setattr("sweeplaw.orchestrator.store.compare_and_swap.update", die)
    with contextlib.suppress(KeyboardInterrupt):
        store.claim(["a"], "one", 60)
    (orphan,) = claims.unreferenced(store.location)
    compact(store.location)
    assert claims.unreferenced(store.location) == [orphan]
    os.utime(store.location.path(orphan), (0, 0))
    compact(store.location)
    assert claims.unreferenced(store.location) == []


def test_claims_are_read_again_where_one_is_replaced_while_they_are_read(store, monkeypatch):
    """The file of ids that the table named is gone by the time it is read."""
    store.claim(["a"], "one", 60)
    readable, calls = claims._readable, []

    def replaced(location, ids):
        calls.append(ids)
        if len(calls) == 1:
            store.claim(["b"], "one", 60)
        return readable(location, ids)

    monkeypatch.setattr(claims, "_readable", replaced)
    (held,) = claims.leases(store.location)
    assert held.trials == {"a", "b"}
