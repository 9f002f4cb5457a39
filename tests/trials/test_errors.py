"""Messages of invalid input: every fault of several answers in one, and what helps apart from what is wrong."""

from __future__ import annotations

import pickle
from collections.abc import Callable

import pytest

from sweeplaw.trials.errors import InputError, gathered


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
