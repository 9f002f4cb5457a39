"""What decides on a claim of the gallery: functions of the answers of `sweeplaw` commands about a store.

Each returns numbers by name and the verdict.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping
from typing import Any

from examples.gallery.phenomena import NOT_HERE, PARTLY, REFUTED, REPRODUCED, Found, Numbers


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


def best_lr_moves(answer: Any) -> Found:
    """Report the exponents of the width in the best learning rate under both parametrizations."""
    numbers: Numbers = {}
    losses: dict[tuple[str, int], float] = {}
    for row in answer:
        name, width = row["parametrization"], row["width"]
        numbers[f"best_lr_{name}_{width}"] = row["lr"]
        losses[name, width] = row["val_loss"]
    ratio = {
        name: float(numbers[f"best_lr_{name}_256"]) / float(numbers[f"best_lr_{name}_32"])
        for name in ("standard", "mup")
    }
    numbers |= {f"ratio_{name}": value for name, value in ratio.items()}
    numbers |= {f"loss_{name}_256": losses[name, 256] for name in ratio}
    still, moves = 0.5 <= ratio["mup"] <= 2, not 0.5 <= ratio["standard"] <= 2
    return numbers, REPRODUCED if still and moves else PARTLY if still or moves else REFUTED


def knobs_follow(signs: Mapping[tuple[str, str], int]) -> Callable[[Any], Found]:
    """Return what decides whether exponents of hyperparameter laws, by knob and axis, have these signs.

    An exponent has its sign if its interval excludes zero.
    """

    def decide(answer: Any) -> Found:
        numbers: Numbers = {}
        right = []
        for (knob, axis), sign in signs.items():
            law = answer["laws"][knob]
            low, high = law["exponent_intervals"][axis]
            numbers |= {
                f"{knob}_{axis}": law["exponents"][axis],
                f"{knob}_{axis}_low": low,
                f"{knob}_{axis}_high": high,
            }
            right.append(low > 0 if sign > 0 else high < 0)
        return numbers, REPRODUCED if all(right) else PARTLY if any(right) else REFUTED

    return decide


def inside_what_was_tried(knob: str, low: float, high: float) -> Callable[[Any], Found]:
    """Return what decides whether the best value of a knob lies between the ends that were tried in most cells: where
    it does not, the scale shows nothing of it.
    """

    def decide(rows: Any) -> Found:
        values = [row[knob] for row in rows]
        numbers: Numbers = {"cells": len(values), "at_lowest": values.count(low), "at_highest": values.count(high)}
        return numbers, PARTLY if values.count(low) + values.count(high) <= len(values) / 2 else NOT_HERE

    return decide


def optimum_within(permille: float) -> Callable[[Any], Found]:
    """Return what decides whether the predicted optimum of cells left out loses at most this, on average.

    Where no optimum of the knobs was found, the scale shows nothing of it.
    """

    def decide(answer: Any) -> Found:
        found, there = answer["evaluation"]["leave_one_cell_out"], answer["verdict"]["optimum"]["found"]
        mean = found["interpolated"]["permille"]
        numbers: Numbers = {
            "cells": found["cells"],
            "permille": mean,
            "permille_of_nearest": found["nearest"]["permille"],
        }
        return numbers, REPRODUCED if mean <= permille else NOT_HERE if not there else REFUTED

    return decide


def picking_flatters(answer: Any) -> Found:
    """Decide whether the loss that picks a setting is lower there than where other text would pick, in every cell."""
    numbers: Numbers = {}
    above = []
    for place in answer["places"]:
        name, known = f"N_{place['at']['N']:g}", [one for one in place["curve"] if one["flattery_interval"]]
        last = known[-1]
        numbers |= {
            f"{name}_k": last["k"],
            f"{name}_flattery": last["flattery"],
            f"{name}_low": last["flattery_interval"][0],
            f"{name}_high": last["flattery_interval"][1],
            f"{name}_flattery_of_all": place["curve"][-1]["flattery"],
        }
        above.append(last["flattery_interval"][0] > 0)
    return numbers, REPRODUCED if all(above) else PARTLY if any(above) else REFUTED


def few_draws_suffice(most: int) -> Callable[[Any], Found]:
    """Return what decides whether at most this many draws are expected to come within the excess asked for."""

    def decide(answer: Any) -> Found:
        needed = {f"N_{place['at']['N']:g}_draws": place["needed"] for place in answer["places"]}
        numbers: Numbers = {"within": answer["within"], **needed}
        return numbers, REPRODUCED if max(needed.values()) <= most else REFUTED

    return decide


def one_setting_for_all(excess: float) -> Callable[[Any], Found]:
    """Return what decides whether the single setting is within this excess on every workload it was not tuned on."""

    def decide(answer: Any) -> Found:
        own = [one for one in answer["workloads"] if one["phase"] == "evaluation"]
        singles = [one["single"] for one in own]
        numbers: Numbers = {
            "workloads": len(own),
            "largest_excess": max(singles),
            "mean_excess": sum(singles) / len(singles),
            "largest_excess_of_list": max(one["list"][-1] for one in own),
            **{f"setting_{name}": value for name, value in answer["single"].items()},
        }
        within = [value <= excess for value in singles]
        return numbers, REPRODUCED if all(within) else PARTLY if any(within) else REFUTED

    return decide


def groks_late(rows: Any) -> Found:
    """Decide whether runs answer validation pairs right at least twice as late as they have memorized theirs."""
    (row,) = rows
    numbers: Numbers = {name: row[name] for name in ("runs", "grokked", "memorized_step", "grok_step")}
    return numbers, REPRODUCED if row["grokked"] and row["grok_step"] > 2 * row["memorized_step"] else REFUTED


def sooner_with(*inputs: str) -> Callable[[Any], Found]:
    """Return what decides whether a time falls with each of these inputs: intervals of the exponents are below 0."""

    def decide(answer: Any) -> Found:
        numbers: Numbers = {"runs": answer["rows"], "events": answer["events"], "curvature_p": answer["curvature_p"]}
        for name in inputs:
            found = answer["exponents"][name]
            numbers |= {f"{name}_exponent": found["value"]}
            numbers |= {f"{name}_{end}": found["interval"][end] for end in ("low", "high")}
        below = [float(numbers[f"{name}_high"]) < 0 for name in inputs]
        return numbers, REPRODUCED if all(below) else PARTLY if any(below) else REFUTED

    return decide


def _error(one: Mapping[str, float], other: Mapping[str, float]) -> float:
    return float((one["spread"] ** 2 / one["runs"] + other["spread"] ** 2 / other["runs"]) ** 0.5)
