"""A sweep file, read and checked: axes by role, search, constraints, workload, budget and retry policy.

All faults of a file are found in one reading and reported in one message. The result is a frozen record;
`orchestrator.plan.plan` turns it into trials.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, get_args

import pydantic

from sweeplaw.clusters.profile import toml_file
from sweeplaw.orchestrator import sinks
from sweeplaw.orchestrator.plan import conditions, file_faults, formulas, search_options, sizes
from sweeplaw.orchestrator.plan.axes import Axis, UncheckedKnob, known_knob, read_axis, read_zip, samples
from sweeplaw.orchestrator.plan.limits import Budget, Retry, StopPolicy
from sweeplaw.orchestrator.plan.search_options import RandomSearch, SearchOptions
from sweeplaw.orchestrator.sinks import SinkTarget
from sweeplaw.trials.accounting import Cost
from sweeplaw.trials.errors import InputError, require_types
from sweeplaw.trials.formula import Formula
from sweeplaw.trials.spec import Knob, Value
from sweeplaw.trials.workload import Workload
from sweeplaw.trials.workloads import registry

Role = Literal["scientific", "nuisance", "fixed"]
ROLES: tuple[Role, ...] = get_args(Role)


class SweepFile(pydantic.BaseModel):
    """A sweep file: the combinations of its axes, each a trial.

    The axes of ``scientific`` are what the law is about, those of ``nuisance`` are tuned at each scientific point, and
    each block of ``zip`` is an axis of knobs that move together. ``fixed`` knobs have one value, ``derived`` ones a
    formula, and ``where`` holds conditions that every trial meets. ``seeds`` is their number, or a list of them.
    ``workload`` is the name of what runs, or a table of its ``kind`` and settings; ``log_to`` names the sinks.
    ``keep`` has the store keep the weights of trials that complete, or also those at every evaluation. The ``name`` has
    letters, digits and ``. _ -``, at most 64.
    """

    model_config = pydantic.ConfigDict(extra="forbid", strict=True)
    name: str = pydantic.Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
    description: str = ""
    workload: str | dict[str, Any] = "language_model"
    search: dict[str, Any] = {}
    budget: Budget = Budget()
    retry: Retry = Retry()
    stop: StopPolicy = StopPolicy()
    log_to: str | list[str] = []
    keep: Literal["final", "evaluations"] | None = None
    seeds: int | list[int] = 1
    where: str | list[str] = []
    scientific: dict[str, Any] = {}
    nuisance: dict[str, Any] = {}
    fixed: dict[str, Any] = {}
    derived: dict[str, str | int | float] = {}
    zip: list[dict[str, Any]] = []


COSTS = tuple(item.name for item in fields(Cost))  # names that a workload may know from its knobs (`Workload.facts`)
_TABLES: Mapping[str, type[pydantic.BaseModel]] = {"budget": Budget, "retry": Retry, "stop": StopPolicy}


@dataclass(frozen=True, slots=True)
class SweepSpec:
    """A checked sweep file.

    ``axes`` vary (scientific: what the law is about; nuisance: tuned at each scientific point; seeds); ``fixed`` do
    not; ``derived`` are formulas over the others; ``where`` are formulas every trial must satisfy. ``text`` is the
    content of the file.
    """

    name: str
    description: str
    workload: Workload = field(repr=False)
    options: Mapping[str, Any]
    axes: tuple[Axis, ...]
    fixed: Mapping[str, Value]
    derived: Mapping[str, Formula]
    where: tuple[Formula, ...]
    search: SearchOptions
    budget: Budget
    retry: Retry
    stop: StopPolicy
    log_to: tuple[SinkTarget, ...] = ()
    keep: Literal["final", "evaluations"] | None = None
    text: str = field(repr=False, default="")

    @property
    def constants(self) -> dict[str, Any]:
        """The values of knobs where no axis sets them, as far as they are known: fixed ones, and defaults."""
        defaults = {knob.name: knob.default for knob in self.workload.knobs if knob.default is not None}
        return {**defaults, **self.fixed}

    def names(self, role: str) -> tuple[str, ...]:
        """Return the knobs and requests on axes of this role, sorted."""
        return tuple(sorted(name for axis in self.axes if axis.role == role for name in axis.names))


def read(path: str | Path) -> SweepSpec:
    """Return the sweep in this TOML file. Raise InputError with every fault."""
    require_types(("sweep file", path, str | Path, "its path"))
    path = Path(path)
    text, content = toml_file.read(path, where=str(path))
    return _checked(content, text, str(path), path.resolve().parent)


def parse(text: str, *, where: str = "sweep", folder: Path | None = None) -> SweepSpec:
    """Return the sweep that this TOML text describes. Relative paths in it start from ``folder``.

    Raise InputError with every fault, its message beginning with ``where``.
    """
    return _checked(toml_file.parse(text, where=where), text, where, folder or Path.cwd())


def _checked(content: dict[str, Any], text: str, where: str, folder: Path) -> SweepSpec:
    try:
        file, faults = _shape(content)
        return _build(file, text, folder, faults)
    except InputError as error:
        raise InputError(error.faults, where=where) from None


def _shape(raw: dict[str, Any]) -> tuple[SweepFile, list[str]]:
    """Return the file without its malformed keys, and a fault for each of them, so that the rest is checked too."""
    try:
        return SweepFile.model_validate(raw), []
    except pydantic.ValidationError as error:
        faults = file_faults.sentences(error, SweepFile, _TABLES)
        bad = {str(item["loc"][0]) for item in error.errors()}
    try:
        return SweepFile.model_validate({"name": "faulty", **{key: raw[key] for key in raw if key not in bad}}), faults
    except pydantic.ValidationError:
        raise InputError(faults) from None


def _build(file: SweepFile, text: str, folder: Path, faults: list[str]) -> SweepSpec:
    search = search_options.read(file.search, faults)
    drawn = search.samples if isinstance(search, RandomSearch) else None
    derived_faults: list[str] = []
    try:
        size = sizes.check(file.scientific, file.nuisance, file.zip, file.seeds, drawn, len(file.derived))
        workload, options = _workload(file, folder)
        accepted = {knob.name: knob for knob in (*workload.knobs, *workload.requests)}
        derived = _derived(file.derived, accepted, derived_faults)
        sizes.check_groups(size, sizes.free_knobs(workload.knobs, derived))
    except InputError as error:
        raise InputError([*faults, *error.faults]) from None
    axes = [*_axes(file, accepted, faults), *_seeds(file, accepted, faults)]
    fixed = _fixed(file.fixed, accepted, faults)
    faults += derived_faults
    where = _where(file, faults)
    named = [*((f"derived.{name}", formula) for name, formula in derived.items()), *(("where", rule) for rule in where)]
    for path, formula in named:
        faults += formulas.undefined(path, formula, accepted, COSTS)
    faults += _twice([*(name for axis in axes for name in axis.names), *fixed, *derived])
    log_to = _targets(file.log_to, faults)
    if file.keep and not workload.keeps:
        faults.append(f"keep = {file.keep!r}: workload {workload.name!r} leaves no weights (accepted: leave keep out)")
    faults += conditions.faults(axes, workload.knobs, fixed)
    faults += search_options.ranges_without_values(search, axes)
    if not faults and not any(axis.role == "scientific" for axis in axes):
        faults.append("scientific: no axis; a sweep needs at least one (what should the law be about?)")
    if faults:
        raise InputError(faults)
    return SweepSpec(
        name=file.name,
        description=file.description,
        workload=workload,
        options=options,
        axes=tuple(sorted(axes, key=lambda axis: axis.names)),
        fixed=dict(sorted(fixed.items())),
        derived=derived,
        where=where,
        search=search,
        budget=file.budget,
        retry=file.retry.settled(divides_micro_batch=workload.divides_micro_batch),
        stop=file.stop,
        log_to=log_to,
        keep=file.keep,
        text=text,
    )


def _faults_of_form(file: SweepFile) -> list[str]:
    """Return the faults in the form of axes, formulas and sinks: those found where the workload cannot be read."""
    faults: list[str] = []
    names = [*file.scientific, *file.nuisance, *file.derived, *(name for block in file.zip for name in block), "seed"]
    accepted = {name: UncheckedKnob(name, "str", None, "", "") for name in names}
    axes = [*_axes(file, accepted, faults), *_seeds(file, accepted, faults)]
    derived = _derived(file.derived, accepted, faults)
    _where(file, faults)
    _targets(file.log_to, faults)
    return faults + _twice([*(name for axis in axes for name in axis.names), *file.fixed, *derived])


def _where(file: SweepFile, faults: list[str]) -> tuple[Formula, ...]:
    return formulas.read("where", [file.where] if isinstance(file.where, str) else file.where, faults)


def _workload(file: SweepFile, folder: Path) -> tuple[Workload, dict[str, Any]]:
    """Return the workload, and the options from which a worker rebuilds it."""
    declared = dict(file.workload) if isinstance(file.workload, dict) else {"kind": file.workload}
    kind = declared.pop("kind", None)
    if not isinstance(kind, str):
        raise InputError(f"workload.kind: {kind!r}; accepted is the name of a workload")
    examples = {
        name: samples(value) for table in (file.scientific, file.nuisance, file.fixed) for name, value in table.items()
    }
    for block in file.zip:
        examples.update({name: value for name, value in block.items() if name != "role" and isinstance(value, list)})
    examples.update({name: [0.5] for name in file.derived})
    options = {**declared, "folder": str(folder), "axes": examples}
    try:
        return registry.load(kind, options), options
    except InputError as error:
        raise InputError([*error.faults, *_faults_of_form(file)]) from None


def _axes(file: SweepFile, accepted: Mapping[str, Knob], faults: list[str]) -> Iterator[Axis]:
    for role in ("scientific", "nuisance"):
        for name, raw in getattr(file, role).items():
            path = f"{role}.{name}"
            if knob := known_knob(path, name, accepted, faults):
                yield from read_axis(path, role, knob, raw, faults)
    for index, block in enumerate(file.zip):
        names = [name for name in block if name != "role"]
        knobs = [known_knob(f"zip[{index}].{name}", name, accepted, faults) for name in names]
        if all(knobs):
            yield from read_zip(f"zip[{index}]", [knob for knob in knobs if knob], block, faults)


def _seeds(file: SweepFile, accepted: Mapping[str, Knob], faults: list[str]) -> Iterator[Axis]:
    tables = (file.scientific, file.nuisance, file.fixed, file.derived, *file.zip)
    if any("seed" in table for table in tables):
        faults.append("seed: seeds are given by the top-level key seeds = [0, 1, …], not as an axis")
        return
    seeds = list(range(file.seeds)) if isinstance(file.seeds, int) else file.seeds
    if not seeds:
        faults.append(f"seeds: {file.seeds!r}; accepted is a positive number of seeds or a list of them")
    elif "seed" in accepted:
        yield from read_axis("seeds", "seed", accepted["seed"], seeds, faults)
    elif file.seeds != 1:
        faults.append("seeds: this workload has no knob 'seed'")


def _fixed(table: Mapping[str, Any], accepted: Mapping[str, Knob], faults: list[str]) -> dict[str, Value]:
    fixed: dict[str, Value] = {}
    for name, raw in table.items():
        knob = known_knob(f"fixed.{name}", name, accepted, faults)
        if knob is None:
            continue
        try:
            fixed[name] = knob.coerce(raw)
        except ValueError as error:
            faults.append(f"fixed.{name}: {error}")
    return fixed


def _derived(table: Mapping[str, Any], accepted: Mapping[str, Knob], faults: list[str]) -> dict[str, Formula]:
    derived: dict[str, Formula] = {}
    for name, text in sorted(table.items()):
        if known_knob(f"derived.{name}", name, accepted, faults):
            for formula in formulas.read(f"derived.{name}", [str(text)], faults):
                derived[name] = formula
    return derived


def _targets(given: str | list[str], faults: list[str]) -> tuple[SinkTarget, ...]:
    try:
        return sinks.targets([given] if isinstance(given, str) else given)
    except InputError as error:
        faults += error.faults
        return ()


def _twice(names: list[str]) -> list[str]:
    return [
        f"{name}: given {names.count(name)} times; one place is accepted"
        for name in sorted(set(names))
        if names.count(name) > 1
    ]
