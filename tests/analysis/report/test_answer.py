"""The answer of a report quotes nothing that the runs do not settle."""

from __future__ import annotations

from typing import Any

import pytest

from sweeplaw.analysis.report import answer

LAW: dict[str, Any] = {
    "law": "additive",
    "formula": "E + A / N**alpha + B / D**beta",
    "params": {"E": 1.8, "A": 3.4e10, "B": 2100.0, "alpha": 1.5, "beta": 0.37},
    "intervals": {name: {"low": low, "high": high} for name, low, high in [
        ("E", 1.7, 1.9), ("A", 1.0, None), ("B", 2000.0, 2200.0), ("alpha", 0.1, None), ("beta", 0.36, 0.38)
    ]},
    "identified": {"E": True, "A": False, "B": True, "alpha": False, "beta": True},
    "verified": True,
    "status": "verified",
    "derived": None,
    "holdout": {"rows": 0},
    "adequacy": {"law": {"verdict": "adequate", "reasons": ["no misfit found"]}},
}  # fmt: skip
KNOBS: dict[str, Any] = {
    "refused": None,
    "laws": {"lr": {"coefficient": 5.52, "exponents": {"params": -0.79}}},
    "verdict": {
        "optimum": {"found": True, "reason": None},
        "law": {"verdict": "adequate", "reason": ""},
        "exponents": {"identified": True, "sentences": []},
    },
}
OPTIMA = [{"knobs": {"lr": {"best": 0.01, "touches_edge": False}}, "loss": 2.5}]


def family(**changed: Any) -> dict[str, Any]:
    verdict = {**KNOBS["verdict"], **changed}
    return {"surface": LAW, "hyperlaws": {**KNOBS, "verdict": verdict}, "optima": OPTIMA}


def test_a_parameter_that_is_not_identified_stays_a_letter() -> None:
    assert answer.formula_html(LAW) == "1.80 + A / N<sup>alpha</sup> + 2,100 / D<sup>0.370</sup>"
    known = {**LAW, "identified": dict.fromkeys(LAW["params"], True), "intervals": {}}
    assert "A" not in answer.formula_html(known)
    first, second, *_ = answer.answer(family())
    assert first.startswith("<strong>Loss follows 1.80 + A / N")
    assert second == "A and alpha have no value to quote, as far other values fit these runs as well."


@pytest.mark.parametrize(("low", "seen"), [(0.0, False), (0.09, False), (1.5, True)])
def test_an_asymptote_that_may_be_zero_is_not_quoted(low: float, seen: bool) -> None:
    ends = {**LAW["intervals"], "E": {"low": low, "high": 1.96}}
    law = {
        **LAW,
        "intervals": ends,
        "identified": dict.fromkeys(LAW["params"], True),
        "starts": 9,
        "starts_agreeing": 9,
    }
    law["adequacy"] = {**LAW["adequacy"], "optimum": {"found": True}}
    assert answer.badges(law)[2].grade == ("ok" if seen else "part")
    assert answer.formula_html(law).startswith("1.8" if seen else "E + ")
    said = answer.answer({**family(), "surface": law})
    told = "The asymptote E is not in sight: these runs allow any value from 0 to 1.96." in said
    assert told is not seen


def test_a_law_of_a_knob_is_advised_where_it_holds() -> None:
    assert "<strong>Use</strong> <strong>lr = 5.52 N<sup>−0.79</sup></strong>." in answer.answer(family())


def test_an_exponent_that_is_open_is_named_beside_the_law() -> None:
    why = (
        "how lr moves with params is not identified: its exponent is -0.790, 95 % [-2, 1], and a flat law fits as well"
    )
    said = answer.answer(family(exponents={"identified": False, "sentences": [why]}))
    assert said[-1] == "How lr moves with N is not identified."  # as in the law before it


@pytest.mark.parametrize(
    "changed",
    [
        {"optimum": {"found": False, "reason": "its noise hides the curvature"}},
        {"law": {"verdict": "inadequate", "reason": "the cells miss it"}},
    ],
)
def test_a_law_that_fails_gives_way_to_the_best_setting_that_ran(changed: dict[str, Any]) -> None:
    said = answer.answer(family(**changed))
    assert not any("Use</strong>" in sentence for sentence in said)
    assert said[-1] == "In the largest cell the best setting is <strong>lr = 0.01</strong>: loss 2.500."


def test_a_sentence_begins_with_a_capital_unless_with_the_name_of_a_column() -> None:
    assert answer.sentence("no misfit found.") == "No misfit found."
    assert answer.sentence("lr is zero in 3 runs") == "lr is zero in 3 runs."
    assert answer.sentence("weight_decay differs from N to n") == "weight_decay differs from N to n."


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (1, "Fitted without the largest run, it missed it by 0.2 %."),
        (5, "Fitted without the 5 largest runs, it missed them by 0.1 % on average and 0.2 % at worst."),
    ],
)
def test_one_run_that_was_left_out_has_no_average(rows: int, said: str) -> None:
    held = {"rows": rows, "mean_relative_error": 0.001, "worst_relative_error": 0.002}
    found = answer.answer({**family(), "surface": {**LAW, "holdout": held}})
    assert said in [sentence.replace("\N{NO-BREAK SPACE}", " ") for sentence in found]
