"""What a store says of the models of an ensemble: the specs of their trials, what they agree in, and their cost."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from sweeplaw.trials.accounting import Cost
from sweeplaw.trials.errors import InputError, gathered, joined
from sweeplaw.trials.kept import members
from sweeplaw.trials.kept.members import MemberName
from sweeplaw.trials.kept.model import check_knobs, knobs_of
from sweeplaw.trials.spec import TrialSpec, later_knobs
from sweeplaw.trials.store_format import kept_weights
from sweeplaw.trials.store_format.kept_weights import Kept
from sweeplaw.trials.store_format.location import locate
from sweeplaw.trials.workloads.language_model import LanguageModel
from sweeplaw.trials.workloads.language_model.knobs import KNOBS
from sweeplaw.trials.workloads.language_model.resolve import validation_corpus

VALIDATION = ("corpus", "tokenizer", "context", "validation_tokens")  # these make the validation set
_SEEDS = ("seed", "members", "init_seed", "data_seed")  # in which members differ, or that mean something else here


@functools.lru_cache(maxsize=4096)
def spec_of(store: str, kept: Kept) -> tuple[TrialSpec, int]:
    """Return the spec of a trial whose weights are kept, and the number of its members. Raise InputError."""
    with kept_weights.opened(locate(store), kept) as weights:
        check_knobs(weights, knobs_of(weights), KNOBS)  # after what refuses weights of another workload
        return TrialSpec.from_canonical(weights.spec, later_knobs(KNOBS)), weights.members


def validation(spec: TrialSpec) -> dict[str, Any]:
    """Return what makes the validation set of a trial."""
    return {**{knob: spec[knob] for knob in VALIDATION}, "corpus": validation_corpus(spec.knobs)}


def specs_of(store: str, names: Sequence[MemberName]) -> list[TrialSpec]:
    """Return the spec of each model's trial.

    Raise InputError if a model is not kept, a name is ambiguous, or the models have different validation sets.
    """
    found: list[TrialSpec] = []
    errors: list[InputError] = []
    faults: list[str] = []
    for name in names:
        try:
            spec, count = spec_of(store, name.kept)
        except InputError as error:
            errors.append(error)
            continue
        if name.number is None and count > 1:
            faults.append(f"trial {name.kept} has {count} members (accepted: :0 to :{count - 1} after its id)")
        elif (name.number or 0) >= count:
            faults.append(f"trial {name.kept} has no member {name.number} (accepted: 0 to {count - 1})")
        found.append(spec)
    for knob in VALIDATION:
        values = {repr(validation(spec)[knob]): spec.trial_id for spec in found}
        if len(values) > 1:
            seen = ", ".join(f"{value} in {trial_id}" for value, trial_id in values.items())
            faults.append(f"{knob} = {seen} (accepted: members with the same validation set)")
    if faults:
        errors.append(InputError(faults))
    if errors:
        raise joined(errors)
    return found


def expanded(store: str, texts: Sequence[str]) -> list[MemberName]:
    """Return the models of these names; a trial of several members without a number is all of them.

    Raise InputError with every fault: no such weights, a damaged file, a name given twice.
    """
    models = gathered({text: functools.partial(_of_trial, store, text) for text in texts})
    return list(members.parse(members.write([one for text in texts for one in models[text]])))


def _of_trial(store: str, text: str) -> list[MemberName]:
    name = MemberName.of(text)
    count = spec_of(store, name.kept)[1]
    if name.number is not None or count == 1:
        return [name]
    return [MemberName(name.kept, number) for number in range(count)]


def agreed(specs: Sequence[TrialSpec]) -> dict[str, Any]:
    """Return the knobs in which all members agree, but those of seeds."""
    first, *others = specs
    return {
        name: value
        for name, value in first.knobs.items()
        if name not in _SEEDS and all(spec[name] == value for spec in others)
    }


def cost(specs: Sequence[TrialSpec]) -> Cost:
    """Return what all members agree in: parameters, tokens and steps of one of them. FLOPs are unknown here."""
    costs = [_cost(spec) for spec in dict.fromkeys(spec.canonical() for spec in specs)]
    values: dict[str, Any] = {}
    for item in fields(Cost):
        seen = {getattr(one, item.name) for one in costs}
        values[item.name] = seen.pop() if len(seen) == 1 else None
    return Cost(**{**values, "flops": None, "memory_bytes": None, "state_bytes": None, "gathered_bytes": None})


def training_flops(names: Sequence[MemberName], specs: Sequence[TrialSpec]) -> float | None:
    """Return the FLOPs of training all members; of snapshots of one run, those up to the last of them."""
    spent: dict[tuple[str, int | None], float] = {}
    for name, spec in zip(names, specs, strict=True):
        own = _cost(spec.canonical())
        if own.flops is None or not own.steps:
            return None
        share = 1.0 if name.kept.step is None else name.kept.step / own.steps
        key = (name.kept.trial_id, name.number)
        spent[key] = max(spent.get(key, 0.0), share * own.flops / spec["members"])
    return sum(spent.values())


@functools.lru_cache(maxsize=4096)
def _cost(canonical: str) -> Cost:
    return LanguageModel().cost(TrialSpec.from_canonical(canonical, later_knobs(KNOBS)))
