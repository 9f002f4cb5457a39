"""Exported metrics match the launch, are complete at every moment, and are served on this machine only."""

from __future__ import annotations

import socket
import threading
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from sweeplaw.clusters.profile import profile
from sweeplaw.orchestrator.launch.launch import launch
from sweeplaw.orchestrator.launch.state import LaunchSnapshot, LaunchState
from sweeplaw.orchestrator.monitor import prometheus
from sweeplaw.orchestrator.monitor.prometheus import MetricsTarget, exported, launch_metrics, metrics_target, render
from sweeplaw.orchestrator.plan.plan import plan
from sweeplaw.orchestrator.plan.sweep import parse
from sweeplaw.orchestrator.schedule.device_time import Usage
from sweeplaw.orchestrator.store.store import Store
from sweeplaw.trials.errors import InputError

SWEEP = 'name = "t"\nworkload = "surrogate"\n[scientific]\nparams = [1000]\ntokens = [100000]\n'
SWEEP += '[nuisance]\nbehaviour = ["normal", "failed", "diverged"]\n'

Parsed = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def parsed(text: str) -> Parsed:
    """Return (name without prefix, labels other than the sweep) -> value, by Prometheus' own parser."""
    return {
        (
            sample.name.removeprefix("sweeplaw_"),
            tuple(sorted((k, v) for k, v in sample.labels.items() if k != "sweep")),
        ): (sample.value)
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def snapshot(**known: Any) -> LaunchSnapshot:
    blank: dict[str, Any] = {"states": {}, "retries": 0, "todo": 0, "slots": 0, "running": (), "rate": 0.0}
    return LaunchSnapshot(**{**blank, "best_loss": None, "seconds": 0.0, "usage": Usage(), **known})


def test_metrics_match_what_the_launch_did(tmp_path):
    launch_state, path = LaunchState(), tmp_path / "node" / "sweep.prom"
    path.parent.mkdir()
    with launch_metrics(f"file:{path}", launch_state, "t", [], lambda words: None):
        store = Store.open(tmp_path / "s", create=True)
        done = launch(plan(parse(SWEEP)), store, profile.load("inline"), launch_state=launch_state)
    seen = parsed(path.read_text())
    for state, count in done.states.items():
        assert seen["trials_ended_total", (("state", state),)] == count
    assert seen["trials_planned", ()] == 3
    assert (seen["slots", ()], seen["slots_busy", ()]) == (1, 0)
    assert seen["wasted_device_seconds_total", (("reason", "failed"),)] == pytest.approx(done.usage.wasted["failed"])
    assert seen["useful_device_seconds_total", ()] == pytest.approx(done.usage.useful)
    assert seen["best_loss_nats", ()] == pytest.approx(launch_state.snapshot().best_loss)
    assert [file.name for file in path.parent.iterdir()] == ["sweep.prom"], "a temporary file was left"


@given(
    st.text(st.characters(exclude_categories=["Cs"])),
    st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), st.integers(0, 10**9), max_size=3),
)
@pytest.mark.heavy
def test_any_text_survives_as_a_label(sweep: str, dropped: dict[str, int]) -> None:
    families = {family.name: family for family in text_string_to_metric_families(render(snapshot(), sweep, dropped))}
    samples = families["sweeplaw_rows_not_logged"].samples
    assert {sample.labels["sink"]: sample.value for sample in samples} == dropped
    assert families["sweeplaw_slots"].samples[0].labels == {"sweep": sweep}


def test_a_value_that_is_not_known_yet_is_absent_and_not_zero():
    assert ("best_loss_nats", ()) not in parsed(render(snapshot(), "t"))
    assert parsed(render(snapshot(best_loss=2.5), "t"))["best_loss_nats", ()] == 2.5


def test_the_whole_page_of_a_launch() -> None:
    found = snapshot(
        states={"failed": 1, "completed": 2}, retries=3, todo=9, slots=4, running=("a", "b"), rate=0.5, best_loss=2.25,
        seconds=8.0, usage=Usage(7.0, {"node died": 6.0}, {"node died": 1}),
    )  # fmt: skip
    kinds, values = [], []
    for line in render(found, "t", {"wandb:p": 5}).splitlines():
        if line.startswith("# TYPE sweeplaw_"):
            kinds.append(tuple(line.split()[2:]))
        elif not line.startswith("# HELP sweeplaw_"):
            values.append(line.removeprefix("sweeplaw_"))
    assert [kind for name, kind in kinds if name.endswith("_total")] == ["counter"] * 5
    assert [kind for name, kind in kinds if not name.endswith("_total")] == ["gauge"] * 6
    assert values == [
        'trials_ended_total{sweep="t",state="completed"} 2.0',
        'trials_ended_total{sweep="t",state="failed"} 1.0',
        'attempts_followed_total{sweep="t"} 3.0',
        'trials_planned{sweep="t"} 9.0',
        'trials_per_second{sweep="t"} 0.5',
        'slots{sweep="t"} 4.0',
        'slots_busy{sweep="t"} 2.0',
        'launch_seconds{sweep="t"} 8.0',
        'useful_device_seconds_total{sweep="t"} 7.0',
        'wasted_device_seconds_total{sweep="t",reason="node died"} 6.0',
        'rows_not_logged_total{sweep="t",sink="wandb:p"} 5.0',
        'best_loss_nats{sweep="t"} 2.25',
    ]


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("127.0.0.1:0", MetricsTarget(None, "127.0.0.1", 0)),
        ("localhost:65535", MetricsTarget(None, "localhost", 65535)),
        ("[::1]:9100", MetricsTarget(None, "::1", 9100)),
        ("file:/a/b.prom", MetricsTarget(Path("/a/b.prom"), "", 0)),
        ("file:x", MetricsTarget(Path("x").absolute(), "", 0)),
    ],
)
def test_a_target_is_a_file_or_a_port_of_this_machine(text: str, target: MetricsTarget) -> None:
    assert metrics_target(text) == target


def test_a_reader_never_sees_a_partial_file(tmp_path, monkeypatch):
    monkeypatch.setattr(prometheus, "FILE_SECONDS", 0.0005)
    path, text = tmp_path / "m.prom", render(snapshot(states={f"s{number}": 1 for number in range(200)}), "t")
    with exported(MetricsTarget(path=path), lambda: text):
        assert {path.read_text() == text for _ in range(300)} == {True}


@pytest.mark.heavy
def test_the_page_is_served_on_loopback_until_the_block_ends():
    launch_state = LaunchState()
    launch_state.begin(7, 3)
    with exported(metrics_target("127.0.0.1:0"), lambda: render(launch_state.snapshot(), "t")) as there:
        with urllib.request.urlopen(there, timeout=30) as answer:
            assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
            assert parsed(answer.read().decode())["trials_planned", ()] == 7
        with pytest.raises(urllib.error.HTTPError, match="404") as missing:
            urllib.request.urlopen(there.replace("/metrics", "/etc/passwd"), timeout=30)
        missing.value.close()
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(there, timeout=30)
    assert not [thread for thread in threading.enumerate() if thread.name == "metrics page"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("0.0.0.0:9100", "only loopback"),
        ("example.org:9100", "only loopback"),
        ("127.0.0.1", "accepted are 127.0.0.1:PORT"),
        ("127.0.0.1:65536", "accepted are 127.0.0.1:PORT"),
        ("file:", "accepted are 127.0.0.1:PORT"),
    ],
)
def test_an_invalid_target_is_refused_with_the_accepted_forms(text, words):
    with pytest.raises(InputError, match=words):
        metrics_target(text)


def test_a_taken_port_and_a_missing_folder_are_errors_before_anything_starts(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        where = metrics_target(f"127.0.0.1:{taken.getsockname()[1]}")
        with pytest.raises(InputError, match="cannot be served"), exported(where, str):
            raise AssertionError("the port was taken")
    with (
        pytest.raises(InputError, match="cannot be written"),
        exported(MetricsTarget(path=Path(tmp_path / "no" / "m")), str),
    ):
        raise AssertionError("there is no such folder")
