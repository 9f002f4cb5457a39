"""Axes that vary only where a condition holds."""

from __future__ import annotations

from pathlib import Path

import pytest

from sweeplaw.orchestrator.plan.plan import plan
from sweeplaw.orchestrator.plan.sweep import parse
from sweeplaw.orchestrator.search.space import Space
from sweeplaw.trials.errors import InputError

SWEEP = """
name = "conditional"
workload = "surrogate"
seeds = 2
{search}
[scientific]
params = [1e6, 1e7]
tokens = [1e8]
[nuisance]
lr = [1e-3, 1e-2]
batch_sequences = [16, 64]
weight_decay = {{ list = [0.05, 0.2, 0.4], when = "{when}" }}
"""


def knobs(when: str, search: str = "") -> set[tuple[object, ...]]:
    """Return the distinct (batch, weight decay) of the planned trials."""
    made = plan(parse(SWEEP.format(when=when, search=search)))
    return {(spec["batch_sequences"], spec["weight_decay"]) for spec in made.specs}


def test_a_knob_has_its_default_where_the_condition_does_not_hold() -> None:
    expected = {(16, 0.1), (64, 0.05), (64, 0.2), (64, 0.4)}
    assert knobs("batch_sequences > 32") == expected
    assert knobs("batch_sequences > 32", '[search]\nkind = "random"\nsamples = 64') == expected


def test_every_trial_is_planned_once_and_none_is_counted_as_dropped() -> None:
    made = plan(parse(SWEEP.format(when="batch_sequences > 32", search="")))
    assert made.trials == len(set(made.ids)) == 2 * 2 * (1 + 3) * 2
    assert made.dropped == {}


def test_a_condition_may_read_a_member_knob_and_a_scientific_axis() -> None:
    made = plan(parse(SWEEP.format(when="lr < 0.005 and params > 2e6", search="")))
    assert made.trials == (3 * 2 + 3 * (1 * 2)) * 2  # one of four (params, lr) has all three values


def test_a_space_has_each_setting_once() -> None:
    space = Space(parse(SWEEP.format(when="batch_sequences > 32", search='[search]\nkind = "law"\n[budget]\ntrials=9')))
    assert len(space.candidates) == 2 * 2 * (1 + 3)
    assert all(space.admits(item.setting) for item in space.candidates)
    assert all(len(item.ids) == 2 for item in space.candidates)


@pytest.mark.parametrize(
    ("when", "message"),
    [("batch > 32", "uses batch, which is not defined"), ("weight_decay > 0", "reads weight_decay"), ("1 +", "when")],
)
def test_a_condition_that_cannot_be_decided_is_refused(when: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse(SWEEP.format(when=when, search=""))


def test_a_condition_is_no_value_of_a_knob_whose_type_is_inferred(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text("def f(config): ...\n")
    text = (
        'name = "own"\n[workload]\nkind = "python:own:f"\nknobs = {{ {default} }}\n[scientific]\nparams = [10]\n'
        "[nuisance]\noptimizer = ['sgd', 'adamw']\nmomentum = {{ list = [0.8, 0.9], when = \"optimizer == 'sgd'\" }}\n"
    )
    made = plan(parse(text.format(default="momentum = 0.5"), folder=tmp_path))
    assert {(spec["optimizer"], spec["momentum"]) for spec in made.specs} == {
        ("sgd", 0.8),
        ("sgd", 0.9),
        ("adamw", 0.5),
    }
    with pytest.raises(InputError, match=r"momentum has no default.*momentum = \.\.\. in \[workload\.knobs\]"):
        parse(text.format(default=""), folder=tmp_path)
