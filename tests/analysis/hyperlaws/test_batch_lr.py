"""Exponent of the best learning rate in the batch size, plateau, and figures of hyperparameter laws."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest
from matplotlib.figure import Figure

from sweeplaw.analysis.hyperlaws.batch_lr import SAME_RULE, _data_slope, _verdict, batch_rule
from sweeplaw.analysis.hyperlaws.evaluation import Scorer
from sweeplaw.analysis.hyperlaws.features import features
from sweeplaw.analysis.hyperlaws.hyperlaw import hyperlaw
from sweeplaw.analysis.hyperlaws.knob_law import Estimate
from sweeplaw.analysis.report.paper.hyperlaw_figures import heatmaps, importance_bars, law_lines
from sweeplaw.analysis.tuning.cells import CellTable, cell_table
from sweeplaw.analysis.tuning.importance import importance
from sweeplaw.analysis.tuning.optimum import optima
from sweeplaw.analysis.tuning.plateau import plateau, pooled, widths
from sweeplaw.trials.errors import InputError


def runs(exponent: float, noise: float = 0.0004) -> pl.DataFrame:
    """Return nine cells in which lr*(B) = lr0 (B/B0)^exponent and the loss at the best lr is lowest at B0."""
    rng = np.random.default_rng(1)
    rows = []
    for n in (1e8, 3e8, 9e8):
        for d in (4e9, 2e10, 1e11):
            lr0, b0 = 0.02 * (n / 1e8) ** -0.3, 2e5 * (d / 4e9) ** 0.5
            for lr in lr0 * 2.0 ** np.arange(-4, 4.1, 0.7):
                for batch in b0 * 2.0 ** np.arange(-2, 2.1, 0.8):
                    u, v = np.log(lr / lr0) - exponent * np.log(batch / b0), np.log(batch / b0)
                    rise = 0.004 * u * u + 0.002 * v * v + noise * rng.standard_normal()
                    rows.append((n, d, lr, batch, 3 * (n / 1e8) ** -0.05 * (d / 4e9) ** -0.06 * np.exp(rise)))
    return pl.DataFrame(rows, schema=["N", "D", "lr", "batch_tokens", "val_loss"], orient="row")


def cells(frame: pl.DataFrame) -> CellTable:
    return cell_table(frame, ("N", "D"), ("lr", "batch_tokens"), "val_loss")


@pytest.mark.parametrize(("exponent", "words"), [(0.5, "excludes the linear"), (1.0, "excludes the square-root")])
@pytest.mark.heavy
def test_the_planted_rule_is_found_and_the_other_excluded(exponent: float, words: str) -> None:
    table = cells(runs(exponent, noise=0.002))
    found = batch_rule(table, features(table), "lr", "batch_tokens")
    assert found.exponent.low is not None
    assert found.exponent.high is not None
    assert found.exponent.low - 0.02 <= exponent <= found.exponent.high + 0.02
    assert found.surface == pytest.approx(exponent, abs=0.05)
    assert words in found.verdict


@pytest.mark.heavy
@pytest.mark.parametrize("count", [3, 4])
def test_an_interval_needs_four_cells(count: int) -> None:
    frame = runs(0.5)
    few = frame.unique(["N", "D"], keep="first", maintain_order=True).head(count)
    table = cells(frame.join(few, ["N", "D"], "semi"))
    found = batch_rule(table, features(table), "lr", "batch_tokens", resamples=20)
    assert found.cells == count
    assert (found.exponent.low is not None, found.exponent.high is not None) == (count == 4, count == 4)


@pytest.mark.heavy
def test_twenty_percent_more_tokens_compensate_for_the_loss_at_the_critical_batch() -> None:
    table = cells(runs(0.5, noise=1e-5))
    found = batch_rule(table, features(table, {"batch_tokens": ("N", "D")}), "lr", "batch_tokens")
    for label, critical in found.critical:
        best = 2e5 * (float(str(label["D"])) / 4e9) ** 0.5
        # 3 D^-.06 falls by .06 ln 1.2 in log loss; the loss at the best lr rises by .002 ln(B/B0)^2.
        assert critical == pytest.approx(best * np.exp(np.sqrt(0.06 * np.log(1.2) / 0.002)), rel=0.05)


@pytest.mark.parametrize(("data", "slope"), [((1e9, 2e9), 0.06), ((1e9, 1e11), 0.06), ((1e9, 1e9), None)])
def test_the_slope_in_data_needs_no_more_than_two_amounts_of_it(data: tuple[float, ...], slope: float | None) -> None:
    logs = np.log([(n, d) for n in (1e8, 2e8) for d in data])
    table: Any = SimpleNamespace(axes=("N", "D"), log_axes=logs, cells=range(4), lowest=logs @ [-0.05, -0.06])
    assert _data_slope(table) == (None if slope is None else pytest.approx(slope))


def test_the_loss_at_a_plateau_factor_is_higher_by_the_threshold() -> None:
    hessian = np.array([[0.02, -0.008], [-0.008, 0.01]])
    for width in widths(hessian, ("lr", "batch")):
        k = ("lr", "batch").index(width.knob)
        step = np.zeros(2)
        step[k] = np.log(width.factor)
        assert np.expm1(step @ hessian @ step / 2) == pytest.approx(width.threshold)
        assert width.retuned >= width.factor


def test_convexity_has_a_verdict_and_pooled_widths_are_recovered() -> None:
    found = optima(runs(0.5), ["N", "D"], ["lr", "batch_tokens"])
    assert all(plateau(cell).verdict.startswith("convex") for cell in found)
    lr = next(width for width in pooled(found) if width.knob == "lr" and width.threshold == 0.0025)
    assert lr.factor == pytest.approx(np.exp(np.sqrt(2 * np.log1p(0.0025) / 0.008)), rel=0.03)
    flat = pl.DataFrame({"lr": 2.0 ** np.arange(9), "val_loss": 2 + 0.01 * np.cos(np.arange(9) * 2.0)})
    (cell,) = optima(flat, [], ["lr"])
    assert not plateau(cell).verdict.startswith("convex:")


@pytest.mark.heavy
def test_every_figure_can_be_drawn(tmp_path: object) -> None:
    frame = runs(0.5)
    table = cells(frame)
    law = hyperlaw(frame, resamples=20)
    (decomposed,), _ = importance(frame.filter((pl.col("N") == 1e8) & (pl.col("D") == 4e9)), ["lr", "batch_tokens"])
    own = {"published": np.zeros((9, 2)) + np.log([0.02, 2e5])}
    drawn = (heatmaps(Scorer.of(table), law, own, most=2), law_lines(table, law), importance_bars([decomposed]))
    for figure in drawn:
        assert isinstance(figure, Figure)
        figure.savefig(f"{tmp_path}/figure.png", dpi=30)


@pytest.mark.heavy
def test_no_run_is_on_the_frame_of_its_panel() -> None:
    frame = runs(0.5)
    table = cells(frame)
    for cell, panel in enumerate(heatmaps(Scorer.of(table), hyperlaw(frame, resamples=5), most=2).axes[:2]):
        (left, right), (low, high) = panel.get_xlim(), panel.get_ylim()
        settings = np.exp(table.x[table.rows_of(cell)])
        assert left < 0.99 * settings[:, 0].min() < 1.01 * settings[:, 0].max() < right
        assert low < 0.99 * settings[:, 1].min() < 1.01 * settings[:, 1].max() < high


@pytest.mark.heavy
def test_the_exponent_is_the_weighted_slope_through_the_optima_of_the_slices() -> None:
    """Against least squares with an offset for each cell. No slice weighs more than one of the median error."""
    frame = runs(0.5, noise=0.002)
    table = cells(frame)
    found = batch_rule(table, features(table), "lr", "batch_tokens", resamples=20)
    slices = [one for one in optima(frame, ["N", "D", "batch_tokens"], ["lr"], "val_loss") if one.supported]
    knobs = [one.knob("lr") for one in slices]
    spread = np.array([np.log(knob.high / knob.low) for knob in knobs])  # type: ignore[operator]
    error = np.maximum(spread, np.median(spread))
    cell = [(one.cell["N"], one.cell["D"]) for one in slices]
    offsets = np.array([[float(one == other) for other in sorted(set(cell))] for one in cell])
    batch = np.log([[one.cell["batch_tokens"]] for one in slices])
    design = np.hstack([batch, offsets]) / error[:, None]
    best = np.log([float(knob.fitted) for knob in knobs]) / error  # type: ignore[arg-type]
    assert spread.max() > 1.5 * np.median(spread)  # so that the weights matter
    assert found.exponent.value == pytest.approx(np.linalg.lstsq(design, best, rcond=None)[0][0], abs=1e-3)


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [
        (0.2, 0.5 - SAME_RULE, "agrees with the square-root rule and excludes the linear"),
        (0.2, 0.46, "below both"),
        (0.5 + SAME_RULE, 0.9, "agrees with the square-root rule and excludes the linear"),
        (0.54, 0.96, "between"),
        (0.54, 1 - SAME_RULE, "agrees with the linear rule and excludes the square-root"),
        (1 + SAME_RULE, 1.2, "agrees with the linear rule and excludes the square-root"),
        (1.04, 1.2, "above both"),
        (0.5, 1.0, "covers both"),
        (None, None, "too few cells for an interval"),
    ],
)
def test_a_rule_within_the_margin_of_the_interval_is_not_excluded(
    low: float | None, high: float | None, words: str
) -> None:
    assert words in _verdict(Estimate(0.7, low, high))


def test_without_two_slices_that_have_an_optimum_the_message_says_why() -> None:
    frame = runs(0.5).filter(pl.col("lr") == pl.col("lr").min().over("N", "D", "batch_tokens"))
    frame = pl.concat([frame, frame.with_columns(pl.col("lr") * 2, pl.col("val_loss") * 1.01)])
    table = cells(frame)
    with pytest.raises(InputError, match=r"best lr is determined: it is at 0 of \d+; elsewhere:\n  - no interval"):
        batch_rule(table, features(table), "lr", "batch_tokens", resamples=20)


@pytest.mark.heavy
def test_the_legend_of_laws_lies_beside_the_panels_and_covers_no_run() -> None:
    frame = runs(0.5).rename({"N": "params_non_embedding", "D": "tokens"})
    axes, knobs = ("params_non_embedding", "tokens"), ("lr", "batch_tokens")
    found = hyperlaw(frame, axes, knobs, resamples=5)
    figure = law_lines(cell_table(frame, axes, knobs, "val_loss"), found)
    figure.canvas.draw()
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["lowest run of a cell", "law", "95 % band"]
    assert not any(legend.get_window_extent().overlaps(panel.bbox) for panel in figure.axes)
    assert [panel.get_title(loc="left") for panel in figure.axes[::2]] == [law.formula for law in found.laws]
