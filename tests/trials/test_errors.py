"""Messages of invalid input: every fault of several answers in one, and what helps apart from what is wrong."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import pytest

from sweeplaw.trials.errors import InputError, describe, gathered, nearest, require_positive, safe_text, shown


def failing(error: InputError) -> Callable[[], int]:
    """Return a function that raises this error."""

    def answer() -> int:
        raise error

    return answer


def test_hints_are_shown_and_not_counted() -> None:
    one = InputError("two recipes", where="fit", hints=["recipe = a", "recipe = b"])
    assert str(one) == "fit: two recipes\n  - recipe = a\n  - recipe = b"
    assert str(InputError(["a", "b"], hints=["c"])) == "2 faults\n  - a\n  - b\nc"
    again = pickle.loads(pickle.dumps(one))
    assert (str(again), again.faults, again.hints) == (str(one), one.faults, one.hints)


def test_the_faults_of_several_answers_are_raised_together_each_once() -> None:
    assert gathered({"a": lambda: 1, "b": lambda: 2}) == {"a": 1, "b": 2}
    same = [InputError("no x", hints=["try y"]), InputError(["no x", "no z"], hints=["try y"])]
    with pytest.raises(InputError) as caught:
        gathered({"a": lambda: 1, **{number: failing(error) for number, error in enumerate(same)}})
    assert (caught.value.faults, caught.value.hints) == (("no x", "no z"), ("try y",))
    with pytest.raises(InputError, match=r"^2 faults\n  - x: no column\n  - y: no column$"):
        gathered({name: failing(InputError("no column", where=name)) for name in "xy"})


class Mute:
    """A value of foreign code whose text cannot be had."""

    def __repr__(self) -> str:
        raise SystemExit


def test_the_text_of_a_foreign_value_is_one_line_of_unicode_whatever_its_code_does() -> None:
    assert safe_text("a\n  b\t c ", str) == "a b c"
    assert safe_text("x" * 300, str) == "x" * 200
    assert safe_text("a\ud800b", str) == "a?b"
    assert safe_text(1.5) == "1.5"
    assert safe_text(Mute()) == "(Mute without a text: it raises SystemExit)"
    assert describe(ValueError("no\nway")) == "ValueError: no way"
    assert describe(KeyError()) == "KeyError"


def test_a_long_value_is_shown_by_its_ends_and_a_near_name_is_suggested() -> None:
    assert shown("short") == "'short'"
    long = shown(list(range(10_000)))
    assert long.startswith("[0, 1, 2")
    assert long.endswith("9998, 9999]")
    assert len(long) == 120
    assert nearest("widht", ["depth", "width"]) == "; did you mean 'width'?"
    assert nearest("zzz", ["depth", "width"]) == ""


def test_every_value_that_is_not_positive_is_named() -> None:
    positive: dict[str, Any] = {"N": 1e-9, "D": Fraction(1, 3)}
    require_positive(positive)
    with pytest.raises(InputError) as caught:
        require_positive({"N": 0, "D": float("inf"), "U": -2.5, "x": "1", "y": float("nan"), "z": 1}, "predict")  # type: ignore[dict-item]
    assert [fault.partition(" (")[0] for fault in caught.value.faults] == [
        "N = 0",
        "D = inf",
        "U = -2.5",
        "x = '1'",
        "y = nan",
    ]
    assert str(caught.value).startswith("predict: 5 faults")


def test_faults_and_hints_are_one_sentence_for_a_page() -> None:
    assert InputError("one").sentence() == "one"
    assert InputError(["one", "two"], where="fit", hints=["left out: 3"]).sentence() == "fit: one; two; left out: 3"


def test_of_very_many_faults_a_message_has_the_first_and_the_number_of_the_others() -> None:
    faults = [f"fault {number}" for number in range(12_345)]
    error = InputError(faults, where="file", hints=["hint"])
    assert len(error.faults) == 12_345
    lines = str(error).splitlines()
    assert lines == ["file: 12345 faults", *(f"  - {fault}" for fault in faults[:100]), "  - and 12,245 more", "hint"]
    assert error.sentence() == "file: " + "; ".join([*faults[:100], "and 12,245 more", "hint"])
    assert "more" not in str(InputError(faults[:100]))
