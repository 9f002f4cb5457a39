"""What is asked of a study besides its limits: shares that students retain, and crossings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from sweeplaw.analysis.recipes.study.crossing import ALONG, recipe_crossing
from sweeplaw.analysis.recipes.study.distillation import Retained, retained_shares
from sweeplaw.analysis.recipes.study.study import RecipeStudy
from sweeplaw.analysis.scaling.crossover import Crossing
from sweeplaw.trials.errors import InputError, nearest

Crossed = tuple[str, str, str, Crossing]  # two recipes, the axis, and where the first overtakes the second


def answered(
    study: RecipeStudy, retained: Mapping[str, str], crossings: Sequence[tuple[str, str, str]]
) -> tuple[RecipeStudy, list[Retained], list[Crossed]]:
    """Return the study, the share that each student retains of its teacher, and each crossing (first, second, along).

    Quantities that cannot be computed, for example because no errors are known, are omitted, with a note in the study
    returned. Raise InputError if recipes or axes do not exist, naming all of them.
    """
    _check(study, retained, crossings)
    shares: list[Retained] = []
    found: list[Crossed] = []
    notes = []
    for student, teacher in retained.items():
        try:
            shares += retained_shares(study, student, teacher, students=retained)
        except InputError as error:
            notes.append(f"share that {student} retains of {teacher} left out: {'; '.join(error.faults)}")
    for first, second, along in crossings:
        try:
            found.append((first, second, along, recipe_crossing(study, first, second, along)))
        except InputError as error:
            notes.append(f"crossing of {first} and {second} along {along} left out: {'; '.join(error.faults)}")
    return replace(study, notes=(*notes, *study.notes)), shares, found


def _check(study: RecipeStudy, retained: Mapping[str, str], crossings: Sequence[tuple[str, str, str]]) -> None:
    asked = [(f"retained {student}={teacher}", (student, teacher)) for student, teacher in retained.items()]
    asked += [(f"crossing {first},{second},{along}", (first, second)) for first, second, along in crossings]
    there = ", ".join(study.recipes)
    faults = [
        f"{question}: no recipe {name!r}{nearest(name, study.recipes)} (there are {there})"
        for question, names in asked
        for name in dict.fromkeys(names)
        if name not in study.recipes
    ]
    faults += [
        f"crossing {first},{second},{along}: axis {along!r}{nearest(along, ALONG)} (accepted: {', '.join(ALONG)})"
        for first, second, along in crossings
        if along not in ALONG
    ]
    faults += [
        f"crossing {first},{second},{along}: a recipe with itself (accepted: two recipes)"
        for first, second, along in crossings
        if first == second
    ]
    if faults:
        raise InputError(faults)
