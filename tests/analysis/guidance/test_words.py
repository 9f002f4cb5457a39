"""What a search says of its proposals and of its answers, on a made-up belief of two cells of three points."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from sweeplaw.analysis.guidance.answers import _contradiction, _words
from sweeplaw.analysis.guidance.gains import Gains
from sweeplaw.analysis.guidance.reasons import ordinal, reason
from sweeplaw.analysis.guidance.space import CandidateSpace, NumericKnob

SPACE = CandidateSpace.of(
    (NumericKnob("lr"), NumericKnob("wd")), ("N",), [[1e8], [4e8]], [0, 0, 0, 1, 1, 1],
    [[1.0, 1.0], [1.1, 1.0], [4.0, 0.5], [1.0, 1.0], [4.0, 1.0], [1.0, 4.0]], [1.0] * 6,
    [0, 0, 0, 0, 0, 1], ("adam", "muon"),
)  # fmt: skip


def belief(**changed: Any) -> Any:
    """Return a belief whose lowest points are 0 in the first cell and 3 in the second."""
    fit = SimpleNamespace(curvature=np.diag([1.0, 4.0]))
    given = {"space": SPACE, "active": np.arange(6), "mu": np.array([1.0, 1.1, 1.2, 0.8, 0.9, 1.0]), "fit": fit,
             "seed_noise": 0.001}  # fmt: skip
    return SimpleNamespace(**{**given, **changed})


def records(tried: list[int], lost: list[int] = (), losses: dict[int, float] = {}) -> Any:  # type: ignore[assignment]  # noqa: B006
    best = np.full(2, np.inf)
    for point, y in losses.items():
        best[SPACE.cell[point]] = min(best[SPACE.cell[point]], y)
    return SimpleNamespace(
        tried=np.isin(np.arange(6), tried), lost=np.isin(np.arange(6), list(lost)), best=best, index=list(losses),
        y=list(losses.values()),
    )  # fmt: skip


def said(point: int, kind: str = "", found: Any = None, seen: Any = None, waiting: list[int] | None = None) -> str:
    return reason(SPACE, seen or records([1, 3]), belief(), point, kind, waiting or [], found)


def gains(own: float, other: float, improvement: float) -> Gains:
    made: Any = SimpleNamespace(
        rows=np.array([0]), knowledge=np.array([[own, other]]), improvement=np.array([improvement])
    )
    return made


def test_a_proposal_says_where_it_lies_and_what_it_is_worth() -> None:
    cell = "2nd point in the cell N = 100M"
    assert said(0) == f"{cell}: predicted optimum"
    assert said(1, seen=records([0])) == f"{cell}: beside the predicted optimum"
    assert said(2) == f"{cell}: checks curvature in lr, above the predicted optimum"
    assert said(5) == "2nd point in the cell N = 400M: compares muon with adam"
    assert said(0, waiting=[2, 1]) == "3rd point in the cell N = 100M: predicted optimum"
    assert (
        said(0, "first visit")
        == f"{cell}: predicted optimum, first visit of a cell that is cheap beside what was spent"
    )
    assert said(0, "target") == f"{cell}: predicted optimum, narrows the law at the target most per FLOP"
    law = "most informative about other cells, through the law"
    worth = {(1.0, 1.0, 2.5): "may beat the best record", (1.0, 3.0, 1.5): law,
             (1.0, 2.0, 1.0): "most informative about this cell",
             (1.0, 1.0, 2.0): "most informative about this cell"}  # fmt: skip
    for numbers, words in worth.items():
        assert said(0, found=gains(*numbers)) == f"{cell}: predicted optimum, {words}"
    bare: Any = SimpleNamespace(rows=np.array([]))
    assert said(0, found=bare) == f"{cell}: predicted optimum"
    assert reason(SPACE, records([]), None, 0, "", [], None) == "1st point in the cell N = 100M: start, at random"


def test_the_knob_that_costs_most_is_named_with_its_side() -> None:
    steep = belief(fit=SimpleNamespace(curvature=np.diag([1.0, 9.0])))
    assert reason(SPACE, records([1]), steep, 2, "", [], None).endswith(
        "checks curvature in wd, below the predicted optimum"
    )


@pytest.mark.parametrize(
    ("number", "word"),
    [(1, "1st"), (2, "2nd"), (3, "3rd"), (4, "4th"), (11, "11th"), (12, "12th"), (13, "13th"), (21, "21st"),
     (111, "111th"), (122, "122nd")],
)  # fmt: skip
def test_numbers_are_ordered_in_words(number: int, word: str) -> None:
    assert ordinal(number) == word


def test_an_answer_says_its_trust_its_runs_and_its_edges() -> None:
    tail = "by 2 runs, 2 within an octave; at the lowest lr and the highest wd of the candidates"
    seen = records([0, 1])
    for trust, verdict in ((0.9, "trusted"), (0.89, "likely"), (0.5, "likely"), (0.49, "doubtful")):
        assert _words(SPACE, seen, 0, trust, "") == (
            f"{verdict}: within 0.1 % of the best with probability {trust:.2f}, {tail}"
        )
    assert _words(SPACE, seen, 0, 0.0, "why") == f"not trusted: records contradict the surface (why), {tail}"
    alone = "by the law alone: nothing was run in this cell"
    assert alone in _words(SPACE, seen, 4, 0.95, "")
    assert "by the law alone: no run of this cell has a loss" in _words(SPACE, records([4], [4]), 4, 0.95, "")
    assert _words(SPACE, records([0, 2]), 1, 0.95, "").endswith(
        "by 2 runs, 1 within an octave; at the highest wd of the candidates"
    )
    assert _words(SPACE, records([]), 5, 0.95, "").endswith(alone)  # the only candidate of its recipe has no edge


def test_records_contradict_a_surface_from_eight_noises_or_a_fiftieth_on() -> None:
    low = 0.0
    assert _contradiction(belief(), records([0], losses={0: low + 0.02}), 0, 0, low) == ""
    assert _contradiction(belief(seed_noise=0.01), records([0], losses={0: low + 0.08}), 0, 0, low) == ""
    assert _contradiction(belief(), records([0], losses={0: low + 0.0201}), 0, 0, low) == (
        f"the run at it has a loss of {np.exp(0.0201):.4g}, not 1"
    )
    assert _contradiction(belief(), records([1], losses={1: low - 0.03}), 0, 0, low) == (
        f"a run has a loss of {np.exp(-0.03):.4g}, below its lowest of 1"
    )
    assert _contradiction(belief(), records([1], losses={1: low - 0.02}), 0, 0, low) == ""
    one: Any = CandidateSpace.of(
        (NumericKnob("lr"),), ("N",), [[1e8]], [0] * 4, [[1.0], [1.5], [1.9], [8.0]], [1.0] * 4
    )
    for lost, said_ in (([1, 2], "2 of 3 runs within an octave have no loss"), ([1], "")):
        tried: Any = SimpleNamespace(
            tried=np.ones(4, bool), lost=np.isin(np.arange(4), lost), best=np.array([low]), index=[], y=[]
        )
        assert _contradiction(belief(space=one), tried, 0, 0, low) == said_
