"""A trial gets exactly the attempts of the sweep's retry policy, in one launch and over several."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

import pytest

from sweeplaw.analysis.tables.tables import load
from sweeplaw.clusters.profile import profile
from sweeplaw.orchestrator.launch.launch import Launched, launch
from sweeplaw.orchestrator.launch.retries import count_outcomes, due_for_retry, requeue
from sweeplaw.orchestrator.plan.limits import Retry
from sweeplaw.orchestrator.plan.plan import plan
from sweeplaw.orchestrator.plan.sweep import parse
from sweeplaw.orchestrator.store import compaction, exclusions
from sweeplaw.orchestrator.store.store import Store
from sweeplaw.trials.errors import InputError
from sweeplaw.trials.record import STATES, UNFINISHED

HEAD = 'name = "t"\nworkload = "surrogate"\n[scientific]\nparams = [1000, 2000]\ntokens = [50]\n'


def run(folder: Path, behaviours: Sequence[str], retry: str = "") -> Launched:
    quoted = ", ".join(f'"{name}"' for name in behaviours)
    text = f"{HEAD}[nuisance]\nbehaviour = [{quoted}]\n[retry]\n{retry}\n"
    return launch(plan(parse(text)), Store.open(folder, create=True), profile.load("inline"))


def attempts(folder: Path) -> dict[str, set[int]]:
    """Return behaviour -> the attempts of its trials' latest rows."""
    rows = load(folder, states=None).trials.select("behaviour", "attempt").collect()
    return {name: set(part["attempt"]) for (name,), part in rows.group_by("behaviour")}


@pytest.mark.heavy
def test_each_state_gets_its_own_number_of_further_attempts_and_the_last_row_counts(tmp_path):
    done = run(
        tmp_path, ["normal", "failed", "diverged", "out_of_memory"], "failed = 2\ndiverged = 1\nout_of_memory = 1"
    )
    assert done.states == {"completed": 2, "failed": 2, "diverged": 2, "out_of_memory": 2}
    assert done.retries == 2 * (2 + 1 + 1)
    assert attempts(tmp_path) == {"normal": {1}, "failed": {3}, "diverged": {2}, "out_of_memory": {2}}


KINDS = {
    'kind = "language_model"': 1,
    'kind = "surrogate"': 0,
    'kind = "python"': 0,
    'kind = "command"\nargv = ["train", "--parts", "{shrink}"]': 1,
    'kind = "command"\nargv = ["train"]\nenv = {PARTS = "{shrink}"}': 1,
    'kind = "command"\nargv = ["train", "{{shrink}}"]': 0,
}


@pytest.mark.parametrize(("kind", "tries"), KINDS.items())
def test_a_trial_out_of_memory_is_retried_where_the_retry_differs_or_the_sweep_asks_for_it(kind, tries):
    axis = "depth = [1]" if "language" in kind else "params = [1000]"
    text = f'name = "t"\n[workload]\n{kind}\n[scientific]\n{axis}\n'.replace('"python"', '"python:math:fsum"')
    assert parse(text).retry.out_of_memory == tries
    for setting in (0, 1, 3):
        assert parse(f"{text}[retry]\nout_of_memory = {setting}\n").retry.out_of_memory == setting


@pytest.mark.heavy
def test_a_script_that_takes_smaller_batches_completes_where_it_ran_out_of_memory(tmp_path):
    script = tmp_path / "train.sh"
    script.write_text('[ "$1" -ge 2 ] || kill -KILL $$\necho \'{"final": true, "val_loss": 2.5}\'\n')
    for divisor, states, attempt in (("{shrink}", {"completed": 1}, 2), ("1", {"out_of_memory": 1}, 1)):
        text = f"""name = "t"
        workload = {{kind = "command", argv = ["sh", "{script}", "{divisor}"]}}
        [scientific]
        params = [1000]
        """
        store = Store.open(tmp_path / f"s{attempt}", create=True)
        assert launch(plan(parse(text)), store, profile.load("inline")).states == states
        assert load(store.location.uri, states=None).trials.collect()["attempt"].to_list() == [attempt]


@pytest.mark.heavy
def test_a_relaunch_gives_no_further_attempt_and_a_larger_policy_gives_the_difference(tmp_path):
    run(tmp_path, ["failed"], "failed = 1")
    assert run(tmp_path, ["failed"], "failed = 1").states == {}
    more = run(tmp_path, ["failed"], "failed = 3")
    assert (more.states, more.retries) == ({"failed": 2}, 2)
    assert attempts(tmp_path) == {"failed": {4}}
    assert run(tmp_path, ["failed"]).states == {}


@pytest.mark.heavy
def test_attempts_that_compaction_moved_away_still_count(tmp_path):
    run(tmp_path, ["failed", "normal"], "failed = 2")
    store = Store.open(tmp_path)
    compaction.compact(store.location)
    again = Store.open(tmp_path)
    finished = again.finished()
    failed = [trial for trial, state in finished.items() if state == "failed"]
    assert {count_outcomes(again.location, failed)[trial, "failed"] for trial in failed} == {3}
    assert due_for_retry(again, Retry(failed=2), finished, finished) == {}
    assert due_for_retry(again, Retry(failed=3), finished, finished) == dict.fromkeys(failed, 3)


@pytest.mark.heavy
def test_a_trial_requeued_by_a_user_runs_once_whatever_the_policy(tmp_path):
    run(tmp_path, ["failed"], "failed = 0")
    requeue(Store.open(tmp_path), ["failed"])
    assert run(tmp_path, ["failed"], "failed = 0").states == {"failed": 2}
    assert attempts(tmp_path) == {"failed": {2}}


def test_imported_rows_are_never_retried(store, record):
    with store.writer("one") as writer:
        writer.write_rows([{**record(1, state="failed").row(), "launch_id": None}])
    finished = store.finished()
    assert finished
    assert due_for_retry(store, Retry(failed=9), finished, finished) == {}


def test_a_trial_is_retried_while_its_outcomes_in_its_last_state_are_within_the_policy(store, record):
    kinds = ("failed", "diverged", "stopped", "preempted")
    sequences = [ends for length in (1, 2, 3) for ends in itertools.product(kinds, repeat=length)]
    with store.writer("one") as writer:
        for seed, ends in enumerate(sequences):
            writer.write([record(seed, state=state, attempt=number) for number, state in enumerate(ends, start=1)])
    retry = Retry(failed=2, diverged=1, stopped=0)
    finished = store.finished()
    expected = {
        record(seed).spec.trial_id: len(ends)
        for seed, ends in enumerate(sequences)
        if ends[-1] not in UNFINISHED and ends.count(ends[-1]) <= retry.by_state().get(ends[-1], 0)
    }
    assert due_for_retry(store, retry, finished, finished) == expected
    assert len(expected) > len(sequences) / 3


def test_every_fault_of_the_policy_is_reported_at_once():
    text = HEAD + '[retry]\nfaild = 1\nfailed = -1\ndiverged = 1.5\nstopped = "2"\npreempted = 3\ncompleted = 1\n'
    with pytest.raises(InputError) as caught:
        parse(text)
    message = "\n".join(caught.value.faults)
    assert len(caught.value.faults) == 6
    assert "did you mean 'failed'?" in message
    for words in (
        "retry.failed: -1",
        "retry.diverged: 1.5",
        "retry.stopped: '2'",
        "always run again",
        "never run again",
    ):
        assert words in message


def test_every_state_is_in_the_policy_or_known_to_be_outside_it():
    listed = set(Retry.model_fields) - {"worker_died"}
    assert listed | UNFINISHED | {"completed"} == set(STATES)
    generous = Retry(**dict.fromkeys(Retry.model_fields, 9))
    assert generous.by_state() == dict.fromkeys(listed, 9)


def test_rows_still_in_a_journal_count_too(store, record):
    trial = record(1).spec.trial_id
    with store.writer("one") as writer:
        writer.write([record(1, state="failed")])
        assert count_outcomes(store.location, [trial]) == {(trial, "failed"): 1}
    assert count_outcomes(store.location, [trial]) == {(trial, "failed"): 1}


def test_a_trial_is_put_back_by_the_beginning_of_its_id_and_every_other_name_is_refused_at_once(store, record):
    with store.writer("one") as writer:
        writer.write([record(seed, state="failed") for seed in range(20)])
        writer.write_rows([{**record(20, state="failed").row(), "launch_id": None}])
    ids = sorted(record(seed).spec.trial_id for seed in range(20))
    firsts = [one[0] for one in ids]
    shared = next(first for first in firsts if firsts.count(first) > 1)
    imported, gone = record(20).spec.trial_id, next(one for one in ids if not one.startswith(shared))
    exclusions.exclude(store, [gone], "bad node")
    with pytest.raises(InputError) as caught:
        requeue(store, [], ids=[gone, imported, "zz", "", shared])
    uri = store.location.uri
    several = [one for one in ids if one.startswith(shared)]
    assert sorted(caught.value.faults) == sorted([
        f"trial {gone!r} of {uri} is excluded (sweeplaw exclude --undo restores it)",
        *(f"trial {name!r} of {uri} is not there, or was imported" for name in (imported, "zz", "")),
        f"{len(several)} trials begin with {shared!r}: {', '.join(several[:5])}… (accepted: one id)",
    ])  # fmt: skip
    assert requeue(store, [], ids=[several[0][:12], several[1]]) == dict.fromkeys(several[:2], 1)
    assert requeue(store, ["diverged"], ids=[several[0][:12], "zz"]) == {}
