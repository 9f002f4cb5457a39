"""The section on times to events: laws by what varies, their card, and what is said where there is none."""

from __future__ import annotations

import csv
import io
import math
from urllib.parse import unquote

import numpy as np
import polars as pl
import pytest

from sweeplaw.analysis.event_times.observations import event_columns
from sweeplaw.analysis.report.findings.event_laws import EventLaw, event_laws
from sweeplaw.analysis.report.panels.event_time import event_card
from sweeplaw.analysis.report.paper.finding_figures import event_time
from sweeplaw.analysis.tables.families import Axes
from tests.analysis.event_times.planted import EXPONENTS, draw

BY = Axes("params_non_embedding", "tokens", "val_loss", (), ())
LAUNCH: dict[str, object] = {"sweep": "s", "scientific": ["a", "kind"], "nuisance": ["b"]}


def trials(kind: str = "x", *, end: float = np.inf) -> pl.DataFrame:
    """Return the planted trials as rows of a store; those later than ``end`` are censored there."""
    data = draw(np.random.default_rng(0), "log-normal")
    event = data.event & (data.times <= end)
    times = np.minimum(data.times, end)
    return pl.DataFrame(
        {
            "a": data.inputs[:, 0], "b": data.inputs[:, 1], "kind": kind, "state": "completed",
            "grok_step": [t if e else None for t, e in zip(times, event, strict=True)],
            "grok_censored_step": [None if e else t for t, e in zip(times, event, strict=True)],
        },
        schema_overrides={"grok_step": pl.Float64, "grok_censored_step": pl.Float64},
    )  # fmt: skip


def only(rows: pl.DataFrame, *launches: dict[str, object]) -> EventLaw:
    (found,) = event_laws(rows, BY, launches)
    return found


def test_the_inputs_are_the_axes_of_the_launch_and_the_law_is_the_planted_one() -> None:
    found = only(trials(), LAUNCH)
    assert found.law is not None
    assert found.law.status == "verified"
    assert list(found.law.exponents or {}) == ["a", "b"]
    for name, planted in zip("ab", EXPONENTS, strict=True):
        one = (found.law.exponents or {})[name]
        assert one.interval.low < planted < one.interval.high
    assert found.occurred == trials()["grok_step"].count()
    assert (found.trials, dict(found.at)) == (60, {})


def test_the_card_draws_every_trial_and_hollow_those_without_the_event() -> None:
    found = only(trials(), LAUNCH)
    card = event_card(found, "e")
    assert card is not None
    assert card.title.startswith("grok_step goes as a to the power −")
    assert " and b to the power −" in card.title
    censored = found.trials - found.occurred
    assert censored > 5
    for drawing in card.drawings:
        assert drawing.count(": at step") == found.occurred
        assert drawing.count('class="p hollow') == drawing.count(": not by step") == censored
    assert card.sheet is not None
    rows = list(csv.DictReader(io.StringIO(unquote(card.sheet.link().partition(",")[2]))))
    assert [bool(row["grok_step"]) for row in rows].count(True) == found.occurred
    assert all(bool(row["grok_step"]) != bool(row["grok_censored_step"]) for row in rows)


def test_trials_that_differ_in_words_or_in_zeros_have_laws_of_their_own() -> None:
    slower = trials("y").with_columns(pl.col("grok_step", "grok_censored_step") * 10)
    first, second = event_laws(pl.concat([trials(), slower]), BY, [LAUNCH])
    assert (dict(first.at), dict(second.at)) == ({"kind": "x"}, {"kind": "y"})
    assert first.law is not None
    assert second.law is not None
    assert first.law.scale is not None
    assert second.law.scale is not None
    assert second.law.scale.value == pytest.approx(10 * first.law.scale.value)
    assert first.name == "grok_step (kind=x)"
    zeros = trials().with_columns(a=pl.when(pl.col("a") > 1).then(1.0).otherwise(0.0))
    assert {tuple(one.at.items()) for one in event_laws(zeros, BY, [LAUNCH])} == {(("a", 0.0),), (("a", 1.0),)}


def test_without_a_launch_the_inputs_are_those_that_were_tuned_or_split_the_rows() -> None:
    by = Axes("params", "tokens", "val_loss", ("b",), ("a",))
    found = only(trials().drop("state"))
    assert found.why_not == "no positive number varies between its trials"
    (other,) = event_laws(trials(), by, [{"sweep": "s", "scientific": "ab", "nuisance": 3}])
    assert other.law is not None
    assert set(other.law.exponents or {}) == {"a", "b"}


def test_a_table_without_an_event_has_no_section_and_only_completed_trials_count() -> None:
    assert event_laws(trials().drop("grok_step", "grok_censored_step"), BY, [LAUNCH]) == ()
    assert event_laws(trials().with_columns(state=pl.lit("failed")), BY, [LAUNCH]) == ()
    assert event_laws(trials().clear(), BY, [LAUNCH]) == ()


def test_a_law_without_an_event_is_a_bound_and_one_setting_has_a_median_and_a_reason() -> None:
    never = only(trials(end=1.0), LAUNCH)
    assert never.law is not None
    card = event_card(never, "e")
    assert card is not None
    assert card.title == "grok_step: no event in 60 trials"
    assert "at least 95.13 % of such trials do not have it" in card.caption  # 0.05 ** (1 / 60)
    assert never.median is None
    same = only(trials(end=250.0).with_columns(a=1.0, b=1.0), LAUNCH)
    assert (same.law, same.why_not) == (None, "no positive number varies between its trials")
    times = sorted(t if t is not None else np.inf for t in trials(end=250.0)["grok_step"])
    middle = (times[29] + times[30]) / 2
    assert same.median == (middle if np.isfinite(middle) else None)
    assert event_card(same, "e") is None


def test_of_many_trials_some_are_drawn_and_the_caption_says_how_many() -> None:
    found = only(pl.concat([trials()] * 40), LAUNCH)
    card = event_card(found, "e")
    assert card is not None
    assert card.sheet is not None
    assert card.drawings[0].count(": at step") + card.drawings[0].count(": not by step") == 1500
    assert len(card.sheet.rows) == 1500
    assert card.caption.endswith("1,500 of 2,400 trials are drawn, and in the CSV.")


def test_columns_of_text_are_no_times_and_many_groups_are_not_told_apart() -> None:
    words = trials().with_columns(pl.col("grok_step", "grok_censored_step").cast(pl.String))
    assert event_laws(words, BY, [LAUNCH]) == ()
    one_by_one = trials().with_columns(kind=pl.int_range(60).cast(pl.String))
    found = only(one_by_one, LAUNCH)
    assert found.why_not == "they differ in kind: 60 groups (accepted: at most 12)"
    assert (found.trials, dict(found.at)) == (60, {})


@pytest.mark.parametrize(
    ("value", "words"), [(-5.0, "must be positive and finite"), (float("inf"), "must be positive")]
)
def test_times_that_cannot_be_are_a_reason_for_no_law(value: float, words: str) -> None:
    rows = trials().with_columns(grok_step=pl.lit(value), grok_censored_step=pl.lit(None, pl.Float64))
    assert words in only(rows, LAUNCH).why_not


def test_a_median_later_than_a_last_look_is_not_known() -> None:
    rows = pl.DataFrame(
        {"state": "completed", "a": 1.0, "grok_step": [100.0, 200.0, None], "grok_censored_step": [None, None, 50.0]}
    )
    assert only(rows, LAUNCH).median is None
    assert only(rows.with_columns(grok_censored_step=pl.Series([None, None, 200.0])), LAUNCH).median == 200.0


def test_a_time_that_is_no_number_is_none_and_a_power_of_rounding_is_zero() -> None:
    found = only(trials().with_columns(grok_step=pl.lit(math.nan), grok_censored_step=pl.lit(50.0)), LAUNCH)
    assert (found.trials, found.occurred) == (60, 0)
    assert found.law is not None
    assert found.law.status == "no events"
    rows = pl.DataFrame({"a": [1.0, 2.0, 4.0, 8.0] * 6, "b": [1.0, 3.0, 9.0] * 8, "grok_step": [7.0, 8.0] * 12})
    card = event_card(only(rows.with_columns(grok_censored_step=pl.lit(None, pl.Float64)), LAUNCH), "e")
    assert card is not None
    assert "b to the power 0.0" in card.title
    assert "unbounded" not in card.title


def test_the_figure_of_many_levels_has_few_lines_and_every_trial() -> None:
    many = pl.concat([trials()] * 4).with_columns(b=pl.col("b") * (1 + pl.int_range(240) * 1e-4))
    found = only(many, LAUNCH)
    assert found.data is not None
    assert found.law is not None
    (panel,) = event_time(found.data, found.law, found.name).axes
    dots = [len(np.asarray(line.get_xdata())) for line in panel.lines if line.get_marker() == "o"]
    assert sum(dots) == 240
    assert len(panel.lines) - len(dots) == 8


@pytest.mark.parametrize(
    ("columns", "workloads", "events"),
    [
        (["grok_step", "last_step"], ["modular_arithmetic"], {"grok_step": "grok_censored_step"}),
        (["grok_censored_step"], ["modular_arithmetic"], {"grok_step": "grok_censored_step"}),
        (["grok_step", "last_step"], ["python:f"], {}),
        (["jump_step", "jump_censored_step"], ["python:f", None], {"jump_step": "jump_censored_step"}),
        (["jump_censored_step"], ["python:f"], {}),
    ],
)
def test_the_columns_of_an_event(columns: list[str], workloads: list[str | None], events: dict[str, str]) -> None:
    assert event_columns(columns, workloads) == events


@pytest.mark.parametrize("inputs", [["a", "b"], ["a"]])
def test_the_figure_for_a_paper_has_a_dot_for_each_trial_and_a_line_for_each_level(inputs: list[str]) -> None:
    found = only(trials(), {**LAUNCH, "scientific": inputs, "nuisance": []})
    assert found.data is not None
    assert found.law is not None
    (panel,) = event_time(found.data, found.law, found.name).axes
    drawn = [(line, np.asarray(line.get_xdata(), float), np.asarray(line.get_ydata(), float)) for line in panel.lines]
    dots = [(line, len(x)) for line, x, _ in drawn if line.get_marker() == "o"]
    assert sum(count for _, count in dots) == found.trials
    hollow = sum(count for line, count in dots if line.get_markerfacecolor() == "none")
    assert hollow == found.trials - found.occurred
    lines = [(x, y) for line, x, y in drawn if line.get_marker() != "o"]
    assert len(lines) == (4 if len(inputs) > 1 else 1)
    x, y = lines[0]
    at: dict[str, np.ndarray | float] = {"a": x}
    if len(inputs) > 1:
        at["b"] = 0.3
    np.testing.assert_allclose(found.law.times(at), y)
