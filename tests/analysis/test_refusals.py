"""What the library refuses: one message that names every fault, what was seen and what is accepted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import polars as pl
import pytest

from sweeplaw import analysis
from sweeplaw.analysis.fitting.solver.objectives import Objective, parse_objective
from sweeplaw.analysis.hyperlaws.batch_unit import check_batch_unit
from sweeplaw.analysis.hyperlaws.estimators import parse_estimator
from sweeplaw.analysis.hyperlaws.hyperlaw import hyperlaw
from sweeplaw.analysis.laws.catalog import LAWS
from sweeplaw.analysis.laws.law import formula_law
from sweeplaw.analysis.tables.runs import prepare, read_runs
from sweeplaw.analysis.tables.sql.expressions import condition, parse
from sweeplaw.analysis.tuning.transfer import transfer
from sweeplaw.trials.errors import InputError

RUNS = pl.DataFrame({"N": [1.0, 2.0], "lr": [0.1, 0.2], "val_loss": [3.0, 2.0], "my col": [1, 2], "text": ["1", "x"]})
ADDITIVE = LAWS["additive"]

REFUSED: list[tuple[Callable[[], Any], list[str]]] = [
    (
        lambda: Objective("hubert", 0.1, "rar", "men"),  # type: ignore[arg-type]
        ["objective 'hubert' is not known (accepted: huber:DELTA, lad, ls)", "hubert takes no delta, 0.1 given",
         "space 'rar' is not known (accepted: raw, log)", "reduction 'men' is not known (accepted: mean, sum)"],
    ),
    (lambda: Objective("huber", 0.0), ["huber needs a positive delta, 0.0 given (for example huber:0.001)"]),
    (lambda: Objective("huber", None), ["huber needs a positive delta, None given (for example huber:0.001)"]),
    (lambda: parse_objective("lat"), ["objective 'lat' is not known (accepted: huber:DELTA, lad, ls)"
                                      "; did you mean 'lad'?"]),
    (lambda: parse_objective("huber:x"), ["objective 'huber:x': 'x' is not a number"]),
    (lambda: parse_objective("lad:1"), ["lad takes no delta, 1.0 given"]),
    (lambda: parse_estimator("pooled:1"), ["estimator = 'pooled:1' is not known (accepted: pooled:THRESHOLD "
                                           "(pooled:0.0025 is Step Law's), cells, joint)"]),
    (lambda: parse_estimator("cells:1"), ["estimator = 'cells:1' is not known (accepted: pooled:THRESHOLD "
                                          "(pooled:0.0025 is Step Law's), cells, joint)"]),
    (
        lambda: hyperlaw(RUNS, resamples=-1, seed=True, on=["lr"]),  # type: ignore[arg-type]
        ["resamples = -1 (accepted: a whole number that is zero or more)",
         "seed = True (accepted: a whole number that is zero or more)",
         "on = ['lr'] (accepted: a mapping of knobs to axes, such as {'batch_tokens': ['D']})"],
    ),
    (
        lambda: read_runs(RUNS, {"cell": "N", "knobs": [1]}, 3),  # type: ignore[arg-type,list-item]
        ["cell = 'N' (accepted: a list of columns)", "knobs = [1] (accepted: a list of columns)",
         "y = 3 (accepted: the column of the loss)"],
    ),
    (lambda: prepare(RUNS.drop("val_loss"), ["N"], "val_loss"),
     ["no column 'val_loss' (columns: N, lr, my col, text); --y names the column of the loss"]),
    (lambda: prepare(RUNS.clear(), ["N"], "val_loss"), ["no completed run: the table has no rows left"]),
    (lambda: ADDITIVE.columns({"N": 1.0}), ["additive needs N, D; D missing"]),
    (
        lambda: ADDITIVE.fix(alpa=1.0, E=float("inf")),
        ["additive has no parameter 'alpa'; did you mean 'alpha'?", "E = inf (accepted: a finite number)"],
    ),
    (lambda: ADDITIVE.within(F=(0, 1)), ["additive has no parameter 'F'"]),
    (
        lambda: formula_law("N + D", ["N", "D", "U"], bounds={"E": (0, 1)}),
        ["input 'U' does not appear in 'N + D'", "bounds given for 'E', no parameter of the formula",
         "formula 'N + D' has no parameter: every name in it is an input"],
    ),
    (lambda: formula_law("E", "N"), ["formula = 'E', inputs = 'N' (accepted: a text, a list of names)"]),
    (lambda: condition("N + 1", RUNS.schema), ["condition 'N + 1' is not boolean: it gives Float64"]),
    (lambda: parse("my col > 1", RUNS.schema),
     ["expression 'my col > 1': a column's name with a dot, a space or another sign needs double quotes: \"my col\""]),
    (lambda: transfer(RUNS, [], ["lr"]), ["no columns of a workload, or no knobs (accepted: at least one of each)"]),
    (lambda: transfer(RUNS.head(1), ["N"], ["lr"]),
     ["1 workload with a positive val_loss up to 1e+50: there is nothing to transfer a setting to "
      "(accepted: at least 2)"]),
    (lambda: transfer(RUNS, ["N"], ["lr"], evaluate_on=pl.col("N") > 5),
     ["0 of 2 workloads are for evaluation: both phases need at least one"]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("call", "faults"), REFUSED, ids=lambda value: value[0][:40] if isinstance(value, list) else ""
)
def test_every_fault_is_named_in_one_message(call: Callable[[], Any], faults: list[str]) -> None:
    with pytest.raises(InputError) as caught:
        call()
    assert list(caught.value.faults) == faults


def test_the_unit_of_a_batch_is_inferred_from_steps_and_tokens() -> None:
    def said(batch: str, values: list[float], length: float = 1.0) -> str | None:
        steps = [100.0] * len(values)
        tokens = [length * 100 * value for value in values]
        return check_batch_unit(pl.DataFrame({batch: values, "steps": steps, "D": tokens}), batch, "D", "steps")

    assert said("batch", [32.0, 64.0], 1024) == "batch counts sequences of 1024 tokens"
    assert said("batch_seq", [32.0], 1024) == "batch_seq counts sequences of 1024 tokens"
    assert said("batch", [32.0, 64.0]) == "batch counts tokens"
    assert said("batch", [32.0], 1.06) == "batch counts sequences of 1.06 tokens"
    assert said("batch", [32.0], 1.04) == "batch counts tokens"
    assert said("batch", [32.0], 0.5) is None
    assert said("batch", [0.0]) is None
    for batch, length, fault in (
        (
            "batch_tokens",
            1024,
            "batch_tokens counts sequences of 1024 tokens, not tokens: steps x batch_tokens x 1024 = D",
        ),
        ("batch_seqs", 1.0, "batch_seqs counts tokens, not sequences: D = steps x batch_seqs"),
    ):
        with pytest.raises(InputError) as caught:
            said(batch, [32.0, 64.0], length)
        assert list(caught.value.faults) == [fault]
    mixed = pl.DataFrame({"b": [32.0, 64.0, 8.0], "steps": [100.0] * 3, "D": [3200.0, 6400.0, 800.0 * 512]})
    with pytest.raises(InputError) as caught:
        check_batch_unit(mixed, "b", "D", "steps")
    assert list(caught.value.faults) == [
        "b mixes units: in 2 rows steps x b = D (it counts tokens), in 1 rows D is 512 times that (it counts "
        "sequences of so many tokens)"
    ]


def test_the_library_lists_what_it_has_and_no_other_name() -> None:
    assert set(analysis.__all__) <= set(dir(analysis))
    with pytest.raises(AttributeError, match="nothing"):
        analysis.nothing  # noqa: B018
