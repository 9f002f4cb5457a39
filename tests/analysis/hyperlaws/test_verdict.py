"""Verdicts on a hyperparameter law: a planted law passes, a bent or hidden one fails and advises nothing."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from sweeplaw.analysis.hyperlaws.hyperlaw import Hyperlaw, _far_beyond, hyperlaw
from sweeplaw.analysis.hyperlaws.suggestion.from_runs import from_runs, suggest
from sweeplaw.analysis.hyperlaws.suggestion.line import moved_together
from sweeplaw.analysis.hyperlaws.verdicts.own_optima import own_optima
from sweeplaw.analysis.tuning.cells import cell_table
from sweeplaw.analysis.tuning.design import Untuned, at_edges
from sweeplaw.trials.errors import InputError

NK, ND = -0.6, 0.25
SIZES, DATA = (1e8, 2e8, 4e8, 8e8), (4e9, 1.6e10, 6.4e10)
GRID = tuple((n, d) for n in SIZES for d in DATA)


def best(n: float, d: float, bend: float = 0.0) -> float:
    return float(0.5 * n**NK * d**ND * np.exp(bend * np.log(n / 3e8) ** 2))


def runs(
    noise: float = 0.001, seed: int = 0, bend: float = 0.0, cells: tuple[tuple[float, float], ...] = GRID
) -> pl.DataFrame:
    """Return cells of eleven learning rates about their best, which lies on a power law of N and D unless bent."""
    rng = np.random.default_rng(seed)
    rows = []
    for n, d in cells:
        for lr in 0.5 * n**NK * d**ND * 2.0 ** np.arange(-2.5, 2.6, 0.5):
            away = np.log(lr / best(n, d, bend))
            rows.append((n, d, lr, 3 * d**-0.02 * np.exp(0.03 * away**2 + noise * rng.standard_normal())))
    return pl.DataFrame(rows, schema=["N", "D", "lr", "val_loss"], orient="row")


def law(frame: pl.DataFrame, **options: object) -> Hyperlaw:
    return hyperlaw(frame, knobs=["lr"], resamples=200, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("estimator", ["joint", "cells", "pooled:0.0025"])
def test_a_planted_law_passes_all_three(estimator: str) -> None:
    found = law(runs(), estimator=estimator)
    assert found.verdict.badges == ("optimum found", "law adequate", "parameters identified")
    assert "optimum found; law adequate; parameters identified" in found.summary()
    assert found.to_dict()["verdict"]["law"]["verdict"] == "adequate"


@pytest.mark.parametrize("estimator", ["joint", "cells"])
def test_a_law_that_bends_is_inadequate_and_advises_nothing(estimator: str) -> None:
    found = law(runs(bend=1.0), estimator=estimator)
    assert found.verdict.law == "inadequate"
    with pytest.raises(InputError, match="advise nothing: at the optima of the law the cells lose"):
        from_runs(found, 4e8, 1e10, 2048)


@pytest.mark.heavy
def test_a_bend_that_the_loss_would_not_notice_is_adequate() -> None:
    assert law(runs(bend=0.1, noise=0.0001)).verdict.law == "adequate"


@pytest.mark.heavy
def test_equal_laws_are_rarely_called_inadequate() -> None:
    verdicts = [hyperlaw(runs(noise=0.003, seed=seed), knobs=["lr"], resamples=0).verdict.law for seed in range(20)]
    assert verdicts.count("inadequate") <= 1
    assert verdicts.count("adequate") >= 15


@pytest.mark.parametrize("seed", range(3))
def test_noise_that_hides_the_minimum_has_no_optimum_or_no_exponent(seed: int) -> None:
    with pytest.raises(InputError, match=r"no minimum|advise nothing|not identified"):
        from_runs(law(runs(noise=0.2, seed=seed)), 7e9, 1e12, 2048)


@pytest.mark.heavy
def test_an_exponent_whose_interval_holds_a_flat_law_is_not_identified() -> None:
    narrow = tuple((n, d) for n in (1e8, 1.1e8, 1.2e8) for d in DATA)
    found = law(runs(noise=0.004, cells=narrow))
    assert ("lr", "N") in found.verdict.open_exponents
    assert ("lr", "D") not in found.verdict.open_exponents
    assert "a flat law fits as well" in found.verdict.open_exponents["lr", "N"]


def test_a_knob_that_is_known_to_stay_is_identified() -> None:
    rng, rows = np.random.default_rng(0), []
    for n, d in GRID:
        for lr in 2.0 ** np.arange(-10, -5, 0.5):
            rows.append((n, d, lr, 3 * d**-0.02 * np.exp(0.01 * np.log(lr / 0.005) ** 2 + 0.0005 * rng.normal())))
    found = law(pl.DataFrame(rows, schema=["N", "D", "lr", "val_loss"], orient="row"))
    assert not found.verdict.open_exponents


def test_without_resamples_nothing_is_identified() -> None:
    found = hyperlaw(runs(), knobs=["lr"], resamples=0)
    assert "without resamples there is no interval" in " ".join(found.verdict.open_exponents.values())


def test_the_optima_of_the_cells_and_their_errors_are_those_of_least_squares() -> None:
    table = cell_table(runs(noise=0.002), ("N", "D"), ["lr"], "val_loss")
    own = own_optima(table, 0.02)
    assert own is not None
    near = table.excess < 0.02
    x, z, cell = table.x[near, 0], table.z[near], table.cell[near]
    dummies = (cell[:, None] == np.arange(len(table.cells))).astype(float)
    middles = dummies.T @ x / dummies.sum(axis=0)
    moved = x - middles[cell]
    design = np.column_stack([moved**2 / 2, dummies, dummies * moved[:, None]])
    solution, rest, *_ = np.linalg.lstsq(design, z, rcond=None)
    slopes = solution[1 + len(middles) :]
    assert own.hessian[0, 0] == pytest.approx(solution[0])
    assert own.optima[:, 0] == pytest.approx(middles - slopes / solution[0])
    variance = rest[0] / (len(z) - design.shape[1])
    spread = variance / (dummies.T @ moved**2) / solution[0] ** 2
    assert own.covariances[:, 0, 0] == pytest.approx(spread)


@pytest.mark.heavy
def test_one_size_answers_for_that_size_and_says_what_is_known_of_others() -> None:
    one = runs(cells=tuple((2e8, d) for d in (1e9, 4e9, 1.6e10, 6.4e10, 2.5e11)))
    found = suggest(one, 2.2e8, 1e10, 2048, resamples=100)
    assert found.settings["lr"].value == pytest.approx(best(2e8, 1e10), rel=0.1)
    with pytest.raises(
        InputError, match=r"lr moves with N is not identified: N is 200M in all cells; at N = 200M it is"
    ):
        suggest(one, 7e9, 1e10, 2048, resamples=100)


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("cells", "words"),
    [
        (tuple((n, 1e18 / n) for n in np.geomspace(1e8, 1e9, 6).tolist()), r"one compute budget \(N D = 1e\+18\)"),
        (tuple((n, 20 * n) for n in np.geomspace(1e8, 1e9, 6).tolist()), r"one ratio of data to size \(D = 20 N\)"),
        (tuple((n, 3e4 * n**0.6) for n in np.geomspace(1e8, 1e9, 6).tolist()), r"D = 3e\+04 N\^0\.600"),
    ],
)
def test_runs_on_a_line_answer_on_it_and_nowhere_else(cells: tuple[tuple[float, float], ...], words: str) -> None:
    table = runs(cells=cells)
    n, d = cells[3]
    found = suggest(table, n, d * 1.1, 2048, resamples=100)
    assert found.settings["lr"].value == pytest.approx(best(n, d), rel=0.1)
    with pytest.raises(InputError, match=rf"(?s){words}.*the runs cover D = .*lr = .*not D = "):
        suggest(table, n, 100 * d, 2048, resamples=100)


def test_sizes_and_data_that_vary_apart_are_on_no_line() -> None:
    assert moved_together(runs()) is None
    assert moved_together(runs(cells=GRID[:3])) is None


@pytest.mark.parametrize(
    ("n", "d"), [((1e7, 1e8, 1e9), (2e9, 2.03e9, 2.06e9)), ((1e7, 1.02e7, 1.04e7), (2e8, 2e9, 2e10))]
)
def test_sizes_or_data_that_hardly_vary_are_on_no_line(n: tuple[float, ...], d: tuple[float, ...]) -> None:
    assert moved_together(pl.DataFrame({"N": n, "D": d})) is None


def test_sizes_that_are_no_number_are_on_no_line_and_hide_none() -> None:
    line = pl.DataFrame({"N": [1e7, 1e8, 1e9, 1e10], "D": [2e8, 2e9, 2e10, 2e11]})
    odd = pl.DataFrame({"N": [float("inf"), float("nan"), -1.0], "D": [1e9, 1e9, 1e9]})
    assert moved_together(pl.concat([line, odd])) == moved_together(line) is not None


def test_sizes_that_are_text_are_on_no_line() -> None:
    assert moved_together(pl.DataFrame({"N": ["small", "large"], "D": [2e8, 2e9]})) is None


def decays(levels: tuple[float, ...], best_decay: float) -> pl.DataFrame:
    """Return `runs` at each weight decay, whose best one is the same in every cell."""
    frame, rng = runs(), np.random.default_rng(1)
    parts = []
    for decay in levels:
        noise = np.exp(0.0005 * rng.standard_normal(frame.height))
        worse = 1 + 0.1 * (np.sqrt(decay) - np.sqrt(best_decay)) ** 2
        parts.append(frame.with_columns(weight_decay=pl.lit(decay), val_loss=pl.col("val_loss") * worse * noise))
    return pl.concat(parts)


def test_the_lowest_positive_value_is_no_edge_where_zero_was_tried() -> None:
    frame = decays((0.0, 0.1, 0.2, 0.8), best_decay=0.1)
    with_zero = at_edges(cell_table(frame, ("N", "D"), ["lr", "weight_decay"], "val_loss"))
    without = at_edges(
        cell_table(frame.filter(pl.col("weight_decay") > 0), ("N", "D"), ["lr", "weight_decay"], "val_loss")
    )
    assert with_zero["weight_decay"] == (0, 0)
    assert without["weight_decay"] == (len(GRID), 0)


def test_an_end_beyond_which_runs_diverged_is_no_edge() -> None:
    """In the larger half of the cells, runs at a decay above the highest with a loss diverged."""
    frame = decays((0.1, 0.2, 0.8), best_decay=0.8)
    measured = frame.with_columns(state=pl.lit("completed"))
    lost = frame.filter((pl.col("N") > SIZES[len(SIZES) // 2]) & (pl.col("weight_decay") == 0.8)).with_columns(
        weight_decay=pl.lit(1.6), val_loss=pl.lit(None, pl.Float64), state=pl.lit("diverged")
    )
    cells = lost.select("N", "D").n_unique()
    assert 0 < cells < len(GRID)

    def edges(frame: pl.DataFrame) -> tuple[int, int]:
        return at_edges(cell_table(frame, ("N", "D"), ["lr", "weight_decay"], "val_loss"))["weight_decay"]

    assert edges(measured) == (0, len(GRID))
    assert edges(pl.concat([measured, lost])) == (0, len(GRID) - cells)
    failed = lost.with_columns(state=pl.lit("failed"))
    below = lost.with_columns(weight_decay=pl.lit(0.01))
    assert edges(pl.concat([measured, failed, below])) == (0, len(GRID)), (
        "a failed run and one below bound nothing here"
    )


@pytest.mark.heavy
@pytest.mark.parametrize("best_decay", [0.09, 0.02])  # where the surface has a minimum beyond the values tried, or none
def test_a_knob_at_its_edge_leaves_the_others_their_law(best_decay: float) -> None:
    frame = decays((0.1, 0.2, 0.4, 0.8), best_decay)
    found = suggest(frame, 4e8, 1e10, 2048, resamples=100)
    assert found.settings["lr"].value == pytest.approx(best(4e8, 1e10), rel=0.1)
    said = "weight_decay has no law: the lowest loss is at the lowest weight_decay tried in 12 of 12 cells"
    assert any(note.startswith(said) for note in found.notes)
    if best_decay == 0.02:
        with pytest.raises(Untuned, match="no minimum") as refused:
            hyperlaw(frame, knobs=["lr", "weight_decay"], resamples=0)
        assert refused.value.able == ("lr",)


@pytest.mark.heavy
def test_resamples_keep_every_recipe() -> None:
    frame = runs().with_columns(model=pl.format("m{}", pl.col("N").rank("dense")))
    found = hyperlaw(frame, ("D",), ["lr"], recipes=["model"], resamples=200)
    assert found.failed_resamples == 0
    assert found.verdict.badges[0] == "optimum found"


def test_a_recipe_that_follows_from_an_axis_is_named() -> None:
    frame = runs().with_columns(model=pl.format("m{}", pl.col("N").rank("dense")))
    with pytest.raises(
        InputError, match=r"^each model has one N, so that the effects of model and N cannot be separated"
    ):
        hyperlaw(frame, ("N", "D", "model"), ["lr"], resamples=0)


def test_an_optimum_far_beyond_all_values_tried_is_none_if_the_best_ones_are_at_an_end() -> None:
    falling = pl.DataFrame(
        [(n, d, lr, 3 - 10 * lr) for n, d in GRID for lr in (0.001, 0.002, 0.004)],
        schema=["N", "D", "lr", "val_loss"],
        orient="row",
    )
    for frame, beyond, far in ((falling, 1001, True), (falling, 999, False), (runs(), 1001, False)):
        table = cell_table(frame, ("N", "D"), ["lr"], "val_loss")
        for optimum in (table.x.max() + np.log(beyond), table.x.min() - np.log(beyond)):
            assert _far_beyond(table, np.full((len(GRID), 1), optimum)) == far


def test_without_a_minimum_in_some_resamples_no_exponent_is_identified() -> None:
    """Cells of three rates a factor of two apart, with noise: an interval is of the resamples that have a minimum."""
    rng, rows = np.random.default_rng(5), []
    for n in (1e7, 3e7, 1e8, 3e8):
        for d in (1e9, 4e9):
            for lr in 1e-3 * 2.0 ** np.arange(-1, 2):
                away = np.log(lr / (1e-3 * (n / 5e7) ** -0.4 * (d / 2e9) ** 0.2))
                loss = (1.8 + 480 / n**0.35 + 2000 / d**0.37) * (1 + 0.005 * rng.standard_normal())
                rows.append((n, d, lr, loss + 0.03 * away**2))
    found = law(pl.DataFrame(rows, schema=["N", "D", "lr", "val_loss"], orient="row"))
    low, high = found.law("lr").exponents["N"].ends
    assert low is not None
    assert high is not None
    assert low < high < 0
    assert found.failed_resamples == 25
    assert found.verdict.badges[::2] == ("optimum not found", "parameters not identified")
    assert found.verdict.open_exponents["lr", "N"] == (
        "how lr moves with N is not identified: 25 of 200 resamples of the cells have no minimum"
    )
