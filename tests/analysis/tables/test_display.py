"""A result as text, as HTML and in a few words."""

from __future__ import annotations

import datetime as dt

import pytest

from sweeplaw.analysis.tables.display import LONGEST, Card, brief, finite

TABLE = Card(
    ("head", "more"), ("knob", "value"), (("lr", "0.1"), ("weight_decay", "<0.4>")), ("a note",), "caption", ("end",)
)


def test_a_card_is_its_lines_caption_aligned_table_notes_and_end() -> None:
    assert TABLE.text().splitlines() == [
        "head",
        "more",
        "caption",
        "knob          value",
        "lr            0.1",
        "weight_decay  <0.4>",
        "note: a note",
        "end",
    ]
    assert Card(("head",), ("", ""), (("a", "1"),)).text() == "head\na  1"
    assert Card(("head",), ("knob", "value")).text() == "head"


def test_a_card_in_html_has_a_table_only_with_rows_and_escapes_every_text() -> None:
    html = TABLE.html()
    assert (html.count("<th "), html.count("<td ")) == (2, 4)
    assert "&lt;0.4&gt;" in html
    assert "<table>" not in Card(("head",), ("knob", "value")).html()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (0.1 + 0.2, "0.3"),
        ({"lr": 1e-3, "steps": 200}, "lr = 0.001, steps = 200"),
        (list(range(6)), "0, 1, 2, 3, 4, 5"),
        (list(range(8)), "0, 1, 2, 3, 4, 5 and 2 more"),
        ([], "none"),
        ("x" * LONGEST, "x" * LONGEST),
        ("x" * (LONGEST + 1), "x" * (LONGEST - 1) + "…"),
    ],
)
def test_a_value_in_a_few_words(value: object, text: str) -> None:
    assert brief(value) == text


def test_times_are_texts_in_utc() -> None:
    east = dt.timezone(dt.timedelta(hours=2))
    assert finite({"a": dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=east)}) == {"a": "2026-01-02T01:04:05.000000Z"}
    assert finite([dt.datetime(2026, 1, 2, 3, 4, 5, 60)]) == ["2026-01-02T03:04:05.000060Z"]
