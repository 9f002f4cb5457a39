"""The share of an ensemble's gain that a student keeps, and the steps that its training takes."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from sweeplaw.analysis.fitting.uncertainty import Interval
from sweeplaw.analysis.recipes.limits.levels import Model
from sweeplaw.analysis.recipes.limits.scenarios import ESTIMATE, Scenarios, central
from sweeplaw.analysis.recipes.study.study import RecipeStudy
from sweeplaw.analysis.tables.display import Shown, finite
from sweeplaw.trials.errors import InputError, nearest
from sweeplaw.trials.quantities import percent, short

Array = np.ndarray


@dataclass(frozen=True, slots=True, repr=False)
class Retained(Shown):
    """The share (single - student) / (single - teacher) of losses, with its interval.

    ``share`` is None if the teacher is not better than the single model; ``interval`` is None if no errors are
    known, or the teacher is not better beyond them. ``note`` says which.
    """

    name: str
    single: float
    student: float
    teacher: float
    share: float | None
    interval: Interval | None
    note: str = ""

    def headline(self) -> tuple[str, ...]:
        """Return the share in a line."""
        where = f"{self.name}: " if self.name else ""
        losses = f"single {self.single:.4f}, student {self.student:.4f}, teacher {self.teacher:.4f}"
        if self.share is None:
            return (f"{where}no share retained: {self.note} ({losses})",)
        ends = "" if self.interval is None else f" [{percent(self.interval.low)}, {percent(self.interval.high)}]"
        note = f"; {self.note}" if self.note else ""
        return (f"{where}{percent(self.share, '.1f')} of the gain retained{ends}{note} ({losses})",)

    def to_dict(self) -> dict[str, Any]:
        """Return the share as plain values."""
        values = {name: getattr(self, name) for name in self.__slots__ if name != "interval"}
        return dict(finite({**values, "interval": self.interval and self.interval.values()}))


def retained_share(
    single: float, student: float, teacher: float, errors: Sequence[float] | Array = (0.0, 0.0, 0.0), *, name: str = "",
    level: float = 0.95, draws: int = 10_000, seed: int = 0,
) -> Retained:  # fmt: skip
    """Return the share of the teacher's gain over the best single model that the student keeps.

    ``errors`` are the standard errors of the three losses, taken as independent. Raise InputError for losses that are
    not finite.
    """
    losses = np.array([single, student, teacher], dtype=float)
    if not np.isfinite(losses).all() or len(errors) != 3:
        raise InputError(f"losses {losses.tolist()}, errors {list(errors)} (accepted: three finite losses and errors)")
    drawn = losses + np.random.default_rng(seed).standard_normal((draws, 3)) * np.asarray(errors, dtype=float)
    known = any(error > 0 for error in errors)
    return _retained(np.vstack([losses, drawn]), Scenarios(draws), level, name, "standard errors" if known else "")


def retained_shares(
    study: RecipeStudy, student: str, teacher: str, single: str | None = None, *, students: Collection[str] = ()
) -> list[Retained]:
    """Return the share at each N and U where the student, a teacher and a single model were measured.

    The teacher is the measured ensemble of most members; the single model that of lowest loss of the recipe ``single``,
    by default of all recipes but students like this one: ``students``, and those whose runs have FLOPs of teachers.
    Raise InputError for recipes that are not there, or without a common N and U.
    """
    named = [student, teacher, *([single] if single else [])]
    if unknown := [name for name in named if name not in study.recipes]:
        there = ", ".join(study.recipes)
        raise InputError([f"no recipe {name!r}{nearest(name, study.recipes)} (there are {there})" for name in unknown])
    taught = study.runs.frame.filter(pl.col("teacher_flops") > 0)["recipe"].unique().to_list()
    others = [name for name in study.recipes if name not in (student, teacher, *students, *taught)]
    singles = [single] if single else others
    found = list(_at_each_place(study, student, teacher, singles))
    if not found:
        of = ", ".join(singles) or "another recipe"
        raise InputError(f"{student}, {teacher} and a single model of {of} have no N and U in common")
    return found


def _at_each_place(study: RecipeStudy, student: str, teacher: str, singles: Sequence[str]) -> Iterator[Retained]:
    every = [one for name in singles for one in study.recipes[name].models if one.k == 1]
    for own in study.recipes[student].models:
        teachers = [one for one in study.recipes[teacher].models if _same(one, own) and np.isfinite(one.k)]
        others = [one for one in every if _same(one, own)]
        if own.k != 1 or not teachers or not others:
            continue
        best, ensemble = min(others, key=lambda one: one.loss), max(teachers, key=lambda one: one.k)
        losses = np.stack([best.losses, own.losses, ensemble.losses], axis=1)
        noises = (best.noise, own.noise, ensemble.noise)
        name = f"{student} of {teacher} at N = {short(own.n)}, U = {short(own.u)}, K = {ensemble.k:g}"
        yield _retained(
            losses, study.scenarios, study.level, name, ", ".join(dict.fromkeys(noises)) if all(noises) else ""
        )


def _same(one: Model, other: Model) -> bool:
    return (one.n, one.u) == (other.n, other.u)


def _retained(losses: Array, scenarios: Scenarios, level: float, name: str, noise: str) -> Retained:
    """Return the share from losses of the single model, the student and the teacher in each scenario, (S, 3)."""
    single, student, teacher = map(float, losses[ESTIMATE])
    if single <= teacher:
        return Retained(name, single, student, teacher, None, None, "the teacher is no better than the single model")
    gain = losses[:, 0] - losses[:, 2]
    with np.errstate(all="ignore"):
        shares = np.where(gain > 0, (losses[:, 0] - losses[:, 1]) / gain, np.nan)
    share, drawn = float(shares[ESTIMATE]), shares[scenarios.drawn]
    if not noise or not len(drawn):
        return Retained(name, single, student, teacher, share, None, "no errors are known")
    if np.isnan(drawn).mean() > (1 - level) / 2:
        note = "no interval: the teacher is not better than the single model beyond noise"
        return Retained(name, single, student, teacher, share, None, note)
    method = f"{scenarios.draws} draws by {noise}"
    return Retained(name, single, student, teacher, share, central(drawn, level, method))


def student_steps(steps_per_epoch: float, epochs: float, synthetic_weight: float) -> int:
    """Return the steps of a student whose real data are seen ``epochs`` times beside a share of synthetic data.

    Raise InputError for a share that leaves no real data.
    """
    if not 0 <= synthetic_weight < 1:
        raise InputError(f"synthetic weight = {synthetic_weight:g} leaves no real data (accepted: 0 to below 1)")
    return int(steps_per_epoch * epochs / (1 - synthetic_weight) + 1e-6)
