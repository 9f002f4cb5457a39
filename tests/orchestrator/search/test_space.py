"""The ladder on which a search steps: numbers in increasing order, anything else in the order of the file."""

from __future__ import annotations

import pytest

from sweeplaw.orchestrator.plan.sweep import parse
from sweeplaw.orchestrator.search.space import Space, ladder

SWEEP = """
name = "ladders"
workload = { kind = "python:any:f", knobs = { lr = 0.1, optimizer = "adamw", warmup = 0.1, decay = 0.1 } }
[scientific]
lr = [1e-1, 1e-3, 1e-2]
optimizer = ["sgd", "adamw"]
[[zip]]
role = "nuisance"
warmup = [0.2, 0.1]
decay = [0.3, 0.4]
"""


def test_numbers_are_sorted_and_texts_and_zipped_values_keep_their_order(tmp_path) -> None:
    (tmp_path / "any.py").write_text("def f(config): ...\n")
    rungs = {axis.names: list(ladder(axis)) for axis in parse(SWEEP, folder=tmp_path).axes}
    assert rungs["lr",] == [(1e-3,), (1e-2,), (1e-1,)]
    assert rungs["optimizer",] == [("sgd",), ("adamw",)]
    assert sorted(rungs["warmup", "decay"], reverse=True) == rungs["warmup", "decay"] == [(0.2, 0.3), (0.1, 0.4)]


def test_points_and_seeds_of_a_sweep_share_no_stream_of_random_numbers() -> None:
    text = 'name = "x"\nworkload = "surrogate"\n[scientific]\nparams = [{}]\ntokens = [1e8]\n[nuisance]\nlr = [0.1]\n'
    several, fewer, one = (Space(parse(text.format(sizes))) for sizes in ("1e6, 3e6, 1e7", "3e6, 1e7", "1e6"))
    seeds = [several.seed_at(cell, seed) for cell in range(3) for seed in range(50)]
    assert len(set(seeds)) == 150
    assert all(0 <= seed < 2**32 for seed in seeds)
    assert one.seed_at(0, 7) == 7, "with one point, that of the sweep file"
    assert fewer.seed_at(0, 7) == several.seed_at(1, 7), "a point keeps its own when the sweep is extended"


SEEDED = """
name = "seeded"
seeds = [3, 5]
workload = { kind = "python:any:f", knobs = { lr = 0.1, data_seed = 0 } }
[search]
kind = "local"
[scientific]
params = [1e6]
[nuisance]
lr = [1e-3, 1e-2]
[derived]
flops = "6 * params"
"""


@pytest.mark.parametrize("more", ["", 'data_seed = "100 + seed"\n'])
def test_a_setting_of_own_code_has_a_trial_for_every_seed(tmp_path, more: str) -> None:
    """As in a grid, also where a formula reads the seed; the trials are the same ones."""
    (tmp_path / "any.py").write_text("def f(config): ...\n")
    space = Space(parse(SEEDED + more, folder=tmp_path))
    for candidate in space.candidates:
        group = space.group(candidate.setting)
        assert not isinstance(group, str)
        assert sorted(group.ids) == sorted(candidate.ids)
        assert [group.spec(index).trial_id for index in range(2)] == list(group.ids)
        assert sorted(group.spec(index)["seed"] for index in range(2)) == [3, 5]
        assert {group.spec(index)["data_seed"] for index in range(2)} == ({103, 105} if more else {0})
        assert space.flops(candidate.setting) == candidate.flops == 2 * 6e6
        assert not space.stacks(group)
