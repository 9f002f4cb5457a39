"""The optimizers by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import MappingProxyType

from torch import Tensor

from sweeplaw.trials.training.optimizers.adamw import AdamW
from sweeplaw.trials.training.optimizers.elementwise import ElementwiseOptimizer
from sweeplaw.trials.training.optimizers.lion import LION
from sweeplaw.trials.training.optimizers.muon import Muon
from sweeplaw.trials.training.optimizers.optimizer import Coefficients, Optimizer
from sweeplaw.trials.training.optimizers.schedule_free import ScheduleFreeAdamW
from sweeplaw.trials.training.optimizers.sgd import SGD
from sweeplaw.trials.training.parametrization.groups import ParameterGroup

Build = Callable[[Sequence[Tensor], Sequence[ParameterGroup], Sequence[Coefficients]], Optimizer]

OPTIMIZERS: Mapping[str, Build] = MappingProxyType(
    {
        "adamw": AdamW,
        "sgd": partial(ElementwiseOptimizer, SGD),
        "lion": partial(ElementwiseOptimizer, LION),
        "muon": Muon,
        "schedule_free": ScheduleFreeAdamW,
    }
)
OF_MATRICES = frozenset({"muon"})  # optimizers of whole matrices
