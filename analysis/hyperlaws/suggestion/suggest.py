"""Suggested settings for a new model by a published law, completed by what follows from them and by other laws.

A suggestion states its distance from the evidence in decades of N and D; an unsupported one is an error.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from sweeplaw.analysis.hyperlaws.published import EVIDENCE, LAWS, Evidence, Knob, PublishedLaw
from sweeplaw.analysis.hyperlaws.suggestion.suggestion import Disagreement, SuggestedSetting, Suggestion, side
from sweeplaw.analysis.tuning.plateau import QUOTED, widths
from sweeplaw.trials.errors import InputError, nearest, require_positive

Array = NDArray[np.float64]

FARTHEST = 2.0  # decades outside the evidence in N or D: the released laws change by their whole plateau within two
WIDEST = 10.0  # largest factor between a value and its interval ends


def from_law(name: str, params: float, tokens: float, sequence: int) -> Suggestion:
    """Return the settings by the published law ``name``. Raise InputError if unsupported or unknown."""
    require_positive({"params": params, "tokens": tokens, "sequence length": sequence}, where="suggest")
    if name not in LAWS:
        raise InputError(f"no law {name!r}{nearest(name, LAWS)} (laws: {', '.join(LAWS)})")
    law, point = LAWS[name], _point(params, tokens)
    evidence = EVIDENCE.get(name)
    settings: dict[str, SuggestedSetting] = {
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
    require_supported(decades, settings)
    notes = [f"N counts {law.parameters.replace('_', '-')} parameters: {law.units}"] if law.parameters != "none" else []
    notes += [] if evidence else [f"{law.title}: no runs of its own are known here, so no interval and no plateau"]
    return complete(params, tokens, sequence, settings, decades, name, notes)


def outside(value: float, low: float, high: float) -> float:
    """Return the decades by which ``value`` is outside [low, high]: negative below, 0 inside (2 % tolerance)."""
    if value > high * 1.02:
        return float(np.log10(value / high))
    return float(np.log10(value / low)) if value < low / 1.02 else 0.0


def require_supported(decades: Mapping[str, float], settings: Mapping[str, SuggestedSetting]) -> None:
    """Raise InputError if the point is too far from the evidence, or a setting is too uncertain there."""
    faults = [
        f"{axis} lies {abs(far):.1f} decades {side(far)} all evidence (at most {FARTHEST:g} are accepted)"
        for axis, far in decades.items()
        if abs(far) > FARTHEST
    ]
    if faults := [*faults, *undetermined(settings).values()]:
        raise InputError(faults, where="suggest: no answer")


def undetermined(settings: Mapping[str, SuggestedSetting]) -> dict[str, str]:
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
) -> SuggestedSetting:
    value = float(law.predict[knob](point))
    source = law.name if law.verified else f"{law.name} ({law.standing})"
    if evidence is None or knob not in evidence.covariance:
        return SuggestedSetting(value, None, None, None, source)
    row = np.array([1.0, *(np.log(point[axis] / evidence.center[axis]) for axis in ("N", "D"))])
    error = float(np.sqrt(row @ np.array(evidence.covariance[knob]) @ row))
    plateau = None
    if evidence.hessian is not None:
        plateau = next(w.factor for w in widths(np.array(evidence.hessian), law.knobs, (QUOTED,)) if w.knob == knob)
    return SuggestedSetting(value, value * np.exp(-1.96 * error), value * np.exp(1.96 * error), plateau, source)


def complete(
    params: float,
    tokens: float,
    sequence: int,
    settings: dict[str, SuggestedSetting],
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
        settings["steps"] = SuggestedSetting(tokens / batch.value, fewest, most, batch.plateau, batch.source)
    if "weight_decay" not in settings and batch and lr:
        law = LAWS["power-lines"]
        known = {**point, "lr": np.array(lr.value), "batch_tokens": np.array(batch.value)}
        value = float(law.predict["weight_decay"](known))
        settings["weight_decay"] = SuggestedSetting(value, None, None, None, f"{law.name} timescale ({law.standing})")
    remarks += [
        f"no value for {name}: the evidence has no law of it" for name in ("lr", "batch_tokens") if name not in settings
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


def _scaled(setting: SuggestedSetting, by: float) -> SuggestedSetting:
    ends = [end * by if end is not None else None for end in (setting.low, setting.high)]
    return SuggestedSetting(setting.value * by, ends[0], ends[1], setting.plateau, setting.source)


def _disagreement(
    law: PublishedLaw, knob: Knob, ours: SuggestedSetting, point: Mapping[str, Array]
) -> Disagreement | None:
    value = float(law.predict[knob](point))
    if not value > 0:  # Kaplan's linear rule turns negative above 1.2e10 parameters
        return None
    factor = value / ours.value
    beyond = None if ours.plateau is None else max(factor, 1 / factor) > ours.plateau
    return Disagreement(law.name, knob, value, factor, beyond, law.verified)
