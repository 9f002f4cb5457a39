"""What decides on claims about real training: functions of the answers of `sweeplaw` commands about a store.

Each returns numbers by name and the verdict.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from examples.gallery.phenomena import NOT_HERE, PARTLY, REFUTED, REPRODUCED, Found, Numbers


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


def learns_without_decay(rows: Any) -> Found:
    """Decide whether, without weight decay, plain softmax stops at a training loss of zero far from the rule, and both
    StableMax and the orthogonal gradient answer most validation pairs.
    """
    losses = {"softmax": (False, "softmax"), "stablemax": (False, "stablemax"), "orthogonal": (True, "softmax")}
    cells = {name: _row(rows, orthogonal_gradient=o, loss_function=f) for name, (o, f) in losses.items()}
    numbers: Numbers = {"softmax_train_loss": cells["softmax"]["train_loss"]}
    numbers |= {f"{name}_accuracy": row["val_accuracy"] for name, row in cells.items()}
    numbers |= {f"{name}_grokked": row["grokked"] for name, row in cells.items()}
    stopped = cells["softmax"]["train_loss"] < 1e-6 and cells["softmax"]["val_accuracy"] < 0.5
    goes_on = [cells[name]["val_accuracy"] > 0.5 for name in ("stablemax", "orthogonal")]
    return numbers, REPRODUCED if stopped and all(goes_on) else PARTLY if stopped and any(goes_on) else REFUTED


def _row(rows: Any, **values: Any) -> Any:
    """Return the only row with these values."""
    (found,) = (row for row in rows if all(row[name] == value for name, value in values.items()))
    return found
