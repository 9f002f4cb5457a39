"""The phenomena of the gallery: a claim, its source, the sweep and the command that test it, and what decides.

Each function reads the answers of `sweeplaw` commands about a store, and returns numbers by name and the verdict.
"""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

REPRODUCED, PARTLY, NOT_HERE, REFUTED = "reproduced", "partly", "not at this scale", "refuted"
Numbers = dict[str, float | str]
Found = tuple[Numbers, str]


@dataclass(frozen=True, slots=True)
class Phenomenon:
    """One claim. ``arguments`` are those of the command that answers it, STORE among them; ``figure`` has the
    names of figures of the report; ``remark`` is what else the numbers say.
    """

    name: str
    claim: str
    source: str
    sweep: str
    arguments: tuple[str, ...]
    decide: Callable[[Any], Found]
    figure: tuple[str, ...] = ()
    remark: str = ""

    @property
    def command(self) -> str:
        """The command as one types it."""
        return " ".join(["sweeplaw", *(_quoted(word) for word in self.arguments)])

    def answer(self, store: Path) -> Any:
        """Return what the command answers about the store."""
        words = [str(store) if word == "STORE" else word for word in self.arguments]
        return json.loads(sweeplaw(*words, "--json"))


@dataclass(frozen=True, slots=True)
class GalleryPage:
    """A page of phenomena of one system."""

    name: str
    title: str
    about: str
    phenomena: Sequence[Phenomenon]
    small: Mapping[str, str] = field(default_factory=dict)


def sweeplaw(*arguments: str) -> str:
    """Run a command; return its output. Raise CalledProcessError with its message on stderr."""
    done = subprocess.run(
        [sys.executable, "-m", "sweeplaw", *arguments], stdout=subprocess.PIPE, text=True, encoding="utf-8", check=True
    )
    return done.stdout


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


def _quoted(word: str) -> str:
    return f'"{word}"' if " " in word else word
