"""Law-guided search: the next trial is the one that lowers the expected regret of all scientific points most per FLOP.

What it believes is in `analysis.guidance`: one surface of the loss over knobs and scientific points, learnt while it
searches.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from sweeplaw.analysis.guidance.guide import Guide, Options
from sweeplaw.analysis.guidance.space import CandidateSpace as Surface
from sweeplaw.analysis.guidance.space import NumericKnob
from sweeplaw.orchestrator.plan.axes import Axis
from sweeplaw.orchestrator.plan.search_options import LawSearch
from sweeplaw.orchestrator.search.answers import Answer
from sweeplaw.orchestrator.search.contract import Finished, History, Observation, Proposal, Setting
from sweeplaw.orchestrator.search.space import Space, ladder
from sweeplaw.trials.errors import InputError
from sweeplaw.trials.quantities import is_number, plain

LOG_RATIO = 3.0  # largest over smallest value from which an axis is taken as logarithmic
FEWEST_LEVELS = 3  # of a knob, so that it has a curvature


class LawGuided:
    """The search of a `LawSearch`. Raises InputError for a space in which it cannot learn anything."""

    def __init__(self, space: Space, options: LawSearch) -> None:
        if options.maximize:
            raise InputError("search.maximize: a law search minimizes a positive loss; accepted is false")
        self._space, self._options = space, options
        self._scales = [_scale(axis) for axis in space.axes]
        if faults := _faults(space, self._scales):
            raise InputError(faults, where="a law search")
        self._surface = _surface(space, self._scales)
        self._index = {candidate.setting: n for n, candidate in enumerate(space.candidates)}
        self._settings = [candidate.setting for candidate in space.candidates]
        axes = self._surface.axes
        if options.target and options.target.keys() != set(axes):
            raise InputError(
                f"search.target: {', '.join(sorted(options.target))} (accepted: a value for each of {', '.join(axes)})"
            )
        self._target = tuple(options.target[axis] for axis in axes) if options.target else None
        self._read: list[Observation] = []
        self._guide = self._new_guide()

    def propose(self, history: History) -> Proposal | Finished | None:
        """Return the run of the greatest expected gain a FLOP; the start and first visits by rule."""
        guide = self._caught_up(history)
        left = math.inf if history.left.flops is None else history.left.flops
        pending = [self._index[item.setting] for item in history.pending if item.setting in self._index]
        found = guide.propose(1, left, pending)
        if not found:
            if pending:
                return None
            affordable = left >= min(candidate.flops or 0.0 for candidate in self._space.candidates)
            return Finished("every setting has run" if affordable else "the budget pays for no further setting")
        price, best = self._options.price, found[0]
        if price is not None and best.kind in ("search", "target"):
            gain = guide.expected_gain(pending)
            if gain < price:
                return Finished(
                    f"the expected gain, {_per_flops(gain, self._options.flops_of_price)}, is below the price "
                    f"{self._options.stop}"
                )
        return Proposal(self._settings[best.index], best.reason)

    def belief(self, history: History) -> str:
        """Return the law of each knob's optimum so far, and the expected gain of going on."""
        guide = self._caught_up(history)
        if not guide.records.any_loss:
            return ""
        law = guide.law()
        laws = [
            f"{knob} ~ {' '.join(f'{axis}^{slope:+.2f}' for axis, slope in slopes.items())}"
            for knob, slopes in law.slope.items()
            if slopes
        ]
        gain = guide.expected_gain()
        return "; ".join([*laws, f"the next run gains about {_per_flops(gain)}"])

    def answers(self, history: History) -> list[Answer]:
        """Return the minimum of the noise-free surface at each scientific point, with its interval and trust."""
        guide = self._caught_up(history)
        return [
            Answer(self._settings[found.denoised], found.loss, found.words, self._ranges(found.intervals), found.trust)
            for found in guide.recommend()
        ]

    def _ranges(self, intervals: Mapping[str, tuple[float, float]]) -> dict[str, tuple[float, float]]:
        """Return the interval of every knob in its own values: of knobs that move together, from their places in the
        file, and none of text.
        """
        found = {}
        for axis in self._space.axes:
            if (ends := intervals.get(",".join(axis.names))) is None:
                continue
            if len(axis.names) == 1:
                found[axis.names[0]] = ends
                continue
            rungs = list(ladder(axis))[round(ends[0]) : round(ends[1]) + 1]
            for name, values in zip(axis.names, zip(*rungs, strict=True), strict=True):
                if all(map(is_number, values)):
                    found[name] = (float(min(values)), float(max(values)))
        return found

    def _caught_up(self, history: History) -> Guide:
        """Return the guide after it has observed the history; a new one if the history is not a longer one."""
        seen = list(history.observations)
        if self._read != seen[: len(self._read)]:
            self._guide, self._read = self._new_guide(), []
        fresh = [item for item in seen[len(self._read) :] if item.setting in self._index]
        self._read = seen
        self._guide.observe(
            [self._index[item.setting] for item in fresh],
            [_loss(item) for item in fresh],
            [item.status not in ("completed", "diverged") for item in fresh],
        )
        return self._guide

    def _new_guide(self) -> Guide:
        return Guide(self._surface, self._options.seed, Options(target=self._target))


def _per_flops(gain: float, flops: float = 1e18) -> str:
    """Return a relative gain per FLOP in words, multiplied by a count of FLOPs."""
    return f"{100 * flops * gain:.2g} % per {f'{flops:g}'.replace('e+', 'e')} FLOPs"


def _loss(seen: Observation) -> float:
    """Return the loss of a setting: inf if it diverged, NaN if it has none that is positive."""
    if seen.value is None:
        return math.inf if seen.status == "diverged" else math.nan
    return seen.value if seen.value > 0 else math.nan


def _scale(axis: Axis) -> str:
    """Return the scale of a nuisance axis: ``log``, ``linear``, or ``category`` for one without an order."""
    if len(axis.knobs) > 1:
        return "linear"  # knobs that move together, by their place in the file
    values = [value for (value,) in axis.values]
    if any(isinstance(value, str | bool) for value in values):
        return "category"
    numbers = [float(value) for value in values]
    return "log" if min(numbers) > 0 and (axis.log or max(numbers) / min(numbers) >= LOG_RATIO) else "linear"


def _faults(space: Space, scales: Sequence[str]) -> list[str]:
    """Return why a law-guided search of this space would learn nothing."""
    numeric = [axis for axis, scale in zip(space.axes, scales, strict=True) if scale != "category"]
    faults = [
        f"{axis.path} has {len(axis.values)} values (accepted: at least {FEWEST_LEVELS}, so that it has a curvature)"
        for axis in numeric
        if len(axis.values) < FEWEST_LEVELS
    ]
    if not numeric:
        faults.append("no numeric nuisance axis (accepted: at least one of three or more values)")
    if any(float(value) <= 0 for cell in space.cells for value in cell.values() if is_number(value)):
        faults.append("a scientific axis has values that are not positive (accepted: positive numbers, or text)")
    return faults


def _surface(space: Space, scales: Sequence[str]) -> Surface:
    """Return the candidates of the space as coordinates; text axes, scientific ones too, make recipes."""
    names = list(space.cells[0])
    numeric = [name for name in names if all(is_number(cell[name]) for cell in space.cells)]
    present = sorted({candidate.setting.cell for candidate in space.candidates})
    place = {cell: n for n, cell in enumerate(present)}
    ordered = [n for n, scale in enumerate(scales) if scale != "category"]
    recipes: dict[str, int] = {}
    cells, settings, kinds, costs = [], [], [], []
    for candidate in space.candidates:
        cells.append(place[candidate.setting.cell])
        settings.append([_coordinate(space.axes[n], candidate.setting, n) for n in ordered])
        name = _recipe(space, candidate.setting, scales, numeric)
        kinds.append(recipes.setdefault(name, len(recipes)))
        costs.append(candidate.flops or 1.0)
    return Surface.of(
        [NumericKnob(",".join(space.axes[n].names), scales[n]) for n in ordered],
        numeric,
        [[float(space.cells[cell][name]) for name in numeric] for cell in present],
        cells,
        settings,
        costs,
        kinds,
        list(recipes),
    )


def _coordinate(axis: Axis, setting: Setting, place: int) -> float:
    values = setting.values[place]
    return float(list(ladder(axis)).index(values)) if len(axis.knobs) > 1 else float(values[0])


def _recipe(space: Space, setting: Setting, scales: Sequence[str], numeric: Sequence[str]) -> str:
    """Return the categorical values of a setting in words; empty if there are none."""
    named = {name: value for name, value in space.cells[setting.cell].items() if name not in numeric}
    for axis, scale, values in zip(space.axes, scales, setting.values, strict=True):
        if scale == "category":
            named[axis.names[0]] = values[0]
    return ", ".join(f"{name} = {plain(v) if isinstance(v, float) else v}" for name, v in named.items())
