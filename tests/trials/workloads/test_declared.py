"""Knobs that a sweep declares, or uses without declaring them."""

from __future__ import annotations

import math
from typing import Any

import pytest

from sweeplaw.trials.spec import Knob
from sweeplaw.trials.workloads.user_code import declared


def knobs(tables: Any = None, axes: Any = None) -> dict[str, Knob]:
    faults: list[str] = []
    found = declared.knobs(tables, axes, faults)
    assert faults == []
    return {knob.name: knob for knob in found}


def fault(tables: Any = None, axes: Any = None) -> str:
    faults: list[str] = []
    declared.knobs(tables, axes, faults)
    return "\n".join(faults)


@pytest.mark.parametrize(
    ("samples", "type_"),
    [([1, 2], "int"), ([1, 0.5], "float"), ([0.1], "float"), (["a"], "str"), ([True, False], "bool")],
)
def test_an_undeclared_knob_takes_the_common_type_of_its_values(samples: list[Any], type_: str) -> None:
    assert knobs(axes={"x": samples})["x"].type == type_


def test_a_bare_value_is_the_default_and_its_type_includes_the_axis() -> None:
    found = knobs({"x": 1}, {"x": [0.5]})["x"]
    assert (found.type, found.default) == ("float", 1.0)


def test_a_declaration_has_type_unit_meaning_and_bounds() -> None:
    table = {"type": "float", "default": 1, "unit": "s", "meaning": "m", "low": 0, "high": 2, "member": True}
    assert knobs({"x": table})["x"] == Knob("x", "float", 1.0, "s", "m", member=True, low=0, high=2)
    assert knobs({"x": {"type": "float", "default": 1}})["x"] == Knob("x", "float", 1.0, "", "")


def test_there_is_always_a_seed_and_its_declaration_takes_precedence() -> None:
    assert knobs()["seed"].default == 0
    assert knobs({"seed": 7})["seed"].default == 7


def test_a_knob_named_like_a_column_has_the_type_of_the_column() -> None:
    assert knobs(axes={"tokens": [1e6]})["tokens"].type == "int"
    assert knobs(axes={"epochs": [1]})["epochs"].type == "float"
    assert "holds int" in fault({"params": {"type": "float"}})


@pytest.mark.parametrize(
    ("tables", "axes", "words"),
    [
        ({"x": {"type": "integer"}}, None, "accepted: int, float, str, bool"),
        ({"x": {"type": "int", "defualt": 1}}, None, "did you mean 'default'"),
        ({"x": {"unit": "s"}}, None, "give it a default or a type"),
        ({"x": {"type": "int", "default": 1.5}}, None, "1.5 is not a whole number"),
        ({"x": {"type": "int", "low": "0"}}, None, "low = '0'"),
        ({"x": {"type": "str", "choices": [1]}}, None, "choices"),
        ({"x": [1, 2]}, None, "no common type"),
        (None, {"x": [1, "a"]}, "no common type"),
        (None, {"x": [True, 2]}, "no common type"),
        (None, {"x": []}, "give it a default or a type"),
        ({"val_loss": 1.0}, None, "filled by the run"),
        ({"host": "a"}, None, "filled by the run"),
        ({"a-b": 1}, None, "letters, digits"),
        ({"a\n": 1}, None, "letters, digits"),
        ({"a..b": 1}, None, "letters, digits"),
        ({"a.": 1}, None, "letters, digits"),
        ({"a" * 129: 1}, None, "at most 128 characters"),
        ({"ﬁt": 1}, None, "a formula would read this knob's name as 'fit'"),
        ({"params": {"type": "int", "member": True}}, None, "cost the same"),
        (["x"], None, "not a table"),
        ({"x": math.nan}, None, "finite"),
        ({"x": 2**63}, None, "a whole number of at most 64 bits"),
        ({"x": "\0"}, None, "text without NUL"),
    ],
)
def test_an_invalid_declaration_is_reported_with_its_name_and_what_is_accepted(
    tables: Any, axes: Any, words: str
) -> None:
    assert words in fault(tables, axes)


def test_all_faults_are_reported_together() -> None:
    assert len(fault({"x": [1], "host": 1, "y": {"typ": "int"}}).splitlines()) == 3


def test_cost_follows_only_from_definitions() -> None:
    cost = declared.cost({"unique_tokens": 100, "epochs": 2.5, "params": 50, "params_embedding": 10, "lr": 0.1})
    assert (cost.tokens, cost.params_non_embedding) == (250, 40)
    assert declared.cost({"unique_tokens": 100, "tokens": 300}).epochs == 3
    assert cost.flops is None
    assert declared.facts({"unique_tokens": 100, "epochs": 2.0, "lr": "a"}) == {
        "unique_tokens": 100,
        "epochs": 2.0,
        "tokens": 200,
    }


def test_resources_are_finite_numbers_by_known_names() -> None:
    faults: list[str] = []
    assert declared.resources({"cpus": 2, "gpus": 0.5}, faults) == {"cpus": 2.0, "gpus": 0.5}
    assert faults == []
    declared.resources({"gpu": 1, "cpus": -1}, faults)
    assert "did you mean 'gpus'" in faults[0]
    assert "-1" in faults[1]


@pytest.mark.parametrize(
    ("value", "found", "fault"),
    [
        (None, False, []),
        (True, True, []),
        (False, False, []),
        (1, False, ["workload.checkpoints = 1 (accepted: true or false)"]),
        ("true", False, ["workload.checkpoints = 'true' (accepted: true or false)"]),
    ],
)
def test_a_setting_that_is_true_or_false(value: Any, found: bool, fault: list[str]) -> None:
    faults: list[str] = []
    assert (declared.flag("checkpoints", value, faults), faults) == (found, fault)


@pytest.mark.parametrize("codes", [[], [1], (75, 255)])
def test_exit_codes_after_which_a_trial_runs_again(codes: Any) -> None:
    faults: list[str] = []
    assert (declared.exit_codes(codes, faults), faults) == (frozenset(codes), [])


@pytest.mark.parametrize("codes", [75, [0], [256], [True], ["75"], [1.0]])
def test_what_is_no_list_of_exit_codes_is_refused(codes: Any) -> None:
    faults: list[str] = []
    assert declared.exit_codes(codes, faults) == frozenset()
    assert faults == [f"workload.retry_exit_codes = {codes!r} is not a list of exit codes from 1 to 255, such as [75]"]


def test_settings_that_are_not_accepted_are_named_with_the_nearest_one() -> None:
    assert declared.unknown_options(["argv", "arg", "folder"], ["argv", "env"]) == [
        "workload.arg is not known (accepted: argv, env); did you mean 'argv'?"
    ]
