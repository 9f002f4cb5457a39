"""What decides on claims about systems of known truth: functions of the answers of `sweeplaw` commands about a store.

Each returns numbers by name and the verdict.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping
from typing import Any

from examples.gallery.phenomena import PARTLY, REFUTED, REPRODUCED, Found, Numbers


def exponent(expected: float, name: str = "alpha") -> Callable[[Any], Found]:
    """Return what decides whether a fitted exponent is the expected one.

    It is reproduced if its 95 % interval holds it and it is within one per cent, partly if it is within five, as
    corrections of finite sizes are.
    """

    def decide(answer: Any) -> Found:
        value, interval = answer["params"][name], answer["intervals"][name]
        held = interval["low"] <= expected <= interval["high"]
        off = abs(value / expected - 1)
        numbers: Numbers = {"theory": expected, "fitted": value, "low": interval["low"], "high": interval["high"]}
        return numbers, REPRODUCED if held and off < 0.01 else PARTLY if held or off < 0.05 else REFUTED

    return decide


def more_is_better(rows: Any) -> Found:
    """Decide whether the mean loss falls along both axes, beyond two standard errors of a difference."""
    cells = {(row["features"], row["samples"]): row for row in rows}
    pairs = [
        (row, cells[other])
        for (features, samples), row in cells.items()
        for other in ((2 * features, samples), (features, 2 * samples))
        if other in cells
    ]
    worse = sum(after["loss"] - before["loss"] > 2 * _error(before, after) for before, after in pairs)
    better = sum(before["loss"] - after["loss"] > 2 * _error(before, after) for before, after in pairs)
    return {"pairs": len(pairs), "better": better, "worse": worse}, REPRODUCED if not worse else PARTLY


def double_descent(rows: Any) -> Found:
    """Decide whether the loss without a ridge peaks at as many features as samples, and not with the best ridge."""
    bare = {row["features"]: row["loss"] for row in rows if row["ridge_choice"] == "given" and row["ridge"] < 1e-6}
    best = {row["features"]: row["loss"] for row in rows if row["ridge_choice"] == "optimal"}
    peak = max(bare, key=lambda features: bare[features])
    steps = sorted(best)
    rises = sum(best[b] > 1.02 * best[a] for a, b in itertools.pairwise(steps))
    numbers: Numbers = {"peak_features": peak, "peak_over_best": bare[peak] / best[peak], "rises_at_best_ridge": rises}
    return numbers, REPRODUCED if peak == 128 and not rises else PARTLY


def stopping_is_nearly_ridge(rows: Any) -> Found:
    """Decide whether the best stopping time is within 5 % of the best ridge everywhere, and theory within four standard
    errors.
    """
    ratios = [row["stopped"] / row["ridge"] for row in rows]
    off = [abs(row["stopped"] - row["theory"]) / row["error"] for row in rows]
    numbers: Numbers = {"cells": len(rows), "least_ratio": min(ratios), "largest_ratio": max(ratios)}
    numbers |= {"largest_distance_from_theory_in_errors": max(off)}
    near, as_theory = max(ratios) < 1.05, max(off) < 4
    return numbers, REPRODUCED if near and as_theory else PARTLY if near or as_theory else REFUTED


def batch_exponent(expected: float, other: float) -> Callable[[Any], Found]:
    """Return what decides whether the exponent of the best learning rate in the batch size is the expected one.

    It is reproduced if its 95 % interval holds the expected one and not the ``other``, partly if it holds both.
    """

    def decide(answer: Any) -> Found:
        low, high = answer["exponent_interval"]
        numbers: Numbers = {"theory": expected, "exponent": answer["exponent"], "low": low, "high": high}
        numbers |= {"slices": answer["slices"], "cells": answer["cells"]}
        held = {rule: low <= rule <= high for rule in (expected, other)}
        return numbers, (PARTLY if held[other] else REPRODUCED) if held[expected] else REFUTED

    return decide


def best_lr_saturates(critical: float) -> Callable[[Any], Found]:
    """Return what decides whether the lr of least mean loss is within one step of its ladder of B / (B + critical) at
    every batch size B.
    """

    def decide(rows: Any) -> Found:
        numbers: Numbers = {"critical_batch": critical}
        ladder = sorted({row["lr"] for row in rows})
        step, off = math.log(ladder[1] / ladder[0]), []
        for batch in sorted({row["batch"] for row in rows}):
            best = min((row for row in rows if row["batch"] == batch), key=lambda row: row["loss"])["lr"]
            numbers |= {f"best_lr_{batch}": best, f"theory_lr_{batch}": batch / (batch + critical)}
            off.append(abs(math.log(best * (batch + critical) / batch)) / step)
        numbers |= {"largest_distance_in_steps": max(off)}
        near = [one <= 1 for one in off]
        return numbers, REPRODUCED if all(near) else PARTLY if sum(near) > len(near) / 2 else REFUTED

    return decide


def stops_later(rows: Any) -> Found:
    """Decide whether the best stopping time rises with samples and falls with noise, and is near that of theory.

    Times are geometric means over draws. It is reproduced if every neighbour along both axes is on the right side and
    every time is within a third of theory, partly if the neighbours alone are.
    """
    times = {(row["samples"], row["noise"]): row["stopped_at"] for row in rows}
    samples, noises = (sorted({key[k] for key in times}) for k in (0, 1))
    later = [times[b, noise] > times[a, noise] for a, b in itertools.pairwise(samples) for noise in noises]
    later += [times[size, a] > times[size, b] for a, b in itertools.pairwise(noises) for size in samples]
    off = max(abs(math.log(row["stopped_at"] / row["theory_time"])) for row in rows)
    numbers: Numbers = {"pairs": len(later), "as_claimed": sum(later), "largest_ratio_to_theory": math.exp(off)}
    near = off < math.log(4 / 3)
    return numbers, REPRODUCED if all(later) and near else PARTLY if all(later) else REFUTED


def best_ridge_rises(rows: Any) -> Found:
    """Decide whether the best ridge rises with samples and with noise, from end to end and never falls between."""
    best = {(row["samples"], row["noise"]): row["ridge"] for row in rows}
    samples, noises = (sorted({key[k] for key in best}) for k in (0, 1))
    lines = [[best[size, noise] for size in samples] for noise in noises]
    lines += [[best[size, noise] for noise in noises] for size in samples]
    rising = [line[-1] > line[0] and all(b >= a for a, b in itertools.pairwise(line)) for line in lines]
    numbers: Numbers = {"lines": len(lines), "rising": sum(rising)}
    numbers |= {f"ridge_{size}_noise_{noise:g}": value for (size, noise), value in sorted(best.items())}
    ends = all(line[-1] > line[0] for line in lines)
    return numbers, REPRODUCED if all(rising) else PARTLY if ends else REFUTED


def one_beats_many(rows: Any) -> Found:
    """Decide whether one model has the lowest mean loss among ensembles of as many features, at each sample size."""
    gains: Numbers = {}
    for samples in sorted({row["samples"] for row in rows}):
        own = {row["ensemble"]: row["loss"] for row in rows if row["samples"] == samples}
        gains[f"best_ensemble_over_one_{samples}_samples"] = min(own[size] for size in own if size > 1) / own[1]
    return gains, REPRODUCED if all(float(value) > 1 for value in gains.values()) else REFUTED


def _error(one: Mapping[str, float], other: Mapping[str, float]) -> float:
    return float((one["spread"] ** 2 / one["runs"] + other["spread"] ** 2 / other["runs"]) ** 0.5)
