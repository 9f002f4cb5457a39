"""The gallery: pages are what their numbers say, and decisions follow the numbers."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
from typing import Any

import pytest

from examples.gallery import make
from examples.gallery.decisions import (
    best_lr_moves,
    few_draws_suffice,
    groks_late,
    inside_what_was_tried,
    knobs_follow,
    learns_without_decay,
    one_setting_for_all,
    optimum_within,
    picking_flatters,
    sooner_with,
)
from examples.gallery.pages import PAGES
from examples.gallery.phenomena import NOT_HERE, PARTLY, REFUTED, REPRODUCED
from examples.gallery.theory_decisions import (
    batch_exponent,
    best_lr_saturates,
    best_ridge_rises,
    double_descent,
    exponent,
    more_is_better,
    one_beats_many,
    stops_later,
)
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


@pytest.mark.parametrize(
    ("standard", "mup", "verdict"),
    [(0.25, 1.0, REPRODUCED), (0.25, 0.25, PARTLY), (1.0, 1.0, PARTLY), (1.0, 4.0, REFUTED)],
)
def test_a_best_lr_moves_in_one_parametrization_and_stays_in_the_other(
    standard: float, mup: float, verdict: str
) -> None:
    rows = [
        {"parametrization": name, "width": width, "lr": 0.01 * (ratio if width == 256 else 1), "val_loss": 2.0}
        for name, ratio in (("standard", standard), ("mup", mup))
        for width in (32, 256)
    ]
    found, decided = best_lr_moves(rows)
    assert (found["ratio_standard"], found["ratio_mup"]) == pytest.approx((standard, mup))
    assert decided == verdict


@pytest.mark.parametrize(
    ("n", "d", "verdict"),
    [((-0.9, -0.1), (0.1, 0.5), REPRODUCED), ((-0.9, 0.1), (0.1, 0.5), PARTLY), ((-0.9, 0.1), (-0.1, 0.5), REFUTED)],
)
def test_a_knob_follows_where_the_interval_of_its_exponent_has_the_sign(
    n: tuple[float, float], d: tuple[float, float], verdict: str
) -> None:
    law = {"exponents": {"N": -0.5, "D": 0.3}, "exponent_intervals": {"N": list(n), "D": list(d)}}
    found, decided = knobs_follow({("lr", "N"): -1, ("lr", "D"): 1})({"laws": {"lr": law}})
    assert decided == verdict
    assert (found["lr_N"], found["lr_D_low"], found["lr_D_high"]) == (-0.5, *d)


@pytest.mark.parametrize(("best", "verdict"), [([2, 4, 8, 32], PARTLY), ([2, 2, 8, 32], NOT_HERE)])
def test_a_scale_shows_nothing_of_a_knob_that_is_best_at_its_ends(best: list[int], verdict: str) -> None:
    found, decided = inside_what_was_tried("batch", 2, 32)([{"batch": value} for value in best])
    assert (found["cells"], found["at_lowest"], found["at_highest"]) == (4, best.count(2), best.count(32))
    assert decided == verdict


@pytest.mark.parametrize(
    ("permille", "is_found", "verdict"), [(0.9, False, REPRODUCED), (1.0, False, NOT_HERE), (1.0, True, REFUTED)]
)
def test_a_predicted_optimum_is_refuted_only_where_there_is_one(permille: float, is_found: bool, verdict: str) -> None:
    left_out = {"cells": 9, "interpolated": {"permille": permille}, "nearest": {"permille": 4.0}}
    answer = {"evaluation": {"leave_one_cell_out": left_out}, "verdict": {"optimum": {"found": is_found}}}
    assert optimum_within(0.9)(answer) == ({"cells": 9, "permille": permille, "permille_of_nearest": 4.0}, verdict)


@pytest.mark.parametrize(
    ("lows", "verdict"), [((0.1, 0.2), REPRODUCED), ((-0.1, 0.2), PARTLY), ((-0.1, -0.2), REFUTED)]
)
def test_picking_flatters_where_the_interval_of_the_last_known_draw_is_above_zero(
    lows: tuple[float, float], verdict: str
) -> None:
    def curve(low: float) -> list[dict[str, Any]]:
        rows = [(1, 0.9, [0.8, 1.0]), (16, 0.5, [low, 1.0]), (64, 0.0, None)]
        return [{"k": k, "flattery": value, "flattery_interval": interval} for k, value, interval in rows]

    places = [{"at": {"N": 10.0**place}, "curve": curve(low)} for place, low in enumerate(lows, start=3)]
    found, decided = picking_flatters({"places": places})
    assert decided == verdict
    assert (found["N_1000_k"], found["N_10000_low"], found["N_1000_flattery_of_all"]) == (16, lows[1], 0.0)


@pytest.mark.parametrize(("needed", "verdict"), [(16, REPRODUCED), (17, REFUTED)])
def test_few_draws_suffice_if_no_place_needs_more(needed: int, verdict: str) -> None:
    places = [{"at": {"N": 1000.0}, "needed": 3}, {"at": {"N": 2000.0}, "needed": needed}]
    found = {"within": 0.01, "N_1000_draws": 3, "N_2000_draws": needed}
    assert few_draws_suffice(16)({"within": 0.01, "places": places}) == (found, verdict)


@pytest.mark.parametrize(
    ("singles", "verdict"), [((0.01, 0.002), REPRODUCED), ((0.02, 0.01), PARTLY), ((0.02, 0.03), REFUTED)]
)
def test_one_setting_is_judged_on_the_workloads_it_was_not_tuned_on(singles: tuple[float, float], verdict: str) -> None:
    own = [{"phase": "evaluation", "single": value, "list": [0.1, value / 2]} for value in singles]
    tuned = {"phase": "tuning", "single": 1.0, "list": [1.0]}
    found, decided = one_setting_for_all(0.01)({"workloads": [tuned, *own], "single": {"lr": 0.5}})
    assert decided == verdict
    assert (found["workloads"], found["largest_excess"], found["setting_lr"]) == (2, max(singles), 0.5)
    assert found["mean_excess"] == pytest.approx(sum(singles) / 2)


@pytest.mark.parametrize(
    ("grok_step", "grokked", "verdict"), [(161, 3, REPRODUCED), (160, 3, REFUTED), (None, 0, REFUTED)]
)
def test_grokking_is_late_if_it_comes_twice_as_late_as_memory(
    grok_step: int | None, grokked: int, verdict: str
) -> None:
    row = {"runs": 4, "grokked": grokked, "memorized_step": 80, "grok_step": grok_step}
    assert groks_late([row]) == (row, verdict)


@pytest.mark.parametrize(("highs", "verdict"), [((-1, -2), REPRODUCED), ((1, -2), PARTLY), ((1, 2), REFUTED)])
def test_a_time_falls_with_an_input_if_the_interval_of_its_exponent_is_below_zero(
    highs: tuple[float, float], verdict: str
) -> None:
    found = {
        name: {"value": -3.0, "interval": {"low": -4.0, "high": high}} for name, high in zip("ab", highs, strict=True)
    }
    numbers, decided = sooner_with("a", "b")({"rows": 9, "events": 5, "curvature_p": 0.2, "exponents": found})
    assert decided == verdict
    assert (numbers["runs"], numbers["events"], numbers["a_high"], numbers["b_exponent"]) == (9, 5, highs[0], -3.0)


@pytest.mark.parametrize(
    ("softmax", "stablemax", "orthogonal", "verdict"),
    [
        ((0.0, 0.08), 0.9, 0.99, REPRODUCED),
        ((0.0, 0.08), 0.9, 0.2, PARTLY),
        ((0.0, 0.9), 0.9, 0.99, REFUTED),
        ((0.1, 0.08), 0.9, 0.99, REFUTED),
        ((0.0, 0.08), 0.1, 0.2, REFUTED),
    ],
)
def test_learning_goes_on_without_decay_where_softmax_stops_and_the_others_do_not(
    softmax: tuple[float, float], stablemax: float, orthogonal: float, verdict: str
) -> None:
    cells = [
        ("softmax", False, *softmax), ("stablemax", False, 1e-9, stablemax),
        ("softmax", True, 0.0, orthogonal), ("stablemax", True, 0.0, 0.5),
    ]  # fmt: skip
    rows = [
        {"loss_function": f, "orthogonal_gradient": o, "train_loss": t, "val_accuracy": v, "grokked": 0}
        for f, o, t, v in cells
    ]
    found, decided = learns_without_decay(rows)
    assert (found["stablemax_accuracy"], found["orthogonal_accuracy"], decided) == (stablemax, orthogonal, verdict)


@pytest.mark.process
@pytest.mark.parametrize(
    ("words", "said"), [(("--out", "/proc/none"), "--out: "), (("--small", "--cluster", "nope"), "nope")]
)
def test_a_gallery_that_cannot_be_made_ends_with_a_message(words: tuple[str, ...], said: str) -> None:
    command = [sys.executable, "examples/gallery/make.py", *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr
