"""How the runs behind a forecast are known again: files that were registered earlier hold these ids and marks."""

from __future__ import annotations

import hashlib
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest

from sweeplaw.analysis.forecasting.registered.run_ids import run_ids, value_text
from sweeplaw.analysis.forecasting.registered.runs_behind import marks, runs_behind

SHA_OF_ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-4, example of SHA-256


def test_a_run_without_a_trial_id_has_the_first_twenty_digits_of_the_hash_of_its_values() -> None:
    assert run_ids(pl.DataFrame({"N": [1.0]}), ["abc"]) == [SHA_OF_ABC[:20]]
    trials = pl.DataFrame({"trial_id": ["t1", None]})
    assert run_ids(trials, ["abc", "abc"]) == ["t1", SHA_OF_ABC[:20]]
    assert run_ids(pl.DataFrame({"trial_id": [7, 8]}), ["abc", "d"])[0] == SHA_OF_ABC[:20], "a number is no id of ours"


def test_the_text_of_values_is_exact() -> None:
    assert value_text([1, 0.1], 2.5) == "0x1.0000000000000p+0 0x1.999999999999ap-4 0x1.4000000000000p+1"


def test_a_mark_is_sixteen_digits_of_the_inputs_by_name_and_then_the_loss() -> None:
    frame = pl.DataFrame({"D": [0.1], "N": [1.0], "loss": [2.5]})
    text = value_text([0.1, 1.0], 2.5)
    assert marks(frame, {"loss": "loss", "N": "N", "D": "D"}) == [hashlib.sha256(text.encode()).hexdigest()[:16]]


def made_from(ids: tuple[str, ...], noted: tuple[str, ...]) -> Any:
    """Return a forecast of which only the runs behind it are known."""
    return SimpleNamespace(name="f", runs=SimpleNamespace(ids=ids, marks=noted))


TEXTS = {"N": "N", "loss": "loss"}
FRAME = pl.DataFrame({"trial_id": ["a", "b", None, None], "N": [1.0, 2.0, 3.0, 3.0], "loss": [4.0, 5.0, 6.0, 6.0]})


@pytest.mark.parametrize(
    ("change", "state", "changed", "gone"),
    [
        (pl.lit(0.0), "unchanged", 0, 0),
        (pl.col("N") == 2, "changed", 1, 0),  # a trial with other values
        (pl.col("N") == 3, "changed", 0, 2),  # runs without an id are known by their values only
        (pl.lit(1.0), "changed", 2, 2),
    ],
)
def test_what_became_of_runs_with_and_without_ids(change: pl.Expr, state: str, changed: int, gone: int) -> None:
    noted = tuple(marks(FRAME, TEXTS))
    forecast = made_from(("a", "b", *run_ids(FRAME.tail(2), ["x", "x"])), noted)
    found = runs_behind(forecast, FRAME.with_columns(loss=pl.col("loss") + change.cast(pl.Float64)), TEXTS)
    assert (found.state, found.changed, found.gone, found.count) == (state, changed, gone, 4)


def test_each_of_two_equal_runs_is_missed_where_one_is_left() -> None:
    noted = tuple(marks(FRAME, TEXTS))
    forecast = made_from(("a", "b", "x", "x"), noted)
    found = runs_behind(forecast, FRAME.head(3), TEXTS)
    assert (found.state, found.changed, found.gone) == ("changed", 0, 1)
    assert found.sentence == (
        "forecast f: of the 4 runs that it was made from, 1 are not in this source as they were "
        "(their digest differs from the registered one)"
    )


def test_without_marks_nothing_tells() -> None:
    for noted in ((), ("m",)):
        forecast = made_from(("a", "b"), noted)
        found = runs_behind(forecast, FRAME, TEXTS)
        assert (found.state, found.changed, found.gone, found.sentence) == ("unknown", None, None, "")
