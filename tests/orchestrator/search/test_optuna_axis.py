"""A nuisance axis as Optuna sees it, and what its suggestions mean."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FixedTrial

from sweeplaw.orchestrator.plan.sweep import parse
from sweeplaw.orchestrator.search.optuna_axis import OptunaAxis

SWEEP = """
name = "axes"
[workload]
kind = "python:any:f"
knobs = { lr = 0.1, optimizer = "adamw", warmup = 0.1, decay = 0.1, rate = 0.5, size = 4 }
[search]
kind = "tpe"
[budget]
trials = 3
[scientific]
params = [1000]
[nuisance]
lr = [1e-1, 1e-3, 1e-2]
optimizer = ["sgd", "adamw"]
rate = { log = [0.1, 10.0] }
size = { linear = [2, 9] }
[[zip]]
role = "nuisance"
warmup = [0.2, 0.1]
decay = [0.3, 0.4]
"""


@pytest.fixture
def axes(tmp_path: Path) -> dict[str, OptunaAxis]:
    (tmp_path / "any.py").write_text("def f(config): ...\n")
    found = parse(SWEEP, folder=tmp_path).axes
    return {made.name: made for made in (OptunaAxis.of(axis) for axis in found if axis.role == "nuisance")}


@pytest.mark.parametrize(
    ("name", "kind", "param", "values"),
    [
        ("lr", IntDistribution(0, 2), 1, (1e-2,)),  # an index of ordered values
        ("optimizer", CategoricalDistribution(range(2)), 1, ("adamw",)),
        ("warmup,decay", CategoricalDistribution(range(2)), 0, (0.2, 0.3)),
        ("rate", FloatDistribution(0.1, 10.0, log=True), 2.5, (2.5,)),
        ("size", IntDistribution(2, 9), 7, (7,)),
    ],
)
def test_what_is_suggested_is_a_value_of_the_axis_and_back(
    axes: dict[str, OptunaAxis], name: str, kind: BaseDistribution, param: Any, values: tuple[Any, ...]
) -> None:
    axis = axes[name]
    assert axis.distribution == kind
    assert axis.suggest(FixedTrial({name: param})) == values  # type: ignore[arg-type]
    assert axis.param(values) == param


@pytest.mark.parametrize(
    ("name", "values"), [("lr", (0.5,)), ("optimizer", ("lion",)), ("rate", (11.0,)), ("size", (1,))]
)
def test_a_value_that_the_axis_does_not_have_is_an_error(
    axes: dict[str, OptunaAxis], name: str, values: tuple[Any, ...]
) -> None:
    with pytest.raises(ValueError, match=r"outside|not in tuple|is not in"):
        axes[name].param(values)
