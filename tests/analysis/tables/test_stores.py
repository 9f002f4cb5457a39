"""What is read of a store: each trial by its latest attempt, wherever its rows lie, and a count of those left out."""

from __future__ import annotations

import datetime as dt
from typing import Any

import polars as pl
import pytest

from sweeplaw.analysis.tables.launches import (
    later_defaults,
    owner,
    with_later_knobs,
    with_own_quantities,
    without_scores,
)
from sweeplaw.analysis.tables.tables import REPLACED, Tables, keep, load
from sweeplaw.orchestrator.store.compaction import compact
from sweeplaw.orchestrator.store.exclusions import exclude
from sweeplaw.orchestrator.store.writer import Writer


@pytest.mark.heavy
def test_merged_sealed_and_young_rows_are_each_trial_once(store, record, points):
    for launch, seeds in (("one", (0, 1, 2)), ("two", (3, 4))):
        with Writer(store.location, launch) as writer:
            writer.write([record(seed, loss=1.0 + seed) for seed in seeds], curves=points(record(seeds[0])))
    compact(store.location, grace=dt.timedelta(0), target_rows=5)
    with Writer(store.location, "three") as writer:  # sealed when it ends
        writer.write(
            [record(1, attempt=2, loss=9.0), record(5, loss=None, state="failed"), record(6, loss=7.0, extra=1.5)]
        )
    with Writer(store.location, "four") as writer:
        writer.write([record(0, attempt=2, loss=8.0)], curves=points(record(0, attempt=2), steps=2))
        found = load(store)  # with a journal that is not sealed
        extra = found.trials.filter(pl.col("extra").is_not_null()).select("seed", "extra").collect()
        assert extra.rows() == [(6, 1.5)]  # a column that the other parts do not have
        assert dict(found.trials.select("seed", "val_loss").collect().iter_rows()) == {
            0: 8.0, 1: 9.0, 2: 3.0, 3: 4.0, 4: 5.0, 6: 7.0,
        }  # fmt: skip
        assert found.dropped == {REPLACED: 2, "state failed": 1}
        curves = found.curves.collect()
        seen = {(row["trial_id"], row["attempt"], row["step"]) for row in curves.to_dicts()}
        ids = [record(seed).spec.trial_id for seed in (0, 3)]
        assert seen == {(ids[0], 2, 1), (ids[0], 2, 2), (ids[1], 1, 1), (ids[1], 1, 2), (ids[1], 1, 3)}
    exclude(store, [record(2).spec.trial_id], "a bad disk")
    found = load(store, states=None, where="val_loss > 3.5")
    assert found.trials.collect()["seed"].sort().to_list() == [0, 1, 3, 4, 6]
    assert found.dropped == {REPLACED: 2, "excluded: a bad disk": 1, "not where val_loss > 3.5": 1}
    assert found.excluded.select("seed", "val_loss", "exclusion_reason").collect().rows() == [(2, 3.0, "a bad disk")]
    assert found.narrowed is not None
    near = found.narrowed([record(3).spec.trial_id]).collect()
    assert 3 in near["seed"]
    assert 2 not in near["seed"]
    assert load(store, states=("failed",)).dropped == {REPLACED: 2, "excluded: a bad disk": 1, "state completed": 5}


def test_scores_of_kept_models_are_no_runs():
    trials = pl.LazyFrame({"workload": ["lm", "evaluation", None], "state": ["completed", "completed", "failed"]})
    launches = ({"workload": "lm"}, {"workload": "evaluation"})
    tables = Tables(trials, trials, {"x": 1}, "s", launches)
    kept = keep(tables, ("completed",), None)
    assert kept.trials.collect().rows() == [("lm", "completed")]
    assert kept.dropped == {"x": 1, "scores of kept models on tasks": 1, "state failed": 1}
    assert kept.launches == launches[:1]
    assert keep(tables, None, None).trials.collect().height == 3
    assert without_scores(trials, launches[:1]) == (trials, launches[:1])


def test_a_later_knob_has_its_default_in_the_earlier_rows_of_its_owner():
    launches: list[dict[str, Any]] = [
        {"workload": "lm", "sweep": "a", "later_knobs": {"dropout": 0.5, "val_loss": 1, "style": True}},
        {"workload": "command", "sweep": "a", "later_knobs": {"depth": 3, "dropout": 0.25}},
        {"workload": "lm", "sweep": "b", "later_knobs": {"twice": 1}},
        {"workload": "lm", "sweep": "b", "later_knobs": {"twice": 2, "depth": "deep"}},
        {"later_knobs": {"depth": 9}},
    ]
    assert later_defaults(launches)["twice", "lm", None] == {1, 2}
    assert (owner("lm", "a"), owner("command", "a")) == (("lm", None), ("command", "a"))
    trials = pl.LazyFrame({
        "workload": ["lm", "lm", "command", "command", "lm"], "sweep": ["a", "b", "a", "b", "a"],
        "source": [None, None, None, None, "theirs"], "dropout": [None, 0.125, None, None, None],
        "depth": [None, 4, None, None, None], "twice": pl.Series([None] * 5, dtype=pl.Int64),
        "style": pl.Series([None] * 5, dtype=pl.String), "val_loss": pl.Series([None] * 5, dtype=pl.Float64),
    })  # fmt: skip
    found = with_later_knobs(trials, launches).collect()
    assert found["dropout"].to_list() == [0.5, 0.125, 0.25, None, None]
    assert found["depth"].to_list() == [None, 4, 3, None, None]
    assert found["style"].to_list() == ["true", "true", None, None, None]
    assert found["twice"].null_count() == found["val_loss"].null_count() == 5


def test_n_and_d_stand_for_our_columns_and_a_foreign_n_is_kept_under_another_name():
    trials = pl.LazyFrame({
        "source": ["theirs", "theirs", None, None], "params_non_embedding": [10, None, 30, 40], "N": [1, 2, 3, None],
        "tokens": [100, 200, 300, 400], "D": ["x", "y", None, None], "their_D": ["z", None, None, None],
    })  # fmt: skip
    found = with_own_quantities(trials, [{"kind": "import"}]).collect()
    assert found["N"].to_list() == [10, 2, 3, 40]
    assert found["their_N"].to_list() == [1, None, None, None]
    assert found["D"].to_list() == [100, 200, 300, 400]
    assert found["their_D"].to_list() == ["z", "y", None, None]
    plain = with_own_quantities(trials, [{"kind": "launch"}]).collect()
    assert plain["N"].to_list() == [10, 2, 3, 40]
    assert plain["D"].to_list() == ["x", "y", None, None]
    assert plain.columns == trials.collect_schema().names()
