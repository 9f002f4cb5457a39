"""The gallery: pages are what their numbers say, and decisions follow the numbers."""

from __future__ import annotations

import json
import math
import re
from typing import Any

import pytest

from examples.gallery import make
from examples.gallery.decisions import (
    batch_exponent,
    best_lr_saturates,
    best_ridge_rises,
    double_descent,
    exponent,
    more_is_better,
    one_beats_many,
    stops_later,
)
from examples.gallery.pages import PAGES
from examples.gallery.phenomena import PARTLY, REFUTED, REPRODUCED
from tests.paths import ROOT

RESULTS = ROOT / "docs" / "results"
WRITTEN = [page for page in PAGES if (RESULTS / f"{page.name}.json").exists()]
NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e[+-]?\d+)?")


def numbers(page: Any) -> Any:
    return json.loads((RESULTS / f"{page.name}.json").read_text(encoding="utf-8"))


def test_there_are_pages_of_every_system() -> None:
    assert {page.name for page in WRITTEN} == {page.name for page in PAGES}


@pytest.mark.parametrize("page", WRITTEN, ids=lambda page: page.name)
def test_a_page_is_made_of_its_numbers_and_nothing_else(page: Any) -> None:
    assert (RESULTS / f"{page.name}.md").read_text(encoding="utf-8") == make.text(page, numbers(page))


@pytest.mark.parametrize("page", WRITTEN, ids=lambda page: page.name)
def test_every_number_of_a_table_is_in_the_json_beside_it(page: Any) -> None:
    known = {make.shown(value) for row in numbers(page)["phenomena"] for value in row["numbers"].values()}
    for line in (RESULTS / f"{page.name}.md").read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("|") and NUMBER.fullmatch(cells[0]):
            assert set(cells) <= known


def test_the_index_has_a_row_for_every_phenomenon() -> None:
    text = (RESULTS / make.INDEX).read_text(encoding="utf-8")
    assert text == make.index(RESULTS)
    assert text.count("\n| [") == sum(len(page.phenomena) for page in PAGES)


def test_all_of_it_is_small() -> None:
    assert sum(file.stat().st_size for file in RESULTS.rglob("*") if file.is_file()) < 10 * 2**20


@pytest.mark.parametrize(
    ("value", "low", "high", "verdict"),
    [
        (1.502, 1.49, 1.51, REPRODUCED),
        (1.6, 1.4, 1.8, PARTLY),
        (1.53, 1.51, 1.55, PARTLY),
        (1.6, 1.59, 1.61, REFUTED),
    ],
)
def test_an_exponent_is_reproduced_where_its_interval_holds_it_and_it_is_near(
    value: float, low: float, high: float, verdict: str
) -> None:
    answer = {"params": {"alpha": value}, "intervals": {"alpha": {"low": low, "high": high}}}
    assert exponent(1.5)(answer)[1] == verdict


def _cells(worse: float) -> list[dict[str, float]]:
    return [
        {
            "features": k,
            "samples": n,
            "loss": 1 / k + 1 / n + (worse if (k, n) == (32, 32) else 0),
            "spread": 0.01,
            "runs": 100,
        }
        for k in (16, 32)
        for n in (16, 32)
    ]


def test_more_is_better_is_not_reproduced_if_one_larger_cell_is_worse() -> None:
    assert more_is_better(_cells(0.0))[1] == REPRODUCED
    found, verdict = more_is_better(_cells(0.2))
    assert (found["worse"], verdict) == (2, PARTLY)


def test_a_peak_elsewhere_is_no_double_descent() -> None:
    def rows(peak: int) -> list[dict[str, Any]]:
        bare = [
            {"ridge_choice": "given", "ridge": 1e-8, "features": k, "loss": 50.0 if k == peak else 1.0}
            for k in (64, 128, 256)
        ]
        return bare + [{"ridge_choice": "optimal", "ridge": 0.0, "features": k, "loss": 1 / k} for k in (64, 128, 256)]

    assert double_descent(rows(128))[1] == REPRODUCED
    assert double_descent(rows(64))[1] == PARTLY


def test_an_ensemble_that_is_better_refutes() -> None:
    rows = [{"samples": 64, "ensemble": size, "loss": loss} for size, loss in ((1, 1.0), (2, 1.1))]
    assert one_beats_many(rows)[1] == REPRODUCED
    assert one_beats_many([*rows, {"samples": 64, "ensemble": 4, "loss": 0.9}])[1] == REFUTED


@pytest.mark.parametrize(
    ("interval", "verdict"),
    [((0.9, 1.1), REPRODUCED), ((0.4, 1.1), PARTLY), ((0.4, 0.9), REFUTED), ((1.1, 1.2), REFUTED)],
)
def test_a_rule_of_the_batch_size_is_reproduced_if_the_interval_holds_it_alone(
    interval: tuple[float, float], verdict: str
) -> None:
    answer = {"exponent": 0.7, "exponent_interval": list(interval), "slices": 9, "cells": 4}
    found, decided = batch_exponent(1.0, 0.5)(answer)
    assert decided == verdict
    assert found == {"theory": 1.0, "exponent": 0.7, "low": interval[0], "high": interval[1], "slices": 9, "cells": 4}


@pytest.mark.parametrize(("off", "verdict"), [(1.0, REPRODUCED), (4.0, PARTLY)])
def test_a_best_lr_saturates_if_it_is_next_to_theory_at_every_batch(off: float, verdict: str) -> None:
    ladder = [2.0**k for k in range(-8, 3)]
    best = {1: 1 / 4, 3: 1 / 2, 9: 1.0 * off}  # critical batch 3: 1/4, 1/2, 3/4
    rows = [{"batch": b, "lr": lr, "loss": abs(lr / best[b] - 1)} for b in best for lr in ladder]
    found, decided = best_lr_saturates(3.0)(rows)
    assert decided == verdict
    assert [found[f"theory_lr_{b}"] for b in best] == [0.25, 0.5, 0.75]
    assert found["largest_distance_in_steps"] == pytest.approx(abs(math.log2(off / 0.75)))


def test_the_best_stopping_time_is_judged_by_its_neighbours_and_by_theory() -> None:
    def rows(factor: float, swapped: bool = False) -> list[dict[str, float]]:
        times = {(64, 0.5): 4.0, (128, 0.5): 6.0, (64, 1.0): 2.0, (128, 1.0): 3.0}
        if swapped:
            times[64, 1.0] = 5.0
        return [
            {"samples": samples, "noise": noise, "stopped_at": factor * time, "theory_time": time}
            for (samples, noise), time in times.items()
        ]

    assert stops_later(rows(1.2)) == (
        {"pairs": 4, "as_claimed": 4, "largest_ratio_to_theory": pytest.approx(1.2)},
        REPRODUCED,
    )
    assert stops_later(rows(0.7))[1] == PARTLY
    assert stops_later(rows(1.0, swapped=True)) == (
        {"pairs": 4, "as_claimed": 2, "largest_ratio_to_theory": pytest.approx(1.0)}, REFUTED,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("last", "rising", "verdict"), [(0.5, 4, REPRODUCED), (0.1, 2, REFUTED), (0.25, 4, REPRODUCED), (0.2, 2, REFUTED)]
)
def test_a_best_ridge_rises_if_it_does_along_every_line(last: float, rising: int, verdict: str) -> None:
    best = {(32, 0.1): 0.1, (64, 0.1): 0.2, (32, 1.0): 0.2, (64, 1.0): last}
    rows = [{"samples": samples, "noise": noise, "ridge": ridge} for (samples, noise), ridge in best.items()]
    found, decided = best_ridge_rises(rows)
    assert (found["lines"], found["rising"], decided) == (4, rising, verdict)
    assert found["ridge_64_noise_1"] == last


@pytest.mark.parametrize("page", WRITTEN, ids=lambda page: page.name)
def test_every_picture_of_a_page_is_there_and_is_drawn(page: Any) -> None:
    for one in page.phenomena:
        for name in one.pictures:
            drawing = (RESULTS / page.name / f"{one.name}_{name}.svg").read_text(encoding="utf-8")
            assert drawing.startswith("<svg")
            assert "<path" in drawing or "<line" in drawing or "<circle" in drawing
