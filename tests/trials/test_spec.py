"""Identity: an id is a hash of content and survives versions with additional knobs."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
import re
from pathlib import Path
from typing import Any

import pytest

from sweeplaw.analysis.tables.tables import load
from sweeplaw.clusters.profile.profile import parse as profile
from sweeplaw.orchestrator.launch.launch import launch
from sweeplaw.orchestrator.plan.plan import plan
from sweeplaw.orchestrator.plan.sweep import parse
from sweeplaw.orchestrator.store.store import Store
from sweeplaw.trials.errors import InputError
from sweeplaw.trials.spec import Knob, TrialSpec, later_knobs, trial_ids
from sweeplaw.trials.workloads import registry
from sweeplaw.trials.workloads.surrogate import KNOBS, Surrogate
from tests.paths import ROOT

FIRST = (Knob("lr", "float", None, "", "", member=True), Knob("width", "int", 64, "", ""))
MOMENTUM = Knob("momentum", "float", 0.9, "", "", member=True, since="0.2.0")
NESTEROV = Knob("nesterov", "bool", False, "", "", since="0.3.0")
GROWN = (*FIRST, MOMENTUM, NESTEROV)
SWEEP = """
name = "t"
workload = "surrogate"
seeds = 2
[scientific]
params = [1000, 4000]
[fixed]
tokens = 100000
"""


def test_an_id_is_unchanged_when_the_workload_gains_a_knob() -> None:
    before = TrialSpec.of("w", FIRST, {"lr": 0.1})
    after = TrialSpec.of("w", GROWN, {"lr": 0.1})
    assert after.trial_id == before.trial_id
    assert after.canonical() == before.canonical()
    assert after["momentum"] == 0.9
    assert not after["nesterov"]


@pytest.mark.parametrize("given", [{"momentum": 0.95}, {"nesterov": True}])
def test_a_later_knob_not_at_its_default_is_another_trial(given: dict[str, Any]) -> None:
    assert TrialSpec.of("w", GROWN, {"lr": 0.1, **given}).trial_id != TrialSpec.of("w", FIRST, {"lr": 0.1}).trial_id


def test_setting_a_knob_to_its_default_is_the_same_trial() -> None:
    assert TrialSpec.of("w", GROWN, {"lr": 0.1, "momentum": 0.9}) == TrialSpec.of("w", GROWN, {"lr": 0.1})


def test_a_spec_round_trips_through_its_canonical_text() -> None:
    for momentum, nesterov in itertools.product((0.9, 0.5), (False, True)):
        spec = TrialSpec.of("w", GROWN, {"lr": 0.1, "momentum": momentum, "nesterov": nesterov})
        again = TrialSpec.from_canonical(spec.canonical(), later_knobs(GROWN))
        assert again == spec
        assert dict(again.knobs) == dict(spec.knobs)


def test_a_spec_prints_as_its_knobs_and_id_alone() -> None:
    spec = TrialSpec.of("w", GROWN, {"lr": 0.1})
    assert repr(spec) == f"TrialSpec(workload='w', knobs={spec.knobs!r}, trial_id='{spec.trial_id}')"


def test_ids_of_many_rows_equal_those_of_their_specs() -> None:
    rows = list(itertools.product((0.1, 0.2), (0.9, 0.5, 0.9)))
    for nesterov in (False, True):
        shared = {"width": 64, "nesterov": nesterov}
        made = trial_ids("w", shared, ("lr", "momentum"), rows, later_knobs(GROWN))
        specs = [TrialSpec.of("w", GROWN, {**shared, "lr": lr, "momentum": momentum}) for lr, momentum in rows]
        assert made == [spec.trial_id for spec in specs]


def test_a_later_knob_without_a_default_is_refused() -> None:
    with pytest.raises(ValueError, match="needs a default"):
        Knob("momentum", "float", None, "", "", since="0.2.0")


@pytest.fixture
def grown(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace the surrogate by a later version with an additional knob."""
    gained = Knob("flavour", "str", "plain", "", "a knob of a later version", since="9.0.0")
    monkeypatch.setattr(Surrogate, "of", lambda rest, options: Surrogate(knobs=(*KNOBS, gained)))


def run(store: Store, text: str) -> Any:
    return launch(plan(parse(text)), store, profile({"kind": "inline"}, name="inline"))


@pytest.mark.heavy
def test_a_relaunch_by_a_later_version_repeats_no_trial_and_reads_old_rows_at_the_default(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    store = Store.open(tmp_path / "s", create=True)
    assert run(store, SWEEP).states == {"completed": 4}
    before = load(tmp_path / "s").trials.sort("trial_id").collect()

    request.getfixturevalue("grown")
    assert run(store, SWEEP).states == {}
    swept = SWEEP.replace("[fixed]", '[nuisance]\nflavour = ["plain", "sour"]\n[fixed]')
    assert run(store, swept).states == {"completed": 4}, "only the trials not at the default"

    after = load(tmp_path / "s").trials.sort("trial_id").collect()
    assert sorted(after["flavour"]) == ["plain"] * 4 + ["sour"] * 4
    assert after.filter(flavour="plain")["trial_id"].to_list() == before["trial_id"].to_list()


@pytest.mark.heavy
@pytest.mark.parametrize(
    "facts",
    [
        {"later_knobs": ["flavour"]},
        {"later_knobs": {"val_loss": 0.0, "source": "x", "state": "diverged"}},
        {"later_knobs": {"flavour": ["plain"]}},
        {"later_knobs": {"flavour": "bitter"}},  # another default than the first launch recorded
        {"later_knobs": {"flavour": "bitter"}, "workload": "another"},
        {"later_knobs": {"flavour": "bitter"}, "workload": []},
    ],
)
def test_a_launch_record_that_is_not_ours_fills_no_row(
    tmp_path: Path, request: pytest.FixtureRequest, facts: dict[str, Any]
) -> None:
    store = Store.open(tmp_path / "s", create=True)
    run(store, SWEEP)
    request.getfixturevalue("grown")
    run(store, SWEEP.replace("[fixed]", '[nuisance]\nflavour = ["sour"]\n[fixed]'))
    before = load(tmp_path / "s").trials.sort("trial_id").collect()
    crafted = {"workload": "surrogate", "sweep": "t", "recorded_at": "2026-01-01T00:00:00+00:00", **facts}
    (tmp_path / "s" / "launches" / "crafted.json").write_text(json.dumps(crafted))
    after = load(tmp_path / "s").trials.sort("trial_id").collect()
    disagree = facts == {"later_knobs": {"flavour": "bitter"}}
    assert before["flavour"].value_counts().sort("flavour").rows() == [("plain", 4), ("sour", 4)]
    assert after["flavour"].null_count() == (4 if disagree else 0)
    assert after.drop("flavour").equals(before.drop("flavour"))


def test_a_declared_knob_with_since_keeps_the_ids_of_existing_trials() -> None:
    head = 'name = "t"\nscientific = { x = [1, 2] }\nworkload = { kind = "command", argv = ["true", "{x}"]'
    before = plan(parse(head + " }"))
    after = plan(parse(head + ', knobs = { depth = { default = 3, since = "2" } } }'))
    changed = plan(parse(head + ", knobs = { depth = { default = 3 } } }"))
    assert list(after.ids) == list(before.ids)
    assert set(changed.ids).isdisjoint(before.ids)


@pytest.mark.parametrize("kind", ["python", "command"])
def test_a_launch_that_changes_the_default_of_a_later_knob_is_refused(tmp_path: Path, kind: str) -> None:
    workload = {"python": 'kind = "python:builtins:dict"', "command": 'kind = "command", argv = ["true"]'}[kind]
    head = f'name = "NAME"\nscientific = {{ x = [1] }}\nworkload = {{ {workload}, '
    text = head + 'knobs = { depth = { default = DEFAULT, since = "2" } } }'
    store = Store.open(tmp_path / "s", create=True)
    run(store, text.replace("DEFAULT", "3").replace("NAME", "a"))
    run(store, text.replace("DEFAULT", "3").replace("NAME", "a"))
    with pytest.raises(InputError, match=r"knob 'depth' has the default 4, but earlier launches into .* had 3"):
        run(store, text.replace("DEFAULT", "4").replace("NAME", "a"))
    other = text.replace("DEFAULT", "4").replace("NAME", "b")
    if kind == "command":  # commands share a name; another sweep is another command
        run(store, other)
    else:
        with pytest.raises(InputError, match="knob 'depth'"):
            run(store, other)


def test_knobs_are_immutable() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        MOMENTUM.default = 0.5  # type: ignore[misc]


@pytest.mark.parametrize("name", ["language_model", "surrogate"])
def test_knobs_of_the_first_version_keep_their_defaults_and_every_later_one_says_since_when(name: str) -> None:
    """`first_knobs.json` was written once and is never made anew: the ids of existing stores rest on it."""
    first = json.loads((ROOT / "tests" / "golden" / "first_knobs.json").read_text())[name]
    knobs = registry.load(name).knobs
    assert {knob.name: [knob.type, knob.default] for knob in knobs if knob.since is None} == first


@pytest.mark.parametrize(
    ("type_", "accepted", "refused"),
    [
        (
            "int",
            [0, -(2**63) + 1, 2**63 - 1, 3.0],
            [2**63, -(2**63) - 1, 10**400, 1e300, 0.5, math.inf, math.nan, True],
        ),
        ("float", [0, 1e308, -5e-324, 2**60], [10**400, 10**30, 2**60 + 1, math.inf, math.nan, "1"]),
        ("str", ["", "é", "\u202e", "a\nb"], ["\0", "a\0b", "\ud800", 1]),
    ],
)
def test_values_that_a_table_cannot_hold_are_refused(type_, accepted, refused):
    knob = Knob("x", type_, None, "", "")
    assert [knob.coerce(value) for value in accepted] == accepted
    for value in refused:
        with pytest.raises(ValueError, match="is not"):
            knob.coerce(value)


@pytest.mark.parametrize(
    ("bound", "value", "said"),
    [
        (1 - 1e-9, 1.0, "outside [0, 0.999999999]"),
        (2**24, 2.0**24 + 1, "outside [0, 16777216]"),
        (1e9, 2e9, "[0, 1e+09]"),
    ],
)
def test_a_bound_is_said_so_that_the_refused_value_is_not_within_it(bound, value, said):
    with pytest.raises(ValueError, match=re.escape(said)):
        Knob("x", "float", None, "", "", low=0, high=bound).coerce(value)
