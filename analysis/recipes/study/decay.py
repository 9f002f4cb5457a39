"""The best weight decay against N and U, and whether twice the epochs at half the decay make the best members."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from scipy import stats

from sweeplaw.analysis.recipes.limits.limit import Limit
from sweeplaw.analysis.recipes.limits.scenarios import ESTIMATE, central
from sweeplaw.analysis.recipes.study.study import RecipeStudy
from sweeplaw.trials.quantities import counted

DEFAULT_DECAY = 0.1  # of the standard recipe
SAME = 1e-6  # relative distance within which two values of a knob are the same
LEAST_CELLS = 5  # for two slopes, a constant and two degrees of freedom


@dataclass(frozen=True, slots=True)
class BestDecay:
    """The weight decay of lowest loss at one N and U, other knobs at their best; ``tried`` are all decays there.

    ``ratio`` is to `DEFAULT_DECAY`. ``edge``: it is the lowest or the highest tried, so the best may lie beyond.
    """

    recipe: str
    n: float
    u: float
    decay: float
    loss: float
    tried: tuple[float, ...]

    @property
    def ratio(self) -> float:
        """The best decay over the default."""
        return self.decay / DEFAULT_DECAY

    @property
    def edge(self) -> bool:
        """Whether it lies at an end of the decays tried."""
        return self.decay in (self.tried[0], self.tried[-1])


@dataclass(frozen=True, slots=True)
class Slopes:
    """The exponents of N and U in the best decay of a recipe, with the half widths of their intervals."""

    recipe: str
    n: float | None
    n_half: float | None
    u: float | None
    u_half: float | None
    cells: int


def best_decays(study: RecipeStudy) -> list[BestDecay]:
    """Return the best decay of single models, or of the least K, wherever a recipe tried several at one N and U."""
    if "weight_decay" not in study.runs.knobs:
        return []
    frame = study.runs.frame.filter(pl.col("weight_decay") > 0, pl.col("K").is_finite() & pl.col("N").is_finite())
    place = ["recipe", "N", "U"]
    single = frame.filter(pl.col("K") == pl.col("K").min().over(place))
    means = single.group_by([*place, *study.runs.knobs], maintain_order=True).agg(pl.col("loss").mean())
    least = means.group_by([*place, "weight_decay"]).agg(pl.col("loss").min()).sort([*place, "weight_decay"])
    found = []
    for (recipe, n, u), part in least.group_by(place, maintain_order=True):
        if part.height > 1:
            best = part.row(int(part["loss"].arg_min() or 0), named=True)
            tried = tuple(part["weight_decay"].to_list())
            found.append(BestDecay(str(recipe), float(n), float(u), best["weight_decay"], best["loss"], tried))
    return found


def decay_slopes(decays: Sequence[BestDecay], level: float = 0.95) -> list[Slopes]:
    """Return how the best decay of each recipe moves with N and U: least squares of logs, those at an edge included.

    Recipes with fewer than five places are left out.
    """
    names = dict.fromkeys(one.recipe for one in decays)
    parts = {name: [one for one in decays if one.recipe == name] for name in names}
    return [_slopes(name, part, level) for name, part in parts.items() if len(part) >= LEAST_CELLS]


def _slopes(name: str, part: Sequence[BestDecay], level: float) -> Slopes:
    axes = {axis: np.log([getattr(one, axis) for one in part]) for axis in ("n", "u")}
    varying = [axis for axis, values in axes.items() if np.ptp(values) > 0]
    design = np.column_stack([np.ones(len(part)), *(axes[axis] for axis in varying)])
    target = np.log([one.decay for one in part])
    solution, _, rank, _ = np.linalg.lstsq(design, target, rcond=None)
    freedom = len(part) - design.shape[1]
    if rank < design.shape[1] or freedom < 1:
        return Slopes(name, None, None, None, None, len(part))
    variance = float(np.sum((target - design @ solution) ** 2)) / freedom
    half = stats.t.ppf((1 + level) / 2, freedom) * np.sqrt(variance * np.diag(np.linalg.inv(design.T @ design)))
    at = {axis: index for index, axis in enumerate(varying, start=1)}
    values = {axis: (float(solution[index]), float(half[index])) for axis, index in at.items()}
    n, u = values.get("n", (None, None)), values.get("u", (None, None))
    return Slopes(name, n[0], n[1], u[0], u[1], len(part))


@dataclass(frozen=True, slots=True)
class RuleCheck:
    """Whether members at twice the epochs and half the decay of the best single model have the lowest limit in K.

    ``held`` is None where the setting of the rule was not tested with enough members. ``difference`` is its limit less
    the lowest of the other settings there, ``chance`` the share of draws in which it is the lowest.
    """

    recipe: str
    n: float
    u: float
    single: Mapping[str, Any]
    rule: Mapping[str, Any]
    best: Mapping[str, Any] | None
    difference: float | None
    interval: tuple[float, float] | None
    chance: float | None
    held: bool | None
    tested: int


def member_setting(epochs: float, weight_decay: float, least_decay: float = 0.0) -> tuple[float, float]:
    """Return the epochs and decay of ensemble members by the rule of Kim et al. 2025: twice, and half.

    ``least_decay`` is the lowest decay allowed.
    """
    return 2 * epochs, max(weight_decay / 2, least_decay)


def member_rule(study: RecipeStudy, least_decay: float = 0.0) -> list[RuleCheck]:
    """Return the check of the rule wherever K-limits of two settings or more exist at one N and U."""
    found = []
    for name, recipe in study.recipes.items():
        places = dict.fromkeys((one.at["N"], one.at["U"]) for one in recipe.members)
        for n, u in places:
            here = [one for one in recipe.members if (one.at["N"], one.at["U"]) == (n, u) and one.value is not None]
            single = _best_single(study, n, u)
            if len(here) > 1 and single is not None:
                found.append(_check(study, name, n, u, single, here, least_decay))
    return found


def _best_single(study: RecipeStudy, n: float, u: float) -> Mapping[str, Any] | None:
    """Return the setting of the single model of lowest loss at N and U, of those whose epochs and decay are known."""
    models = [
        one
        for recipe in study.recipes.values()
        for one in recipe.models
        if (one.n, one.u, one.k) == (n, u, 1) and one.setting.get("epochs") and one.setting.get("weight_decay")
    ]
    return min(models, key=lambda one: one.loss).setting if models else None


def _check(
    study: RecipeStudy, name: str, n: float, u: float, single: Mapping[str, Any], here: Sequence[Limit],
    least_decay: float,
) -> RuleCheck:  # fmt: skip
    epochs, decay = member_setting(single["epochs"], single["weight_decay"], least_decay)
    rule = {**single, "epochs": epochs, "weight_decay": decay}
    best = min(here, key=lambda one: one.values[ESTIMATE])
    shown = {key: best.at.get(key) for key in rule}
    own = next((one for one in here if _same(one.at, rule)), None)
    if own is None:
        return RuleCheck(name, n, u, single, rule, shown, None, None, None, None, len(here))
    others = np.min([one.values for one in here if one is not own], axis=0)
    gap = own.values - others
    known = all(one.noise for one in here) and study.scenarios.draws > 0
    drawn = gap[study.scenarios.drawn]
    interval = central(drawn, study.level, "") if known else None
    ends = None if interval is None else (interval.low, interval.high)
    chance = float(np.mean(drawn < 0)) if known else None
    return RuleCheck(name, n, u, single, rule, shown, float(gap[ESTIMATE]), ends, chance, own is best, len(here))


def _same(at: Mapping[str, Any], rule: Mapping[str, Any]) -> bool:
    """Return whether a setting is that of the rule, whatever its knobs that the single model did not have."""
    return all(_equal(at.get(key), value) for key, value in rule.items() if value is not None)


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, int | float) and isinstance(other, int | float):
        return abs(one - other) <= SAME * max(abs(one), abs(other))
    return bool(one == other)


def rule_counts(checks: Sequence[RuleCheck]) -> Iterator[str]:
    """Yield in words how often the rule held where it was tested."""
    tested = [one for one in checks if one.held is not None]
    if tested:
        held = sum(bool(one.held) for one in tested)
        yield f"twice the epochs at half the decay made the best members at {held} of {counted(len(tested), 'place')}"
    if len(tested) < len(checks):
        yield f"at {counted(len(checks) - len(tested), 'place')} that setting was not tested with three K"
