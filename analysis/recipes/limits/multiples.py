"""Data efficiency: how much more data the standard recipe needs to reach the loss of another one.

The law of the standard recipe, L = C + A D^-alpha, is inverted at a loss: D'(L) = (A / (L - C))^(1 / alpha), infinite
at or below C. The multiple is D'(L of the recipe) / D'(L of the standard recipe as measured at the same U); Kim et al.
2025 (arXiv 2509.14786).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from sweeplaw.analysis.fitting.uncertainty import Interval
from sweeplaw.analysis.recipes.limits.levels import RecipeLimits, model_name
from sweeplaw.analysis.recipes.limits.scenarios import ESTIMATE, Scenarios, central
from sweeplaw.trials.quantities import short

Array = np.ndarray


def effective_data(params: Array, losses: Array) -> Array:
    """Return the data at which a law C + A D^-alpha with ``params`` (..., 3) reaches ``losses`` (...); inf at C."""
    asymptote, scale, exponent = np.moveaxis(np.asarray(params, dtype=float), -1, 0)
    gap = np.asarray(losses, dtype=float) - asymptote
    with np.errstate(all="ignore"):
        reached = np.exp(np.log(scale / np.where(gap > 0, gap, np.nan)) / exponent)
    return np.where(np.isnan(losses) | np.isnan(asymptote), np.nan, np.where(gap > 0, reached, np.inf))


def data_multiple(params: Array, losses: Array, standard: Array) -> Array:
    """Return the multiple of ``losses`` over those of the ``standard`` recipe, by its law's ``params`` (..., 3)."""
    with np.errstate(invalid="ignore"):
        return np.asarray(effective_data(params, losses) / effective_data(params, standard))


@dataclass(frozen=True, slots=True)
class Multiple:
    """What a loss at U is worth in data, in every scenario: ``values`` (S,). ``what`` says whose loss it is."""

    recipe: str
    u: float
    what: str
    loss: float
    values: Array
    noise: str

    @property
    def value(self) -> float | None:
        """The multiple; infinite below the limit of the standard law, None if it is not known."""
        found = float(self.values[ESTIMATE])
        return None if np.isnan(found) else found

    def interval(self, scenarios: Scenarios, level: float) -> Interval | None:
        """Return its interval, with infinite ends where draws are; None if no errors are known."""
        if not self.noise:
            return None
        return central(self.values[scenarios.drawn], level, f"{scenarios.draws} draws by {self.noise}")

    def to_dict(self, scenarios: Scenarios, level: float) -> dict[str, Any]:
        """Return the multiple as plain values; an infinite one is None with ``infinite``."""
        interval = self.interval(scenarios, level)
        return {
            "recipe": self.recipe, "U": self.u, "what": self.what, "loss": self.loss, "multiple": self.value,
            "infinite": self.value is not None and np.isinf(self.value),
            "interval": interval and interval.values(),
        }  # fmt: skip


def multiples(recipe: RecipeLimits, standard: RecipeLimits) -> list[Multiple]:
    """Return what a recipe reaches at each U, its best measured model and each limit in K, in data of the standard one.

    A U without a limit still has its best measured model and its limits in K. U at which the standard recipe was not
    measured are left out. Empty if the standard recipe has no law.
    """
    law = standard.law
    if law is None or law.law is None or law.value is None:
        return []
    params, found = law.law.params, []
    for u in recipe.budgets:
        base, reached, best = standard.at(u), recipe.at(u), recipe.best(u)
        if base is None:
            continue
        whole = [] if reached is None else [(reached.what, reached.values, reached.noise)]
        if best is not None and (reached is None or best is not reached.model):
            whole.append((f"best measured, {model_name(best.n, best.k)}", best.losses, best.noise))
        limits = [one for one in recipe.chosen if one.at["U"] == u and one.value is not None and one.law]
        if "N" in recipe.axes:
            whole += [(f"limit in K at N = {short(one.at['N'])}", one.values, one.noise) for one in limits]
        for what, values, noise in whole:
            known = noise and base.noise and law.noise
            worth = data_multiple(params, values, base.values)
            origin = ", ".join(dict.fromkeys((noise, base.noise, law.noise))) if known else ""
            found.append(Multiple(recipe.name, u, what, float(values[ESTIMATE]), worth, origin))
    return found
