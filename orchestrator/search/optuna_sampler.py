"""Optuna's samplers by ask and tell: one study for each scientific point.

A sampler draws random numbers, so its proposals depend on all earlier asks and reports, in order. The history has
that order: each proposal of this search has its number and how many results were known. A new instance replays it and
continues as the first one would have; what the history does not explain (imports, another version of the sweep) is
given to the study as finished trials.

Axes are suggested one by one, those that a condition reads before those that have it; a trial has no parameter for an
axis whose condition does not hold, as in Optuna's own conditional spaces.
"""

from __future__ import annotations

import importlib
import inspect
import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial

from sweeplaw.orchestrator.plan import conditions
from sweeplaw.orchestrator.plan.search_options import OptunaSearch
from sweeplaw.orchestrator.search.contract import Finished, History, Observation, Pending, Proposal, Setting
from sweeplaw.orchestrator.search.optuna_axis import OptunaAxis
from sweeplaw.orchestrator.search.space import Space, sobol
from sweeplaw.trials.errors import InputError, nearest

SAMPLERS: Mapping[str, str] = {
    "tpe": "TPESampler",
    "gp": "GPSampler",
    "cmaes": "CmaEsSampler",
    "nsga2": "NSGAIISampler",
}
# Their children may be copies of a parent, which then count twice: a known setting gets its value again, not a run.
BREEDING = (optuna.samplers.NSGAIISampler, optuna.samplers.NSGAIIISampler)
REPEATS = 64  # asks in a row that give a setting already run or barred; then an unused one is taken
REPEATS_FINITE = 16  # where all settings are known: every ask stays in the study and makes the next ones slower
_VIOLATION = "violation"


class OptunaSampler:
    """The search of an `OptunaSearch`. Raises InputError for a sampler that does not exist or refuses its options."""

    def __init__(self, space: Space, options: OptunaSearch) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._space, self._options = space, options
        self._axes = [OptunaAxis.of(axis) for axis in conditions.ordered(space.axes)]
        self._sampler = _sampler_class(options)
        self._studies = {0: _Study(space, self._axes, options, self._sampler, 0)}  # the first, to refuse its options
        _Study(space, self._axes, options, self._sampler, 0).check()

    def propose(self, history: History) -> Proposal | Finished | None:
        """Return what the sampler of one scientific point asks for; the points take turns."""
        cells = len(self._space.cells)
        for turn in range(cells):
            cell = (history.number + turn) % cells
            setting = self._study(cell).ask(history)
            if setting is not None:
                name = self._options.sampler or SAMPLERS[self._options.kind]
                done = sum(seen.setting.cell == cell for seen in history.observations)
                return Proposal(setting, f"{name} after {done} results at {self._space.describe_cell(cell)}")
        return None if history.pending else Finished("every setting has run")

    def belief(self, history: History) -> str:
        """Return the best value at each of the first points."""
        best: dict[int, float] = {}
        for seen in history.observations:
            if seen.value is not None:
                best[seen.setting.cell] = min(seen.value, best.get(seen.setting.cell, math.inf))
        return ", ".join(f"{self._space.describe_cell(cell)}: {value:.4g}" for cell, value in sorted(best.items())[:4])

    def _study(self, cell: int) -> _Study:
        if cell not in self._studies:
            self._studies[cell] = _Study(self._space, self._axes, self._options, self._sampler, cell)
        return self._studies[cell]


class _Study:
    """The study of one scientific point, as far as a history has been replayed into it."""

    def __init__(
        self, space: Space, axes: Sequence[OptunaAxis], options: OptunaSearch, sampler: type[Any], cell: int
    ) -> None:
        self._space, self._axes, self._cell = space, axes, cell
        self._seed = space.seed_at(cell, options.seed)
        self._objectives = max(1, len(options.objectives))
        self._study = optuna.create_study(
            directions=["minimize"] * self._objectives,
            sampler=_made(sampler, options, self._seed, constrained=bool(space.sweep.where)),
        )
        self._asked: set[int] = set()  # numbers of the proposals that were asked for, here or in the replay
        self._reported: set[Setting] = set()
        self._seen: dict[Setting, Trial | None] = {}  # asked for or given, and not to be asked for again
        self._known: dict[Setting, list[float]] = {}  # the values of those that have some
        self._breeds = issubclass(sampler, BREEDING)
        self._read = 0  # observations read so far
        self._latest: tuple[tuple[int, int], Setting] | None = None  # the answer to the latest question, and which

    def check(self) -> None:
        """Ask once and discard the answer. Raise InputError if the sampler refuses the axes or number of objectives."""
        try:
            self._ask()
        except (TypeError, ValueError, NotImplementedError) as error:
            name = type(self._study.sampler).__name__
            raise InputError(f"search.kind: {name} cannot search this sweep: {error}") from None

    def ask(self, history: History) -> Setting | None:
        """Return the next setting, after the study has caught up with the history; None if no setting is left."""
        for item in self._own(history):
            if item.number is not None and item.number not in self._asked:
                self._tell(history.observations[: item.known or 0])
                self._again(item)
        self._tell(history.observations)
        pending = {item.setting for item in history.pending}
        asked = history.number, len(history.observations)
        if self._latest is not None and self._latest[0] == asked and self._latest[1] not in pending:
            return self._latest[1]
        setting, _ = self._fresh()
        if setting is not None:
            self._latest = asked, setting
            self._asked.add(history.number)
        return setting

    def _own(self, history: History) -> list[Observation | Pending]:
        """Return the proposals of this search at this point, in their order."""
        items: list[Observation | Pending] = [*history.observations, *history.pending]
        mine = [item for item in items if item.setting.cell == self._cell and item.number is not None]
        return sorted(mine, key=lambda item: item.number or 0)

    def _again(self, item: Observation | Pending) -> None:
        """Ask as when this proposal was made. Where the answer differs, the study gets the setting as given."""
        setting, trial = self._fresh()
        self._asked.add(item.number or 0)
        if setting != item.setting:
            if trial is not None:
                self._study.tell(trial, state=TrialState.FAIL)
            if setting is not None:
                self._seen.pop(setting, None)
            self._seen[item.setting] = None

    def _ask(self) -> tuple[Trial, Setting]:
        """Ask for a trial; axes whose condition does not hold are at their placeholder."""
        chosen = {axis.names: conditions.stand_in(axis) for axis in self._space.axes}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            trial = self._study.ask()
            for axis in self._axes:
                if not self._space.inactive(Setting(self._cell, tuple(chosen.values()))).issuperset(axis.axis.names):
                    chosen[axis.axis.names] = axis.suggest(trial)
        return trial, Setting(self._cell, tuple(chosen.values()))

    def _fresh(self) -> tuple[Setting | None, Trial | None]:
        """Ask until the answer is a setting that has trials and was not asked for before."""
        for _ in range(REPEATS_FINITE if self._space.finite else REPEATS):
            trial, setting = self._ask()
            if not self._space.admits(setting):
                trial.set_user_attr(_VIOLATION, 1.0)
                self._finish(trial, [math.inf] * self._objectives)
            elif setting not in self._seen:
                self._seen[setting] = trial
                return setting, trial
            elif self._breeds and setting in self._known:
                self._finish(trial, self._known[setting])
            else:
                self._study.tell(trial, state=TrialState.FAIL)
        unused = next((setting for setting in self._others() if setting not in self._seen), None)
        if unused is not None:
            self._seen[unused] = None
        return unused, None

    def _others(self) -> list[Setting]:
        """Return settings of this point beside those that the sampler asks for: all of a finite space."""
        if self._space.finite:
            return [item.setting for item in self._space.candidates if item.setting.cell == self._cell]
        drawn = (Setting(self._cell, values) for values in sobol(self._space.axes, 1024, self._seed))
        return [setting for setting in drawn if self._space.admits(setting)]

    def _tell(self, observations: Sequence[Observation]) -> None:
        """Report to the study the observations it does not have yet."""
        for seen in observations[self._read :]:
            if seen.setting.cell == self._cell and seen.setting not in self._reported:
                self._reported.add(seen.setting)
                self._tell_one(seen)
        self._read = max(self._read, len(observations))

    def _tell_one(self, seen: Observation) -> None:
        values = list(seen.values) or ([math.inf] * self._objectives if seen.status == "diverged" else None)
        trial = self._seen.get(seen.setting)
        if values is not None:
            self._known[seen.setting] = values
        if trial is None:
            self._seen[seen.setting] = None
            if values is not None and (given := self._frozen(seen.setting, values)):
                self._study.add_trial(given)
        elif values is None:
            self._study.tell(trial, state=TrialState.FAIL)
        else:
            self._finish(trial, values)

    def _finish(self, trial: Trial, values: list[float]) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self._study.tell(trial, values)

    def _frozen(self, setting: Setting, values: list[float]) -> FrozenTrial | None:
        """Return a finished trial that the sampler did not ask for; None if it lies outside the axes."""
        off = self._space.inactive(setting)
        active = [axis for axis in self._axes if not off.issuperset(axis.axis.names)]
        try:
            chosen = {axis.names: own for axis, own in zip(self._space.axes, setting.values, strict=True)}
            params = {axis.name: axis.param(chosen[axis.axis.names]) for axis in active}
        except ValueError:
            return None
        distributions = {axis.name: axis.distribution for axis in active}
        met = {"constraints": (0.0,)} if self._space.sweep.where else {}  # as Optuna keeps those of its own trials
        return create_trial(params=params, distributions=distributions, values=values, system_attrs=met)


def _sampler_class(options: OptunaSearch) -> type[Any]:
    """Return the class of the sampler. Raise InputError if there is none."""
    if options.kind != "optuna":
        if options.sampler is not None:
            raise InputError(f'search.sampler: {options.sampler!r} is for kind = "optuna"; {options.kind} has its own')
        return getattr(optuna.samplers, SAMPLERS[options.kind])  # type: ignore[no-any-return]
    module, _, name = (options.sampler or "").rpartition(":")
    if not module or not name:
        seen = "missing" if options.sampler is None else repr(options.sampler)
        raise InputError(f"search.sampler: {seen}; accepted is module:Class, such as optuna.samplers:QMCSampler")
    try:
        found = getattr(importlib.import_module(module), name, None)
    except ImportError as error:
        raise InputError(f"search.sampler: {module} cannot be imported: {error}") from None
    if not (inspect.isclass(found) and issubclass(found, optuna.samplers.BaseSampler)):
        classes = [key for key, value in vars(importlib.import_module(module)).items() if inspect.isclass(value)]
        raise InputError(f"search.sampler: {module} has no sampler {name!r}{nearest(name, classes)}")
    return found


def _made(sampler: type[Any], options: OptunaSearch, seed: int, *, constrained: bool) -> Any:
    """Return the sampler of a point, seeded if it takes a seed, with the conditions of the sweep if it has some.

    Raise InputError if it refuses the options.
    """
    accepted = inspect.signature(sampler.__init__).parameters
    given = dict(options.options)
    if unknown := [] if any(p.kind is p.VAR_KEYWORD for p in accepted.values()) else sorted(given.keys() - accepted):
        names = ", ".join(name for name in accepted if name != "self")
        raise InputError(
            [f"search.options.{name}: {sampler.__name__} has no such option (accepted: {names})" for name in unknown]
        )
    if "seed" in accepted:
        given.setdefault("seed", seed)
    if "constant_liar" in accepted:  # pending trials count, so that workers are not sent to the same place
        given.setdefault("constant_liar", True)
    if constrained and "constraints_func" in accepted:
        given.setdefault("constraints_func", lambda trial: (trial.user_attrs.get(_VIOLATION, 0.0),))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return sampler(**given)
    except (TypeError, ValueError) as error:
        raise InputError(f"search.options: {sampler.__name__} refuses {given}: {error}") from None
