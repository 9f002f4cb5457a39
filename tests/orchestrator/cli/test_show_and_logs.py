"""`sweeplaw show` and `sweeplaw logs`: one trial, found by the beginning of its id, and what its attempts printed."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from sweeplaw.clusters.profile import profile
from sweeplaw.orchestrator.cli import app
from sweeplaw.orchestrator.cli.sweeps.show import WIDTH, sparkline
from sweeplaw.orchestrator.launch.launch import launch
from sweeplaw.orchestrator.launch.retries import requeue
from sweeplaw.orchestrator.monitor.printed import readable
from sweeplaw.orchestrator.plan.plan import plan
from sweeplaw.orchestrator.plan.sweep import parse
from sweeplaw.orchestrator.store.store import Store
from sweeplaw.trials.store_format import journal
from sweeplaw.trials.store_format.location import Location
from tests.conftest import make_record

FUNCTION = """
import sys
def f(config):
    print("mode", config["mode"], "lr", config["lr"])
    for step in range(10):
        yield {"step": step, "val_loss": 10.0 - step, "train_loss": 5.0}
    if config["mode"] == "bad": raise ValueError("planted")
"""
SWEEP = """
name = "t"
workload = { kind = "python:shown_function:f", knobs = { mode = "good" } }
seeds = [3]
[scientific]
mode = ["good", "bad"]
[fixed]
lr = 1e-5
"""


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, dict[str, str]]]:
    """A store of two trials, the bad one with two attempts; and their ids by mode."""
    folder = tmp_path_factory.mktemp("shown")
    (folder / "shown_function.py").write_text(FUNCTION)
    before = list(sys.path)
    made = plan(parse(SWEEP, folder=folder))
    opened = Store.open(folder / "s", create=True)
    launch(made, opened, profile.load("inline"))
    requeue(opened, ["failed"])
    launch(made, opened, profile.load("inline"))
    yield folder / "s", {str(spec["mode"]): spec.trial_id for spec in made.specs}
    sys.path[:] = before
    sys.modules.pop("shown_function", None)


def call(*arguments: Any) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.mark.heavy
def test_show_has_knobs_reason_attempts_curve_and_the_end_of_the_log(ran: tuple[Path, dict[str, str]]) -> None:
    store, ids = ran
    text = call("show", store, ids["bad"][:10]).stdout
    for words in (
        f"trial {ids['bad']}: failed",
        "ValueError: planted (shown_function.py:7 in f)",
        "lr = 1e-05",
        "attempts:",
        "curve: 10 points, steps 0 to 9",
        "10 to 1",
        "log of attempt 2:\n  mode bad lr 1e-05\n  Traceback (most recent call last):",
        f"sweeplaw show {store} {ids['bad']} --sweep > alone.toml",
    ):
        assert words in text
    values = json.loads(call("show", store, ids["bad"], "--json").stdout)
    (row,) = json.loads(call("query", store, "--state", "failed", "--json").stdout)
    assert values["row"]["started_at"] == row["started_at"]  # one form of times in all JSON
    assert [attempt["attempt"] for attempt in values["attempts"]] == [1, 2]
    assert values["knobs"] == {"lr": 1e-5, "mode": "bad", "seed": 3}
    assert len(values["curve"]) == 10


@pytest.mark.heavy
def test_logs_are_those_of_every_attempt_or_of_one(ran: tuple[Path, dict[str, str]]) -> None:
    store, ids = ran
    assert call("logs", store, ids["good"]).stdout == "mode good lr 1e-05\n"
    both = call("logs", store, ids["bad"]).stdout
    assert both.count("--- attempt") == both.count("ValueError: planted") == 2
    one = call("logs", store, ids["bad"], "--attempt", 1).stdout
    assert one.startswith("mode bad lr 1e-05\nTraceback")
    assert [log["attempt"] for log in json.loads(call("logs", store, ids["bad"], "--json").stdout)] == [1, 2]


@pytest.mark.heavy
@pytest.mark.parametrize("command", ["logs", "show"])
def test_a_log_with_another_byte_is_shown_and_named_as_damaged(
    ran: tuple[Path, dict[str, str]], tmp_path: Path, command: str
) -> None:
    store, ids = Path(shutil.copytree(ran[0], tmp_path / "s")), ran[1]
    (file,) = (path for path in (store / "logs").iterdir() if b"mode good" in path.read_bytes())
    file.write_bytes(file.read_bytes().replace(b"mode good", b"mode g00d"))
    found = call(command, store, ids["good"])
    assert found.exit_code == 3
    assert "mode g00d lr 1e-05" in found.stdout
    assert f"logs/{file.name} is damaged: its content differs from its checksum" in found.stderr


@pytest.mark.heavy
def test_only_the_logs_of_its_own_packs_are_opened_while_no_attempt_is_missing(
    ran: tuple[Path, dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A launch of thousands of packs has thousands of logs, each a request to an object store."""
    opened: list[str] = []
    read = Location.read

    def noted(location: Location, name: str) -> bytes:
        opened.append(name)
        return read(location, name)

    monkeypatch.setattr(Location, "read", noted)
    store, ids = ran
    assert call("logs", store, ids["good"]).exit_code == 0
    assert len([name for name in opened if name.startswith("logs/")]) == 1
    assert len(list((store / "logs").iterdir())) == 3


@pytest.mark.heavy
def test_the_sweep_of_a_trial_alone_plans_that_trial(ran: tuple[Path, dict[str, str]]) -> None:
    store, ids = ran
    for trial in ids.values():
        assert list(plan(parse(call("show", store, trial, "--sweep").stdout)).ids) == [trial]


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("show", ""), "2 trials of"),
        (("show", "nothing"), "has no trial 'nothing'"),
        (("logs", "nothing"), "has no trial 'nothing'"),
        (("logs", "GOOD", "--attempt", 7), "has no log of attempt 7 (accepted: 1)"),
    ],
)
def test_a_trial_or_attempt_that_is_not_there_is_refused(
    ran: tuple[Path, dict[str, str]], arguments: tuple[Any, ...], words: str
) -> None:
    store, ids = ran
    command, trial, *more = arguments
    assert words in str(call(command, store, ids["good"] if trial == "GOOD" else trial, *more).exception)


@pytest.mark.heavy
@pytest.mark.parametrize("words", [("show",), ("show", "--sweep"), ("logs",)])
def test_damage_is_named_beside_the_answer(
    ran: tuple[Path, dict[str, str]], tmp_path: Path, words: tuple[str, ...]
) -> None:
    store = shutil.copytree(ran[0], tmp_path / "s")
    command, *options = words
    sound = call(command, store, ran[1]["good"], *options)
    (store / "logs/x.log").symlink_to("/dev/zero")
    damaged = call(command, store, ran[1]["good"], *options)
    assert (sound.exit_code, damaged.exit_code) == (0, 3)
    assert damaged.stdout == sound.stdout
    assert "damaged: logs/x.log cannot be read: it is a symbolic link" in damaged.stderr


@pytest.mark.heavy
@pytest.mark.parametrize(
    "attempts", ["[" * 100_000, '{"ID": "x"}', '{"ID": [1]}', '{"ID": null}', '{"ID": true}', '{"ID": 1', "[1]"]
)
def test_what_is_no_section_of_a_log_is_skipped(
    ran: tuple[Path, dict[str, str]], tmp_path: Path, attempts: str
) -> None:
    store = shutil.copytree(ran[0], tmp_path / "s")
    sound = call("logs", store, ran[1]["good"]).stdout
    for path in (store / "logs").iterdir():
        odd = f'\x1e{{"attempts":{attempts.replace("ID", ran[1]["good"])}}}\nnot of a trial\n'
        path.write_bytes(odd.encode() + path.read_bytes())
    found = call("logs", store, ran[1]["good"])
    assert (found.exit_code, found.stdout) == (3, sound)  # and the file is named: it is not as it was written


@pytest.mark.heavy
@pytest.mark.parametrize(
    "spec", ["[" * 100_000, "[]", "null", "{}", '{"knobs": []}', '{"knobs": 3}', '{"knobs": null}']
)
def test_a_row_whose_spec_is_none_of_ours_is_shown_without_knobs(tmp_path: Path, spec: str) -> None:
    row = {**make_record(7).row(), "spec": spec}
    opened = Store.open(tmp_path / "s", create=True)
    Path(opened.location.path("journal/other-0.jsonl")).write_bytes(journal.encode([row], []))
    shown = call("show", tmp_path / "s", row["trial_id"])
    assert shown.exit_code == 0
    assert f"trial {row['trial_id']}: completed" in shown.stdout
    assert "has no spec of trial" in str(call("show", tmp_path / "s", row["trial_id"], "--sweep").exception)


def test_output_cannot_control_the_terminal_and_progress_bars_show_their_last_state() -> None:
    assert (
        readable(b"\x1b[31mred\x1b[0m \x1b]0;title\x07\x07bell\r\n10%\r99%\r\nend \xff")
        == "red \\x07bell\n99%\nend �\n"
    )
    assert readable(b"") == ""


def test_a_curve_is_drawn_between_its_extremes() -> None:
    assert sparkline([3.0, 2.0, 1.0, float("nan")]) == "█▄▁x"
    assert sparkline([1.0, 1.0]) == "▁▁"
    assert len(sparkline([float(value) for value in range(100_000)])) == WIDTH


@pytest.mark.heavy
def test_the_sweep_of_a_trial_alone_quotes_names_that_toml_would_read_as_tables(tmp_path: Path) -> None:
    text = 'name = "t"\nworkload = { kind = "command", argv = ["true", "{a.b}", "{c.d}"] }\n'
    text += '[scientific]\n"a.b" = [1]\n[fixed]\n"c.d" = 2\n'
    made = plan(parse(text))
    launch(made, Store.open(tmp_path / "s", create=True), profile.load("inline"))
    (trial,) = made.ids
    assert list(plan(parse(call("show", tmp_path / "s", trial, "--sweep").stdout)).ids) == [trial]
