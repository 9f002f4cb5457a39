"""The workload ``modular_arithmetic``: its knobs, facts and cost; training itself is `run`."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from sweeplaw.trials.accounting import Cost
from sweeplaw.trials.errors import InputError
from sweeplaw.trials.spec import Knob, TrialSpec
from sweeplaw.trials.workload import Context, Event
from sweeplaw.trials.workloads.modular_arithmetic import arithmetic, shapes
from sweeplaw.trials.workloads.modular_arithmetic.knobs import KNOBS, METRICS
from sweeplaw.trials.workloads.registry import refuse_options


@dataclass(frozen=True, slots=True)
class ModularArithmetic:
    """The workload ``modular_arithmetic``. It has no options, and a trial that is preempted starts anew."""

    name: str = "modular_arithmetic"
    knobs: tuple[Knob, ...] = KNOBS
    requests: tuple[Knob, ...] = ()
    spreads: bool = False
    stacks: bool = True
    resumes: bool = False
    keeps: bool = False
    divides_micro_batch: bool = False

    @classmethod
    def of(cls, rest: str, options: Mapping[str, Any]) -> ModularArithmetic:
        """Return the workload. Raise InputError for any option except those that every sweep adds."""
        refuse_options("modular_arithmetic", rest, options)
        return cls()

    @property
    def metrics(self) -> Mapping[str, tuple[str, str]]:
        return METRICS

    def resolve(self, values: Mapping[str, Any]) -> dict[str, Any]:
        return dict(values)

    def facts(self, values: Mapping[str, Any]) -> dict[str, int | float]:
        knobs = {knob.name: values.get(knob.name, knob.default) for knob in self.knobs}
        try:
            cost = _cost({knob.name: knob.coerce(knobs[knob.name]) for knob in self.knobs})
        except ValueError:  # what is wrong with a value is said of the whole spec
            return {}
        known = {item.name: getattr(cost, item.name) for item in fields(cost)}
        return {name: value for name, value in known.items() if isinstance(value, int | float)}

    def cost(self, spec: TrialSpec) -> Cost:
        """Return the cost of the spec. Raise InputError for settings that do not go together."""
        return _cost(spec.knobs)

    def check(self, specs: Sequence[TrialSpec]) -> None:
        """Do nothing: there are no external requirements."""

    def run(self, pack: Sequence[TrialSpec], context: Context) -> Generator[Event, None, None]:
        """Train the pack as one, on a CPU in stacks of a few."""
        from sweeplaw.trials.workloads.modular_arithmetic.run import run  # imports torch, which a plan does not need

        yield from run(pack, context)


def _cost(knobs: Mapping[str, Any]) -> Cost:
    if faults := [*arithmetic.faults(knobs), *shapes.faults(knobs)]:
        raise InputError(faults)
    unique = arithmetic.training_count(knobs["operation"], knobs["modulus"], knobs["train_fraction"])
    batch = knobs["batch_pairs"] or unique
    params, embedding = shapes.parameters(knobs)
    pairs = arithmetic.pair_count(knobs["operation"], knobs["modulus"])
    flops_per_pair, tokens = 6.0 * (params - embedding), batch * knobs["steps"]
    state, activations = 4 * 4 * params, 4 * pairs * shapes.activations(knobs)  # bytes; two moments and a gradient
    return Cost(
        params=params,
        params_embedding=embedding,
        params_non_embedding=params - embedding,
        tokens=tokens,
        unique_tokens=unique,
        epochs=tokens / unique,
        steps=knobs["steps"],
        batch_sequences=batch,
        batch_tokens=batch,
        flops_per_token=flops_per_pair,
        flops=flops_per_pair * tokens,
        flops_convention="6ND",  # Kaplan et al. 2020, arXiv:2001.08361, section 2.1
        memory_bytes=state + activations,
    )
