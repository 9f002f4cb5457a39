"""Changes of knobs during training, as text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweeplaw.trials.changes import CHANGEABLE, Change, parse, value_at, write

values = st.dictionaries(st.sampled_from(CHANGEABLE), st.floats(0, 1e6), min_size=1)


@pytest.mark.heavy
@given(st.lists(st.tuples(st.integers(0, 10**9), values), max_size=5, unique_by=lambda entry: entry[0]))
def test_a_text_gives_back_the_changes_exactly(entries: list[tuple[int, dict[str, float]]]) -> None:
    changes = tuple(Change(step, own) for step, own in sorted(entries, key=lambda entry: entry[0]))
    assert parse(write(changes)) == changes


def test_a_value_holds_from_its_step_on() -> None:
    changes = parse("200: lr=0.002, weight_decay=0.1; 400: lr=0.5")
    assert [value_at("lr", 1.0, changes, step) for step in (0, 199, 200, 399, 400)] == [1.0, 1.0, 0.002, 0.002, 0.5]
    assert [value_at("weight_decay", 0.0, changes, step) for step in (199, 200, 400)] == [0.0, 0.1, 0.1]


@pytest.mark.parametrize(
    "text",
    ["lr=1", "200: momentum=1", "200: lr", "200: lr=-1", "200: lr=nan", "9: lr=1; 9: lr=2", "9: lr=1, lr=2", ";"],
)
def test_what_is_no_change_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"accepted|increase|could not"):
        parse(text)
