"""Suggestions by a made-up law lr = 0.5 N^-0.25 D^0.125: what is answered, what is refused, and in which words."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from sweeplaw.analysis.hyperlaws.hyperlaw import Hyperlaw
from sweeplaw.analysis.hyperlaws.suggestion.from_runs import from_runs, suggest
from sweeplaw.analysis.hyperlaws.suggestion.line import Line, moved_together
from sweeplaw.analysis.hyperlaws.suggestion.suggest import complete, outside, require_supported, undetermined
from sweeplaw.analysis.hyperlaws.suggestion.suggestion import SuggestedSetting
from sweeplaw.analysis.hyperlaws.verdicts.verdict import HyperVerdict
from sweeplaw.trials.errors import InputError
from tests.analysis.laws_of_knobs import HYPERLAW, LR

OPEN = {("lr", "D"): "how lr moves with D is open"}
LAW = replace(LR, terms=np.array([math.log(0.5), -0.25, 0.125, 0.0]), offsets={})
FOUND = replace(
    HYPERLAW, laws=(LAW,), knobs=("lr",), recipes=None, span={"N": (1e7, 1e9), "D": (1e9, 1e11)}, notes=("a note",),
    verdict=HyperVerdict("", "cannot be judged", "few cells", OPEN),
)  # fmt: skip


def lr(n: float, d: float) -> float:
    return 0.5 * n**-0.25 * d**0.125


def test_a_setting_is_that_of_the_law_with_its_plateau_and_its_source() -> None:
    found = from_runs(FOUND, 1e8, 1e10, 1024)
    assert (found.params, found.tokens, found.decades) == (1e8, 1e10, {"N": 0.0, "D": 0.0})
    setting = found.settings["lr"]
    assert setting.value == pytest.approx(lr(1e8, 1e10))
    assert (setting.low, setting.high) == (None, None)
    assert (setting.plateau, setting.source) == (1.5, "pooled:0.0025 on 5 cells")
    assert found.notes == (
        "a note", "the law cannot be judged: few cells", "no value for batch_tokens: the evidence has no law of it",
    )  # fmt: skip
    assert {one.law for one in found.disagreements} >= {"step-law"}
    factors = [max(one.factor, 1 / one.factor) for one in found.disagreements]
    assert factors == sorted(factors, reverse=True)


REFUSED: list[tuple[Hyperlaw, tuple[float, float], Line | None, list[str]]] = [
    (replace(FOUND, recipes=HYPERLAW.recipes), (1e8, 1e10), None,
     ["the laws are of several recipes: fit them to the runs of one"]),
    (replace(FOUND, verdict=HyperVerdict("no minimum", "adequate", "", {})), (1e8, 1e10), None,
     ["these laws advise nothing: no minimum"]),
    (FOUND, (1e8, 1.26e11), None,
     [f"how lr moves with D is open; at D = 100B it is {lr(1e8, 1e11):.4g}"]),
    (FOUND, (1e8, 0.79e9), None, [f"how lr moves with D is open; at D = 1B it is {lr(1e8, 1e9):.4g}"]),
    (FOUND, (1e12, 1e10), None, ["N lies 3.0 decades above all evidence (at most 2 are accepted)"]),
]  # fmt: skip


@pytest.mark.parametrize(("found", "point", "line", "faults"), REFUSED)
def test_what_the_runs_do_not_tell_is_refused(found, point, line, faults):
    with pytest.raises(InputError) as caught:
        from_runs(found, point[0], point[1], 1024, line)
    assert list(caught.value.faults) == faults


def test_a_knob_of_texts_is_no_knob_that_does_not_vary() -> None:
    runs = pl.DataFrame({"N": [1e7, 1e7], "D": [1e9, 1e9], "lr": ["high", "low"], "val_loss": [3.0, 2.9]})
    texts = "'lr': row 1 holds 'high', row 2 holds 'low'; expected numbers"
    with pytest.raises(InputError) as caught:
        suggest(runs, 1e8, 1e10, 1024)
    others = "the runs vary none of batch_tokens, weight_decay within a cell of N and D"
    assert caught.value.faults == (texts, others)


@pytest.mark.heavy
def test_a_knob_of_texts_beside_one_of_numbers_is_a_note() -> None:
    rows = [
        (n, d, f"x{n}", batch, 2 + 1e5 / n + math.log(batch / 3e5) ** 2 / 10)
        for n in (1e7, 3e7, 1e8)
        for d in (1e9, 3e9, 1e10)
        for batch in (3e4, 1e5, 3e5, 1e6, 3e6)
    ]
    runs = pl.DataFrame(rows, schema=["N", "D", "lr", "batch_tokens", "val_loss"], orient="row")
    found = suggest(runs, 1e8, 1e10, 1024, resamples=20)
    assert any(note.startswith("'lr': row 1 holds 'x10000000.0'") for note in found.notes)


def test_the_size_of_the_model_has_to_be_positive() -> None:
    for call in (
        lambda: from_runs(FOUND, 0.0, -1.0, 0),
        lambda: suggest(pl.DataFrame({"N": [1.0], "D": [1.0], "lr": [1.0]}), 0.0, -1.0, 0),
    ):
        with pytest.raises(InputError) as caught:
            call()
        assert [fault.split(" (")[0] for fault in caught.value.faults] == [
            "params = 0", "tokens = -1", "sequence length = 0",
        ]  # fmt: skip


def test_near_the_span_an_open_exponent_does_not_matter() -> None:
    assert from_runs(FOUND, 1e8, 1.24e11, 1024).settings["lr"].value == pytest.approx(lr(1e8, 1.24e11))


def test_off_the_line_of_the_runs_the_settings_on_it_are_said() -> None:
    line = Line(20.0, 1.0)
    along = replace(LAW, terms=np.array([math.log(0.5), -0.25, 0.0, 0.0]))
    found = replace(FOUND, laws=(along,), axes=("N",), span={"N": (1e7, 1e9)})
    assert from_runs(found, 1e8, 2.49e9, 1024, line).settings["lr"].value == pytest.approx(0.5 * 1e8**-0.25)
    with pytest.raises(InputError) as caught:
        from_runs(found, 1e8, 2.51e9, 1024, line)
    assert list(caught.value.faults) == [
        "all runs have one ratio of data to size (D = 20 N): how the best settings move with D at one N is not known",
        "at N = 100M the runs cover D = 2B (lr = 0.005), not D = 2.51B",
    ]
    failed = replace(found, verdict=HyperVerdict("no minimum", "adequate", "", {}))
    with pytest.raises(InputError, match=r"cover D = 2B, not D = 2.51B"):
        from_runs(failed, 1e8, 2.51e9, 1024, line)


def test_lines_are_named_by_their_slope() -> None:
    assert Line(6e18, -1.0).words == "one compute budget (N D = 6e+18)"
    assert Line(2.5, 0.5).words == "D = 2.5 N^0.500"
    assert (Line(2.0, 1.0).tokens(3.0), Line(2.0, 1.0).away(3.0, 3.0), Line(2.0, 1.0).away(3.0, 12.0)) == (
        6.0,
        2.0,
        2.0,
    )
    sizes = [1e6, 4e6, 1.6e7]
    for slope, found in ((1.0, Line(20.0, 1.0)), (-1.0, Line(1e18, -1.0)), (0.5, Line(3.0, 0.5))):
        seen = moved_together(pl.DataFrame({"N": sizes, "D": [found.coefficient * n**slope for n in sizes]}))
        assert seen is not None
        assert [seen.coefficient, seen.slope] == pytest.approx([found.coefficient, slope])
    assert moved_together(pl.DataFrame({"N": sizes[:2], "D": sizes[:2]})) is None
    assert moved_together(pl.DataFrame({"N": sizes, "D": [1e9] * 3})) is None


def test_evidence_reaches_two_decades_and_an_interval_a_factor() -> None:
    assert [outside(value, 1.0, 10.0) for value in (1.0, 10.2, 1 / 1.02)] == [0.0] * 3
    assert [outside(100.0, 1.0, 10.0), outside(0.1, 1.0, 10.0)] == pytest.approx([1.0, -1.0])
    require_supported({"N": 2.0, "D": -2.0}, {})
    with pytest.raises(InputError) as caught:
        require_supported({"N": 2.01, "D": -2.5}, {"lr": SuggestedSetting(1.0, 0.001, 2.0, None, "")})
    assert list(caught.value.faults) == [
        "N lies 2.0 decades above all evidence (at most 2 are accepted)",
        "D lies 2.5 decades below all evidence (at most 2 are accepted)",
        "lr would be 1 with a 95 % interval from 0.001 to 2: the runs do not determine it there",
    ]
    assert undetermined({"lr": SuggestedSetting(1.0, None, 2.0, None, "")}) == {}


def test_steps_and_sequences_follow_from_the_batch_and_a_decay_from_its_timescale() -> None:
    batch, rate = SuggestedSetting(1024.0, 512.0, 2048.0, 1.5, "runs"), SuggestedSetting(0.01, None, None, None, "runs")
    found = complete(1e8, 1e9, 64, {"batch_tokens": batch, "lr": rate}, {"N": 0.0}, "own", ["a note"])
    steps = found.settings["steps"]
    assert found.settings["batch_sequences"] == SuggestedSetting(16.0, 8.0, 32.0, 1.5, "runs")
    assert steps == SuggestedSetting(1e9 / 1024, 1e9 / 2048, 1e9 / 512, 1.5, "runs")
    decay = found.settings["weight_decay"]
    assert decay.source.startswith("power-lines timescale (")
    assert (decay.low, decay.high, decay.plateau, found.notes) == (None, None, None, ("a note",))
    assert decay.value > 0
    assert "weight_decay" not in complete(1e8, 1e9, 64, {"lr": rate}, {}, "own", []).settings
