"""Optuna's samplers through our search give exactly what Optuna alone gives with the same seed."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
import pytest

from sweeplaw.orchestrator.plan.sweep import parse
from sweeplaw.orchestrator.search import registry
from sweeplaw.orchestrator.search.contract import History, Observation, Proposal
from sweeplaw.orchestrator.search.optuna_sampler import _Study
from sweeplaw.orchestrator.search.space import Space

pytestmark = pytest.mark.filterwarnings("ignore")
SWEEP = """
name = "functions"
{where}
[workload]
kind = "python:functions:f"
{knobs}
[search]
kind = "{kind}"
seed = 11
{options}
[budget]
trials = 1000
[scientific]
dimensions = [{dimensions}]
[nuisance]
{axes}
"""
Function = Callable[[Sequence[float]], float]


def sphere(x: Sequence[float]) -> float:
    return sum(v**2 for v in x)


def rosenbrock(x: Sequence[float]) -> float:
    return sum(100 * (b - a**2) ** 2 + (1 - a) ** 2 for a, b in itertools.pairwise(x))


def rastrigin(x: Sequence[float]) -> float:
    return 10 * len(x) + sum(v**2 - 10 * math.cos(2 * math.pi * v) for v in x)


def ackley(x: Sequence[float]) -> float:
    square = math.sqrt(sum(v**2 for v in x) / len(x))
    wave = sum(math.cos(2 * math.pi * v) for v in x) / len(x)
    return -20 * math.exp(-0.2 * square) - math.exp(wave) + 20 + math.e


def space_of(
    tmp_path: Path, kind: str, axes: Mapping[str, str], options: str = "", where: str = "", knobs: str = ""
) -> Space:
    (tmp_path / "functions.py").write_text("def f(config): ...\n")
    lines = "\n".join(f"{name} = {axis}" for name, axis in axes.items())
    content = SWEEP.format(kind=kind, axes=lines, options=options, where=where, knobs=knobs, dimensions=len(axes))
    return Space(parse(content, folder=tmp_path))


def ours(space: Space, count: int, values: Callable[[Mapping[str, Any]], tuple[float, ...]]) -> list[dict[str, Any]]:
    """Return the settings that our search proposes one after another."""
    search = registry.load(space)
    seen: list[Observation] = []
    names = [axis.names[0] for axis in space.axes]
    found = []
    for number in range(count):
        proposal = search.propose(History(list(seen), number=number))
        assert isinstance(proposal, Proposal)
        knobs = space.knobs(proposal.setting)
        found.append({name: knobs[name] for name in names})
        seen.append(Observation(proposal.setting, "completed", values(knobs), number=number, known=number))
    return found


def optunas(
    sampler: Any,
    count: int,
    suggest: Callable[[Any], dict[str, Any]],
    values: Callable[[Mapping[str, Any]], tuple[float, ...]],
) -> list[dict[str, Any]]:
    """Return the distinct settings that Optuna alone asks for: children of NSGA-II may be copies of their parents."""
    directions: list[Any] = ["minimize"] * len(values(suggest(optuna.trial.FixedTrial({**dict.fromkeys("xyz", 1.0)}))))
    study = optuna.create_study(directions=directions, sampler=sampler)
    found: list[dict[str, Any]] = []
    while len(found) < count:
        trial = study.ask()
        asked = suggest(trial)
        study.tell(trial, list(values(asked)))
        found += [asked] if asked not in found else []
    return found


SAMPLERS = {
    "tpe": ("", lambda: optuna.samplers.TPESampler(seed=11, constant_liar=True)),
    "gp": ("", lambda: optuna.samplers.GPSampler(seed=11)),
    "cmaes": ("", lambda: optuna.samplers.CmaEsSampler(seed=11)),
    "nsga2": ("options = { population_size = 8 }", lambda: optuna.samplers.NSGAIISampler(seed=11, population_size=8)),
    "optuna": ('sampler = "optuna.samplers:QMCSampler"', lambda: optuna.samplers.QMCSampler(seed=11)),
}
COUNT = {"gp": 14}


@pytest.mark.heavy
@pytest.mark.parametrize("function", [sphere, rosenbrock, rastrigin, ackley])
@pytest.mark.parametrize("kind", list(SAMPLERS))
def test_the_same_settings_on_functions_of_three_numbers(tmp_path: Path, kind: str, function: Function) -> None:
    options, make = SAMPLERS[kind]
    if function is not sphere and kind == "gp":
        pytest.skip("one function says it for the slowest sampler")
    axes = dict.fromkeys("xyz", "{ linear = [-5.0, 5.0] }")

    def values(knobs: Mapping[str, Any]) -> tuple[float, ...]:
        return (function([knobs[name] for name in "xyz"]),)

    def suggest(trial: optuna.Trial) -> dict[str, Any]:
        return {name: trial.suggest_float(name, -5.0, 5.0) for name in "xyz"}

    count = COUNT.get(kind, 40)
    assert ours(space_of(tmp_path, kind, axes, options), count, values) == optunas(make(), count, suggest, values)


@pytest.mark.heavy
@pytest.mark.parametrize("kind", ["tpe", "nsga2"])
def test_the_same_settings_for_several_objectives(tmp_path: Path, kind: str) -> None:
    options, make = SAMPLERS[kind]
    axes = dict.fromkeys("xyz", "{ linear = [-5.0, 5.0] }")

    def values(knobs: Mapping[str, Any]) -> tuple[float, ...]:
        x = [knobs[name] for name in "xyz"]
        return sphere(x), sphere([v - 2 for v in x])

    def suggest(trial: optuna.Trial) -> dict[str, Any]:
        return {name: trial.suggest_float(name, -5.0, 5.0) for name in "xyz"}

    found = ours(space_of(tmp_path, kind, axes, options + '\nobjectives = ["near", "far"]'), 40, values)
    assert found == optunas(make(), 40, suggest, values)


@pytest.mark.heavy
@pytest.mark.parametrize("kind", ["tpe", "nsga2"])
def test_the_same_settings_under_a_constraint(tmp_path: Path, kind: str) -> None:
    """Optuna is told what we tell it: a setting outside the condition has the worst value and violates by 1."""
    options, _ = SAMPLERS[kind]
    axes = dict.fromkeys("xyz", "{ linear = [-5.0, 5.0] }")

    def constraint(trial: Any) -> tuple[float, ...]:
        return (trial.user_attrs.get("out", 0.0),)

    makes = {
        "tpe": lambda: optuna.samplers.TPESampler(seed=11, constant_liar=True, constraints_func=constraint),
        "nsga2": lambda: optuna.samplers.NSGAIISampler(seed=11, population_size=8, constraints_func=constraint),
    }

    def values(knobs: Mapping[str, Any]) -> tuple[float, ...]:
        return (rastrigin([knobs[name] for name in "xyz"]),)

    study = optuna.create_study(sampler=makes[kind]())
    alone: list[dict[str, Any]] = []
    while len(alone) < 40:
        trial = study.ask()
        knobs = {name: trial.suggest_float(name, -5.0, 5.0) for name in "xyz"}
        if knobs["x"] + knobs["y"] <= 2:
            alone += [knobs] if knobs not in alone else []
            study.tell(trial, values(knobs)[0])
        else:
            trial.set_user_attr("out", 1.0)
            study.tell(trial, math.inf)
    found = ours(space_of(tmp_path, kind, axes, options, 'where = "x + y <= 2"'), 40, values)
    assert found == alone


@pytest.mark.heavy
def test_the_same_settings_on_mixed_axes(tmp_path: Path) -> None:
    axes = {
        "lr": "{ log = [1e-5, 1.0] }",
        "optimizer": '["sgd", "adamw", "muon"]',
        "width": "[8, 16, 32, 64]",
    }
    worse = {"sgd": 2.0, "adamw": 0.0, "muon": 1.0}

    def values(knobs: Mapping[str, Any]) -> tuple[float, ...]:
        return (math.log(knobs["lr"] / 3e-3) ** 2 + worse[knobs["optimizer"]] + abs(knobs["width"] - 32) / 32,)

    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=11, constant_liar=True))
    alone: list[dict[str, Any]] = []
    taken: set[Any] = set()
    space = space_of(tmp_path, "tpe", axes)
    order = [axis.names[0] for axis in space.axes]
    draws: dict[str, Callable[[optuna.Trial], Any]] = {
        "lr": lambda trial: trial.suggest_float("lr", 1e-5, 1.0, log=True),
        "optimizer": lambda trial: list(worse)[trial.suggest_categorical("optimizer", range(3))],
        "width": lambda trial: [8, 16, 32, 64][trial.suggest_int("width", 0, 3)],
    }
    while len(alone) < 40:
        trial = study.ask()
        knobs = {name: draws[name](trial) for name in order}
        if tuple(knobs.values()) not in taken:
            taken.add(tuple(knobs.values()))
            alone.append(knobs)
            study.tell(trial, values(knobs)[0])
        else:
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
    assert ours(space, 40, values) == alone


@pytest.mark.heavy
@pytest.mark.parametrize("kind", ["tpe", "gp", "cmaes", "nsga2"])
def test_the_same_settings_where_an_axis_depends_on_another(tmp_path: Path, kind: str) -> None:
    """Optuna's own conditional space: a trial has no momentum where its optimizer has none."""
    options, make = SAMPLERS[kind]
    axes = {
        "momentum": "{ linear = [0.5, 0.99], when = \"optimizer == 'sgd'\" }",
        "optimizer": '["sgd", "adamw"]',
        "lr": "{ log = [1e-5, 1.0] }",
    }

    def values(knobs: Mapping[str, Any]) -> tuple[float, ...]:
        off = (knobs["momentum"] - 0.9) ** 2 if knobs["optimizer"] == "sgd" else 0.05
        return (math.log(knobs["lr"] / 3e-3) ** 2 + off,)

    space = space_of(tmp_path, kind, axes, options, knobs="knobs = { momentum = 0.5 }")
    order = [axis.names[0] for axis in space.axes if axis.names != ("momentum",)]

    def suggest(trial: Any) -> dict[str, Any]:
        draws: dict[str, Callable[[], Any]] = {
            "lr": lambda: trial.suggest_float("lr", 1e-5, 1.0, log=True),
            "optimizer": lambda: ["sgd", "adamw"][trial.suggest_categorical("optimizer", range(2))],
        }
        found = {}
        for name in order:
            found[name] = draws[name]()
            if name == "optimizer":
                found["momentum"] = trial.suggest_float("momentum", 0.5, 0.99) if found[name] == "sgd" else 0.5
        return found

    study = optuna.create_study(sampler=make())
    alone: list[dict[str, Any]] = []
    while len(alone) < COUNT.get(kind, 40):
        trial = study.ask()
        knobs = suggest(trial)
        if knobs not in alone:
            alone.append(knobs)
            study.tell(trial, values(knobs)[0])
        elif kind == "nsga2":
            study.tell(trial, values(knobs)[0])
        else:
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
    found = ours(space, len(alone), values)
    assert [{name: one[name] for name in alone[0]} for one in found] == alone
    assert {one["optimizer"] for one in alone} == {"sgd", "adamw"}
    assert len({one["momentum"] for one in alone}) > 3


@pytest.mark.parametrize(("axis", "asks"), [("[1, 2, 3]", 16), ("{ linear = [-5.0, 5.0] }", 64)])
def test_a_sampler_that_repeats_itself_is_asked_so_often_before_another_setting_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, axis: str, asks: int
) -> None:
    """A finite space has a list to take from, and every ask makes the next ones slower."""
    space = space_of(tmp_path, "tpe", {"x": axis})
    search = registry.load(space)
    first = search.propose(History([], number=0))
    assert isinstance(first, Proposal)
    count = 0

    def again(study: Any) -> Any:
        nonlocal count
        count += 1
        return study._study.ask(), first.setting

    monkeypatch.setattr(_Study, "_ask", again)
    seen = [Observation(first.setting, "completed", (1.0,), number=0, known=0)]
    second = search.propose(History(seen, number=1))
    assert isinstance(second, Proposal)
    assert second.setting != first.setting
    assert count == asks
