"""Suggested settings for a new model: each knob with its interval, its tolerance, and the laws that disagree.

The source is either the laws fitted to a store's runs or one published law. A suggestion states its distance from the
evidence in decades of N and D; an unsupported one is an error.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from sweeplaw.analysis.hyperlaws.hyperlaw import Hyperlaw, fit_runs
from sweeplaw.analysis.hyperlaws.published import EVIDENCE, LAWS, Evidence, Knob, PublishedLaw
from sweeplaw.analysis.tables.display import Card, Shown, brief, finite
from sweeplaw.analysis.tuning.design import Untuned
from sweeplaw.analysis.tuning.plateau import QUOTED, widths
from sweeplaw.analysis.tuning.settings import Launches
from sweeplaw.trials.errors import InputError, nearest, require_positive

Array = NDArray[np.float64]

FARTHEST = 2.0  # decades outside the evidence in N or D: the released laws change by their whole plateau within two
WIDEST = 10.0  # largest factor between a value and its interval ends


@dataclass(frozen=True, slots=True)
class Setting:
    """One knob's value. ``low``, ``high``: 95 % interval of the law at the point; None if unknown.

    ``plateau``: factor by which it may be off for 0.25 % of loss with the others fixed; None if unknown. ``source``:
    origin of the value.
    """

    value: float
    low: float | None
    high: float | None
    plateau: float | None
    source: str


@dataclass(frozen=True, slots=True)
class Disagreement:
    """A published law's value for a knob. ``factor``: over ours; ``beyond``: whether it exceeds the plateau."""

    law: str
    knob: str
    value: float
    factor: float
    beyond: bool | None
    verified: bool


@dataclass(frozen=True, slots=True, repr=False)
class Suggestion(Shown):
    """Settings for (params, tokens). ``decades``: distance outside the evidence by axis, 0 inside it."""

    params: float
    tokens: float
    settings: Mapping[str, Setting]
    decades: Mapping[str, float]
    disagreements: tuple[Disagreement, ...]
    notes: tuple[str, ...]

    def headline(self) -> tuple[str, ...]:
        """Return each setting with its interval, its tolerance and its source."""
        return tuple(_setting_line(name, setting) for name, setting in self.settings.items())

    def to_dict(self) -> dict[str, Any]:
        """Return the suggestion as plain values for JSON."""
        return dict(finite({
            "params": self.params,
            "tokens": self.tokens,
            "settings": {
                name: {
                    "value": setting.value,
                    "interval": [setting.low, setting.high],
                    "plateau_factor": setting.plateau,
                    "source": setting.source,
                }
                for name, setting in self.settings.items()
            },
            "decades_beyond_the_evidence": self.decades,
            "disagreements": [
                {
                    "law": other.law,
                    "knob": other.knob,
                    "value": other.value,
                    "factor": other.factor,
                    "beyond_plateau": other.beyond,
                    "verified": other.verified,
                }
                for other in self.disagreements
            ],
            "notes": self.notes,
        }))  # fmt: skip

    def card(self) -> Card:
        """Return the settings as a table."""
        rows = [
            (name, brief(one.value), brief(one.low), brief(one.high), brief(one.plateau), one.source)
            for name, one in self.settings.items()
        ]
        head = f"{brief(self.params)} parameters on {brief(self.tokens)} tokens"
        heads = ("knob", "value", "95 % low", "high", "may be off by", "source")
        return Card((head, *self._remarks()), heads, tuple(rows), self.notes)

    def summary(self) -> str:
        """Return settings, distances from the evidence, disagreements and notes as text."""
        return "\n".join([*self.headline(), *self._remarks(), *(f"note: {note}" for note in self.notes)])

    def _remarks(self) -> Iterator[str]:
        for axis, decades in self.decades.items():
            side = f"{abs(decades):.2f} decades {_side(decades)}" if decades else "inside"
            yield f"{axis}: {side} the evidence"
        for other in self.disagreements:
            plateau = {True: ", beyond the plateau", False: ", within the plateau", None: ""}[other.beyond]
            mark = "" if other.verified else " [second-hand]"
            yield f"{other.law}{mark}: {other.knob} = {other.value:.4g}, {other.factor:.2f}x ours{plateau}"


def from_runs(found: Hyperlaw, params: float, tokens: float, sequence: int) -> Suggestion:
    """Return the settings by the laws ``found`` of one recipe (axes N, D or one of them). Raise InputError."""
    require_positive({"params": params, "tokens": tokens, "sequence length": sequence}, where="suggest")
    if found.recipes is not None:
        raise InputError("the laws are of several recipes: fit them to the runs of one", where="suggest")
    point = {"N": params, "D": tokens}
    decades = {axis: outside(point[axis], *found.span[axis]) for axis in found.axes}
    plateau = {width.knob: width.factor for width in found.plateau if width.threshold == QUOTED}
    settings = {}
    for law in found.laws:
        estimate = law.at(point)
        source = f"{found.estimator} on {found.cells_used} cells"
        settings[law.knob] = Setting(estimate.value, estimate.low, estimate.high, plateau.get(law.knob), source)
    wide = _undetermined(settings)
    settings = {name: setting for name, setting in settings.items() if name not in wide} or settings
    _require_supported(decades, settings)
    return _complete(params, tokens, sequence, settings, decades, "", [*found.notes, *wide.values()])


def fit_tuned(
    runs: pl.DataFrame, cell: Sequence[str], knobs: Sequence[str], y: str, launches: Launches = (), **options: Any
) -> Hyperlaw:
    """Return `fit_runs` of those of ``knobs`` that were tuned within cells; a note says why others have no law.

    Raise InputError if none was tuned, or if the runs have no law.
    """
    left, why = list(knobs), list[str]()
    while left:
        try:
            found = fit_runs(runs, cell, left, y, (), launches, **options)[1]
            return replace(found, notes=(*found.notes, *why))
        except Untuned as error:
            left = [name for name in left if name not in error.refused]
            why += error.refused.values()
    raise InputError(why)


def from_law(name: str, params: float, tokens: float, sequence: int) -> Suggestion:
    """Return the settings by the published law ``name``. Raise InputError if unsupported or unknown."""
    require_positive({"params": params, "tokens": tokens, "sequence length": sequence}, where="suggest")
    if name not in LAWS:
        raise InputError(f"no law {name!r}{nearest(name, LAWS)} (laws: {', '.join(LAWS)})")
    law, point = LAWS[name], _point(params, tokens)
    evidence = EVIDENCE.get(name)
    settings: dict[str, Setting] = {
        knob: _published_setting(law, evidence, knob, k, point)
        for k, knob in enumerate(law.knobs)
        if set(law.needs[knob]) <= set(point)
    }
    if faults := [f"{name} = {s.value:.3g} is not positive" for name, s in settings.items() if not s.value > 0]:
        raise InputError(faults, where=f"suggest: {law.formula} does not extend to this point")
    if not settings:
        why = (
            "it has no constant" if law.exponents and not law.predict else "it needs the loss, which is not known here"
        )
        raise InputError(f"{law.title} ({law.formula}) gives no value for N and D alone: {why}")
    axes = evidence.span if evidence else {}
    values = {"N": params, "D": tokens}
    decades = {axis: outside(values[axis], *span) for axis, span in axes.items()}
    _require_supported(decades, settings)
    notes = [f"N counts {law.parameters.replace('_', '-')} parameters: {law.units}"] if law.parameters != "none" else []
    notes += [] if evidence else [f"{law.title}: no runs of its own are known here, so no interval and no plateau"]
    return _complete(params, tokens, sequence, settings, decades, name, notes)


def outside(value: float, low: float, high: float) -> float:
    """Return the decades by which ``value`` is outside [low, high]: negative below, 0 inside (2 % tolerance)."""
    if value > high * 1.02:
        return float(np.log10(value / high))
    return float(np.log10(value / low)) if value < low / 1.02 else 0.0


def _setting_line(name: str, setting: Setting) -> str:
    interval = f"95 % [{setting.low:.4g}, {setting.high:.4g}]" if setting.low is not None else "no interval"
    plateau = f"  may be off by {setting.plateau:.2f}x for 0.25 % of loss" if setting.plateau else ""
    return f"{name:16s} {setting.value:10.4g}  {interval}{plateau}  ({setting.source})"


def _side(decades: float) -> str:
    return "above" if decades > 0 else "below"


def _require_supported(decades: Mapping[str, float], settings: Mapping[str, Setting]) -> None:
    faults = [
        f"{axis} lies {abs(far):.1f} decades {_side(far)} all evidence (at most {FARTHEST:g} are accepted)"
        for axis, far in decades.items()
        if abs(far) > FARTHEST
    ]
    if faults := [*faults, *_undetermined(settings).values()]:
        raise InputError(faults, where="suggest: no answer")


def _undetermined(settings: Mapping[str, Setting]) -> dict[str, str]:
    """Return the reason by knob for each setting whose interval is too wide to be an answer."""
    return {
        name: f"{name} would be {setting.value:.3g} with a 95 % interval from {setting.low:.2g} to {setting.high:.2g}: "
        "the runs do not determine it there"
        for name, setting in settings.items()
        if setting.low and setting.high and max(setting.high / setting.value, setting.value / setting.low) > WIDEST
    }


def _point(params: float, tokens: float) -> dict[str, Array]:
    flops = np.array(6 * params * tokens)  # C = 6 N D, the convention of the laws that read C, up to attention
    return {"N": np.array(params), "D": np.array(tokens), "C": flops}


def _published_setting(
    law: PublishedLaw, evidence: Evidence | None, knob: Knob, k: int, point: Mapping[str, Array]
) -> Setting:
    value = float(law.predict[knob](point))
    source = law.name if law.verified else f"{law.name} ({law.standing})"
    if evidence is None or knob not in evidence.covariance:
        return Setting(value, None, None, None, source)
    row = np.array([1.0, *(np.log(point[axis] / evidence.center[axis]) for axis in ("N", "D"))])
    error = float(np.sqrt(row @ np.array(evidence.covariance[knob]) @ row))
    plateau = None
    if evidence.hessian is not None:
        plateau = next(w.factor for w in widths(np.array(evidence.hessian), law.knobs, (QUOTED,)) if w.knob == knob)
    return Setting(value, value * np.exp(-1.96 * error), value * np.exp(1.96 * error), plateau, source)


def _complete(
    params: float,
    tokens: float,
    sequence: int,
    settings: dict[str, Setting],
    decades: Mapping[str, float],
    own: str,
    notes: Sequence[str],
) -> Suggestion:
    """Return the suggestion, with sequences, steps and a weight decay added, and the laws that disagree."""
    point = _point(params, tokens)
    remarks = list(notes)
    batch, lr = settings.get("batch_tokens"), settings.get("lr")
    if batch:
        settings["batch_sequences"] = _scaled(batch, 1 / sequence)
        fewest = tokens / batch.high if batch.high else None
        most = tokens / batch.low if batch.low else None
        settings["steps"] = Setting(tokens / batch.value, fewest, most, batch.plateau, batch.source)
    if "weight_decay" not in settings and batch and lr:
        law = LAWS["power-lines"]
        known = {**point, "lr": np.array(lr.value), "batch_tokens": np.array(batch.value)}
        value = float(law.predict["weight_decay"](known))
        settings["weight_decay"] = Setting(value, None, None, None, f"{law.name} timescale ({law.standing})")
    remarks += [
        f"no value for {name}: its law was not supported" for name in ("lr", "batch_tokens") if name not in settings
    ]
    disagreements = tuple(
        found
        for law in LAWS.values()
        if law.name != own
        for knob in law.knobs
        if knob in settings and set(law.needs[knob]) <= set(point)
        for found in [_disagreement(law, knob, settings[knob], point)]
        if found is not None
    )
    ordered = tuple(sorted(disagreements, key=lambda d: -abs(np.log(d.factor))))
    return Suggestion(params, tokens, settings, decades, ordered, tuple(remarks))


def _scaled(setting: Setting, by: float) -> Setting:
    ends = [end * by if end is not None else None for end in (setting.low, setting.high)]
    return Setting(setting.value * by, ends[0], ends[1], setting.plateau, setting.source)


def _disagreement(law: PublishedLaw, knob: Knob, ours: Setting, point: Mapping[str, Array]) -> Disagreement | None:
    value = float(law.predict[knob](point))
    if not value > 0:  # Kaplan's linear rule turns negative above 1.2e10 parameters
        return None
    factor = value / ours.value
    beyond = None if ours.plateau is None else max(factor, 1 / factor) > ours.plateau
    return Disagreement(law.name, knob, value, factor, beyond, law.verified)
