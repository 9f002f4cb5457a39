"""The workload ``linear_dynamics``: gradient descent on a linear teacher and student, with theory beside each risk.

N is the student's width, D the samples it learns from. The loss of a trial is its exact mean squared error on the
population, in the square of the labels' unit, not in nats (`sweeplaw.trials.workloads.linear_dynamics.theory`).
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sweeplaw.trials.accounting import Cost
from sweeplaw.trials.errors import InputError
from sweeplaw.trials.spec import Knob, TrialSpec
from sweeplaw.trials.workload import Context, Event
from sweeplaw.trials.workloads.linear_dynamics.knobs import ADAM, FLOW, KNOBS, METRICS, POPULATION, SGD, WHOLE
from sweeplaw.trials.workloads.registry import refuse_options
from sweeplaw.trials.workloads.spectrum import underflow_faults

BYTES = 8  # of a 64-bit float
CONVENTION = "matrix products and SVD"
_DEFAULTS: Mapping[str, Any] = {knob.name: knob.default for knob in KNOBS}


@dataclass(frozen=True, slots=True)
class LinearDynamics:
    """The workload ``linear_dynamics``."""

    name: str = "linear_dynamics"
    knobs: tuple[Knob, ...] = KNOBS
    requests: tuple[Knob, ...] = ()
    spreads: bool = False
    stacks: bool = False
    resumes: bool = False
    keeps: bool = False
    divides_micro_batch: bool = False

    @classmethod
    def of(cls, rest: str, options: Mapping[str, Any]) -> LinearDynamics:
        """Return the workload, which has no options. Raise InputError for any except those that every sweep adds."""
        refuse_options("linear_dynamics", rest, options)
        return cls()

    @property
    def metrics(self) -> Mapping[str, tuple[str, str]]:
        return METRICS

    def resolve(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return the values. Raise InputError for a student wider than the inputs, for knobs that the dynamics does not
        read, where the theory diverges, and for variances that 64 bits do not hold.
        """
        if faults := [
            *_width_faults(values),
            *_unread_faults(values),
            *_exponent_faults(values),
            *underflow_faults({**_DEFAULTS, **values}, "variance"),
        ]:
            raise InputError(faults)
        return dict(values)

    def facts(self, values: Mapping[str, Any]) -> dict[str, int | float]:
        known = {**_DEFAULTS, **values}
        numbers = ("dimension", "width", "samples", "batch", "steps")
        if not all(isinstance(known[name], int | float) for name in numbers):
            return {}
        found = _cost(known)
        names = ("params", "params_non_embedding", "tokens", "flops")
        return {name: value for name in names if (value := getattr(found, name)) is not None}

    def cost(self, spec: TrialSpec) -> Cost:
        return _cost(spec.knobs)

    def check(self, specs: Sequence[TrialSpec]) -> None:
        """Do nothing: there are no external requirements."""

    def run(self, pack: Sequence[TrialSpec], context: Context) -> Generator[Event, None, None]:
        from sweeplaw.trials.workloads.linear_dynamics.run import run  # imports scipy, which a plan does not need

        yield from run(pack, context)


def _cost(values: Mapping[str, Any]) -> Cost:
    """Return the cost: N is the width. A flow on samples takes an SVD (Golub & Van Loan: 6 p w min(p, w)), steps two
    products of a batch each way; on the population a flow has no samples, and its FLOPs are not counted.
    """
    dimension = values["dimension"]
    width = dimension if values["width"] == WHOLE else values["width"]
    samples, batch, steps = values["samples"], values["batch"], values["steps"]
    flow, population = values["dynamics"] == FLOW, values["samples"] == POPULATION
    tokens: int | None
    if flow:
        tokens = None if population else samples
        flops = None if population else 6.0 * samples * width * min(samples, width)
        memory = BYTES * (
            dimension * 4 if population else samples * (dimension + 2 * min(samples, width)) + width * 1000
        )
    else:
        tokens, flops = batch * steps, 4.0 * batch * steps * (width + dimension / 2)
        memory = BYTES * (2 * batch * dimension + 8 * dimension)
    return Cost(
        params=width,
        params_embedding=0,
        params_non_embedding=width,
        tokens=tokens,
        unique_tokens=tokens,
        epochs=None if tokens is None else 1.0,
        steps=values["evaluations"] if flow else steps,
        batch_tokens=None if flow else batch,
        flops=flops,
        flops_per_token=None if flops is None or not tokens else flops / tokens,
        flops_convention=None if flops is None else CONVENTION,
        memory_bytes=memory,
    )


def _width_faults(values: Mapping[str, Any]) -> list[str]:
    width, dimension = ({**_DEFAULTS, **values}[name] for name in ("width", "dimension"))
    if not all(isinstance(value, int | float) for value in (width, dimension)) or width <= dimension:
        return []
    return [f"width = {width} is above dimension = {dimension} (accepted: at most the dimension, or 0 for all of it)"]


def _unread_faults(values: Mapping[str, Any]) -> list[str]:
    """Return a fault for each knob that is set though the dynamics does not read it: its axis would be flat."""
    dynamics = values.get("dynamics", FLOW)
    unread = {FLOW: ("batch", "steps"), SGD: ("samples", "time"), ADAM: ("samples", "time")}.get(dynamics, ())
    other = "sgd, adam" if dynamics == FLOW else FLOW
    return [
        f"{name} = {values[name]} is not read by dynamics = {dynamics!r} (accepted with: {other})"
        for name in unread
        if name in values and values[name] != _DEFAULTS[name]
    ]


def _exponent_faults(values: Mapping[str, Any]) -> list[str]:
    """Return a fault for a teacher whose power is not finite in infinitely many coordinates."""
    capacity, decay = ({**_DEFAULTS, **values}[name] for name in ("capacity_exponent", "decay_exponent"))
    if not all(isinstance(value, int | float) for value in (capacity, decay)):
        return []
    if decay > 1 or (decay == 0 and capacity == 0):
        return []
    return [
        f"decay_exponent = {decay:g} with capacity_exponent = {capacity:g} (accepted: above 1, where the teacher has "
        "finite power, or 0 and 0 for the isotropic task)"
    ]
