"""What a trial learns from beside its corpus: synthetic text, teachers' distributions, the weights of an earlier trial.

The store that has them is an option of the workload, no knob: they are named by what they are, wherever they lie.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from sweeplaw.trials.accounting import FLOPS_CONVENTIONS, RECORDED_CONVENTION
from sweeplaw.trials.corpus import names
from sweeplaw.trials.errors import InputError, gathered
from sweeplaw.trials.kept.teachers import Described, describe
from sweeplaw.trials.quantities import counted
from sweeplaw.trials.sampling import corpora
from sweeplaw.trials.spec import TrialSpec, later_knobs
from sweeplaw.trials.store_format.location import locate
from sweeplaw.trials.workloads.language_model.knobs import KNOBS
from sweeplaw.trials.workloads.language_model.resolve import in_store, length_of, shape_of

ALIKE = ("rope_base",)  # what else the weights of a model are good for


def check_sources(spec: TrialSpec, store: str | None) -> None:
    """Check that everything that the trial learns from is there and fits it. Raise InputError with all faults."""
    _require_store(spec, store)
    checks = (_check_text, _check_validation, _check_teachers, _check_start)
    gathered({check: partial(check, spec, store) for check in checks})


def starts(spec: TrialSpec, store: str | None) -> list[Described]:
    """Return the models that a trial begins from: one for each member, or one for all. Raise InputError."""
    return describe(locate(_require_store(spec, store)), spec["init_from"])


def teachers(spec: TrialSpec, store: str | None) -> list[Described]:
    """Return the models whose distribution is a target. Raise InputError."""
    return describe(locate(_require_store(spec, store)), spec["teachers"])


def teacher_flops(spec: TrialSpec, store: str | None) -> float | None:
    """Return the FLOPs that the teachers of a trial took: to train them as far as it is known, to sample, to label.

    None without teachers.
    """
    if not spec["synthetic"] and not spec["teachers"]:
        return None
    spent, counted = 0.0, frozenset[str]()
    if spec["synthetic"]:
        text = corpora.load_text(spec["synthetic"], spec["tokenizer"], store)
        training = text.facts.get("training_flops")
        spent += text.facts["flops"] + (training or 0.0)
        counted = frozenset(text.recipe["teachers"]) if training else counted
    if spec["teachers"]:
        convention = FLOPS_CONVENTIONS[RECORDED_CONVENTION]
        positions = length_of(spec.knobs).tokens * spec["members"]
        for one in teachers(spec, store):
            own = length_of({**later_knobs(KNOBS), **one.knobs}).tokens
            spent += 0.0 if str(one.name) in counted else convention(one.shape, one.knobs["context"]) * own
            spent += corpora.FORWARD * convention(one.shape, spec["context"]) * positions
    return spent


def _require_store(spec: TrialSpec, store: str | None) -> str:
    if (used := in_store(spec)) and store is None:
        raise InputError(
            f"{', '.join(used)}: no store is named that has it (accepted: "
            "workload = { kind = 'language_model', store = 'PATH OF THE STORE' })"
        )
    return store or ""


def _check_text(spec: TrialSpec, store: str | None) -> None:
    if spec["synthetic"]:
        corpora.open_synthetic(spec["synthetic"], spec["tokenizer"], spec["context"], store)
        _check_vocabulary(spec, "synthetic", corpora.load_text(spec["synthetic"], spec["tokenizer"], store).facts)


def _check_validation(spec: TrialSpec, store: str | None) -> None:
    if spec["validation_corpus"]:
        size = names.vocabulary(spec["validation_corpus"], spec["tokenizer"])
        _check_vocabulary(spec, "validation_corpus", {"vocabulary": size})


def _check_vocabulary(spec: TrialSpec, knob: str, facts: Mapping[str, Any]) -> None:
    own = shape_of(spec.knobs).vocabulary
    if facts["vocabulary"] != own:
        raise InputError(
            f"{knob} = {spec[knob]!r} has a vocabulary of {facts['vocabulary']}, and corpus = {spec['corpus']!r} one "
            f"of {own} (accepted: the same)"
        )


def _check_teachers(spec: TrialSpec, store: str | None) -> None:
    if not spec["teachers"]:
        return
    faults = []
    for one in teachers(spec, store):
        faults += _other_tokens(spec, one)
        if one.knobs["context"] < spec["context"]:
            faults.append(
                f"teacher {one.name} reads {one.knobs['context']} tokens (accepted: context up to that, seen: "
                f"{spec['context']})"
            )
    if faults:
        raise InputError(faults)


def _check_start(spec: TrialSpec, store: str | None) -> None:
    if not spec["init_from"]:
        return
    found, members = starts(spec, store), spec["members"]
    faults = []
    if len(found) not in (1, members):
        faults.append(
            f"init_from = {spec['init_from']!r} is {len(found)} models for {counted(members, 'member')} (accepted: "
            f"{'1' if members == 1 else f'1, {members}'})"
        )
    own = shape_of(spec.knobs)
    for one in found:
        faults += _other_tokens(spec, one)
        mine = {name: getattr(own, name) for name in own.__slots__} | {name: spec[name] for name in ALIKE}
        theirs = {name: getattr(one.shape, name) for name in own.__slots__} | {name: one.knobs[name] for name in ALIKE}
        faults += [
            f"init_from: {one.name} has {name} = {theirs[name]!r}, the trial {mine[name]!r} (accepted: the same)"
            for name in mine
            if mine[name] != theirs[name]
        ]
    if faults:
        raise InputError(list(dict.fromkeys(faults)))


def _other_tokens(spec: TrialSpec, one: Described) -> list[str]:
    """Return a sentence if the tokens of a kept model are not those of the trial."""
    mine = (spec["tokenizer"], shape_of(spec.knobs).vocabulary)
    theirs = (one.knobs["tokenizer"], one.vocabulary)
    if mine == theirs:
        return []
    texts = [f"tokenizer = {tokenizer!r} and a vocabulary of {size}" for tokenizer, size in (theirs, mine)]
    return [f"{one.name} has {texts[0]}, the trial {texts[1]} (accepted: the same)"]
