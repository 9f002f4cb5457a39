"""The figures of a report by name, of runs that lack what some figures show."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import polars as pl
import pytest

from sweeplaw.analysis.report import report
from sweeplaw.analysis.report.paper.named import named_figures
from sweeplaw.analysis.report.paper.possible import possible_figures, refuse_impossible
from sweeplaw.analysis.report.read import FamiliesRead, read_families
from sweeplaw.trials.errors import InputError


def read(path: Path, **columns: list[object]) -> FamiliesRead:
    rows = [(n, d, 1.7 + 400 / n**0.34 + 410 / d**0.28) for n, d in product((1e6, 4e6), (1e8, 4e8))]
    frame = pl.DataFrame(rows, schema=["params", "tokens", "val_loss"], orient="row").with_columns(
        *(pl.Series(name, values) for name, values in columns.items())
    )
    frame.write_parquet(path / "runs.parquet")
    return read_families(path / "runs.parquet", where=None, loss="val_loss", x={"N": "params"}, verify=False)


def test_the_names_of_searches_events_recipes_and_further_families_are_known_before_any_law(tmp_path: Path) -> None:
    found = read(
        tmp_path,
        search_number=[0, 1, 2, 3],
        sweep=["tuned"] * 4,
        state=["completed"] * 4,
        trial_id=["a", "b", "c", "d"],
        grok_step=[1.0, 2.0, 3.0, 4.0],
        grok_censored_step=[None, None, None, 5.0],
        recipe=["standard", "standard", "other", "other"],
        schedule=["cosine", "linear"] * 2,
    )
    known = possible_figures(found)
    assert {"search_path-tuned", "search_surface-tuned", "time_grok", "recipes_u", "one_setting"} <= set(known)
    assert {f"loss_n-{number}" for number in range(2, len(found.families) + 1)} <= set(known)
    assert f"loss_n-{len(found.families) + 1}" not in known
    refuse_impossible("time_grok-2", found)


def test_a_name_that_no_figure_can_have_is_refused_with_those_that_one_may_have(tmp_path: Path) -> None:
    found = read(tmp_path)
    with pytest.raises(InputError) as caught:
        refuse_impossible("los_n", found)
    begin = "there is no figure 'los_n'; did you mean 'loss_n'? (figures that these runs may have: loss_n, loss_d, "
    assert str(caught.value).startswith(begin)
    assert "search_path" not in str(caught.value)
    refuse_impossible("isoflop", found)  # only its laws can say


@pytest.mark.heavy
def test_a_report_without_tuned_knobs_has_the_figures_of_its_law_and_each_can_be_drawn(tmp_path: Path) -> None:
    rows = [(n, d, 1.7 + 400 / n**0.34 + 410 / d**0.28) for n, d in product((1e6, 4e6, 16e6), (1e8, 4e8, 16e8))]
    pl.DataFrame(rows, schema=["N", "D", "loss"], orient="row").write_csv(tmp_path / "runs.csv")
    found = named_figures(report.make(tmp_path / "runs.csv", loss="loss", x={"N": "N", "D": "D"}))
    assert list(found) == ["loss_n", "loss_d", "residuals"]
    assert all(draw().axes for draw in found.values())
