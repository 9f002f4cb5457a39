"""`sweeplaw plan` subtracts a store and prints what is known; `sweeplaw status` prints a rate while a launch lives."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sweeplaw.orchestrator.cli import app
from sweeplaw.orchestrator.store.store import Store
from sweeplaw.orchestrator.store.writer import Writer
from sweeplaw.trials.errors import InputError
from sweeplaw.trials.quantities import hours as in_hours
from sweeplaw.trials.record import TrialRecord

pytestmark = pytest.mark.process

SWEEP = """
name = "small"
workload = "surrogate"
seeds = 2
[scientific]
params = [1e7, 1e8]
tokens = [1e9]
[nuisance]
lr = [1e-3, 1e-2]
"""
UNKNOWN = """
name = "unknown"
[workload]
kind = "command"
argv = ["true", "{lr}", "{depth}"]
[scientific]
depth = [2]
[nuisance]
lr = [1e-3, 1e-2]
"""


@pytest.fixture
def sweep(tmp_path: Path) -> str:
    path = tmp_path / "small.toml"
    path.write_text(SWEEP)
    return str(path)


def shown(*words: str) -> str:
    result = CliRunner().invoke(app, words, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


@pytest.mark.parametrize(
    ("hours", "text"),
    [
        (None, "–"),
        (0.01, "36 s"),
        (0.033, "119 s"),
        (1 / 30, "2 min"),
        (1.99, "119 min"),
        (2.0, "2.0 h"),
        (999.9, "999.9 h"),
        (1500.0, "1.5k h"),
    ],
)
def test_times_have_the_unit_of_their_size(hours: float | None, text: str) -> None:
    assert in_hours(hours) == text


def test_a_store_that_does_not_exist_has_no_trials_to_subtract(sweep: str, tmp_path: Path) -> None:
    assert shown("plan", sweep, "--store", str(tmp_path / "none")) == shown("plan", sweep)
    assert not (tmp_path / "none").exists()


def test_a_folder_that_is_not_a_store_is_refused(sweep: str, tmp_path: Path) -> None:
    for place in (tmp_path, sweep):
        with pytest.raises(InputError, match="is not a sweeplaw store"):
            CliRunner().invoke(app, ["plan", sweep, "--store", str(place)], catch_exceptions=False)


def test_a_complete_store_leaves_nothing_to_run(sweep: str, tmp_path: Path) -> None:
    store = str(tmp_path / "store")
    shown("launch", sweep, "--store", store, "--cluster", "inline")
    assert shown("plan", sweep, "--store", store) == "nothing to run: 8 of 8 trials are in the store\n"
    assert json.loads(shown("plan", sweep, "--store", store, "--json"))["trials"] == 0


def test_totals_that_are_not_known_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "unknown.toml").write_text(UNKNOWN)
    text = shown("plan", str(tmp_path / "unknown.toml"))
    assert "unknown: 2 trials of command" in text
    assert "total:" not in text
    (tmp_path / "some.toml").write_text(UNKNOWN + "[fixed]\ntokens = 1000\n")
    assert "total: 2k tokens\n" in shown("plan", str(tmp_path / "some.toml"))


def test_a_rate_is_printed_only_while_a_launch_lives(sweep: str, tmp_path: Path) -> None:
    store = str(tmp_path / "store")
    shown("launch", sweep, "--store", store, "--cluster", "inline")
    assert "trials a minute" not in shown("status", store)
    assert json.loads(shown("status", store, "--json"))["rate"] > 0
    Store.open(store).claim(["another"], "next", 60.0)
    assert "trials a minute" in shown("status", store)


CORPUS = """
name = "lm"
[scientific]
params_non_embedding = [100_000]
unique_tokens = [1_000_000]
[fixed]
corpus = "tokens:{path}?vocab=500"
context = 64
"""


def test_a_plan_says_that_a_corpus_is_not_on_this_machine(tmp_path: Path) -> None:
    (tmp_path / "lm.toml").write_text(CORPUS.format(path="tokens.bin"))
    words = ["plan", str(tmp_path / "lm.toml"), "--no-measure"]
    result = CliRunner().invoke(app, [*words, "--json"], catch_exceptions=False)
    assert result.exit_code == 0
    assert json.loads(result.stdout)["trials"] == 1
    name = f"tokens:{tmp_path}/tokens.bin?dtype=uint16&vocab=500"
    assert result.stderr == f"note: corpus = {name!r} is not on this machine; a launch needs it where its trials run\n"
    (tmp_path / "tokens.bin").write_bytes(bytes(2_800_000))
    assert "note" not in CliRunner().invoke(app, words, catch_exceptions=False).stderr


SEARCH = '[search]\nkind = "tpe"\n[budget]\ntrials = 4\n[nuisance]\nlr = { log = [1e-3, 1e-2] }\n'


@pytest.mark.parametrize("search", ["", SEARCH])
def test_a_plan_says_that_a_corpus_is_too_short(search: str, tmp_path: Path) -> None:
    (tmp_path / "lm.toml").write_text(CORPUS.format(path="tokens.bin") + search)
    (tmp_path / "tokens.bin").write_bytes(bytes(2_000_000))
    result = CliRunner().invoke(app, ["plan", str(tmp_path / "lm.toml"), "--no-measure"], catch_exceptions=False)
    notes = result.stderr.splitlines()
    assert result.exit_code == 0
    assert [note.split(":")[1] for note in notes] == [" unique_tokens = 1000000", " validation_tokens = 65536"]
    assert all(note.endswith("; a launch is refused") for note in notes)
    assert "has 49984 validation tokens" in notes[1]


def test_a_narrow_terminal_cuts_no_number_of_a_plan(sweep: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def rows() -> list[list[str]]:
        lines = [line.split() for line in shown("plan", sweep).splitlines()]
        return [words for words in lines if "surrogate" not in words][:3]

    wide = rows()
    assert [row[0] for row in wide] == ["params", "10M", "100M"]
    monkeypatch.setenv("COLUMNS", "20")
    assert rows() == wide


def test_trials_are_retried_by_their_ids(store: Store, record: Callable[..., TrialRecord]) -> None:
    records = [record(seed, state=state) for seed, state in enumerate(["failed", "failed", "completed"])]
    with Writer(store.location, "one") as writer:
        writer.write(records)
    ids = [one.spec.trial_id for one in records]
    name = store.location.uri
    with pytest.raises(InputError, match=r"trial 'none' of .* is not there"):
        CliRunner().invoke(app, ["retry", name, "none", ids[0]], catch_exceptions=False)
    with pytest.raises(InputError, match="no state and no trial was named"):
        CliRunner().invoke(app, ["retry", name], catch_exceptions=False)
    assert json.loads(shown("retry", name, ids[0], ids[2], "--state", "failed", "--json")) == {"requeued": [ids[0]]}
    assert json.loads(shown("retry", name, *ids, "--json")) == {"requeued": sorted(ids[1:])}
    assert set(Store.open(name).finished()) == set()
