"""The recipes of a source as a section of its report: the study, its tables and figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from sweeplaw.analysis.recipes.study.cards import retained_card, study_cards
from sweeplaw.analysis.recipes.study.distillation import Retained
from sweeplaw.analysis.recipes.study.study import STANDARD, RecipeStudy, recipe_limits
from sweeplaw.analysis.report.charts.cards import Card
from sweeplaw.analysis.report.fonts import embedded
from sweeplaw.analysis.report.paper.figures import svg
from sweeplaw.analysis.report.recipes.cards import study_panels
from sweeplaw.analysis.report.recipes.figures import study_figures
from sweeplaw.analysis.tables.display import visible
from sweeplaw.analysis.tables.tables import Tables
from sweeplaw.trials.errors import InputError
from sweeplaw.trials.store_format.atomic_file import write_atomically

DRAWS = 400
NAMES = ("recipe", "sweep")  # columns that name a recipe


@dataclass(frozen=True, slots=True)
class RecipesSection:
    """A study with the shares that students retain; ``refused`` says why there is no study, empty if there is one."""

    study: RecipeStudy | None
    shares: tuple[Retained, ...] = ()
    refused: str = ""

    def values(self) -> dict[str, Any]:
        """Return the section as plain values."""
        study = {} if self.study is None else self.study.to_dict()
        return {**study, "retained": [one.to_dict() for one in self.shares], "refused": self.refused}

    def cards(self) -> list[str]:
        """Return the tables as HTML."""
        if self.study is None:
            return []
        shares = [retained_card(self.shares)] if self.shares else []
        return [card.html() for card in (*study_cards(self.study), *shares)]

    def figures(self) -> dict[str, Figure]:
        """Return the figures by name."""
        return {} if self.study is None else study_figures(self.study, self.shares)

    def panels(self, key: str) -> list[Card]:
        """Return the cards of the page."""
        return [] if self.study is None else study_panels(self.study, self.shares, key)

    def pictures(self) -> dict[str, str]:
        """Return the figures as SVG by name."""
        return {name: svg(figure) for name, figure in self.figures().items()}


def recipes_section(tables: Tables, loss: str = "val_loss") -> RecipesSection | None:
    """Return the section of a source with a standard recipe beside others, or with ensembles; None for any other."""
    if not has_recipes(tables):
        return None
    try:
        columns = {} if loss == "val_loss" else {"loss": loss}
        return RecipesSection(recipe_limits(tables, draws=DRAWS, columns=columns))
    except InputError as error:
        return RecipesSection(None, refused=error.sentence())


def has_recipes(tables: Tables) -> bool:
    """Return whether a source has a standard recipe beside others, or ensembles."""
    trials = tables.trials.collect()
    names = next((trials[name].drop_nulls().unique() for name in NAMES if name in trials.columns), None)
    recipes = names is not None and len(names) > 1 and STANDARD in names.cast(str).to_list()
    return recipes or ("ensemble_loss_3" in trials.columns and trials["ensemble_loss_3"].count() > 0)


def write_page(path: Path, title: str, study: RecipeStudy, shares: Sequence[Retained] = ()) -> None:
    """Write a study as one self-contained HTML page. Raise InputError if it cannot be written."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    section = RecipesSection(study, tuple(shares))
    environment = Environment(
        loader=PackageLoader("sweeplaw.analysis.report"), autoescape=True, undefined=StrictUndefined
    )
    environment.globals["fonts"] = embedded
    text = environment.get_template("recipes_page.html.j2").render(
        title=title, recipes=section.values(), recipe_cards=section.cards(), recipe_panels=section.panels("recipes")
    )
    _write(path, visible(text))


def write_figures(folder: Path, study: RecipeStudy, shares: Sequence[Retained] = ()) -> list[Path]:
    """Write the figures of a study as SVG files, and return their paths. Raise InputError if one cannot be written."""
    found = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder} cannot be made: {error.strerror}") from None
    for name, picture in RecipesSection(study, tuple(shares)).pictures().items():
        found.append(folder / f"{name.replace(' ', '_')}.svg")
        _write(found[-1], picture)
    return found


def _write(path: Path, text: str) -> None:
    try:
        write_atomically(str(path), lambda temporary: Path(temporary).write_text(text, encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror}") from None
