"""The table `[search]` of a sweep file: which trials run, and the settings of searches that decide as they go."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any, ClassVar

import pydantic
from pydantic_core import PydanticCustomError

from sweeplaw.orchestrator.plan.axes import Axis
from sweeplaw.trials.errors import nearest, shown

_PRICE = re.compile(r"(\d+(?:\.\d+)?(?:e[+-]?\d+)?) ?% per (\d+(?:\.\d+)?(?:e[+-]?\d+)?) FLOPs", re.IGNORECASE)
_PRICE_SCHEMA = r"^\d\S* ?% [Pp][Ee][Rr] \d\S* [Ff][Ll][Oo][Pp][Ss]$"  # patterns of JSON Schemas ignore no case


class EarlyStoppingOptions(pydantic.BaseModel):
    """`[search.early_stopping]`: end trials whose final loss will be worse than the best of their scientific point.

    A trial pauses ``checks`` times, evenly spread over its steps, beginning after the share ``first`` of them. It is
    stopped where its predicted final loss is worse than the best finished one with at least ``confidence``.
    """

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)
    checks: int = pydantic.Field(default=4, ge=1, le=100)
    first: float = pydantic.Field(default=0.25, gt=0, lt=1)
    confidence: float = pydantic.Field(default=0.95, gt=0.5, lt=1)


class SearchOptions(pydantic.BaseModel):
    """Settings of every search: its ``kind``, the ``seed`` of its random numbers, and when trials end early."""

    adaptive: ClassVar[bool] = False  # whether later trials depend on the outcomes of earlier ones
    pauses: ClassVar[bool] = False  # whether trials are paused and continued from their checkpoints
    ladders: ClassVar[bool] = False  # whether each nuisance axis needs its values, so that a range needs num
    tunes: ClassVar[tuple[str, ...]] = ()  # knobs that it sets beside the nuisance axes

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
    kind: str
    seed: int = pydantic.Field(default=0, ge=0, lt=2**32)
    early_stopping: EarlyStoppingOptions | None = None

    @property
    def proposes(self) -> bool:
        """Whether the launch proposes trials one by one, instead of planning all of them beforehand."""
        return self.adaptive or self.early_stopping is not None


class GridSearch(SearchOptions):
    """Every combination of the nuisance axes at each scientific point."""

    ladders: ClassVar[bool] = True

    kind: str = "grid"
    samples: int = pydantic.Field(default=32, ge=1)  # not used: files that change between grid and random keep it


class RandomSearch(SearchOptions):
    """``samples`` scrambled Sobol points from the nuisance axes, the same ones at every scientific point; a larger
    ``samples`` extends the smaller draw.
    """

    kind: str = "random"
    samples: int = pydantic.Field(default=32, ge=1)


class AdaptiveSearch(SearchOptions):
    """A search that learns from its trials: ``objective`` is the metric that it minimizes (or, with ``maximize``,
    maximizes). It ends when its budget is spent, or by its own rule.
    """

    adaptive: ClassVar[bool] = True

    objective: str = "val_loss"
    maximize: bool = False


class OptunaSearch(AdaptiveSearch):
    """One of Optuna's samplers, a study for each scientific point: ``tpe``, ``gp``, ``cmaes``, ``nsga2`` (several
    ``objectives``, of which those named in ``maximized`` are maximized), or with ``kind = "optuna"`` any ``sampler`` as
    ``module:Class``. ``options`` are passed to its constructor.
    """

    sampler: str | None = None
    options: dict[str, Any] = {}
    objectives: list[str] = []
    maximized: list[str] = []


class LocalSearch(AdaptiveSearch):
    """Descent over the ordered values of the nuisance axes: from the optimum of a neighbouring scientific point to the
    best of the one-step neighbours, until no neighbour is better, which is the certificate.

    ``start`` is the setting of the first point. Each entry of ``moves`` is a joint move: the number of steps along each
    axis that it takes together (``{epochs = 1, weight_decay = 1}``), in either direction.
    """

    ladders: ClassVar[bool] = True

    kind: str = "local"
    start: dict[str, Any] = {}
    moves: list[dict[str, int]] = []


class LawSearch(AdaptiveSearch):
    """Law-guided search: fit one surface of the loss over all knobs and scientific points to what has run, and run
    next what lowers the expected regret, summed over the points, most for its FLOPs.

    It stops when the expected gain falls below the price ``stop`` (``"0.01 % per 1e18 FLOPs"``). With a ``target``
    (``{params = 1e9, tokens = 2e10}``) it narrows the interval of the law there instead.
    """

    ladders: ClassVar[bool] = True

    kind: str = "law"
    stop: Annotated[str, pydantic.Field(json_schema_extra={"pattern": _PRICE_SCHEMA})] | None = None
    target: dict[str, float] = {}

    @pydantic.field_validator("stop")
    @classmethod
    def _check(cls, value: str | None) -> str | None:
        if value is not None and not _PRICE.fullmatch(value):
            raise PydanticCustomError("price", 'accepted is a price such as "0.01 % per 1e18 FLOPs"')
        return value

    @property
    def price(self) -> float | None:
        """The least expected gain of a trial, as relative regret a FLOP; None to spend the whole budget."""
        found = _PRICE.fullmatch(self.stop) if self.stop else None
        return float(found[1]) / 100 / float(found[2]) if found else None

    @property
    def flops_of_price(self) -> float:
        """The FLOPs for which the price is given; 1e18 without one."""
        found = _PRICE.fullmatch(self.stop) if self.stop else None
        return float(found[2]) if found else 1e18


class HalvingSearch(AdaptiveSearch):
    """Asynchronous successive halving (ASHA; ``kind = "hyperband"`` for several brackets) of ``samples`` random points
    at each scientific point.

    A trial pauses after the share ``first`` of its steps, and then each time its steps have grown ``reduction``-fold;
    the best one in ``reduction`` goes on from its checkpoint.
    """

    pauses: ClassVar[bool] = True

    kind: str = "halving"
    samples: int = pydantic.Field(default=27, ge=2)
    reduction: int = pydantic.Field(default=3, ge=2, le=100)
    first: float = pydantic.Field(default=1 / 9, gt=0, lt=1)


class PopulationSearch(AdaptiveSearch):
    """Population-based training: ``members`` trials at each scientific point train side by side in ``intervals`` equal
    parts. After each part one of the worst ``quantile`` continues from the checkpoint of one of the best, with its
    nuisance knobs multiplied or divided by ``factor``, or drawn anew with the probability ``resample``.
    """

    pauses: ClassVar[bool] = True
    tunes: ClassVar[tuple[str, ...]] = ("changes",)

    kind: str = "population"
    members: int = pydantic.Field(default=8, ge=2)
    intervals: int = pydantic.Field(default=5, ge=2)
    quantile: float = pydantic.Field(default=0.25, gt=0, le=0.5)
    factor: float = pydantic.Field(default=1.25, gt=1)
    resample: float = pydantic.Field(default=0.25, ge=0, le=1)


class ArchiveSearch(AdaptiveSearch):
    """Quality-diversity (MAP-Elites) over the scientific points: ``initial`` random settings at each, then the best of
    a point, changed along its axes by about ``step`` of their length, is tried at a neighbouring point.
    """

    kind: str = "archive"
    initial: int = pydantic.Field(default=3, ge=1)
    step: float = pydantic.Field(default=0.1, gt=0, le=1)


KINDS: Mapping[str, type[SearchOptions]] = {
    "grid": GridSearch,
    "random": RandomSearch,
    **dict.fromkeys(("tpe", "gp", "cmaes", "nsga2", "optuna"), OptunaSearch),
    "local": LocalSearch,
    "law": LawSearch,
    **dict.fromkeys(("halving", "hyperband"), HalvingSearch),
    "population": PopulationSearch,
    "archive": ArchiveSearch,
}


def read(table: Mapping[str, Any], faults: list[str]) -> SearchOptions:
    """Return the settings in a table ``[search]``; append to ``faults`` what is wrong with them."""
    kind = table.get("kind", "grid")
    if not isinstance(kind, str) or kind not in KINDS:
        hint = nearest(kind, KINDS) if isinstance(kind, str) else ""
        faults.append(f"search.kind: {shown(kind)}; accepted are {', '.join(KINDS)}{hint}")
        return SearchOptions(kind="unknown")
    model = KINDS[kind]
    try:
        return model.model_validate({"kind": kind, **table})
    except pydantic.ValidationError as error:
        faults += [_fault(item, kind, model) for item in error.errors()]
        return SearchOptions(kind=kind)


def ranges_without_values(search: SearchOptions, axes: Iterable[Axis]) -> Iterator[str]:
    """Yield a fault for each range without ``num`` where this search needs the values of the axis."""
    who = f"the search {search.kind}" if search.adaptive else "a grid"
    for axis in axes:
        if axis.values:
            continue
        if search.ladders:
            yield f"{axis.path}: a range without num; {who} needs {{…, num = n}}"
        elif search.adaptive and axis.role == "scientific":
            yield f"{axis.path}: a range without num; the points of an adaptive search need {{…, num = n}}"


def _fault(item: Any, kind: str, model: type[pydantic.BaseModel]) -> str:
    """Return one pydantic error as a sentence: the key path, the value seen, the values accepted."""
    path = [str(part) for part in item["loc"]]
    key = ".".join(["search", *path])
    if item["type"] == "extra_forbidden":
        inner = EarlyStoppingOptions if path[0] == "early_stopping" and len(path) > 1 else model
        valid = sorted(inner.model_fields)
        others = sorted(name for name, other in KINDS.items() if path[-1] in other.model_fields)
        where = f" (a key of {', '.join(others)})" if others and inner is model else ""
        return f"{key}: unknown key of a {kind} search{where}; accepted: {', '.join(valid)}{nearest(path[-1], valid)}"
    return f"{key}: {shown(item['input'])}; {item['msg'][0].lower()}{item['msg'][1:]}"
