"""The workload ``ridge``: ridge regression on random features, whose learning curves are known in closed form.

Data are Gaussian, eigenvalues of the kernel and coefficients of the target power laws
(`sweeplaw.trials.workloads.ridge.spectrum`). N is the number of features, D that of samples. The loss of a trial is its
exact mean squared error on the population, in the square of the labels' unit, not in nats.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sweeplaw.trials.accounting import Cost
from sweeplaw.trials.errors import InputError
from sweeplaw.trials.spec import Knob, TrialSpec
from sweeplaw.trials.workload import Context, Event
from sweeplaw.trials.workloads.registry import refuse_options
from sweeplaw.trials.workloads.ridge.cost import cost
from sweeplaw.trials.workloads.ridge.knobs import KNOBS, METRICS, SIZES
from sweeplaw.trials.workloads.spectrum import underflow_faults


@dataclass(frozen=True, slots=True)
class Ridge:
    """The workload ``ridge``. Trials of a stack have one shape and population, and differ in ridge, noise and seed."""

    name: str = "ridge"
    knobs: tuple[Knob, ...] = KNOBS
    requests: tuple[Knob, ...] = ()
    spreads: bool = False
    stacks: bool = True
    resumes: bool = False
    keeps: bool = False
    divides_micro_batch: bool = False

    @classmethod
    def of(cls, rest: str, options: Mapping[str, Any]) -> Ridge:
        """Return the workload, which has no options. Raise InputError for any except those that every sweep adds."""
        refuse_options("ridge", rest, options)
        return cls()

    @property
    def metrics(self) -> Mapping[str, tuple[str, str]]:
        return METRICS

    def resolve(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return the values. Raise InputError for more features than modes, where the theory diverges, and for
        eigenvalues that 64 bits do not hold.
        """
        if faults := [
            *_size_faults(values),
            *_exponent_faults(values),
            *underflow_faults(
                {name: _value(name, values) for name in ("capacity_exponent", "dimension")}, "eigenvalue"
            ),
        ]:
            raise InputError(faults)
        return dict(values)

    def facts(self, values: Mapping[str, Any]) -> dict[str, int | float]:
        known: dict[str, int | float] = {}
        if "samples" in values:
            known["tokens"] = values["samples"]
        if "features" in values:
            known["params"] = known["params_non_embedding"] = values["features"] * _value("ensemble", values)
        if known.keys() >= {"tokens", "params"}:
            known["flops"] = cost({name: _value(name, values) for name in SIZES}).flops or 0.0
        return known

    def cost(self, spec: TrialSpec) -> Cost:
        return cost(spec.knobs)

    def check(self, specs: Sequence[TrialSpec]) -> None:
        """Do nothing: there are no external requirements."""

    def run(self, pack: Sequence[TrialSpec], context: Context) -> Generator[Event, None, None]:
        from sweeplaw.trials.workloads.ridge.run import run  # a plan needs no torch

        yield from run(pack, context)


_DEFAULTS: Mapping[str, Any] = {knob.name: knob.default for knob in KNOBS}


def _value(name: str, values: Mapping[str, Any]) -> Any:
    return values.get(name, _DEFAULTS[name])


def _size_faults(values: Mapping[str, Any]) -> list[str]:
    """Return a fault for more features than there are modes."""
    features, dimension = (_value(name, values) for name in ("features", "dimension"))
    if not all(isinstance(value, int | float) for value in (features, dimension)) or features <= dimension:
        return []
    return [f"features = {features} is above dimension = {dimension} (accepted: at most as many features as modes)"]


def _exponent_faults(values: Mapping[str, Any]) -> list[str]:
    """Return a fault for each exponent at which a sum over infinitely many modes diverges."""
    bounds = {
        "capacity_exponent": (1.0, "the sum of the eigenvalues is finite"),
        "source_exponent": (0.0, "the target has finite power"),
    }
    found = []
    for name, (low, why) in bounds.items():
        value = _value(name, values)
        if isinstance(value, int | float) and value <= low:
            found.append(f"{name} = {value:g} (accepted: above {low:g}, where {why})")
    return found
