"""A nuisance axis as a distribution of Optuna: values in an order, a category, or a range."""

from __future__ import annotations

import math
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import Trial

from sweeplaw.orchestrator.plan.axes import Axis
from sweeplaw.orchestrator.search.space import ladder
from sweeplaw.trials.quantities import is_number
from sweeplaw.trials.spec import Value


class OptunaAxis:
    """One nuisance axis as a distribution: an ordered index of its values, a category, or a range."""

    def __init__(self, axis: Axis, distribution: BaseDistribution, values: tuple[tuple[Value, ...], ...]) -> None:
        self.axis, self.distribution, self._values = axis, distribution, values
        self.name = ",".join(axis.names)

    @classmethod
    def of(cls, axis: Axis) -> OptunaAxis:
        """Return the axis as Optuna sees it."""
        values = tuple(ladder(axis)) if axis.values else ()
        if not values:
            if axis.knobs[0].type == "int":
                return cls(axis, IntDistribution(math.ceil(axis.low), math.floor(axis.high), log=axis.log), ())
            return cls(axis, FloatDistribution(axis.low, axis.high, log=axis.log), ())
        ordered = all(is_number(value) for value in sum(values, ()))
        if ordered and len(axis.knobs) == 1:
            return cls(axis, IntDistribution(0, len(values) - 1), values)
        return cls(axis, CategoricalDistribution(range(len(values))), values)

    def suggest(self, trial: Trial) -> tuple[Value, ...]:
        """Return the values of the axis that the sampler suggests for a trial."""
        kind = self.distribution
        if isinstance(kind, CategoricalDistribution):
            return self._values[trial.suggest_categorical(self.name, kind.choices)]  # type: ignore[index]
        if isinstance(kind, FloatDistribution):
            return (self.axis.knobs[0].coerce(trial.suggest_float(self.name, kind.low, kind.high, log=kind.log)),)
        assert isinstance(kind, IntDistribution)
        param = trial.suggest_int(self.name, kind.low, kind.high, log=kind.log)
        return self._values[param] if self._values else (self.axis.knobs[0].coerce(param),)

    def param(self, values: tuple[Value, ...]) -> Any:
        """Return the parameter for these values. Raise ValueError if the distribution does not have it."""
        param = self._values.index(values) if self._values else values[0]
        if not self.distribution._contains(self.distribution.to_internal_repr(param)):
            raise ValueError(f"{param} is outside {self.distribution}")
        return param
