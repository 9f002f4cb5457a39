"""A report of planted runs: a loss E + A/N^alpha + B/D^beta, above it a quadratic in the logarithms of two knobs."""

from __future__ import annotations

import datetime as dt
from itertools import product
from typing import Any

import numpy as np
import polars as pl

from sweeplaw.analysis.fitting.fit import fit
from sweeplaw.analysis.report.family import families
from sweeplaw.analysis.report.family_laws import FittedSlice
from sweeplaw.analysis.report.findings.best_of import best_of
from sweeplaw.analysis.report.findings.importance import knob_shares
from sweeplaw.analysis.report.findings.isoflop import family_curves
from sweeplaw.analysis.report.hyperlaw_section import hyper_section
from sweeplaw.analysis.report.next_section import family_optima
from sweeplaw.analysis.report.report import Report, Section
from sweeplaw.analysis.tables.families import Axes
from sweeplaw.analysis.tables.tables import Tables

SIZES, BUDGETS = (1e7, 3e7, 1e8, 3e8), (1e9, 8e9, 6.4e10)
LAW = {"E": 1.7, "A": 400.0, "B": 410.0, "alpha": 0.34, "beta": 0.28}
BY = Axes("N", "tokens", "val_loss", (), ("lr", "batch"), {"val_loss": "nats/token", "tokens": "tokens"}, ("a note",))
START = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
LAUNCHES = (
    {"sweep": "planted", "description": "What is known.", "sweep_file": "name = 'planted'", "launch_id": "one",
     "recorded_at": "2026-01-01", "host": "even", "cluster": "inline", "planned": 243, "dropped": {"where": 7}},
    {"file": "theirs.csv", "recorded_at": "2026-01-02", "source": "theirs", "preset": "wandb", "rows": 9, "added": 5,
     "rejected": 3, "left_out": 1, "where": "N > 1", "sha256": "0a1b"},
)  # fmt: skip


def best_setting(n: float, d: float) -> tuple[float, float]:
    """Return the planted best learning rate and batch."""
    return 4e-3 * (n / 5e7) ** -0.2, 180.0 * (d / 8e9) ** 0.2


def loss(n: float, d: float, lr: float, batch: float) -> float:
    """Return the planted loss."""
    u, v = (np.log(value / best) for value, best in zip((lr, batch), best_setting(n, d), strict=True))
    least = LAW["E"] + LAW["A"] / n ** LAW["alpha"] + LAW["B"] / d ** LAW["beta"]
    return float(least * (1 + 0.01 * u * u + 0.008 * v * v + 0.004 * u * v))


def trials() -> pl.DataFrame:
    """Return the runs: two seeds at the smallest size, one elsewhere, and three runs that did not complete."""
    rows: list[dict[str, Any]] = []
    for n, d, lr, batch in product(SIZES, BUDGETS, (1e-3, 2e-3, 4e-3, 8e-3), (64, 128, 256, 512)):
        for seed in (0, 1) if n == SIZES[0] else (0,):
            noise = 0.001 * np.sin(7.0 * len(rows))
            rows.append({"N": n, "tokens": d, "lr": lr, "batch": batch, "seed": seed, "state": "completed",
                         "val_loss": round(loss(n, d, lr, batch) * (1 + noise), 5), "message": None})  # fmt: skip
    for state, message in (("diverged", "nan"), ("failed", "no room"), ("failed", "no room")):
        rows.append({"N": 1e7, "tokens": 1e9, "lr": 0.1, "batch": 64, "seed": 0, "state": state, "val_loss": None,
                     "message": message})  # fmt: skip
    frame = pl.DataFrame(rows, infer_schema_length=None)
    order = pl.int_range(frame.height)
    return frame.with_columns(
        trial_id=pl.format("t{}", order), flops=6 * pl.col("N") * pl.col("tokens"), train_seconds=pl.lit(60.0),
        started_at=START + pl.duration(seconds=40 * order), ended_at=START + pl.duration(seconds=40 * order + 60),
        host=pl.when(order % 2 == 0).then(pl.lit("even")).otherwise(pl.lit("odd")),
        device=pl.format("device {}", 2 - order % 3),
    )  # fmt: skip


def curves(table: pl.DataFrame) -> pl.DataFrame:
    """Return two points of each run that completed, at half of its tokens and at its end."""
    ends = table.filter(pl.col("state") == "completed").select("trial_id", "tokens", "val_loss")
    points = [
        ends.select("trial_id", pl.lit(10 * k).alias("step"), tokens=pl.col("tokens") * k / 2,
                    val_loss=pl.col("val_loss") + 2 - k, train_loss=pl.col("val_loss") + 2.1 - k)
        for k in (1, 2)
    ]  # fmt: skip
    return pl.concat(points)


def made() -> Report:
    """Return the report, with few draws."""
    everything = trials()
    (family,) = families(everything.filter(pl.col("state") == "completed"), BY)
    surface = fit(family.seeds, "additive", x={"N": "N", "D": "tokens"}, y="val_loss", bootstrap=20, all_rows=True)
    rows = family.seeds.filter(pl.col("tokens") == BUDGETS[1])
    own = fit(rows, "power_asymptote", x="N", y="val_loss", bootstrap=20, all_rows=True)
    slices = (
        FittedSlice("L(N) = C + A/N^alpha at D = 8,000,000,000", ("N",), {"tokens": BUDGETS[1]}, own),
        FittedSlice("L(D) = C + A/D^alpha at N = 10,000,000", ("tokens",), {"N": SIZES[0]}, None, "3 distinct D"),
    )
    optima = tuple(family_optima(everything, family, BY))
    hyper = hyper_section(everything, ["N", "tokens"], ["lr", "batch"])
    section = Section(family, BY, FittedSlice("L(N, D)", ("N", "tokens"), {}, surface), slices, optima, hyper,
                      family_curves(family, BY, surface), knob_shares(family, BY), best_of(family, BY))  # fmt: skip
    tables = Tables(everything.filter(pl.col("state") == "completed").lazy(), curves(everything).lazy(),
                    {"not completed": 3}, "planted", LAUNCHES, ("a part is damaged",))  # fmt: skip
    return Report("planted", tables, everything, BY, (section,), 2, "a few are unknown")
