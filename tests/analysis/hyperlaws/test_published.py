"""Published laws: each formula gives the numbers of its paper; comparison and suggestions use them."""

from __future__ import annotations

import math

import numpy as np
import polars as pl
import pytest

from sweeplaw.analysis.hyperlaws.comparison import LawScore, compare, fill
from sweeplaw.analysis.hyperlaws.evaluation import Scorer
from sweeplaw.analysis.hyperlaws.flat_knobs import flat_knobs
from sweeplaw.analysis.hyperlaws.hyperlaw import hyperlaw
from sweeplaw.analysis.hyperlaws.published import LAWS, Knob
from sweeplaw.analysis.hyperlaws.suggestion.from_runs import from_runs
from sweeplaw.analysis.hyperlaws.suggestion.suggest import from_law, outside
from sweeplaw.analysis.hyperlaws.suggestion.suggestion import side
from sweeplaw.analysis.tuning.cells import cell_table
from sweeplaw.trials.errors import InputError
from tests.paths import SHARED

TABLE = SHARED / "step_law_dense.csv"
KNOBS: tuple[Knob, ...] = ("lr", "batch_tokens")


def grid(law: str = "step-law", lr_factor: float = 1.0) -> pl.DataFrame:
    """Return noise-free cells whose optimum is exactly that of ``law`` (its lr times a factor)."""
    rows = []
    for n in (1e8, 3e8, 9e8):
        for d in (4e9, 2e10, 1e11):
            point = {"N": np.array(n), "D": np.array(d), "C": np.array(6 * n * d)}
            lr, batch = (float(LAWS[law].predict[knob](point)) for knob in KNOBS)
            for a in np.arange(-2, 2.1, 0.5):
                for b in np.arange(-2, 2.1, 0.5):
                    loss = 2.5 * n**-0.01 * d**-0.01 * np.exp(0.002 * (a * a + b * b - 0.8 * a * b))
                    rows.append((n, d, lr_factor * lr * 2**a, batch * 2**b, loss))
    return pl.DataFrame(rows, schema=["N", "D", "lr", "batch_tokens", "val_loss"], orient="row")


def flat_batch(seed: int, effect: float = 0.0) -> pl.DataFrame:
    """Return cells whose loss curves about the lr of Step Law, and in the batch by ``effect``, with noise of .1 %."""
    random = np.random.default_rng(seed)
    rows = []
    for n in (1e8, 3e8):
        for d in (4e9, 2e10, 1e11):
            point = {"N": np.array(n), "D": np.array(d)}
            lr, batch = (float(LAWS["step-law"].predict[knob](point)) for knob in KNOBS)
            for a in np.arange(-2, 2.1, 0.5):
                for b in np.arange(-2, 2.1, 0.5):
                    loss = 2.5 * np.exp(0.002 * a * a + effect * b * b + 0.001 * random.standard_normal())
                    rows.append((n, d, lr * 2**a, batch * 2**b, loss))
    return pl.DataFrame(rows, schema=["N", "D", "lr", "batch_tokens", "val_loss"], orient="row")


def scores(frame: pl.DataFrame, *laws: str) -> dict[str, LawScore]:
    """Return the score of each law by name, in order."""
    table = cell_table(frame, ("N", "D"), ("lr", "batch_tokens"), "val_loss")
    return {one.law.name: one for one in compare(frame, table, Scorer.of(table), laws or tuple(LAWS))}


def regret(one: LawScore) -> float | None:
    """Return the mean regret by the cells' quadratics, per mille."""
    assert one.evaluation is not None
    return one.evaluation.metric("quadratic").score


@pytest.mark.parametrize(
    ("law", "knob", "point", "value"),
    [
        ("kaplan", "lr", {"N": 1e9}, 0.003239 - 0.0001395 * math.log(1e9)),
        ("kaplan", "batch_tokens", {"L": 2.0}, 2e8 / 2 ** (1 / 0.21)),
        ("deepseek", "lr", {"C": 1e20}, 0.3118 * 1e20**-0.125),
        ("deepseek", "batch_tokens", {"C": 1e20}, 0.292 * 1e20**0.3271),
        ("porian", "lr", {"N": 1.08e8}, 0.0047),
        ("porian", "batch_tokens", {"N": 8 * 1.08e8}, 4 * 160 * 2048),
        ("minicpm", "batch_tokens", {"L": 1.0}, 1.21e9),
        ("step-law", "lr", {"N": 1e9, "D": 1e11}, 1.79 * 1e9**-0.713 * 1e11**0.307),
        ("step-law", "batch_tokens", {"D": 1e11}, 0.58 * 1e11**0.571),
        ("power-lines", "batch_tokens", {"D": 1e11}, 2048 * 0.0306 * 1e11**0.383),
        ("schaipp", "batch_tokens", {"D": 1e11}, 0.667 * 1e11**0.566),
    ],
)
def test_a_published_formula_gives_its_numbers(law: str, knob: Knob, point: dict[str, float], value: float) -> None:
    arrays = {name: np.array([number]) for name, number in point.items()}
    assert float(LAWS[law].predict[knob](arrays)[0]) == pytest.approx(value, rel=1e-12)
    assert set(LAWS[law].needs[knob]) == set(point)


def test_the_power_lines_decay_is_the_inverse_of_its_timescale() -> None:
    point = {"N": np.array(1e9), "D": np.array(2e10), "lr": np.array(3e-3), "batch_tokens": np.array(5e5)}
    decay = float(LAWS["power-lines"].predict["weight_decay"](point))
    assert 5e5 / (3e-3 * decay * 2e10) == pytest.approx(1.084 * 20**-0.527)


def test_every_law_names_its_source_units_and_standing() -> None:
    for law in LAWS.values():
        assert all([law.formula, law.units, law.source, law.standing, law.title])
        assert law.predict or law.exponents
        assert law.verified == law.standing.startswith("verified")


@pytest.mark.heavy
def test_the_law_that_generated_the_runs_is_first_without_regret() -> None:
    for maker in ("step-law", "deepseek"):
        ranked = scores(grid(maker))
        first = next(iter(ranked))
        assert first == maker
        assert regret(ranked[maker]) == pytest.approx(0, abs=1e-6)
        assert ranked[maker].off["lr"] == pytest.approx(1, rel=1e-6)


def test_a_factor_on_the_learning_rate_is_recovered() -> None:
    assert scores(grid(lr_factor=1 / 3.0), "step-law")["step-law"].off["lr"] == pytest.approx(3.0, rel=0.01)


def test_a_knob_that_the_law_omits_is_set_to_the_best_given_the_rest() -> None:
    found = scores(grid(), "schaipp")["schaipp"]
    assert "does not predict lr" in found.remark
    table = cell_table(grid(), ("N", "D"), ("lr", "batch_tokens"), "val_loss")
    scorer = Scorer.of(table)
    filled = fill(scorer, found.predicted)
    rows = np.linspace(-0.2, 0.2, 41)
    for c, quadratic in enumerate(scorer.quadratics):
        assert quadratic is not None
        around = [quadratic.excess(filled[c] + np.array([step, 0.0])) for step in rows]
        assert int(np.argmin(around)) == 20


@pytest.mark.heavy
def test_a_knob_without_effect_is_not_scored_and_noise_is_no_regret() -> None:
    flat = [flat_knobs(cell_table(flat_batch(seed), ("N", "D"), KNOBS, "val_loss")) for seed in range(20)]
    assert sum("batch_tokens" in one for one in flat) >= 15  # 95 % of 20 is 19; fewer than 15 has probability .0003
    assert not any("lr" in one for one in flat)
    curved = flat_knobs(cell_table(flat_batch(0, effect=0.0005), ("N", "D"), KNOBS, "val_loss"))
    assert not curved
    far = scores(flat_batch(0), "step-law", "deepseek")
    for one in far.values():
        assert "batch_tokens: no effect beyond the noise" in one.remark
        assert list(one.off) == ["lr"]
    right = far["step-law"]
    assert right.noise_floor is not None
    assert right.above_noise is not None
    assert 0 <= right.above_noise < 0.1  # noise of 1 per mille a run; not scored, the batch of its law would not matter
    raw, floor = regret(far["deepseek"]), far["deepseek"].noise_floor
    assert raw is not None
    assert floor is not None
    assert far["deepseek"].above_noise == pytest.approx(raw - floor)


def test_a_law_without_a_constant_is_listed_unscored() -> None:
    assert scores(grid(), "bjorck")["bjorck"].evaluation is None
    assert list(scores(grid()))[-1] in ("bjorck", "wang-aitchison")


def test_the_parameter_count_of_the_law_is_used_if_the_table_has_it() -> None:
    frame = grid().with_columns(params=pl.col("N") * 3, params_non_embedding=pl.col("N"))
    assert "stands for it" not in scores(frame, "step-law")["step-law"].remark
    assert "with-head" in scores(frame, "porian")["porian"].remark


def test_an_unknown_law_is_reported_with_the_nearest_one() -> None:
    with pytest.raises(InputError, match="did you mean 'step-law'"):
        scores(grid(), "steplaw")


def test_step_law_suggests_the_values_of_its_formula() -> None:
    found = from_law("step-law", 7e9, 1.4e12, 2048)
    lr, batch = found.settings["lr"], found.settings["batch_tokens"]
    assert lr.value == pytest.approx(1.79 * 7e9**-0.713 * 1.4e12**0.307)
    assert lr.low is not None
    assert lr.high is not None
    assert batch.high is not None
    assert lr.low < lr.value < lr.high
    assert lr.plateau == pytest.approx(2.0, abs=0.1)
    sequences = found.settings["batch_sequences"]
    assert batch.low is not None
    assert batch.high is not None
    assert [sequences.low, sequences.value, sequences.high] == pytest.approx(
        [batch.low / 2048, batch.value / 2048, batch.high / 2048]
    )
    assert found.settings["steps"].value == pytest.approx(1.4e12 / batch.value)
    assert found.settings["steps"].low == pytest.approx(1.4e12 / batch.high)
    assert found.decades["N"] == pytest.approx(math.log10(7e9 / 1.0738e9))
    named = {(other.law, other.knob): other for other in found.disagreements}
    assert named["deepseek", "lr"].beyond
    assert not named["porian", "lr"].beyond
    assert "second-hand" in found.settings["weight_decay"].source


def test_runs_suggest_the_law_that_generated_them() -> None:
    found = from_runs(hyperlaw(grid(), resamples=50), 2e9, 4e11, 1024)
    assert found.settings["lr"].value == pytest.approx(1.79 * 2e9**-0.713 * 4e11**0.307, rel=0.01)
    assert found.decades["D"] == pytest.approx(math.log10(4), abs=1e-9)
    own = next(other for other in found.disagreements if other.law == "step-law" and other.knob == "lr")
    assert own.factor == pytest.approx(1, rel=0.01)


@pytest.mark.parametrize(
    ("law", "params", "tokens", "words"),
    [
        ("step-law", 7e13, 1.4e12, "decades above all evidence"),
        ("step-law", -1.0, 1.4e12, "a positive number"),
        ("bjorck", 7e9, 1.4e12, "no constant"),
        ("minicpm", 7e9, 1.4e12, "needs the loss"),
        ("kaplan", 7e10, 1.4e12, "not positive"),
        ("steplaw", 7e9, 1.4e12, "did you mean 'step-law'"),
    ],
)
def test_an_unsupported_suggestion_is_rejected_with_the_reason(
    law: str, params: float, tokens: float, words: str
) -> None:
    with pytest.raises(InputError, match=words):
        from_law(law, params, tokens, 2048)


def test_distance_is_zero_inside_and_signed_outside() -> None:
    assert outside(5, 1, 10) == 0
    assert outside(1000, 1, 10) == pytest.approx(2)
    assert outside(0.1, 1, 10) == pytest.approx(-1)
    assert (side(outside(20, 1, 10)), side(outside(0.5, 1, 10))) == ("above", "below")


@pytest.mark.heavy
@pytest.mark.skipif(not TABLE.exists(), reason="the released dense table is not available")
def test_step_law_leads_the_complete_laws_on_its_own_runs() -> None:
    frame = pl.read_csv(TABLE).with_columns(batch_tokens=pl.col("bs") * 2048, val_loss=pl.col("smooth loss"))
    ranked = scores(frame)
    complete = [name for name, one in ranked.items() if len(one.off) == 2]
    assert complete[0] == "step-law"
    assert regret(ranked["step-law"]) == pytest.approx(0.332, abs=5e-4)
